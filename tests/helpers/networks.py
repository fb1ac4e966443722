"""Networks with variables of NumPy's numbers, for tests of `snjax.models`: nothing to compile but what is tested."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from snjax import models

# Small programs run once: compiling them costs far more than running them.
jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})
DIM_Z = 128
NHWC = ('NHWC', 'HWIO', 'NHWC')


def small_generator(**kwargs):
    """A generator of 16x16 images, four channels wide, unless told otherwise."""
    return models.make_generator(**{'image_size': 16, 'gen_width': 4, **kwargs})


def small_discriminator(**kwargs):
    """A discriminator of 16x16 images, four channels wide, unless told otherwise."""
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
    """How many numbers the network has."""
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(module, *args)['params']))


def filled(module, *args, seed=3):
    """Its variables, all of them random."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        centre = {'scale': 1, 'gamma': 1, 'var': 1, 'sigma': 1}.get(path[-1].key, 0)
        fan_in = leaf.size // leaf.shape[-1] if path[-1].key == 'kernel' else 25
        return jnp.asarray(centre + rng.standard_normal(leaf.shape) / np.sqrt(fan_in), leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, shapes(module, *args))


def drawn(structure, *, neutral=True):
    """Variables of the shapes in `structure`: nothing to compile where the initial values do not matter.

    Biases are 0, scales 1 and running statistics untouched if `neutral`, else all are random.
    """
    rng = np.random.default_rng(3)

    def fill(path, leaf):
        constant = {'bias': 0, 'scale': 1, 'mean': 0, 'var': 1, 'v': 0, 'sigma': 0}
        value = constant.get(path[-1].key)
        if value is None or not neutral:
            value = (value or 0) + rng.standard_normal(leaf.shape) / np.sqrt(leaf.size) * 3
        return jnp.full(leaf.shape, value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, structure)


def variables_of(module, *args):
    """Its variables, neutral as those of `drawn` are."""
    return drawn(shapes(module, *args))


def init(module, x):
    """What its own `init` draws."""
    rng = jax.random.key(0, impl='rbg')  # compiles faster than threefry
    return jit(functools.partial(module.init, train=True))(rng, x)
