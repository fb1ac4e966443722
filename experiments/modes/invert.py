"""What `launch.py --mode=invert` writes: images encoded, or restored from what an operator left of them."""

import functools
import json
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from experiments.settings.check import Config, choose
from snjax import from_config
from snjax.generate import inversion, measurements
from snjax.generate.glo import TrainedGlo
from snjax.generate.load import load
from snjax.generate.trained import TrainedGenerator
from snjax.generate.weights import WEIGHTS
from snjax.latents import sampling
from snjax.metrics.distortion import Distortion, distortion
from snjax.runs import images

RESTORED, COMPLETED = 'restored', 'known pixels kept'
_COLUMNS = 20  # of the grid: the first images


class Targets(NamedTuple):
    """The images to be restored.

    Attributes:
        pixels: themselves.
        index: their positions in the set.
        labels: their classes (n,), or None where the set's classes are not the generator's.
        source: the set's name, split and hash, for the record.
    """

    pixels: UInt8[np.ndarray, 'n h w c']
    index: Int[np.ndarray, ' n']
    labels: Int[np.ndarray, ' n'] | None
    source: dict[str, str]


class Row(NamedTuple):
    """A row of the grid: what it shows, in [-1, 1], and how far it is from the originals (None for measurements)."""

    name: str
    images: Float[np.ndarray, 'n h w c']
    distortion: Distortion | None


def run_invert(config: Config, workdir: pathlib.Path) -> None:
    """Finds the z of images and writes what they restore, as `config.inversion` says, into the folder `inverted`."""
    s = config.inversion
    _check(s)
    trained = load(workdir, s.step or None)
    size, channels = (trained.config['data'][key] for key in ('image_size', 'channels'))
    options = measurements.Options(**{key: s[key] for key in measurements.Options._fields})
    operator = measurements.OPERATORS[s.operator]((size, size, channels), options)
    targets = targets_of(config, trained)
    labels = labels_of(targets, s.restarts, trained.num_classes)
    real = targets.pixels.astype(np.float32) / 127.5 - 1
    start_rng, noise_rng = jax.random.split(sampling.seed_key(s.seed, 'sample'))
    keys = jax.vmap(functools.partial(jax.random.fold_in, noise_rng))(jnp.arange(len(real)))
    measured = np.asarray(operator.degrade(jnp.asarray(real), keys))
    found = inversion.invert(
        inversion.generator(trained, s.weights),
        measured,
        operator,
        prior_of(trained),
        rng=start_rng,
        loss=s.loss,
        num_restarts=s.restarts,
        num_steps=s.steps,
        lr=s.lr,
        prior_weight=s.prior_weight,
        labels=labels,
        batch_size=s.batch_size,
        say=_say,
    )
    rows = _rows(operator, real, measured, found.images)
    stem = workdir / 'inverted' / _stem(s, targets, trained)
    told = {} if labels is None else {'labels': labels[np.arange(len(real)), found.restart]}
    about = {
        'options': s.to_dict(),
        'step': trained.step,
        'weights': trained.kept(s.weights),
        'source': targets.source,
        'versions': _versions(),
    }
    _write(stem, targets, rows, found, told, about)


# ---- what can be asked for


def _check(s: Config) -> None:
    """Raises a ValueError of one line for impossible values, before anything is loaded."""
    choose('inversion.operator', s.operator, measurements.OPERATORS)
    choose('inversion.loss', s.loss, inversion.LOSSES)
    if s.loss in inversion.PYRAMID_LOSSES and s.operator not in ('identity', 'denoise'):
        raise ValueError(
            f'inversion.loss is {s.loss}, which compares whole images, but inversion.operator={s.operator} measures '
            'other values: use --config.inversion.loss=l2 or l1'
        )
    choose('inversion.weights', s.weights, WEIGHTS)
    choose('inversion.mask', s.mask, measurements.MASKS)
    if s.num < 1:
        raise ValueError(f'inversion.num is {s.num}: a whole number from 1 is needed')
    if s.seed < 0:
        raise ValueError(f'inversion.seed is {s.seed}: a whole number from 0 is needed')
    inversion.check_numbers(s.restarts, s.steps, s.lr, s.prior_weight, s.batch_size)
    if s.path and s.split:
        raise ValueError(
            f'inversion.path is {s.path} and inversion.split {s.split}: the images are of the folder or of a split of '
            "the run's own set; leave one of them empty"
        )


def targets_of(config: Config, trained: TrainedGenerator) -> Targets:
    """The first images of the folder `inversion.path`, or some of the run's own set, which the seed draws.

    Raises:
        ValueError: there is no such folder or split.
    """
    s, d = config.inversion, config.data
    own = dict(trained.config['data'])
    # The places where the run found its data may not be on this machine.
    own |= {key: d[key] for key in ('data_dir', 'cache_dir') if d[key]}
    if s.path:
        own |= {'name': 'folder', 'path': s.path, 'split': 'train'}
    elif s.split:
        own |= {'split': s.split}
    try:
        image_set = from_config.image_set({'data': own})
    except ValueError as error:
        # The loaders name the keys of training.
        words = re.sub(r'--config\.data\.(path|split)\b', r'--config.inversion.\1', str(error))
        raise ValueError(words) from error
    index = np.arange(len(image_set.images))
    if not s.path:
        index = np.random.default_rng(s.seed).permutation(index)
    index = index[: s.num]
    has_classes = len(image_set.class_names) == trained.num_classes > 0
    source = {'set': image_set.name, 'split': image_set.split, 'sha256': image_set.sha256}
    labels = image_set.labels[index] if has_classes else None
    return Targets(image_set.images[index], index, labels, source)


def prior_of(trained: TrainedGenerator) -> inversion.Prior:
    """What the run's z were drawn from, or for GLO what its table is like."""
    if isinstance(trained, TrainedGlo):
        return trained.inversion_prior()
    model = trained.config['model']
    return inversion.PRIORS[model['latent']](model['dim_z'])


def labels_of(targets: Targets, restarts: int, num_classes: int) -> np.ndarray | None:
    """The class of each start, (n, restarts): the image's where it is known, else all in turn; None without classes."""
    shape = len(targets.pixels), restarts
    if not num_classes:
        return None
    if targets.labels is not None:
        return np.broadcast_to(targets.labels[:, None], shape)
    if restarts < num_classes:
        _say(
            f"the images' classes are not known: each start takes another, and {restarts} try the first of "
            f'{num_classes} alone; --config.inversion.restarts={num_classes} tries all'
        )
    return np.broadcast_to(np.arange(restarts) % num_classes, shape)


# ---- what is made


def _rows(operator: measurements.Operator, real, measured, restored) -> list[Row]:
    """The rows of the grid, from the original down."""
    rows = [Row('original', real, None)]
    shown = operator.show(measured)
    if shown is not None:
        rows.append(Row('measurement', shown, None))
    made = {RESTORED: restored}
    if operator.complete is not None:
        made[COMPLETED] = operator.complete(restored, measured)
    made |= {name: baseline(measured) for name, baseline in operator.baselines.items()}
    return rows + [Row(name, x, distortion(real, x)) for name, x in made.items()]


def _stem(s: Config, targets: Targets, trained: TrainedGenerator) -> str:
    """The files' name, without a suffix."""
    details = {
        'inpaint': f'_{s.mask}{s.fraction:g}',
        'superresolve': f'_x{s.factor}',
        'denoise': f'_{s.noise:g}',
        'compressed_sensing': f'_{s.measurements}',
    }
    source = re.sub(r'[^\w.-]+', '-', f'{targets.source["set"]}_{targets.source["split"]}')
    detail, num = details.get(s.operator, ''), len(targets.pixels)
    return f'{s.operator}{detail}_{source}_step{trained.step}_seed{s.seed}_{s.weights}_{num}'


def _versions() -> dict[str, str]:
    import flax
    import optax
    import PIL
    import skimage

    import snjax

    modules = {'snjax': snjax, 'jax': jax, 'flax': flax, 'optax': optax, 'numpy': np}
    modules |= {'scikit-image': skimage, 'pillow': PIL}
    return {name: module.__version__ for name, module in modules.items()}


# ---- files


def _write(
    stem: pathlib.Path,
    targets: Targets,
    rows: list[Row],
    found: inversion.Inversion,
    told: Mapping[str, np.ndarray],
    about: dict[str, Any],
) -> None:
    """Writes the grid, the table, the record and the arrays, and prints the table and where they are."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    scored = {row.name: row.distortion for row in rows if row.distortion is not None}
    # The names have dots of their own, so suffixes are added, never replaced.
    grid, table, record, arrays = (
        stem.with_name(stem.name + end) for end in ('.png', '.md', '.json', '.npz')
    )
    pixels = [targets.pixels, *(images.to_uint8(row.images) for row in rows[1:])]
    columns = min(_COLUMNS, len(targets.pixels))
    sheet = np.concatenate([x[:columns] for x in pixels])
    images.save_png(grid, images.grid(sheet, columns=columns))
    lines = _table(scored)
    table.write_text(
        '\n'.join([f'{stem.name}: means of {len(targets.pixels)} images', '', *lines]) + '\n'
    )
    one = [_image_record(i, targets, scored, found, told) for i in range(len(targets.pixels))]
    means = {name: _numbers(x.psnr.mean(), x.ssim.mean()) for name, x in scored.items()}
    everything = about | {'rows': [row.name for row in rows], 'means': means, 'images': one}
    record.write_text(json.dumps(everything, indent=2, allow_nan=False) + '\n')
    arrays_of: dict[str, Any] = {**found._asdict(), **told}
    np.savez(arrays, originals=targets.pixels, index=targets.index, **arrays_of)
    for line in lines:
        _say(line)
    _say(f'rows {", ".join(row.name for row in rows)} at {grid}')
    for path in (table, record, arrays):
        _say(f'{path}')


def _table(scored: Mapping[str, Distortion]) -> list[str]:
    """Markdown, and readable as it is."""
    width = max(len(name) for name in scored)
    head = [f'| {"":{width}} | PSNR, dB | SSIM   |', f'|-{"":-<{width}}-|---------:|-------:|']
    return head + [
        f'| {name:{width}} | {x.psnr.mean():8.2f} | {x.ssim.mean():6.3f} |'
        for name, x in scored.items()
    ]


def _image_record(i: int, targets, scored, found, told) -> dict[str, Any]:
    return {
        'index': int(targets.index[i]),
        **({'label': int(told['labels'][i])} if told else {}),
        'objective': _finite(found.objective[i]),
        'restart': int(found.restart[i]),
        **{name: _numbers(x.psnr[i], x.ssim[i]) for name, x in scored.items()},
    }


def _numbers(psnr, ssim) -> dict[str, float | None]:
    return {'psnr': _finite(psnr), 'ssim': _finite(ssim)}


def _finite(value) -> float | None:
    """A number as JSON has it: the infinite PSNR of equal images and what diverged are null."""
    return float(value) if math.isfinite(value) else None


def _say(line: str) -> None:
    print(line, flush=True)
