"""What `--mode=sample` makes of a GLO run: samples of a fitted prior, and pictures of the learned latents themselves.

Those are reconstructions (figures of section 4.2 in Bojanowski et al. 2018, arXiv:1707.05776), ways between images,
arithmetic with the latents of groups of images, and nearest neighbours among the latents.
"""

import re
from typing import Any

import numpy as np

from experiments.modes.sample_files import SampleOutput, encoded_ways
from experiments.settings.check import Config
from snjax.generate import neighbours
from snjax.generate.glo import TrainedGlo
from snjax.generate.load import load
from snjax.latents.priors import project
from snjax.runs import images


def make(config: Config, trained: TrainedGlo) -> SampleOutput:
    """What `config.sampling.what` asks for.

    Raises:
        ValueError: it is for GANs, or its images are not there; one line.
    """
    s = config.sampling
    if s.what == 'morph' or (s.label >= 0 and s.prior != 'class') or s.label_to >= 0:
        raise ValueError(
            f'sampling.what={s.what}, label={s.label}, label_to={s.label_to}: GLO is told of no classes; samples of '
            'one are --config.sampling.prior=class --config.sampling.label=3'
        )
    if s.weights == 'ema':
        raise ValueError('sampling.weights is ema, but GLO keeps no moving average: use auto')
    return MAKERS[s.what](config, trained)


def _samples(config: Config, trained: TrainedGlo) -> SampleOutput:
    s = config.sampling
    z, labels = _draw(config, trained, s.num)
    pixels = images.to_uint8(trained.generate(z))
    columns = None
    if labels is not None and s.label < 0 and labels.max() < 20:
        columns = int(labels.max()) + 1
    arrays = {'z': z} | ({} if labels is None else {'labels': labels})
    name = f'{_prior_name(s)}_{s.num}'
    return SampleOutput(
        f'{s.num} samples of the prior {s.prior}', name, pixels, columns, arrays, None
    )


def _interpolation(config: Config, trained: TrainedGlo) -> SampleOutput:
    """Between drawn latents, or between those of training images."""
    s, points = config.sampling, config.sampling.points or 2
    if s.latents:
        corners, name = encoded_ways(s, points, trained.table.shape[1]), '_encoded'
        z = corners.reshape(-1, corners.shape[-1])
    elif s.images:
        index = _numbers(s.images, trained)
        if len(index) % points:
            raise ValueError(
                f'sampling.images names {len(index)} images, which is no multiple of the {points} of each way '
                '(--config.sampling.points)'
            )
        z, name = trained.table[index], f'_images{_short(s.images)}'
    else:
        z, _ = _draw(config, trained, s.rows * points)
        name = _prior_name(s)
    corners = z.reshape(-1, points, z.shape[1])
    made = trained.between(
        corners, s.frames, how=s.path, closed=s.format in ('gif', 'webp'), weights=s.weights
    )
    title = f'{len(corners)} interpolations of {s.frames} frames'
    name = f'{name}_{s.path}{points}_{len(corners)}x{s.frames}'
    return SampleOutput(title, name, images.to_uint8(made.images), None, {'z': made.z}, None)


def _neighbours(config: Config, trained: TrainedGlo) -> SampleOutput:
    """Samples, each followed by the training images nearest to it in pixels."""
    s, image_set = config.sampling, _set(config, trained)
    z, _ = _draw(config, trained, s.rows)
    made = images.to_uint8(trained.generate(z))
    found = neighbours.nearest(made, image_set.images, s.neighbours)
    return _beside(config, trained, image_set, made, found, 'pixels of 0 to 255')


def _latent_neighbours(config: Config, trained: TrainedGlo) -> SampleOutput:
    """The same, nearest among the latents; of training images themselves where some are named."""
    s, image_set = config.sampling, _set(config, trained)
    if s.images:
        index = _numbers(s.images, trained)
        z, made = trained.table[index], image_set.images[index]
    else:
        z, _ = _draw(config, trained, s.rows)
        made = images.to_uint8(trained.generate(z))
    found = trained.nearest_rows(z, s.neighbours)
    return _beside(config, trained, image_set, made, found, 'latents')


def _beside(config, trained, image_set, made, found, space) -> SampleOutput:
    s = config.sampling
    pixels = np.concatenate([made[:, None], image_set.images[found.index]], axis=1)
    record = {
        'step': trained.step,
        'seed': s.seed,
        'prior': s.prior,
        'images': s.images,
        'set': image_set.name,
        'split': image_set.split,
        'sha256': image_set.sha256,
        'distance': f'Euclidean, between {space}',
        'index': found.index.tolist(),
        'distances': found.distance.tolist(),
    }
    rows = len(made)
    title = f'{rows} images and the {s.neighbours} nearest of {len(image_set.images)} images each'
    name = f'{_prior_name(s)}_{rows}x{s.neighbours}'
    return SampleOutput(title, name, pixels, None, found._asdict(), record)


def _reconstruction(config: Config, trained: TrainedGlo) -> SampleOutput:
    """A row of originals, below it one of their reconstructions, and one more for every other run."""
    s, image_set = config.sampling, _set(config, trained)
    index = _numbers(s.images, trained) if s.images else np.arange(min(s.num, len(trained.table)))
    rows = [image_set.images[index], images.to_uint8(trained.reconstruct(index))]
    for path in filter(None, s.others.split(',')):
        other = load(path)
        if not isinstance(other, TrainedGlo) or other.table.shape[0] != len(trained.table):
            raise ValueError(f'sampling.others: {path} is no GLO run of the same images')
        rows.append(images.to_uint8(other.reconstruct(index)))
        if rows[-1].shape != rows[0].shape:
            raise ValueError(f'sampling.others: {path} makes images of {rows[-1].shape[1:]}')
    name = f'_{_short(s.images) if s.images else len(index)}'
    title = f'{len(index)} images and {len(rows) - 1} reconstructions of each'
    return SampleOutput(title, name, np.stack(rows), None, {'index': index}, None)


def _arithmetic(config: Config, trained: TrainedGlo) -> SampleOutput:
    """The mean image of each group, and last what their mean latents add up to (section 4.4 of the paper)."""
    terms = re.findall(r'([+-]?)([\d,]+)', config.sampling.images)
    if len(terms) < 2 or ''.join(map(''.join, terms)) != config.sampling.images:
        raise ValueError(
            f'sampling.images is {config.sampling.images!r}: arithmetic takes groups of images with signs between '
            'them, as --config.sampling.images=1,2,3-7,8+4,5'
        )
    means = [trained.mean_latent(_numbers(group, trained)) for _, group in terms]
    signs = np.array([-1 if sign == '-' else 1 for sign, _ in terms], np.float32)
    z = np.asarray(project(np.concatenate([means, (signs @ np.stack(means))[None]])))
    pixels = images.to_uint8(trained.generate(z))
    title = f'{len(terms)} groups and what they add up to'
    return SampleOutput(title, f'_{_short(config.sampling.images)}', pixels, len(z), {'z': z}, None)


MAKERS = {
    'samples': _samples,
    'interpolation': _interpolation,
    'neighbours': _neighbours,
    'reconstruction': _reconstruction,
    'arithmetic': _arithmetic,
    'latent_neighbours': _latent_neighbours,
}
OF_TABLES = ('reconstruction', 'arithmetic', 'latent_neighbours')  # what GANs do not have


# ---- the pieces


def _draw(config: Config, trained: TrainedGlo, num: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Latents of the prior, and their classes where it has one Gaussian for each."""
    s, classes, labels = config.sampling, None, None
    if s.prior == 'class':
        image_set = _set(config, trained)
        num_classes = len(image_set.class_names)
        if not num_classes:
            raise ValueError(f'sampling.prior is class, but {image_set.name} has no classes')
        if s.label >= num_classes:
            raise ValueError(f'sampling.label is {s.label}: the classes are 0 to {num_classes - 1}')
        classes = image_set.labels
        labels = np.full(num, s.label) if s.label >= 0 else np.arange(num) % num_classes
    prior = trained.prior(s.prior, components=s.components, labels=classes, seed=s.seed)
    z = trained.latents(
        num, seed=s.seed, truncation=s.truncation or None, prior=prior, components=labels
    )
    return z, labels


def _set(config: Config, trained: TrainedGlo) -> Any:
    d = config.data
    image_set = trained.training_set(data_dir=d.data_dir or None, cache_dir=d.cache_dir or None)
    if len(image_set.images) != len(trained.table):
        raise ValueError(
            f'the set has {len(image_set.images)} images now, but the run has {len(trained.table)} latents: restore it'
        )
    return image_set


def _numbers(text: str, trained: TrainedGlo) -> np.ndarray:
    """Rows of the table from '3,17'."""
    if not re.fullmatch(r'\d+(,\d+)*', text):
        raise ValueError(f'sampling.images is {text!r}: numbers with commas between, as 3,17')
    return trained.check_index([int(number) for number in text.split(',')])


def _short(text: str) -> str:
    """Names of files have a limit."""
    return text if len(text) <= 60 else f'{text[:57]}...'


def _prior_name(s: Config) -> str:
    of_class = f'{s.label}' if s.label >= 0 else ''
    components = f'{s.components}' if s.prior == 'mixture' else ''
    return f'_{s.prior}{of_class or components}'
