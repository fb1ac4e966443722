"""Batch norm of the generators and spectral normalization of the discriminators, as whole networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from helpers.networks import (
    DIM_Z,
    images,
    jit,
    normal,
    shapes,
    small_discriminator,
    small_generator,
    variables_of,
)
from snjax import models, spectral

# --- batch norm


@pytest.fixture(scope='module')
def generator_run():
    """A small ResNet generator, its variables and functions for one step in either mode."""
    gen = small_generator(architecture='resnet')
    variables = variables_of(gen, normal(2, DIM_Z))
    train = jit(functools.partial(gen.apply, train=True, mutable=['batch_stats']))
    evaluate = jit(functools.partial(gen.apply, train=False))
    return variables, train, evaluate


def test_training_updates_running_statistics_with_decay_point_nine(generator_run):
    variables, train, _ = generator_run
    z = normal(6, DIM_Z)
    _, updated = train(variables, z)
    kernel = np.asarray(variables['params']['project']['kernel'], np.float64)
    h = (np.asarray(z, np.float64) @ kernel).reshape(-1, 4)
    before = variables['batch_stats']['block1']['norm1']
    np.testing.assert_array_equal(before['mean'], 0)
    np.testing.assert_array_equal(before['var'], 1)
    after = updated['batch_stats']['block1']['norm1']
    np.testing.assert_allclose(after['mean'], 0.1 * h.mean(0), atol=1e-6)
    np.testing.assert_allclose(after['var'], 0.9 + 0.1 * h.var(0), rtol=1e-5)

    _, again = train({**variables, **updated}, z)
    after = again['batch_stats']['block1']['norm1']
    np.testing.assert_allclose(after['mean'], 0.19 * h.mean(0), atol=1e-6)
    np.testing.assert_allclose(after['var'], 0.81 + 0.19 * h.var(0), rtol=1e-5)


def test_evaluation_uses_running_statistics(generator_run):
    variables, train, evaluate = generator_run
    z = normal(6, DIM_Z)
    alone, among = evaluate(variables, z[:1]), evaluate(variables, z)[:1]
    np.testing.assert_allclose(alone, among, atol=1e-5)
    batch, _ = train(variables, z)
    assert float(jnp.abs(batch[:1] - among).max()) > 1e-2
    # Once the running statistics equal the batch's, evaluation equals training.
    state = variables
    for _ in range(200):
        state = {**state, **train(state, z)[1]}
    np.testing.assert_allclose(evaluate(state, z), batch, atol=1e-3)


@pytest.mark.parametrize(('architecture', 'variant'), [('resnet', 'paper'), ('sngan_cnn', 'code')])
def test_batch_norm_axis_shares_statistics(architecture, variant):
    z = normal(8, DIM_Z) + jnp.arange(8.0)[:, None] / 4  # halves that differ
    fakes, statistics = {}, {}
    for axis in (None, 'batch'):
        gen = small_generator(
            architecture=architecture, variant=variant, gen_width=2, batch_norm_axis=axis
        )
        variables = variables_of(gen, z)
        apply = functools.partial(gen.apply, variables, train=True, mutable=['batch_stats'])
        fake, updated = jit(jax.vmap(apply, axis_name='batch'))(z.reshape(2, 4, DIM_Z))
        fakes[axis], statistics[axis] = fake.reshape(8, 16, 16, 3), updated
        if axis is None:
            whole, expected = jit(apply)(z)
    np.testing.assert_allclose(fakes['batch'], whole, atol=1e-4)
    assert float(jnp.abs(fakes[None] - whole).max()) > 1e-3
    for half in (0, 1):
        jax.tree.map(
            lambda a, b, half=half: np.testing.assert_allclose(a[half], b, rtol=1e-4, atol=1e-4),
            statistics['batch'],
            expected,
        )


# --- spectral normalization


@pytest.mark.parametrize(('architecture', 'variant'), [('resnet', 'paper'), ('sngan_cnn', 'code')])
def test_every_discriminator_kernel_is_divided_by_its_largest_singular_value(architecture, variant):
    kwargs = {'architecture': architecture, 'variant': variant, 'dis_width': 2}
    dis = small_discriminator(layers=models.spectral_norm(n_power_iterations=8), **kwargs)
    x = images(2, 16, 16, 3)
    variables = variables_of(dis, x)
    advance = jit(lambda v: spectral.advance(dis, v, x, train=True))
    for _ in range(60):
        variables = {**variables, 'spectral': advance(variables)}

    sigmas = spectral.sigmas(variables['spectral'])
    params = flatten_dict(variables['params'], sep='/')
    kernels = {p.removesuffix('/kernel'): w for p, w in params.items() if p.endswith('/kernel')}
    assert set(sigmas) == set(kernels)
    assert sum('shortcut' in path for path in sigmas) == (2 if architecture == 'resnet' else 0)
    assert 'score' in sigmas
    plain = jax.tree.map(jnp.copy, variables['params'])
    for path, kernel in kernels.items():
        exact = np.linalg.svd(np.reshape(kernel, (-1, kernel.shape[-1])), compute_uv=False)[0]
        np.testing.assert_allclose(sigmas[path], exact, rtol=1e-3, err_msg=path)
        functools.reduce(dict.__getitem__, path.split('/'), plain)['kernel'] /= exact

    expected = jit(
        functools.partial(small_discriminator(layers=models.PLAIN, **kwargs).apply, train=True)
    )({'params': plain}, x)
    frozen = jit(functools.partial(dis.apply, train=True))(variables, x)
    assert abs(float(frozen[0] - frozen[1])) > 1e-3
    np.testing.assert_allclose(frozen, expected, rtol=5e-3, atol=1e-6)


def test_only_a_spectral_discriminator_has_the_collection():
    x, z = jnp.zeros((2, 16, 16, 3)), jnp.zeros((2, DIM_Z))
    for architecture in ('resnet', 'sngan_cnn'):
        gen = small_generator(architecture=architecture)
        assert set(shapes(gen, z)) == {'params', 'batch_stats'}
        none = small_discriminator(architecture=architecture, layers=models.PLAIN)
        assert set(shapes(none, x)) == {'params'}
        sn = small_discriminator(architecture=architecture)
        assert set(shapes(sn, x)) == {'params', 'spectral'}
