"""Batch sizes, loops and placement on the devices of one process."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax import parallel


def test_check_batch_size_names_the_first_that_does_not_fit(monkeypatch):
    eight = jax.devices() * 8
    monkeypatch.setattr(jax, 'devices', lambda: eight)
    assert parallel.check_batch_size(batch_size=8, gen_batch_size=64) is None
    with pytest.raises(
        ValueError, match=r'^batch_size 5 .* over 8 devices: use 8, --config.batch_size=8$'
    ):
        parallel.check_batch_size(gen_batch_size=64, batch_size=5)


@pytest.mark.parametrize('length', [1, 3])
def test_scan_gives_the_same_unrolled_and_as_a_loop(monkeypatch, length):
    def body(carry, x):
        carry = {'sum': carry['sum'] + x['a'], 'n': carry['n'] + 1}
        return carry, (carry['sum'] * x['b'], None)

    carry = {'sum': jnp.zeros(2), 'n': jnp.int32(0)}
    xs = {'a': jnp.arange(2.0 * length).reshape(length, 2), 'b': jnp.arange(1.0, length + 1)}
    unrolled = parallel.scan_or_unroll(body, carry, xs, length)
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    loop = parallel.scan_or_unroll(body, carry, xs, length)
    assert 'scan' in str(
        jax.make_jaxpr(lambda c: parallel.scan_or_unroll(body, c, xs, length))(carry)
    )
    assert jax.tree.structure(unrolled) == jax.tree.structure(loop)
    jax.tree.map(np.testing.assert_array_equal, unrolled, loop)
    sums = np.cumsum(np.arange(2.0 * length).reshape(length, 2), axis=0)
    np.testing.assert_array_equal(loop[0]['sum'], sums[-1])
    np.testing.assert_array_equal(loop[1][0], sums * np.arange(1, length + 1)[:, None])
    assert int(loop[0]['n']) == length


def test_on_host_is_a_cpu_device_where_there_is_one(monkeypatch):
    with parallel.on_host():
        assert {d.platform for d in jnp.ones(2).devices()} == {'cpu'}

    def no_cpu(**_):
        raise RuntimeError('Unknown backend cpu')

    monkeypatch.setattr(jax, 'local_devices', no_cpu)
    with parallel.on_host():
        assert jax.config.jax_default_device is None


def test_replicate_abstract_and_first_replica():
    tree = {'a': np.arange(3, dtype=np.int32), 'b': None, 'c': jnp.float32(2)}
    placed = parallel.replicate(tree)
    assert placed['a'].sharding.is_fully_replicated and placed['b'] is None
    shapes = parallel.abstract(jax.eval_shape(lambda: {'a': jnp.arange(3), 'c': jnp.float32(2)}))
    assert shapes['a'].shape == (3,) and shapes['a'].sharding == placed['a'].sharding
    local = parallel.first_replica(placed)
    np.testing.assert_array_equal(local['a'], tree['a'])
    assert len(local['a'].devices()) == 1 and float(local['c']) == 2
