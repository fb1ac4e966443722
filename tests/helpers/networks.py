"""Small networks and their variables, most made without `init`, for tests of `snjax.models`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from helpers import filling
from snjax import models

# Small programs run once: compiling them costs far more than running them.
jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})
DIM_Z = 128
NHWC = ('NHWC', 'HWIO', 'NHWC')


def small_generator(**kwargs):
    """A generator of 16x16 images, four channels wide, by default."""
    return models.make_generator(**{'image_size': 16, 'gen_width': 4, **kwargs})


def small_discriminator(**kwargs):
    """A discriminator of 16x16 images, four channels wide, by default."""
    return models.make_discriminator(**{'image_size': 16, 'dis_width': 4, **kwargs})


def normal(*shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def images(*shape):
    """Numbers in (-1, 1)."""
    return jnp.asarray(np.tanh(normal(*shape, seed=2)))


def shapes(module, *args):
    init = functools.partial(module.init, train=True)
    return jax.eval_shape(init, jax.random.key(0, impl='rbg'), *args)


def parameters(module, *args):
    """Number of parameters of the network."""
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(module, *args)['params']))


def filled(module, *args, seed=3):
    """Random variables of a network."""

    def fill(name, shape, rng):
        centre = name in ('scale', 'gamma', 'var', 'sigma')
        fan_in = np.prod(shape[:-1]) if name == 'kernel' else 25
        return centre + rng.standard_normal(shape) / np.sqrt(fan_in)

    return jax.tree.map(jnp.asarray, filling.filled(shapes(module, *args), fill, seed))


def drawn(structure, *, neutral=True):
    """Variables of the shapes in `structure`, where their initial values do not matter.

    Args:
        structure: a pytree of shapes.
        neutral: whether biases are 0, scales 1 and running statistics fresh; else all are random.
    """
    constant = {'bias': 0, 'scale': 1, 'mean': 0, 'var': 1, 'v': 0, 'sigma': 0}

    def fill(name, shape, rng):
        if neutral and name in constant:
            return constant[name]
        return constant.get(name, 0) + rng.standard_normal(shape) / np.sqrt(np.prod(shape)) * 3

    return jax.tree.map(jnp.asarray, filling.filled(structure, fill, seed=3))


def variables_of(module, *args):
    """Neutral variables of a network, as `drawn` gives them."""
    return drawn(shapes(module, *args))


def init(module, x):
    """Variables that the network's own `init` draws."""
    rng = jax.random.key(0, impl='rbg')  # compiles faster than threefry
    return jit(functools.partial(module.init, train=True))(rng, x)
