"""The singular values after the first, against SVD and BigGAN's loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import biggan_cifar, sngan_cifar
from experiments import build
from helpers import tiny_gan
from snjax import models, spectral
from snjax.spectral import SNConv, SNDense, SNEmbed
from snjax.spectral.deflation import next_singular_values
from snjax.training.player import Player, sigmas

RNG = np.random.default_rng(0)


def matrix(m, n, values):
    """With these singular values."""
    (left, _), (right, _) = (np.linalg.qr(RNG.standard_normal((k, len(values)))) for k in (m, n))
    return (left * values) @ right.T


def biggan(w, us):
    """One iteration of its `power_iteration`, whose W is the transpose of w: values and vectors."""
    kept_u, kept_v, values = [], [], []
    for u in us:
        v = w @ u
        for y in kept_v:
            v = v - (v @ y) * y / (y @ y)
        v = v / np.linalg.norm(v)
        u = w.T @ v
        for y in kept_u:
            u = u - (u @ y) * y / (y @ y)
        u = u / np.linalg.norm(u)
        kept_u, kept_v, values = [*kept_u, u], [*kept_v, v], [*values, v @ w @ u]
    return values, kept_u, kept_v


@pytest.mark.parametrize(('m', 'n'), [(9, 5), (4, 7)])
def test_one_iteration_is_biggans(m, n):
    w = RNG.standard_normal((m, n))
    us = RNG.standard_normal((4, n))
    for _ in range(3):
        first = spectral.power_iteration(jnp.float32(w), jnp.float32(us[0]))
        found = next_singular_values(jnp.float32(w), *first[1:], jnp.float32(us[1:]))
        values, us, vs = biggan(w, us)
        for ours, theirs in zip(found, (values[1:], us[1:], vs[1:]), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)
        us = np.array(us)


@pytest.mark.parametrize('scale', [1.0, 1e-20, 1e20])
def test_they_become_those_of_svd(scale):
    values = np.array([5.0, 3.0, 2.0, 1.2, 0.7])
    w = jnp.asarray(scale * matrix(12, 8, values), jnp.float32)
    _, u, v = spectral.power_iteration(w, jnp.ones(8), n_steps=100)
    start = jnp.asarray(RNG.standard_normal((3, 8)), jnp.float32)
    found, us, vs = next_singular_values(w, u, v, start, n_steps=100)
    np.testing.assert_allclose(found, scale * values[1:4], rtol=1e-4)
    np.testing.assert_allclose(us @ us.T, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(vs @ vs.T, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(us @ u, 0, atol=1e-5)


def test_a_matrix_of_lower_rank_has_zeros():
    w = jnp.asarray(matrix(6, 5, [2.0, 1.0]), jnp.float32)
    _, u, v = spectral.power_iteration(w, jnp.ones(5), n_steps=50)
    start = jnp.asarray(RNG.standard_normal((4, 5)), jnp.float32)
    found, us, _ = next_singular_values(w, u, v, start, n_steps=50)
    np.testing.assert_allclose(found, [1, 0, 0, 0], atol=1e-5)
    zero, us, _ = next_singular_values(jnp.zeros((6, 5)), u, jnp.zeros(6), start)
    np.testing.assert_array_equal(zero, 0)
    np.testing.assert_array_equal(us, start)  # the iteration can go on once w has changed


LAYERS = {
    'dense': (lambda k: SNDense(7, n_singular_values=k), jnp.ones((2, 6))),
    'conv': (lambda k: SNConv(5, (3, 3), n_singular_values=k), jnp.ones((1, 4, 4, 2))),
    'embed': (lambda k: SNEmbed(6, 4, n_singular_values=k), jnp.arange(3)),
    'rows': (lambda k: SNEmbed(6, 4, n_singular_values=k, u_over='rows'), jnp.arange(3)),
}


@pytest.mark.parametrize('name', LAYERS)
def test_layers_follow_them_and_change_nothing_else(name):
    make, x = LAYERS[name]
    one, four = make(1), make(4)
    variables = jax.jit(one.init)(jax.random.key(0), x)
    assert set(variables['spectral']) == {'u', 'v', 'sigma'}
    more = jax.jit(four.init)(jax.random.key(0), x)
    assert set(more['spectral']) == {'u', 'v', 'sigma', 'u_next', 'v_next', 'sigma_next'}
    for a, b in zip(*map(jax.tree.leaves, (variables['params'], more['params'])), strict=True):
        np.testing.assert_array_equal(a, b)
    kept = more['spectral']
    step = jax.jit(lambda c: four.apply({**more, 'spectral': c}, x, mutable=['spectral']))
    plain = {**variables, 'spectral': {n: kept[n] for n in ('u', 'v', 'sigma')}}
    for _ in range(150):
        out, new = step(kept)
        kept = new['spectral']
    assert not np.array_equal(kept['u_next'], more['spectral']['u_next'])
    (weight,) = (w for w in jax.tree.leaves(variables['params']) if w.ndim > 1)
    exact = np.linalg.svd(np.asarray(weight).reshape(-1, weight.shape[-1]), compute_uv=False)
    found = spectral.singular_values({'layer': kept})['layer']
    np.testing.assert_allclose(found, exact[:4], rtol=2e-2)
    # What is applied is the weight over the first, bit for bit.
    expected, first = jax.jit(lambda c: one.apply(c, x, mutable=['spectral']))(plain)
    out, new = step(more['spectral'])
    np.testing.assert_array_equal(out, expected)
    for key, value in first['spectral'].items():
        np.testing.assert_array_equal(new['spectral'][key], value)
    frozen = jax.eval_shape(lambda c: four.apply({**more, 'spectral': c}, x), kept)
    assert frozen.shape == out.shape


def test_a_layer_has_at_most_as_many_as_its_matrix():
    variables = SNDense(1, n_singular_values=4).init(jax.random.key(0), jnp.ones((2, 6)))
    assert set(variables['spectral']) == {'u', 'v', 'sigma'}
    variables = SNDense(3, n_singular_values=4).init(jax.random.key(0), jnp.ones((2, 6)))
    assert variables['spectral']['sigma_next'].shape == (2,)


def test_a_collection_without_them_is_refused():
    x, layer = jnp.ones((2, 6)), SNDense(7, n_singular_values=2)
    variables = SNDense(7).init(jax.random.key(0), x)
    with pytest.raises(ValueError, match='and n_singular_values=2: pass the variables that init'):
        layer.apply(variables, x)
    for bad in ({'n_singular_values': 0}, {'n_singular_values': 2, 'operator': 'bidirectional'}):
        with pytest.raises(ValueError, match=r'n_singular_values=\d with operator='):
            SNDense(7, **bad).init(jax.random.key(0), x)


class Two(nn.Module):
    """A discriminator whose layers follow three singular values, but the last, which has one."""

    @nn.compact
    def __call__(self, x, labels=None, *, train):
        h = nn.tanh(SNDense(5, name='hidden', n_singular_values=3)(x.reshape(len(x), -1)))
        return SNDense(1, name='score', n_singular_values=3)(h)[:, 0]


def test_a_training_logs_them():
    gan = tiny_gan.make_gan(dis=Two())
    state = jax.jit(gan.init)(jax.random.key(0))
    key = np.asarray(jax.random.key_data(jax.random.key(0)))
    new, metrics = tiny_gan.step_of(gan)(state, tiny_gan.images(1), key)
    names = {name for name in metrics if name.startswith('sigma')}
    assert names == {'sigma/hidden', 'sigma/score', 'sigma2/hidden', 'sigma3/hidden'}
    assert (
        metrics['sigma2/hidden'] == new.dis.model_state['spectral']['hidden']['sigma_next'][0] > 0
    )
    assert isinstance(new.dis, Player) and set(sigmas(d=new.dis)) == {
        name.replace('sigma', 'd') for name in names
    }


def test_a_config_asks_for_them():
    config = biggan_cifar.get_config()
    config.model.n_singular_values = 2
    gan = build.method(config)
    for player in (gan.gen, gan.dis):
        assert player.layers.dense(3).n_singular_values == 2
    assert models.spectral_norm().dense(3).n_singular_values == 1
    config = sngan_cifar.get_config()
    config.update_from_flattened_dict(
        {'model.n_singular_values': 2, 'model.sn_operator': 'convolution'}
    )
    with pytest.raises(
        ValueError, match="n_singular_values is 2, but sn_operator is 'convolution'"
    ):
        build.method(config)
