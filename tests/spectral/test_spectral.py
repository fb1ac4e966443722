"""Spectrally normalized layers against NumPy's SVD: `init`, frozen and advancing applications,
sigmas.
"""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.spectral_layers import (
    IMAGE,
    LAYERS,
    advance,
    advanced,
    apply,
    as_matrix,
    assert_unit,
    drawn,
    each_layer,
    example,
    example_input,
    largest_singular_value,
    numpy_iteration,
    with_weight,
)
from snjax import spectral
from snjax.nn import layers
from snjax.spectral import SNConv, SNConvTranspose, SNDense, SNEmbed


def test_kernel_of_ones():
    x = jnp.ones((1, 3))
    plain = layers.Dense(4, kernel_init=nn.initializers.ones_init())
    np.testing.assert_array_equal(
        jax.jit(plain.init_with_output)(jax.random.key(0), x)[0], np.full((1, 4), 3)
    )
    layer = SNDense(4, kernel_init=nn.initializers.ones_init())
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    np.testing.assert_allclose(y, np.full((1, 4), 0.8660254), rtol=1e-6)  # 3 / sqrt(12)
    assert float(variables['spectral']['sigma']) == pytest.approx(12**0.5, rel=1e-6)


@pytest.mark.parametrize('name', LAYERS)
def test_parameters_are_named_and_shaped_as_in_flax(name):
    layer, plain, _, _ = LAYERS[name]
    key, x = jax.random.key(0), example_input(name)
    variables, expected = (jax.eval_shape(m.init, key, x) for m in (layer, plain))
    assert variables['params'] == expected['params']
    assert set(variables) == {'params', 'spectral'}
    m, n = as_matrix(np.zeros(variables['params'][LAYERS[name][3]].shape)).shape
    shapes = {key: leaf.shape for key, leaf in variables['spectral'].items()}
    assert shapes == {'u': (n,), 'v': (m,), 'sigma': ()}


def test_the_same_key_draws_the_parameters_of_flax():
    key, x = jax.random.key(0), jnp.ones((1, 4))
    params, expected = (m.init(key, x)['params'] for m in (SNDense(6), nn.Dense(6)))
    jax.tree.map(np.testing.assert_array_equal, params, expected)


@pytest.mark.parametrize('name', LAYERS)
@pytest.mark.parametrize('kind', ['random', 'rank_one', 'tiny', 'huge'])
def test_sigma_agrees_with_svd(name, kind):
    layer, variables, x, weight = example(name)
    kernel = np.asarray(variables['params'][weight])
    if kind == 'rank_one':
        rng = np.random.default_rng(1)
        rows, columns = (rng.standard_normal(n) for n in as_matrix(kernel).shape)
        kernel = np.outer(rows, columns).reshape(kernel.shape)
    kernel = kernel * {'tiny': 1e-30, 'huge': 1e30}.get(kind, 1)
    variables = advanced(layer, with_weight(variables, weight, kernel), x, 150)
    expected = largest_singular_value(np.float32(kernel))
    assert float(variables['spectral']['sigma']) == pytest.approx(expected, rel=2e-6)
    assert_unit(variables['spectral']['u'])
    assert_unit(variables['spectral']['v'])
    plain = with_weight(variables, weight, kernel / expected)
    y = apply(LAYERS[name][1], {'params': plain['params']}, x)
    np.testing.assert_allclose(apply(layer, variables, x), y, rtol=1e-4, atol=2e-6)


@each_layer
def test_zero_weight_stays_zero_and_keeps_u(name):
    layer, variables, x, weight = example(name)
    kernel = variables['params'][weight]
    zero = advanced(layer, with_weight(variables, weight, jnp.zeros_like(kernel)), x, 3)
    assert float(zero['spectral']['sigma']) == 0
    np.testing.assert_array_equal(zero['spectral']['u'], variables['spectral']['u'])
    bias = zero['params'].get('bias', 0)
    y = apply(layer, zero, x)
    np.testing.assert_array_equal(y, np.broadcast_to(bias, y.shape))
    gradient = jax.grad(lambda p: jnp.sum(apply(layer, {**zero, 'params': p}, x)))(zero['params'])
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
    revived = advanced(layer, with_weight(zero, weight, kernel), x, 150)
    expected = largest_singular_value(kernel)
    assert float(revived['spectral']['sigma']) == pytest.approx(expected, rel=2e-6)


@each_layer
def test_immutable_collection_freezes_u_and_v_but_not_the_weight(name):
    layer, variables, x, weight = example(name)
    before = jax.tree.map(np.array, variables['spectral'])
    kernel = variables['params'][weight]
    moved = kernel + 0.1 * np.random.default_rng(9).standard_normal(kernel.shape)
    variables = with_weight(variables, weight, moved)
    y, updated = apply(layer, variables, x, ('batch_stats', 'intermediates'))
    assert not updated
    np.testing.assert_array_equal(apply(layer, variables, x), y)
    jax.tree.map(np.testing.assert_array_equal, variables['spectral'], before)
    sigma = before['v'].astype(np.float64) @ as_matrix(moved) @ before['u'].astype(np.float64)
    assert abs(sigma / before['sigma'] - 1) > 1e-3  # the stored sigma is not used
    plain = with_weight(variables, weight, np.asarray(moved, np.float64) / sigma)['params']
    expected = apply(LAYERS[name][1], {'params': plain}, x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-6)


@each_layer
def test_mutable_collection_advances_n_power_iterations(name, n=3):
    layer, variables, x, weight = example(name)
    layer = layer.copy(n_power_iterations=n)
    kernel = variables['params'][weight]
    y, updated = apply(layer, variables, x, ('spectral',))
    sigma, u, v = numpy_iteration(kernel, variables['spectral']['u'], n)
    assert set(updated) == {'spectral'}
    assert float(updated['spectral']['sigma']) == pytest.approx(sigma, rel=1e-6)
    np.testing.assert_allclose(updated['spectral']['u'], u, atol=1e-6)
    np.testing.assert_allclose(updated['spectral']['v'], v, atol=1e-6)
    # This application is normalized with the advanced vectors already.
    frozen = apply(layer, {**variables, **updated}, x)
    np.testing.assert_allclose(y, frozen, rtol=1e-6, atol=1e-7)
    collection = advance(layer, variables, x)
    for key in ('u', 'v', 'sigma'):
        np.testing.assert_allclose(collection[key], updated['spectral'][key], rtol=1e-6, atol=1e-7)


class Draws(nn.Module):
    """The draws of `SNDense` at `init`, in order: kernel, bias, u."""

    @nn.compact
    def __call__(self, m, n):
        kernel = self.param('kernel', nn.initializers.lecun_normal(), (m, n))
        self.param('bias', nn.initializers.zeros_init(), (n,))
        return kernel, jax.random.normal(self.make_rng('params'), (n,))


@pytest.mark.parametrize('n_warmup', [0, 1, 4])
def test_init_runs_one_iteration_and_the_warmup(n_warmup):
    key = jax.random.key(5)
    layer = SNDense(6, n_warmup_iterations=n_warmup, n_power_iterations=2)
    variables = layer.init(key, jnp.ones((1, 4)))
    (kernel, u), _ = Draws().init_with_output(key, 4, 6)
    np.testing.assert_array_equal(kernel, variables['params']['kernel'])
    sigma, u, v = numpy_iteration(kernel, u, 1 + n_warmup)
    assert float(variables['spectral']['sigma']) == pytest.approx(sigma, rel=1e-6)
    np.testing.assert_allclose(variables['spectral']['u'], u, atol=1e-6)
    np.testing.assert_allclose(variables['spectral']['v'], v, atol=1e-6)


class Repeated(nn.Module):
    """One layer applied several times, like a discriminator to real and to fake images."""

    times: int

    @nn.compact
    def __call__(self, x):
        layer = SNDense(4, name='layer')
        for _ in range(self.times):
            x = layer(x)
        return x


def test_init_iterates_once_however_often_a_layer_is_applied():
    x = jnp.ones((2, 4))
    once, twice = (Repeated(times).init(jax.random.key(0), x) for times in (1, 2))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        once['spectral'],
        twice['spectral'],
    )


def test_every_mutable_application_advances():
    x = jnp.ones((2, 4))
    variables = drawn(Repeated(1), x)
    twice = apply(Repeated(2), variables, x, ('spectral',))[1]
    one_by_one = advanced(Repeated(1), variables, x, 2)
    for key in ('u', 'v', 'sigma'):
        np.testing.assert_allclose(
            twice['spectral']['layer'][key], one_by_one['spectral']['layer'][key], rtol=1e-5
        )


@each_layer
def test_bfloat16_is_normalized_in_float32(name):
    layer, variables, x, _ = example(name)
    half = layer.copy(dtype=jnp.bfloat16)
    y, updated = apply(half, variables, x, ('spectral',))
    assert y.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(updated))
    expected, in_float32 = apply(layer, variables, x, ('spectral',))
    jax.tree.map(np.testing.assert_array_equal, updated, in_float32)
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=0.02, atol=0.02)


@each_layer
@pytest.mark.parametrize('mutable', [False, ['spectral']])
def test_missing_collection_is_named(name, mutable):
    layer, variables, x, _ = example(name)
    with pytest.raises(
        ValueError, match=f"{type(layer).__name__} .*without its collection 'spectral'"
    ):
        layer.apply({'params': variables['params']}, x, mutable=mutable)


# --- advance and sigmas ------------------------------------------------------------------------


class Mixed(nn.Module):
    """All four layers in one network."""

    @nn.compact
    def __call__(self, x, labels):
        x = nn.relu(SNConv(4, (3, 3), name='first')(x))
        x = SNConvTranspose(4, (4, 4), strides=(2, 2))(x)
        x = nn.relu(SNConv(4, (4, 4), strides=(2, 2))(x)).sum((1, 2))
        return SNDense(1)(x)[:, 0] + jnp.sum(SNEmbed(5, 4, name='labels')(labels) * x, -1)


def test_advance_compiles_to_no_convolution():
    x, labels = jnp.ones(IMAGE), jnp.arange(2)
    variables = drawn(Mixed(), x, labels)

    def whole(variables, x, labels):
        return Mixed().apply(variables, x, labels, mutable=['spectral'])

    def alone(variables, x, labels):
        return spectral.advance(Mixed(), variables, x, labels)

    def compiled(function):
        """The compiled function and what it calls: operations and targets of custom calls."""
        program = jax.jit(function).lower(variables, x, labels).compile()
        text = program.as_text()
        return program, re.findall(r' ([a-z-]+)\(', text) + re.findall(r'call_target="(.*?)"', text)

    (whole, everything), (alone, operations) = compiled(whole), compiled(alone)
    assert any('conv' in name for name in everything)
    assert not [n for n in operations if 'conv' in n and n not in ('convert', 'bitcast-convert')]
    expected, actual = whole(variables, x, labels)[1]['spectral'], alone(variables, x, labels)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), actual, expected)


def test_sigmas_by_the_path_of_the_layer():
    collection = {
        'block': {'first': {'u': jnp.ones(2), 'v': jnp.ones(3), 'sigma': jnp.float32(2.5)}},
        'dense': {'u': jnp.ones(2), 'v': jnp.ones(3), 'sigma': jnp.float32(0.5)},
    }
    assert {k: float(v) for k, v in spectral.sigmas(collection).items()} == {
        'block/first': 2.5,
        'dense': 0.5,
    }
    variables = drawn(Mixed(), jnp.ones(IMAGE), jnp.arange(2))
    names = {'first', 'SNConvTranspose_0', 'SNConv_0', 'SNDense_0', 'labels'}
    assert set(spectral.sigmas(variables['spectral'])) == names


def test_sigmas_of_a_single_layer():
    variables = drawn(SNDense(3), jnp.ones((1, 2)))
    (sigma,) = spectral.sigmas(variables['spectral']).values()
    assert sigma == variables['spectral']['sigma']
