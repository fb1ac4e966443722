"""Networks and image sets as a run's config names them: the only file of the library that knows config keys."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import flax.linen as nn

from snjax import models

if TYPE_CHECKING:
    from snjax.data import ImageSet


def generator(config: Any, *, batch_norm_axis: str | None = None) -> nn.Module:
    """The generator that a run's config (nested, with string keys) describes.

    `batch_norm_axis` is the devices' in training, and None elsewhere.
    """
    model, data = config['model'], config['data']
    return models.make_generator(
        architecture=model['architecture'],
        image_size=data['image_size'],
        channels=data['channels'],
        gen_width=model['gen_width'],
        variant=model['variant'],
        num_classes=model['num_classes'],
        normalization=model['gen_normalization'],
        attention=model['attention'],
        n_power_iterations=model['n_power_iterations'],
        n_warmup_iterations=model['n_warmup_iterations'],
        batch_norm_axis=batch_norm_axis,
        dtype=model['dtype'],
        remat=model.get('remat', False),  # runs from before there was this key
    )


def image_set(config: Any, announce: Callable[[int], None] | None = None) -> 'ImageSet':
    """The training set that a run's config (nested, with string keys) names; `announce` as in `snjax.data.load`."""
    # Imported here: whoever only samples need not wait for the readers of data sets.
    from snjax import data

    d = config['data']
    return data.load(
        d['name'],
        image_size=d['image_size'],
        channels=d['channels'],
        split=d['split'],
        data_dir=d['data_dir'] or None,
        path=d['path'] or None,
        skip_broken=d['skip_broken'],
        cache_dir=d['cache_dir'] or None,
        decode_later=d.get('stream') == 'decode',
        announce=announce,
    )
