"""Labels of `--mode=sample`: classes, or the numbers of a model with conditions."""

from typing import Any

import numpy as np
from jaxtyping import Float32

from experiments.modes.options import Options
from snjax.generate.trained import TrainedGenerator


def check(options: Options, trained: TrainedGenerator) -> None:
    """Raises a ValueError for classes or numbers that the generator does not have."""
    workdir = trained.workdir
    num_classes, is_morph = trained.num_classes, options.what == 'morph'
    if not num_classes and is_morph and not trained.num_conditions:
        raise ValueError(
            f'sample.what is morph, but the model of {workdir} has no classes: use interpolation'
        )
    for key in ('label', 'label_to'):
        if not num_classes and options[key] != -1:
            raise ValueError(
                f'sample.{key} is {options[key]}, but the model of {workdir} has no classes: leave '
                'it at -1'
            )
        if not -1 <= options[key] < max(1, num_classes):
            raise ValueError(
                f'sample.{key} is {options[key]}: the model of {workdir} has classes 0 to '
                f'{num_classes - 1}; -1 is all'
            )
    if is_morph and (options.label < 0) != (options.label_to < 0):
        raise ValueError(
            f'sample.label is {options.label} and sample.label_to {options.label_to}: a morph '
            'needs both, or neither to go through all classes'
        )
    for key in ('condition', 'condition_to'):
        _numbers(options, key, trained)
    if trained.num_conditions and is_morph and not (options.condition and options.condition_to):
        raise ValueError(
            f'sample.condition is {options.condition!r} and sample.condition_to '
            f'{options.condition_to!r}: a morph needs both'
        )


def given(options: Options, trained: TrainedGenerator) -> Any:
    """The class or the numbers asked for, or None for all classes in turn or a grid of numbers."""
    if trained.num_conditions:
        return _numbers(options, 'condition', trained)
    return None if options.label < 0 else options.label


def passed(options: Options, trained: TrainedGenerator) -> Any:
    """What an interpolation or a morph passes through: see `TrainedGenerator.interpolate`."""
    is_morph = options.what == 'morph'
    if trained.num_conditions:
        keys = ('condition', 'condition_to') if is_morph else ('condition',)
        found = [_numbers(options, key, trained) for key in keys]
        there = [row for row in found if row is not None]
        return np.stack(there) if there else None
    if not is_morph:
        return given(options, trained)
    return range(trained.num_classes) if options.label < 0 else (options.label, options.label_to)


def of(options: Options, trained: TrainedGenerator, num: int) -> dict[str, np.ndarray]:
    """The labels of `num` samples as an array of the npz; empty for an unconditional generator."""
    labels = trained.labels(given(options, trained), num)
    return {} if labels is None else {'labels': labels}


def in_name(options: Options) -> str:
    """The class or the numbers asked for, as part of a file name."""
    is_morph = options.what == 'morph'
    if options.condition:
        to = f'to{options.condition_to}' if is_morph else ''
        return f'_condition{options.condition}{to}'.replace(' ', '')
    if options.label < 0:
        return ''
    return f'_class{options.label}' + (f'to{options.label_to}' if is_morph else '')


def _numbers(
    options: Options, key: str, trained: TrainedGenerator
) -> Float32[np.ndarray, ' k'] | None:
    """The numbers in a text as 0.3,1; None for an empty one.

    Raises:
        ValueError: a text for a model without conditions, or another count of finite numbers.
    """
    text, num = str(options[key]), trained.num_conditions
    if not text:
        return None
    if not num:
        raise ValueError(
            f'sample.{key} is {text!r}, but the model of {trained.workdir} has no conditions: leave '
            'it empty'
        )
    try:
        found = np.array([float(part) for part in text.split(',')], np.float32)
    except ValueError:
        found = np.zeros(0, np.float32)
    if len(found) != num or not np.isfinite(found).all():
        raise ValueError(
            f'sample.{key} is {text!r}: the model of {trained.workdir} takes {num} number{"s" * (num > 1)}, as '
            f'--sample.{key}={",".join(["0.5"] * num)}'
        )
    return found
