"""`launch.py --mode=invert`: images encoded by a trained generator, or restored from measurements.

The options are in `configs/modes/invert.py`.
"""

import functools
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.modes import command_line
from experiments.modes.invert_files import Row, Targets, write
from experiments.modes.lines import say
from experiments.modes.options import NO_PLACES, Options, choose
from experiments.settings import memory, ranges
from snjax import from_config
from snjax.generate import inversion, measurements, weights
from snjax.generate.glo import TrainedGlo
from snjax.generate.load import load
from snjax.generate.trained import TrainedGenerator
from snjax.image_format import to_floats
from snjax.latents import sampling
from snjax.metrics.distortion import distortion

RESTORED, COMPLETED = 'restored', 'known pixels kept'
_WHOLE_IMAGES = ('identity', 'denoise')  # operators whose measurement is an image of full size


def main(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Runs `--mode=invert` with the flags of `launch.py`."""
    run_invert(given.invert, workdir, command_line.places())


def run_invert(
    options: Options, workdir: pathlib.Path, places: Mapping[str, Any] = NO_PLACES
) -> None:
    """Finds the z of images and writes the images they restore into the folder `inverted`.

    Args:
        options: see `configs/modes/invert.py`.
        workdir: of the run.
        places: where the run's set lies, if it is not where the run found it.

    Raises:
        ValueError, FileNotFoundError: an option is not accepted, or images or checkpoint are
            missing; one line.
    """
    _check(options)
    trained = load(workdir, options.step or None)
    memory.check_outputs('invert', options, trained.config['data'])
    operator = _operator(options, trained)
    targets = targets_of(options, trained, places)
    labels = labels_of(targets, options.restarts, trained.num_classes, trained.num_conditions)
    real = to_floats(targets.pixels)
    start_rng, noise_rng = jax.random.split(sampling.seed_key(options.seed, 'sample'))
    keys = jax.vmap(functools.partial(jax.random.fold_in, noise_rng))(jnp.arange(len(real)))
    measured = np.asarray(operator.degrade(jnp.asarray(real), keys))
    found = inversion.invert(
        inversion.generator(trained, options.weights),
        measured,
        operator,
        prior_of(trained),
        rng=start_rng,
        loss=options.loss,
        num_restarts=options.restarts,
        num_steps=options.steps,
        lr=options.lr,
        prior_weight=options.prior_weight,
        labels=labels,
        batch_size=options.batch_size,
        say=say,
    )
    rows = _rows(operator, real, measured, found.images)
    used = {} if labels is None else {'labels': labels[np.arange(len(real)), found.restart]}
    about = {
        'options': options.to_dict(),
        'step': trained.step,
        'weights': trained.kept(options.weights),
        'source': targets.source,
        'versions': _versions(),
    }
    stem = workdir / 'inverted' / _stem(options, targets, trained)
    for line in write(stem, targets, rows, found, used, about):
        say(line)


# ---- the problem


def _check(options: Options) -> None:
    """Raises a ValueError for impossible options, before anything is loaded."""
    ranges.check('invert', options)
    choose('invert.operator', options.operator, measurements.OPERATORS)
    choose('invert.loss', options.loss, inversion.LOSSES)
    if options.loss in inversion.PYRAMID_LOSSES and options.operator not in _WHOLE_IMAGES:
        raise ValueError(
            f'invert.loss is {options.loss}, which compares whole images, but '
            f'invert.operator={options.operator} measures other values: use --invert.loss=l2 or l1'
        )
    choose('invert.weights', options.weights, weights.CHOICES)
    choose('invert.mask', options.mask, measurements.MASKS)
    if options.path and options.split:
        raise ValueError(
            f'invert.path is {options.path} and invert.split {options.split}: the images come from '
            "a folder or from a split of the run's own set; leave one of them empty"
        )


def _operator(options: Options, trained: TrainedGenerator) -> measurements.Operator:
    """The measurement that `invert.operator` names, for the images of the run."""
    shape = from_config.images_shape(trained.config, 1).shape[1:]
    values = measurements.Options(**{key: options[key] for key in measurements.Options._fields})
    return measurements.OPERATORS[options.operator](shape, values)


def targets_of(
    options: Options, trained: TrainedGenerator, places: Mapping[str, Any] = NO_PLACES
) -> Targets:
    """The first images of the folder `invert.path`, or images drawn from the run's own set.

    Raises:
        ValueError: there is no such folder or split.
    """
    changes = dict(places)
    if options.path:
        _check_files(options.path, trained)
        changes |= {'name': 'folder', 'path': options.path, 'split': 'train'}
    elif options.split:
        changes |= {'split': options.split}
    try:
        image_set = from_config.image_set(trained.config, **changes)
    except ValueError as error:
        # The loaders name the keys of training.
        words = re.sub(r'--config\.data\.(path|split)\b', r'--invert.\1', str(error))
        raise ValueError(words) from error
    if not (options.path or options.split):
        trained.check_set(image_set, accept_changed=places.get('accept_changed', False))
    index = np.arange(len(image_set.images))
    if not options.path:
        index = np.random.default_rng(options.seed).permutation(index)
    index = index[: options.num]
    has_classes = len(image_set.class_names) == trained.num_classes > 0
    if trained.num_conditions:  # without them, or of another set, it is one line
        known = image_set.labels_for(trained.num_conditions)[index]
    else:
        known = image_set.labels[index] if has_classes else None
    source = {'set': image_set.name, 'split': image_set.split, 'sha256': image_set.sha256}
    return Targets(image_set.images[index], index, known, source)


def _check_files(path: str, trained: TrainedGenerator) -> None:
    """Raises a ValueError for a folder whose files cannot hold the images of the run."""
    channels = trained.config['data']['channels']
    if channels > 4 or (trained.bits == 16 and channels > 1):
        raise ValueError(
            f'invert.path is {path}, but no image file is read with the {channels} channels of '
            f"{trained.bits} bits of the run: leave it empty, for images of the run's own set"
        )


def prior_of(trained: TrainedGenerator) -> inversion.Prior:
    """The distribution that z came from in training; for GLO, a Gaussian fitted to its latents."""
    if isinstance(trained, TrainedGlo):
        return trained.inversion_prior()
    model = trained.config['model']
    return inversion.PRIORS[model['latent']](model['dim_z'])


def labels_of(
    targets: Targets, restarts: int, num_classes: int, num_conditions: int = 0
) -> np.ndarray | None:
    """The class of each start, (n, restarts), or its numbers, (n, restarts, num_conditions).

    An image of known class or numbers keeps them in all starts; otherwise the starts take the
    classes in turn. None for an unconditional generator.
    """
    shape = len(targets.pixels), restarts
    if not (num_classes or num_conditions):
        return None
    if targets.labels is not None:
        rest = targets.labels.shape[1:]
        return np.broadcast_to(targets.labels[:, None], (*shape, *rest))
    if restarts < num_classes:
        say(
            f'the classes of the images are unknown: each start takes another class, and '
            f'{restarts} starts try only the first {restarts} of {num_classes}; '
            f'--invert.restarts={num_classes} tries all'
        )
    return np.broadcast_to(np.arange(restarts) % num_classes, shape)


# ---- the results


def _rows(operator: measurements.Operator, real, measured, restored) -> list[Row]:
    """The rows of the grid, from the originals down."""
    rows = [Row('original', real, None)]
    shown = operator.show(measured)
    if shown is not None:
        rows.append(Row('measurement', shown, None))
    made = {RESTORED: restored}
    if operator.complete is not None:
        made[COMPLETED] = operator.complete(restored, measured)
    made |= {name: baseline(measured) for name, baseline in operator.baselines.items()}
    return rows + [Row(name, x, distortion(real, x)) for name, x in made.items()]


def _stem(options: Options, targets: Targets, trained: TrainedGenerator) -> str:
    """The name of the files, without a suffix."""
    details = {
        'inpaint': f'_{options.mask}{options.fraction:g}',
        'superresolve': f'_x{options.factor}',
        'denoise': f'_{options.noise:g}',
        'compressed_sensing': f'_{options.measurements}',
    }
    source = re.sub(r'[^\w.-]+', '-', f'{targets.source["set"]}_{targets.source["split"]}')
    return (
        f'{options.operator}{details.get(options.operator, "")}_{source}_step{trained.step}_'
        f'seed{options.seed}_{options.weights}_{len(targets.pixels)}'
    )


def _versions() -> dict[str, str]:
    """Versions of the libraries that the results depend on."""
    import flax
    import optax
    import PIL
    import skimage

    import snjax

    modules = {'snjax': snjax, 'jax': jax, 'flax': flax, 'optax': optax, 'numpy': np}
    modules |= {'scikit-image': skimage, 'pillow': PIL}
    return {name: module.__version__ for name, module in modules.items()}
