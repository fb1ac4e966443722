"""What `launch.py --mode=sample` writes: samples, interpolations, morphs of classes, nearest training images."""

import math
import pathlib
from typing import Any

import numpy as np

from experiments.modes import sample_table
from experiments.modes.sample_files import SampleOutput, encoded_ways, write
from experiments.settings.check import Config, choose
from snjax.generate import neighbours
from snjax.generate.glo import TrainedGlo
from snjax.generate.load import load
from snjax.generate.trained import TrainedGenerator
from snjax.generate.weights import WEIGHTS
from snjax.latents import interpolation
from snjax.latents.priors import PRIORS
from snjax.latents.sampling import check_labels
from snjax.runs import images

STILL = ('grid', 'images', 'npz')
FORMATS = {
    'samples': STILL,
    'interpolation': (*STILL, 'gif', 'webp'),
    'morph': (*STILL, 'gif', 'webp'),
    'neighbours': STILL,
    'reconstruction': STILL,
    'arithmetic': STILL,
    'latent_neighbours': STILL,
}


def run_sample(config: Config, workdir: pathlib.Path) -> None:
    """Writes images from a checkpoint, as `config.sampling` says, into the folder `generated` of the workdir."""
    s = config.sampling
    _check(s)
    trained = load(workdir, s.step or None)
    made = _make(config, trained, workdir)
    truncated = f'_trunc{s.truncation:g}' if s.truncation else ''
    stem = f'{s.what}_step{trained.step}_seed{s.seed}_{s.weights}{truncated}{made.name}'
    for path in write(workdir / 'generated' / stem, made, s.format, s.fps):
        print(f'{made.title} of step {trained.step} at {path}', flush=True)


def _make(config: Config, trained: TrainedGenerator, workdir: pathlib.Path) -> SampleOutput:
    """What `sampling.what` asks for, of a GAN or of GLO."""
    s = config.sampling
    if isinstance(trained, TrainedGlo):
        return sample_table.make(config, trained)
    is_wrong = {'what': s.what in sample_table.OF_TABLES} | {k: s[k] for k in ('images', 'others')}
    for key, value in is_wrong.items():
        if value:
            raise ValueError(
                f'sampling.{key} is {s[key]!r}, which is for GLO: {workdir} holds a {config.method}, whose images have '
                'no latents'
            )
    _check_labels(s, trained.num_classes, workdir)
    makers = {'samples': _samples, 'neighbours': _neighbours}
    return makers.get(s.what, _interpolation)(config, trained)


# ---- what can be asked for


def _check(s: Config) -> None:
    """Raises a ValueError of one line for impossible values and combinations, before anything is loaded."""
    choose('sampling.what', s.what, FORMATS)
    choose('sampling.format', s.format, FORMATS['morph'])
    if s.format not in FORMATS[s.what]:
        raise ValueError(
            f'sampling.format is {s.format!r}: accepted are {", ".join(FORMATS[s.what])} for sampling.what={s.what}'
        )
    choose('sampling.weights', s.weights, WEIGHTS)
    choose('sampling.path', s.path, interpolation.PATHS)
    choose('sampling.prior', s.prior, PRIORS)
    for key in ('rows', 'frames', 'neighbours', 'components'):
        if s[key] < 1:
            raise ValueError(f'sampling.{key} is {s[key]}: a whole number from 1 is needed')
    if s.latents and s.what != 'interpolation':
        raise ValueError(
            f'sampling.latents is {s.latents}, but sampling.what is {s.what}: use interpolation'
        )
    if s.points < 0 or (s.what == 'interpolation' and s.points == 1):
        raise ValueError(
            f'sampling.points is {s.points}: 0 (as many as it takes) or 2 and more are accepted'
        )
    if not 0 < s.fps < math.inf:
        raise ValueError(f'sampling.fps is {s.fps}: a positive number is needed')


def _check_labels(s: Config, num_classes: int, workdir: pathlib.Path) -> None:
    """Raises a ValueError of one line for classes that the model does not have."""
    if not num_classes and s.what == 'morph':
        raise ValueError(
            f'sampling.what is morph, but the model of {workdir} has no classes: use interpolation'
        )
    for key in ('label', 'label_to'):
        if not num_classes and s[key] != -1:
            raise ValueError(
                f'sampling.{key} is {s[key]}, but the model of {workdir} has no classes: leave it at -1'
            )
        if not -1 <= s[key] < max(1, num_classes):
            raise ValueError(
                f'sampling.{key} is {s[key]}: the model of {workdir} has classes 0 to {num_classes - 1}; -1 is all'
            )
    if s.what == 'morph' and (s.label < 0) != (s.label_to < 0):
        raise ValueError(
            f'sampling.label is {s.label} and sampling.label_to {s.label_to}: a morph needs both, or neither to go '
            'through all classes'
        )


# ---- what is made


def _draw(s: Config) -> dict[str, Any]:
    """The arguments that every tool shares."""
    return {'seed': s.seed, 'weights': s.weights, 'truncation': s.truncation or None}


def _samples(config: Config, trained: TrainedGenerator) -> SampleOutput:
    s, num_classes = config.sampling, trained.num_classes
    made = trained.sample(s.num, labels=_label(s), **_draw(s))
    # One column per class, where that is no wider than people look at.
    columns = num_classes if _label(s) is None and 1 < num_classes <= 20 else None
    name = f'{_class_name(s)}_{s.num}'
    return SampleOutput(
        f'{s.num} samples', name, images.to_uint8(made), columns, _labels(s, trained, s.num), None
    )


def _interpolation(config: Config, trained: TrainedGenerator) -> SampleOutput:
    """Between latents, between classes, or both."""
    s, is_morph = config.sampling, config.sampling.what == 'morph'
    points = s.points or (1 if is_morph else 2)
    classes = _label(s)
    if is_morph:
        classes = range(trained.num_classes) if s.label < 0 else (s.label, s.label_to)
    way: dict[str, Any] = {'classes': classes, 'how': s.path, 'closed': s.format in ('gif', 'webp')}
    if s.latents:
        corners = encoded_ways(s, points, config.model.dim_z)
        made = trained.between(corners, s.frames, weights=s.weights, **way)
    else:
        made = trained.interpolate(s.rows, s.frames, points=points, **way, **_draw(s))
    rows, through = len(made.z), f'_{s.path}{points}' if points > 1 else ''
    encoded = '_encoded' if s.latents else ''
    name = f'{_class_name(s)}{encoded}{through}_{rows}x{s.frames}'
    title = f'{rows} {"morphs" if is_morph else "interpolations"} of {s.frames} frames'
    arrays = {'z': made.z} | ({} if made.labels is None else {'label_weights': made.labels})
    return SampleOutput(title, name, images.to_uint8(made.images), None, arrays, None)


def _neighbours(config: Config, trained: TrainedGenerator) -> SampleOutput:
    """Samples, each followed by the training images nearest to it."""
    s, d = config.sampling, config.data
    image_set = trained.training_set(data_dir=d.data_dir or None, cache_dir=d.cache_dir or None)
    made = images.to_uint8(trained.sample(s.rows, labels=_label(s), **_draw(s)))
    found = neighbours.nearest(made, image_set.images, s.neighbours)
    pixels = np.concatenate([made[:, None], image_set.images[found.index]], axis=1)
    told = _labels(s, trained, s.rows)
    record = {
        'step': trained.step,
        'seed': s.seed,
        'weights': trained.kept(s.weights),
        'truncation': s.truncation or None,
        'set': image_set.name,
        'split': image_set.split,
        'sha256': image_set.sha256,
        'distance': 'Euclidean, between pixels of 0 to 255',
        'samples': [
            {
                **({'label': int(told['labels'][row])} if told else {}),
                'neighbours': [
                    _neighbour(image_set, int(i), float(distance))
                    for i, distance in zip(found.index[row], found.distance[row], strict=True)
                ],
            }
            for row in range(s.rows)
        ],
    }
    title = (
        f'{s.rows} samples and the {s.neighbours} nearest of {len(image_set.images)} images each'
    )
    name = f'{_class_name(s)}_{s.rows}x{s.neighbours}'
    return SampleOutput(title, name, pixels, None, {**found._asdict(), **told}, record)


def _neighbour(image_set, index: int, distance: float) -> dict[str, Any]:
    names = image_set.class_names
    label = {'class': names[image_set.labels[index]]} if names else {}
    return {'index': index, 'distance': distance, **label}


def _label(s: Config) -> int | None:
    return None if s.label < 0 else s.label


def _labels(s: Config, trained: TrainedGenerator, num: int) -> dict[str, np.ndarray]:
    """`labels` of samples, for a file; nothing without classes."""
    labels = check_labels(_label(s), num, trained.num_classes)
    return {} if labels is None else {'labels': labels}


def _class_name(s: Config) -> str:
    if s.label < 0:
        return ''
    return f'_class{s.label}' + (f'to{s.label_to}' if s.what == 'morph' else '')
