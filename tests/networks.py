"""Networks with variables of NumPy's numbers, for tests of `snjax.models`: nothing to compile but what is tested."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Small programs run once: compiling them costs far more than running them.
jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})
NHWC = ('NHWC', 'HWIO', 'NHWC')


def normal(*shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


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
