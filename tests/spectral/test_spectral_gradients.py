"""Gradients through spectrally normalized layers, once and twice, against finite differences."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.spectral_layers import (
    LAYERS,
    advance,
    advanced,
    apply,
    drawn,
    each_layer,
    example,
    example_input,
    with_weight,
)
from snjax import spectral
from snjax.spectral import SNConv, SNConvTranspose, SNDense, SNEmbed


def assert_gradient(function, params, tolerance):
    """The gradient along a random direction against a central difference (float64 only)."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(7)
    direction = [rng.standard_normal(leaf.shape) for leaf in leaves]

    def moved(step):
        return tree.unflatten([p + step * d for p, d in zip(leaves, direction, strict=True)])

    gradient = jax.tree.leaves(jax.jit(jax.grad(function))(params))
    along = sum(np.vdot(g, d) for g, d in zip(gradient, direction, strict=True))
    function = jax.jit(function)
    difference = (float(function(moved(1e-5))) - float(function(moved(-1e-5)))) / 2e-5
    assert abs(along) > 1e-2
    assert along == pytest.approx(difference, rel=tolerance)
    return tree.unflatten(gradient)


@each_layer
def test_gradients_agree_with_finite_differences(name):
    with jax.enable_x64(True):
        layer = LAYERS[name][0].copy(param_dtype=jnp.float64)
        x = example_input(name)
        variables = advanced(layer, drawn(layer, x), x, 1)
        assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(variables))

        def loss(params):  # u and v held fixed
            return jnp.sum(jnp.sin(layer.apply({**variables, 'params': params}, x)))

        assert_gradient(loss, variables['params'], 1e-7)


def test_gradient_through_an_advance_holds_the_new_vectors_fixed():
    layer, variables, x, _ = example('conv')
    collection = advance(layer, variables, x)

    def loss(params, collection, mutable):
        y = apply(layer, {'params': params, 'spectral': collection}, x, mutable)
        return jnp.sum(jnp.sin(y[0] if mutable else y))

    advancing = jax.grad(loss)(variables['params'], variables['spectral'], ('spectral',))
    frozen = jax.grad(loss)(variables['params'], collection, False)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), advancing, frozen)


@pytest.mark.parametrize('scale', [1e-30, 1e-22, 1e22, 1e30])
def test_gradient_holds_at_any_scale(scale):
    layer, variables, x, _ = example('dense_tall')
    kernel = variables['params']['kernel']

    @jax.jit
    @jax.grad
    def gradient(kernel):
        return jnp.sum(jnp.sin(layer.apply(with_weight(variables, 'kernel', kernel), x)))

    np.testing.assert_allclose(gradient(kernel * scale) * scale, gradient(kernel), rtol=1e-4)


class Critic(nn.Module):
    """A small spectrally normalized discriminator: one score per image."""

    param_dtype: type = jnp.float32

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(SNConv(3, (3, 3), strides=(2, 2), param_dtype=self.param_dtype)(x))
        return SNDense(1, param_dtype=self.param_dtype)(x.reshape(x.shape[0], -1))[:, 0]


def test_gradient_penalty_differentiates_twice():
    with jax.enable_x64(True):
        critic = Critic(param_dtype=jnp.float64)
        x = jnp.asarray(np.random.default_rng(2).standard_normal((2, 4, 4, 2)))
        variables = advanced(critic, drawn(critic, x), x, 1)

        def penalty(params):
            def scores(x):
                return jnp.sum(critic.apply({**variables, 'params': params}, x))

            norms = jnp.sqrt(jnp.sum(jnp.square(jax.grad(scores)(x)), (1, 2, 3)))
            return jnp.mean(jnp.square(norms - 1))

        gradient = assert_gradient(penalty, variables['params'], 1e-7)
        kernel = gradient['SNConv_0']['kernel']
        assert float(jnp.linalg.norm(kernel)) > 1e-3
        # With u and v fixed, the scale of a normalized kernel does not matter: <w, gradient> = 0.
        along = jnp.vdot(kernel, variables['params']['SNConv_0']['kernel'])
        assert float(along) == pytest.approx(0, abs=1e-14)


class Options(nn.Module):
    """A discriminator with every option in it: one score per image."""

    @nn.compact
    def __call__(self, x, labels):
        kwargs = {'param_dtype': jnp.float64}
        x = SNConv(3, (3, 3), resample='down', operator='convolution', lipschitz=4.0, **kwargs)(x)
        x = SNConvTranspose(2, (3, 3), operator='convolution', learnable_scale=True, **kwargs)(x)
        x = SNConv(3, (3, 3), operator='bidirectional', lipschitz=3.0, **kwargs)(nn.tanh(x))
        x = SNDense(3, divide=False, **kwargs)(nn.tanh(x).reshape(len(x), -1))
        return jnp.sum(SNEmbed(5, 3, learnable_scale=True, **kwargs)(labels) * nn.tanh(x), -1)


def test_gradient_penalty_differentiates_twice_through_every_option():
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(2).standard_normal((2, 4, 4, 2)))
        labels = jnp.array([1, 4])
        variables = drawn(Options(), x, labels)
        variables['spectral'] = jax.jit(
            lambda v, x, labels: spectral.advance(Options(), v, x, labels)
        )(variables, x, labels)

        def penalty(params):
            def scores(x):
                return jnp.sum(Options().apply({**variables, 'params': params}, x, labels))

            norms = jnp.sqrt(jnp.sum(jnp.square(jax.grad(scores)(x)), (1, 2, 3)))
            return jnp.mean(jnp.square(norms - 1))

        gradient = assert_gradient(penalty, variables['params'], 1e-6)
        for name in ('SNConv_0', 'SNConvTranspose_0', 'SNConv_1', 'SNDense_0'):
            kernel = gradient[name]['kernel']
            along = float(jnp.vdot(kernel, variables['params'][name]['kernel']))
            assert float(jnp.linalg.norm(kernel)) > 1e-3
            if name == 'SNDense_0':  # raw
                assert abs(along) > 1e-3
            else:  # does not depend on its own scale
                assert along == pytest.approx(0, abs=1e-13)
