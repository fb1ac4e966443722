"""Checks of what a model is conditioned on: classes or numbers."""

from typing import Any

from experiments.settings.choices import choose
from snjax import models

Config = Any  # an ml_collections.ConfigDict, whose attributes no type checker knows


def classes(config: Config) -> None:
    """Raises a ValueError for classes or numbers that the players do not take."""
    model = config.model
    choose('model.fake_classes', model.fake_classes, ('uniform', 'set', 'real'))
    table(config)
    if model.fake_classes == 'real' and config.gen_batch_size != config.batch_size:
        raise ValueError(
            f'model.fake_classes=real gives each fake the class of a real image, but gen_batch_size is '
            f'{config.gen_batch_size} and batch_size {config.batch_size}: use the same number'
        )
    if model.num_conditions:
        _conditions(model)
    elif bool(model.num_classes) != (model.head != 'none'):
        raise ValueError(
            f'model.num_classes is {model.num_classes} and model.head {model.head!r}: a '
            'conditional GAN needs both, as --config.model.num_classes=10 '
            '--config.model.head=projection; 0 and none make an unconditional one'
        )
    if model.fake_classes == 'set' and not model.num_classes:
        raise ValueError(
            "model.fake_classes is 'set', but model.num_classes is 0: an unconditional GAN draws no "
            'classes; use --config.model.fake_classes=uniform'
        )
    models.check_conditioning(model.gen_conditioning, model.num_classes, model.num_conditions)
    start, end = model.conditioning_start, model.conditioning_end
    if (start or end) and not 0 <= start < end:
        raise ValueError(
            f'model.conditioning_start {start} is not before model.conditioning_end {end}: classes '
            'are brought in between them; 0 and 0 use classes from the start'
        )
    if end and model.head != 'projection':
        raise ValueError(
            f'model.conditioning_end is {end}, but model.head is {model.head!r}: classes are '
            'brought in gradually with --config.model.head=projection alone'
        )


def table(config: Config) -> None:
    """Raises a ValueError for a table of numbers that no model takes."""
    if config.data.conditions and not config.model.num_conditions:
        raise ValueError(
            f'data.conditions is {config.data.conditions!r}, but model.num_conditions is 0: a model '
            'that takes its numbers has --config.model.num_conditions, --config.model.head=projection '
            'and --config.model.fake_classes=real, as configs/cgan_conditions.py; or leave it empty'
        )


def _conditions(model: Config) -> None:
    """Checks a model that is conditioned on numbers."""
    for key, value in (('head', 'projection'), ('fake_classes', 'real')):
        if model[key] != value:
            raise ValueError(
                f'model.num_conditions is {model.num_conditions} and model.{key} {model[key]!r}: '
                f'numbers of an image need --config.model.{key}={value}'
            )
    if model.conditioning_start or model.conditioning_end:
        raise ValueError(
            f'model.num_conditions is {model.num_conditions}, but model.conditioning_end is '
            f'{model.conditioning_end}: only classes are brought in gradually; leave it at 0'
        )
