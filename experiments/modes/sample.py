"""`launch.py --mode=sample`: samples, interpolations, morphs, nearest training images.

The options are in `configs/modes/sample.py`.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import flags

from experiments.modes import (
    command_line,
    sample_glo,
    sample_labels,
    sample_spectrum,
    sample_walks,
)
from experiments.modes.lines import say
from experiments.modes.options import NO_PLACES, Options, choose, training_set
from experiments.modes.sample_files import (
    MOVING,
    SampleOutput,
    check_moving,
    encoded_corners,
    write,
)
from experiments.settings import memory, ranges
from snjax import from_config
from snjax.data import ImageSet
from snjax.generate import neighbours, weights
from snjax.generate.glo import TrainedGlo
from snjax.generate.load import load
from snjax.generate.trained import TrainedGenerator
from snjax.latents import interpolation
from snjax.latents.priors import PRIORS
from snjax.runs import images, set_file
from snjax.training.conditioning import grid_columns

_STILL = ('grid', 'images', 'npz')
_MOVING = (*_STILL, *MOVING)
# Accepted values of `sample.what`, and the formats of each.
FORMATS = {
    'samples': _STILL,
    'interpolation': _MOVING,
    'morph': _MOVING,
    'neighbours': _STILL,
    'directions': _MOVING,
    'truncation': _MOVING,
    'spectrum': ('grid', 'npz'),
    'reconstruction': _STILL,
    'arithmetic': _STILL,
    'latent_neighbours': _STILL,
}


def main(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Runs `--mode=sample` with the flags of `launch.py`."""
    run_sample(given.sample, workdir, command_line.places())


def run_sample(
    options: Options, workdir: pathlib.Path, places: Mapping[str, Any] = NO_PLACES
) -> None:
    """Writes pictures of a checkpoint into the folder `generated` of the workdir.

    Args:
        options: see `configs/modes/sample.py`.
        workdir: of the run.
        places: where the training set lies, if it is not where the run found it.

    Raises:
        ValueError, FileNotFoundError: an option is not accepted, or there is no such checkpoint;
            one line.
    """
    _check(options)
    trained = load(workdir, options.step or None)
    memory.check_outputs('sample', options, trained.config['data'])
    channels = from_config.images_shape(trained.config, 1).shape[-1]
    if options.format == 'images' and not images.has_png(channels, trained.bits):
        raise ValueError(
            f'sample.format is images, but no PNG holds {channels} channels of {trained.bits} bits: '
            '--sample.format=npz keeps them, grid draws the first three'
        )
    if isinstance(trained, TrainedGlo):
        made = sample_glo.make(options, trained, places)
    else:
        made = _make(options, trained, workdir, places)
    truncation = f'_trunc{options.truncation:g}' if options.truncation else ''
    stem = (
        f'{options.what}_step{trained.step}_seed{options.seed}_{options.weights}'
        f'{truncation}{made.name}'
    )
    has_columns = options.format == 'grid' and options.what == 'samples' and made.columns
    named = set_file.columns_line(workdir, made.columns or 0) if has_columns else ''
    for path in write(workdir / 'generated' / stem, made, options.format, options.fps):
        say(f'{made.title} of step {trained.step} at {path}' + (f', {named}' if named else ''))


def _make(
    options: Options, trained: TrainedGenerator, workdir: pathlib.Path, places: Mapping[str, Any]
) -> SampleOutput:
    """The pictures of a GAN that `sample.what` names."""
    only_glo = {'what': options.what in sample_glo.GLO_ONLY}
    only_glo |= {key: bool(options[key]) for key in ('images', 'others')}
    for key, is_set in only_glo.items():
        if is_set:
            raise ValueError(
                f'sample.{key} is {options[key]!r}, which needs GLO: {workdir} holds a run of '
                f'{trained.config["method"]}, which has no latents of training images'
            )
    sample_labels.check(options, trained)
    if options.what == 'samples':
        return _samples(options, trained)
    if options.what == 'spectrum':
        made, real = _samples(options, trained), training_set(trained, places)
        return sample_spectrum.make(options, made, trained.step, real)
    if options.what == 'directions':
        return sample_walks.directions(options, trained)
    if options.what == 'truncation':
        return sample_walks.truncation(options, trained)
    if options.what == 'neighbours':
        return _neighbours(options, trained, training_set(trained, places))
    return _interpolation(options, trained)


# ---- checks


def _check(options: Options) -> None:
    """Raises a ValueError for impossible options, before anything is loaded."""
    ranges.check('sample', options)
    choose('sample.what', options.what, FORMATS)
    choose('sample.format', options.format, _MOVING)
    if options.format not in FORMATS[options.what]:
        raise ValueError(
            f'sample.format is {options.format!r}: accepted are '
            f'{", ".join(FORMATS[options.what])} for sample.what={options.what}'
        )
    if options.format in MOVING:
        check_moving(options.format, options.fps)
    choose('sample.weights', options.weights, weights.CHOICES)
    choose('sample.path', options.path, interpolation.PATHS)
    choose('sample.prior', options.prior, PRIORS)
    sample_walks.check(options)
    if options.latents and options.what != 'interpolation':
        raise ValueError(
            f'sample.latents is {options.latents}, but sample.what is {options.what}: use '
            'interpolation'
        )
    if options.points == 1 and options.what == 'interpolation':
        raise ValueError(
            f'sample.points is {options.points}: 0 (the default of sample.what) or 2 and more are '
            'accepted'
        )


# ---- pictures


def _samples(options: Options, trained: TrainedGenerator) -> SampleOutput:
    num, labels = options.num, sample_labels.given(options, trained)
    made = trained.sample(num, labels=labels, **_draw(options))
    columns = grid_columns(trained.num_classes, trained.num_conditions)
    return SampleOutput(
        title=f'{num} samples',
        name=f'{sample_labels.in_name(options)}_{num}',
        pixels=trained.pixels(made),
        columns=columns if labels is None else None,
        arrays=sample_labels.of(options, trained, num),
    )


def _interpolation(options: Options, trained: TrainedGenerator) -> SampleOutput:
    """Rows of images between latents, between classes, or both."""
    is_morph = options.what == 'morph'
    points = options.points or (1 if is_morph else 2)
    way: dict[str, Any] = {
        'classes': sample_labels.passed(options, trained),
        'how': options.path,
        'closed': options.format in MOVING,
    }
    if options.latents:
        corners = encoded_corners(options, points, trained.config['model']['dim_z'])
        made = trained.between(corners, options.frames, weights=options.weights, **way)
    else:
        made = trained.interpolate(
            options.rows, options.frames, points=points, **way, **_draw(options)
        )
    rows = len(made.z)
    through = f'_{options.path}{points}' if points > 1 else ''
    encoded = '_encoded' if options.latents else ''
    kind = 'morphs' if is_morph else 'interpolations'
    return SampleOutput(
        title=f'{rows} {kind} of {options.frames} frames',
        name=f'{sample_labels.in_name(options)}{encoded}{through}_{rows}x{options.frames}',
        pixels=trained.pixels(made.images),
        arrays={'z': made.z} | ({} if made.labels is None else {'label_weights': made.labels}),
    )


def _neighbours(options: Options, trained: TrainedGenerator, image_set: ImageSet) -> SampleOutput:
    """Rows of a sample and the training images nearest to it."""
    made = trained.pixels(
        trained.sample(options.rows, labels=sample_labels.given(options, trained), **_draw(options))
    )
    found = neighbours.nearest(made, image_set.images, options.neighbours)
    labels = sample_labels.of(options, trained, options.rows)
    record = {
        'step': trained.step,
        'seed': options.seed,
        'weights': trained.kept(options.weights),
        'truncation': options.truncation or None,
        'set': image_set.name,
        'split': image_set.split,
        'sha256': image_set.sha256,
        'distance': f'Euclidean, between pixels of 0 to {2**trained.bits - 1}',
        'samples': [
            {
                **({'label': labels['labels'][row].tolist()} if labels else {}),
                'neighbours': _row_of_record(image_set, found.index[row], found.distance[row]),
            }
            for row in range(options.rows)
        ],
    }
    num, total = options.neighbours, len(image_set.images)
    return SampleOutput(
        title=f'{options.rows} samples and the {num} nearest of {total} images each',
        name=f'{sample_labels.in_name(options)}_{options.rows}x{num}',
        pixels=np.concatenate([made[:, None], image_set.images[found.index]], axis=1),
        arrays={**found._asdict(), **labels},
        record=record,
    )


def _row_of_record(image_set: ImageSet, index: np.ndarray, distance: np.ndarray) -> list[dict]:
    """Training images and their distances, with their classes if the set has any."""
    names = image_set.class_names
    return [
        {
            'index': int(i),
            'distance': float(d),
            **({'class': names[image_set.labels[i]]} if names else {}),
        }
        for i, d in zip(index, distance, strict=True)
    ]


# ---- options as arguments


def _draw(options: Options) -> dict[str, Any]:
    """Arguments that `sample` and `interpolate` share."""
    return {
        'seed': options.seed,
        'weights': options.weights,
        'truncation': options.truncation or None,
    }
