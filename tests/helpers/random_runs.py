"""Runs that were never trained: a config, and random numbers in all variables of its generator."""

import jax
import jax.numpy as jnp
import numpy as np

from helpers.filling import filled
from snjax import from_config
from snjax.generate.load import expected_arrays, from_tree
from snjax.spectral import advance

_POSITIVE = {'var': (0.5, 2.0), 'sigma': (1.0, 2.0)}


def random_run(config, *, seed=0, has_ema=False, images=30, step=7):
    """The generator of a config as `snjax.load` gives it, with statistics as training leaves them.

    Args:
        config: a ConfigDict or a nested dict.
        seed: of the numbers.
        has_ema: with other numbers as the moving average.
        images: rows of the table of a GLO.
        step: generator updates.
    """
    config = config if isinstance(config, dict) else config.to_dict()
    inputs = from_config.generator_inputs(config)
    shapes = expected_arrays(config)

    def fill(name, shape, rng):
        values = rng.uniform(*_POSITIVE.get(name, (-0.4, 0.4)), shape)
        if name in ('kernel', 'embedding'):  # images that use the range and are not all saturated
            return values * 4 / np.sqrt(np.prod(shape[:-1]))
        return values + 1 if name in ('scale', 'gamma') else values

    raw = filled(shapes, fill, seed)
    if 'spectral' in raw:  # u and v of unit length, as a power iteration leaves them
        raw['spectral'] = _advanced(config, raw, inputs)
    states = {name: values for name, values in raw.items() if name != 'params'}
    tree = {'gen': {'params': raw['params'], 'model_state': states}}
    if has_ema:
        tree['ema'] = filled(shapes, fill, seed + 1)
    if config['method'] == 'glo':
        rng = np.random.default_rng(seed)
        tree['table'] = {'z': rng.normal(size=(images, inputs.dim_z)).astype(np.float32) / 4}
    return from_tree(config, step, tree)


def _advanced(config, variables, inputs):
    gen = from_config.shared_generator(config)
    labels = jnp.zeros(1, jnp.int32) if inputs.num_classes else None
    z = jnp.zeros((1, inputs.dim_z))
    step = jax.jit(lambda variables: advance(gen, variables, z, labels, train=False))
    for _ in range(3):
        variables = variables | {'spectral': jax.device_get(step(variables))}
    return variables['spectral']


def small(module, **changes):
    """The config of a module of `configs/` with a narrow generator.

    Args:
        module: of `configs/`.
        **changes: full keys with `__` for a point, as `data__image_size=16`.
    """
    config = module.get_config()
    narrow = {'model.gen_width': 4, 'model.dim_z': 8}
    config.update_from_flattened_dict(
        narrow | {key.replace('__', '.'): value for key, value in changes.items()}
    )
    return config.to_dict()


def inputs_of(run, num, seed=0):
    """z and, with classes, the classes in turn: what exported programs take."""
    z = run.latents(num, seed=seed)
    if not run.num_classes:
        return (z,)
    return z, np.arange(num, dtype=np.int32) % run.num_classes
