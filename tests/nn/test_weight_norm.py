"""Weight normalization against its definition, flax and finite differences."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax.nn.weight_norm import WNConv, WNConvTranspose, WNDense, WNEmbed, normalize_columns

IMAGE = (2, 4, 4, 3)
# name: (layer, the plain flax layer, input shape, None for ids, name of the weight)
LAYERS = {
    'dense': (WNDense(5), nn.Dense(5), (2, 3), 'kernel'),
    'conv': (WNConv(4, (3, 3)), nn.Conv(4, (3, 3)), IMAGE, 'kernel'),
    'conv_transpose': (
        WNConvTranspose(4, (4, 4), strides=(2, 2)),
        nn.ConvTranspose(4, (4, 4), strides=(2, 2)),
        IMAGE,
        'kernel',
    ),
    'embed': (WNEmbed(6, 4), nn.Embed(6, 4), None, 'embedding'),
}
each_layer = pytest.mark.parametrize('name', LAYERS)


@functools.partial(jax.jit, static_argnums=0)
def apply(layer, params, x):
    return layer.apply({'params': params}, x)


columns = jax.jit(normalize_columns)


def draw(seed, shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@functools.cache
def example(name):
    """A layer with its parameters, an input, and the name of its weight."""
    layer, _, shape, weight = LAYERS[name]
    x = jnp.arange(5) if shape is None else draw(1, shape)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)['params']
    params = {k: draw(seed, shapes[k].shape) for seed, k in enumerate(sorted(shapes), 2)}
    return layer, params, x, weight


def numpy_columns(w):
    w = np.asarray(w, np.float64)
    return w / np.sqrt(np.sum(w**2, tuple(range(w.ndim - 1))))


def test_columns_by_hand():
    w = jnp.array([[3.0, 0.0, -2.0], [4.0, 0.0, 0.0]])
    np.testing.assert_allclose(columns(w), [[0.6, 0, -1], [0.8, 0, 0]], rtol=1e-7)


@pytest.mark.parametrize('shape', [(7, 3), (3, 3, 2, 5), (4, 2, 3)])
def test_columns_have_length_one(shape):
    w = draw(0, shape)
    y = np.asarray(columns(w), np.float64)
    np.testing.assert_allclose(y, numpy_columns(w), rtol=1e-6, atol=1e-7)
    matrix = y.reshape(-1, shape[-1])
    squares = np.sum(np.linalg.svd(matrix, compute_uv=False) ** 2)
    assert squares == pytest.approx(shape[-1], rel=1e-6)


@pytest.mark.parametrize('scale', [1e-36, 1e-20, 0.3, 1e20, 1e36])
def test_value_and_gradient_do_not_depend_on_the_scale(scale):
    w, weights = draw(0, (5, 3)), draw(1, (5, 3))
    scales = jnp.array([1.0, scale, 1.0])  # of one column alone
    gradient = jax.jit(jax.grad(lambda w: jnp.vdot(normalize_columns(w), weights)))
    np.testing.assert_allclose(columns(w * scales), columns(w), rtol=1e-5)
    np.testing.assert_allclose(gradient(w * scales) * scales, gradient(w), rtol=1e-4, atol=1e-6)
    along = jnp.sum(gradient(w) * w, 0)  # a column does not feel its own scale
    np.testing.assert_allclose(along, 0, atol=1e-6)


@each_layer
def test_parameters_are_those_of_flax(name):
    layer, plain, _, _ = LAYERS[name]
    key, x = jax.random.key(0), example(name)[2]
    variables = jax.eval_shape(layer.init, key, x)
    assert variables == jax.eval_shape(plain.init, key, x)  # no state, no multiplier
    scaled = jax.eval_shape(layer.copy(learnable_scale=True).init, key, x)
    gamma = scaled['params'].pop('gamma')
    assert (gamma.shape, gamma.dtype) == ((layer.features,), jnp.float32)
    assert scaled == variables


@each_layer
def test_layer_equals_flax_with_the_normalized_weight(name):
    layer, params, x, weight = example(name)
    normalized = {**params, weight: jnp.asarray(numpy_columns(params[weight]), jnp.float32)}
    expected = apply(LAYERS[name][1], normalized, x)
    np.testing.assert_allclose(apply(layer, params, x), expected, rtol=1e-4, atol=1e-5)
    scales = jnp.arange(1.0, 1 + layer.features)  # a positive factor on a column changes nothing
    np.testing.assert_allclose(
        apply(layer, {**params, weight: params[weight] * scales}, x), expected, rtol=1e-4, atol=1e-5
    )
    gamma = draw(9, (layer.features,))
    with_gamma = {**params, 'gamma': gamma}
    normalized = {**normalized, weight: normalized[weight] * gamma}
    np.testing.assert_allclose(
        apply(layer.copy(learnable_scale=True), with_gamma, x),
        apply(LAYERS[name][1], normalized, x),
        rtol=1e-4,
        atol=1e-5,
    )


def test_gamma_starts_at_one_and_changes_nothing():
    layer, params, x, _ = example('dense')
    scaled = layer.copy(learnable_scale=True)
    gamma = jax.jit(scaled.init)(jax.random.key(0), x)['params']['gamma']
    np.testing.assert_array_equal(gamma, np.ones(5))
    np.testing.assert_array_equal(
        apply(scaled, {**params, 'gamma': gamma}, x), apply(layer, params, x)
    )


@each_layer
def test_zero_columns_stay_zero_with_a_finite_gradient(name):
    layer, params, x, weight = example(name)
    params = {**params, weight: params[weight].at[..., 1].set(0)}
    y = np.asarray(apply(layer, params, x))
    np.testing.assert_array_equal(
        y[..., 1], np.broadcast_to(params.get('bias', [0, 0])[1], y[..., 1].shape)
    )
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(apply(layer, p, x)))))(params)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
    assert np.any(np.asarray(gradient[weight])[..., 0])


@each_layer
def test_bfloat16_is_normalized_in_float32(name):
    layer, params, x, weight = example(name)
    expected = apply(layer, params, x)
    y = apply(layer.copy(dtype=jnp.bfloat16), params, x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=0.02, atol=0.03)
    # Half precision weights: squares of 1e-6 would be 0 in float16.
    w = (1e-4 * params[weight]).astype(jnp.float16)
    assert columns(w).dtype == jnp.float32
    np.testing.assert_allclose(columns(w), numpy_columns(w), rtol=1e-5, atol=1e-6)


class Critic(nn.Module):
    """A small discriminator of all four layers: one score per image."""

    @nn.compact
    def __call__(self, x, labels):
        kwargs = {'param_dtype': jnp.float64, 'learnable_scale': True}
        x = nn.tanh(WNConv(3, (3, 3), resample='down', **kwargs)(x))
        x = nn.tanh(WNConvTranspose(2, (4, 4), strides=(2, 2), **kwargs)(x))
        x = WNDense(3, **kwargs)(x.reshape(len(x), -1))
        return jnp.sum(WNEmbed(5, 3, **kwargs)(labels) * nn.tanh(x), -1)


def test_gradient_penalty_agrees_with_finite_differences():
    with jax.enable_x64(True):
        rng = np.random.default_rng(2)
        x, labels = jnp.asarray(rng.standard_normal((2, 4, 4, 2))), jnp.array([1, 4])
        shapes = jax.eval_shape(Critic().init, jax.random.key(0), x, labels)['params']
        params = jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape), s.dtype), shapes)
        direction = jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape)), shapes)

        def penalty(params):
            def scores(x):
                return jnp.sum(Critic().apply({'params': params}, x, labels))

            norms = jnp.sqrt(jnp.sum(jnp.square(jax.grad(scores)(x)), (1, 2, 3)))
            return jnp.mean(jnp.square(norms - 1))

        value_and_grad = jax.jit(jax.value_and_grad(penalty))

        def moved(step):
            shifted = jax.tree.map(lambda p, d: p + step * d, params, direction)
            return float(value_and_grad(shifted)[0])

        gradient = value_and_grad(params)[1]
        for layer in sorted(params):  # the gradient of each reaches it
            assert float(jnp.linalg.norm(jnp.ravel(gradient[layer]['gamma']))) > 1e-5
        along = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction)))
        assert abs(float(along)) > 1e-3
        difference = (moved(1e-5) - moved(-1e-5)) / 2e-5
        assert float(along) == pytest.approx(difference, rel=1e-6)
