"""Spectrally normalized layers, their plain twins, and power iteration in NumPy's float64."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax import spectral
from snjax.spectral import SNConv, SNConvTranspose, SNDense, SNEmbed, power_iteration

IMAGE = (2, 4, 4, 3)
# name: (layer, the plain flax layer, input shape, None for ids, name of the weight)
LAYERS = {
    'dense_wide': (SNDense(7), nn.Dense(7), (2, 3), 'kernel'),
    'dense_tall': (SNDense(3), nn.Dense(3), (2, 7), 'kernel'),
    'dense_square': (SNDense(5, use_bias=False), nn.Dense(5, use_bias=False), (2, 5), 'kernel'),
    'conv': (SNConv(4, (3, 3)), nn.Conv(4, (3, 3)), IMAGE, 'kernel'),
    'conv_1d': (SNConv(6, (3,), strides=2), nn.Conv(6, (3,), strides=2), (2, 5, 2), 'kernel'),
    'conv_transpose': (
        SNConvTranspose(4, (4, 4), strides=(2, 2)),
        nn.ConvTranspose(4, (4, 4), strides=(2, 2)),
        IMAGE,
        'kernel',
    ),
    'embed': (SNEmbed(6, 4), nn.Embed(6, 4), None, 'embedding'),
}
each_layer = pytest.mark.parametrize('name', ['dense_wide', 'conv', 'conv_transpose', 'embed'])


def drawn(module, *args):
    """Returns random variables of `module`; compiling its `init` would take seconds."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *args)
    return jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape), s.dtype) / 2, shapes)


@functools.partial(jax.jit, static_argnums=(0, 3))
def apply(layer, variables, x, mutable=False):
    return layer.apply(variables, x, mutable=list(mutable) if mutable else False)


@functools.partial(jax.jit, static_argnums=0)
def advance(layer, variables, x):
    return spectral.advance(layer, variables, x)


power_iterations = jax.jit(power_iteration, static_argnames='n_steps')


def example_input(name):
    shape = LAYERS[name][2]
    rng = np.random.default_rng(1)
    return jnp.arange(5) if shape is None else jnp.asarray(rng.standard_normal(shape))


@functools.cache
def example(name):
    """Returns a layer, its variables after one iteration, an input and the name of its weight."""
    layer, _, _, weight = LAYERS[name]
    x = example_input(name)
    return layer, advanced(layer, drawn(layer, x), x, 1), x, weight


def with_weight(variables, weight, value):
    params = {**variables['params'], weight: jnp.asarray(value, jnp.float32)}
    return {**variables, 'params': params}


def as_matrix(kernel):
    return np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])


def largest_singular_value(kernel):
    return np.linalg.svd(as_matrix(kernel), compute_uv=False)[0]


def numpy_iteration(kernel, u, n_steps):
    """Returns sigma, u and v of the same algorithm in float64."""
    w, u = as_matrix(kernel), np.asarray(u, np.float64)
    for _ in range(n_steps):
        v = w @ u / np.linalg.norm(w @ u)
        u = v @ w / np.linalg.norm(v @ w)
    return v @ w @ u, u, v


def advanced(layer, variables, x, times):
    for _ in range(times):
        variables = {**variables, 'spectral': advance(layer, variables, x)}
    return variables


def assert_unit(x, tolerance=1e-6):
    assert np.linalg.norm(np.asarray(x, np.float64)) == pytest.approx(1, abs=tolerance)
