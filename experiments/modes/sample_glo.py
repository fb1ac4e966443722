"""`launch.py --mode=sample` of GLO: samples of a fitted prior, pictures of the learned latents.

The learned latents are shown by reconstructions (figures of section 4.2 in Bojanowski et al. 2018,
arXiv:1707.05776), interpolations between training images, arithmetic with the latents of groups of
images, and nearest neighbours among the latents.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.modes import sample_spectrum
from experiments.modes.options import Options, training_set
from experiments.modes.sample_files import MOVING, SampleOutput, encoded_corners
from snjax.data import ImageSet
from snjax.generate import neighbours
from snjax.generate.glo import TrainedGlo
from snjax.generate.load import load
from snjax.image_format import MAX_COLUMNS
from snjax.latents.priors import project

Places = Mapping[str, Any]
_LONGEST = 60  # characters of sample.images in a file name


def make(options: Options, trained: TrainedGlo, places: Places) -> SampleOutput:
    """The pictures that `sample.what` names.

    Args:
        options: see `configs/modes/sample.py`.
        trained: the run.
        places: where the training set lies, if it is not where the run found it.

    Raises:
        ValueError: GLO has no such pictures, or the training set is not there; one line.
    """
    has_label = options.label >= 0 and options.prior != 'class'
    if options.what == 'morph' or has_label or options.label_to >= 0:
        raise ValueError(
            f'sample.what={options.what}, label={options.label}, label_to={options.label_to}: the '
            'generator of GLO is unconditional; for samples of one class use --sample.prior=class '
            '--sample.label=3'
        )
    if options.what not in MAKERS:
        raise ValueError(
            f'sample.what is {options.what!r}, and the workdir holds a run of GLO: accepted are '
            f'{", ".join(MAKERS)}'
        )
    if options.condition or options.condition_to:
        raise ValueError(
            f'sample.condition is {options.condition!r} and condition_to {options.condition_to!r}: the '
            'generator of GLO has no conditions; leave both empty'
        )
    if options.weights == 'ema':
        raise ValueError('sample.weights is ema, but GLO keeps no moving average: use auto')
    return MAKERS[options.what](options, trained, places)


# ---- pictures


def _samples(options: Options, trained: TrainedGlo, places: Places) -> SampleOutput:
    z, labels = _draw(options, trained, places, options.num)
    columns = None
    if labels is not None and options.label < 0 and labels.max() < MAX_COLUMNS:
        columns = int(labels.max()) + 1
    return SampleOutput(
        title=f'{options.num} samples of the prior {options.prior}',
        name=f'{_prior_name(options)}_{options.num}',
        pixels=trained.pixels(trained.generate(z)),
        columns=columns,
        arrays={'z': z} | ({} if labels is None else {'labels': labels}),
    )


def _spectrum(options: Options, trained: TrainedGlo, places: Places) -> SampleOutput:
    made, real = _samples(options, trained, places), _training_set(trained, places)
    return sample_spectrum.make(options, made, trained.step, real)


def _interpolation(options: Options, trained: TrainedGlo, places: Places) -> SampleOutput:
    """Rows of images between drawn latents, encoded images or training images."""
    points = options.points or 2
    if options.latents:
        z, name = encoded_corners(options, points, trained.table.shape[1]), '_encoded'
    elif options.images:
        index = _numbers(options.images, trained)
        if len(index) % points:
            raise ValueError(
                f'sample.images names {len(index)} images, which is no multiple of the {points} of '
                'each interpolation (--sample.points)'
            )
        z, name = trained.table[index], f'_images{_short(options.images)}'
    else:
        z, _ = _draw(options, trained, places, options.rows * points)
        name = _prior_name(options)
    corners = z.reshape(-1, points, z.shape[-1])
    made = trained.between(
        corners,
        options.frames,
        how=options.path,
        closed=options.format in MOVING,
        weights=options.weights,
    )
    return SampleOutput(
        title=f'{len(corners)} interpolations of {options.frames} frames',
        name=f'{name}_{options.path}{points}_{len(corners)}x{options.frames}',
        pixels=trained.pixels(made.images),
        arrays={'z': made.z},
    )


def _neighbours(options: Options, trained: TrainedGlo, places: Places) -> SampleOutput:
    """Rows of a sample and the training images nearest to it in pixels."""
    image_set = _training_set(trained, places)
    z, _ = _draw(options, trained, places, options.rows)
    made = trained.pixels(trained.generate(z))
    found = neighbours.nearest(made, image_set.images, options.neighbours)
    return _beside(
        options, trained, image_set, made, found, f'pixels of 0 to {2**trained.bits - 1}'
    )


def _latent_neighbours(options: Options, trained: TrainedGlo, places: Places) -> SampleOutput:
    """Rows of a sample, or of a named training image, and the images with the nearest latents."""
    image_set = _training_set(trained, places)
    if options.images:
        index = _numbers(options.images, trained)
        z, made = trained.table[index], image_set.images[index]
    else:
        z, _ = _draw(options, trained, places, options.rows)
        made = trained.pixels(trained.generate(z))
    found = trained.nearest_rows(z, options.neighbours)
    return _beside(options, trained, image_set, made, found, 'latents')


def _beside(
    options: Options,
    trained: TrainedGlo,
    image_set: ImageSet,
    made: np.ndarray,
    found: neighbours.Neighbours,
    space: str,
) -> SampleOutput:
    """Rows of an image and its neighbours; `space` names the space of the distances."""
    record = {
        'step': trained.step,
        'seed': options.seed,
        'prior': options.prior,
        'images': options.images,
        'set': image_set.name,
        'split': image_set.split,
        'sha256': image_set.sha256,
        'distance': f'Euclidean, between {space}',
        'index': found.index.tolist(),
        'distances': found.distance.tolist(),
    }
    rows, num, total = len(made), options.neighbours, len(image_set.images)
    return SampleOutput(
        title=f'{rows} images and the {num} nearest of {total} images each',
        name=f'{_prior_name(options)}_{rows}x{num}',
        pixels=np.concatenate([made[:, None], image_set.images[found.index]], axis=1),
        arrays=found._asdict(),
        record=record,
    )


def _reconstruction(options: Options, trained: TrainedGlo, places: Places) -> SampleOutput:
    """Rows: training images, their reconstructions, and the reconstructions by each other run."""
    image_set = _training_set(trained, places)
    first = np.arange(min(options.num, len(trained.table)))
    index = _numbers(options.images, trained) if options.images else first
    rows = [image_set.images[index], trained.pixels(trained.reconstruct(index))]
    for path in filter(None, options.others.split(',')):
        other = load(path)
        if not isinstance(other, TrainedGlo) or len(other.table) != len(trained.table):
            raise ValueError(f'sample.others: {path} is no GLO run of the same images')
        rows.append(trained.pixels(other.reconstruct(index)))
        if rows[-1].shape != rows[0].shape:
            raise ValueError(f'sample.others: {path} makes images of {rows[-1].shape[1:]}')
    return SampleOutput(
        title=f'{len(index)} images and {len(rows) - 1} reconstructions of each',
        name=f'_{_short(options.images) if options.images else len(index)}',
        pixels=np.stack(rows),
        arrays={'index': index},
    )


def _arithmetic(options: Options, trained: TrainedGlo, places: Places) -> SampleOutput:
    """Images of the mean latent of each group, then of their signed sum (paper, section 4.4)."""
    terms = re.findall(r'([+-]?)([\d,]+)', options.images)
    if len(terms) < 2 or ''.join(map(''.join, terms)) != options.images:
        raise ValueError(
            f'sample.images is {options.images!r}: arithmetic takes groups of images with signs '
            'between them, as --sample.images=1,2,3-7,8+4,5'
        )
    means = [trained.mean_latent(_numbers(group, trained)) for _, group in terms]
    signs = np.array([-1 if sign == '-' else 1 for sign, _ in terms], np.float32)
    z = np.asarray(project(np.concatenate([means, (signs @ np.stack(means))[None]])))
    return SampleOutput(
        title=f'{len(terms)} groups and their signed sum',
        name=f'_{_short(options.images)}',
        pixels=trained.pixels(trained.generate(z)),
        columns=len(z),
        arrays={'z': z},
    )


MAKERS = {
    'samples': _samples,
    'spectrum': _spectrum,
    'interpolation': _interpolation,
    'neighbours': _neighbours,
    'reconstruction': _reconstruction,
    'arithmetic': _arithmetic,
    'latent_neighbours': _latent_neighbours,
}
# Pictures that need the latents of training images, which GANs do not have.
GLO_ONLY = ('reconstruction', 'arithmetic', 'latent_neighbours')


# ---- latents and images


def _draw(
    options: Options, trained: TrainedGlo, places: Places, num: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Latents drawn from the prior, and their classes if the prior has one Gaussian per class."""
    classes, labels = None, None
    if options.prior == 'class':
        image_set = _training_set(trained, places)
        num_classes = len(image_set.class_names)
        if not num_classes:
            raise ValueError(f'sample.prior is class, but {image_set.name} has no classes')
        if options.label >= num_classes:
            raise ValueError(
                f'sample.label is {options.label}: the classes are 0 to {num_classes - 1}'
            )
        classes = image_set.labels
        in_turn = np.arange(num) % num_classes
        labels = np.full(num, options.label) if options.label >= 0 else in_turn
    prior = trained.prior(
        options.prior, components=options.components, labels=classes, seed=options.seed
    )
    truncation = options.truncation or None
    z = trained.latents(
        num, seed=options.seed, truncation=truncation, prior=prior, components=labels
    )
    return z, labels


def _training_set(trained: TrainedGlo, places: Places) -> ImageSet:
    """The images that the latents belong to."""
    image_set = training_set(trained, places)
    if len(image_set.images) != len(trained.table):
        raise ValueError(
            f'the set has {len(image_set.images)} images now, but the run has '
            f'{len(trained.table)} latents: restore the set'
        )
    return image_set


def _numbers(text: str, trained: TrainedGlo) -> np.ndarray:
    """Numbers of training images from a text such as '3,17'."""
    if not re.fullmatch(r'\d+(,\d+)*', text):
        raise ValueError(f'sample.images is {text!r}: numbers with commas between, as 3,17')
    return trained.check_index([int(number) for number in text.split(',')])


def _short(text: str) -> str:
    """The text, cut to the length that a file name allows."""
    return text if len(text) <= _LONGEST else f'{text[: _LONGEST - 3]}...'


def _prior_name(options: Options) -> str:
    """The prior as part of a file name."""
    of_class = f'{options.label}' if options.label >= 0 else ''
    components = f'{options.components}' if options.prior == 'mixture' else ''
    return f'_{options.prior}{of_class or components}'
