"""Refuses numbers whose arrays cannot fit into the memory of the machine, before any is made.

The bounds are low: what is named here is needed at least, so what they refuse could never run.
Whether the rest fits is seen when the step is compiled, whose line says what it takes.
"""

import math
from collections.abc import Mapping
from typing import Any

from snjax import host, parallel
from snjax.image_format import sides

_FLOAT = 4  # bytes
_FEATURES = 64  # of the smallest extractor
_FIRST_LAYER = 16  # pixels of the feature map that a generator makes of z, at least 4x4


def check_training(config: Any) -> None:
    """Raises a ValueError for a number in the config of a training."""
    m, e, pixels = config.model, config.eval, math.prod(sides(config.data.image_size))
    image, parts = pixels * config.data.channels, max(config.accumulate, 1)
    needs = {
        'model.gen_width': 9 * m.gen_width**2 * _FLOAT,
        'model.dim_z': m.dim_z * m.gen_width * _FIRST_LAYER * _FLOAT,
        'batch_size': config.batch_size * image * _FLOAT // parts,
        'sampling.num': config.sampling.num * (image * _FLOAT + pixels * m.gen_width),
    }
    if config.method != 'glo':
        # A quarter of the first feature map: a network may halve the image in its first layer.
        needs['model.dis_width'] = 9 * m.dis_width**2 * _FLOAT
        needs['batch_size'] += config.batch_size * pixels * m.dis_width // parts
        needs['n_dis'] = config.n_dis * config.batch_size * image
        needs['gen_batch_size'] = config.gen_batch_size * pixels * m.gen_width // parts
    if e.extractor:
        needs['eval.num_samples'] = e.num_samples * _FEATURES * _FLOAT
        needs['eval.batch_size'] = e.batch_size * (image * _FLOAT + pixels * m.gen_width)
    _check('config', config, needs)


def check_outputs(flag: str, options: Any, data: Mapping[str, Any]) -> None:
    """Raises a ValueError for a number of images that a mode cannot hold.

    Args:
        flag: 'sample' or 'invert'.
        options: of the mode.
        data: the group `data` of the run's config.
    """
    image = math.prod(sides(data['image_size'])) * data['channels'] * _FLOAT
    if flag == 'sample':
        needs = {
            'num': options.num * image,
            'frames': options.frames * image,
            'rows': options.rows * options.frames * image,
            'neighbours': options.neighbours * image,
        }
        if options.what in ('samples', 'spectrum', 'reconstruction'):
            needs = {'num': needs['num']}
        elif options.what in ('interpolation', 'morph'):
            needs.pop('num')
            needs.pop('neighbours')
        else:
            needs = {'neighbours': options.rows * needs['neighbours']}
    else:
        needs = {'batch_size': options.batch_size * image, 'restarts': options.restarts * _FLOAT}
    _check(flag, options, needs)


def check_scores(options: Any) -> None:
    """Raises a ValueError for a number of fakes whose features do not fit."""
    _check('evaluate', options, {'num_samples': options.num_samples * _FEATURES * _FLOAT})


def _check(flag: str, config: Any, needs: Mapping[str, int]) -> None:
    there = max(
        host.memory() * parallel.process_count(),
        parallel.device_memory() * parallel.device_count(),
    )
    for key, num_bytes in needs.items():
        if num_bytes > there:
            group, _, name = key.rpartition('.')
            value = config[group][name] if group else config[key]
            label = key if flag == 'config' else f'{flag}.{key}'
            raise ValueError(
                f'{label} is {value}, which takes at least {num_bytes / 1e9:,.0f} GB of memory; '
                f'there are {there / 1e9:,.0f} GB: use less, --{flag}.{key}'
            )
