"""Pictures of `--mode=sample` that walk through the latent space: SeFa's directions, truncation."""

from typing import Any

import numpy as np

from experiments.modes import sample_labels
from experiments.modes.options import Options
from experiments.modes.sample_files import SampleOutput
from snjax.generate.trained import TrainedGenerator
from snjax.latents import directions as sefa

# `sample.extent` where it is 0.
_EXTENTS = {'directions': 3.0, 'truncation': 2.0}
_DEVIATIONS = {'normal': 1.0, 'uniform': 3**-0.5}  # standard deviations of an entry of z


def check(options: Options) -> None:
    """Raises a ValueError for options that do not go with these pictures."""
    if options.extent and options.what not in _EXTENTS:
        raise ValueError(
            f'sample.extent is {options.extent}, which sample.what={options.what} does not use: '
            f'leave it at 0, or use sample.what={" or ".join(_EXTENTS)}'
        )
    if options.what == 'truncation' and options.truncation:
        raise ValueError(
            f'sample.truncation is {options.truncation}, but sample.what=truncation goes through '
            'several bounds: use --sample.extent for the largest'
        )


def directions(options: Options, trained: TrainedGenerator) -> SampleOutput:
    """Row i: z of the seed, moved along direction i from -extent to +extent."""
    inputs = trained.inputs
    reach = options.extent * _DEVIATIONS[inputs.latent] or _default('directions', inputs.latent)
    kernel = sefa.first_kernel(trained.variables(options.weights)['params'], inputs.dim_z)
    try:
        found = sefa.of_kernel(kernel, options.rows)
    except ValueError as error:
        raise ValueError(f'sample.rows is {options.rows}: {error}') from error
    truncation = options.truncation or None
    start = trained.latents(1, seed=options.seed, truncation=truncation)
    moves = np.linspace(-reach, reach, options.frames)[None, :, None]
    z = (start[None] + moves * found.vectors[:, None]).astype(np.float32)
    return _rows(
        options,
        trained,
        z,
        f'{options.rows} directions of {options.frames} frames',
        {'directions': found.vectors, 'lengths': found.lengths},
        alike=True,
    )


def truncation(options: Options, trained: TrainedGenerator) -> SampleOutput:
    """Column j: the same draws, whose entries are bounded by the j-th of falling bounds."""
    extent = options.extent or _default('truncation', trained.inputs.latent)
    bounds = extent * (1 - np.arange(options.frames) / options.frames)
    drawn = [
        trained.latents(options.rows, seed=options.seed, truncation=float(bound))
        for bound in bounds
    ]
    listed = ', '.join(f'{bound:.3g}' for bound in bounds)
    return _rows(
        options,
        trained,
        np.stack(drawn, 1),
        f'{options.rows} samples under the bounds {listed}',
        {'bounds': bounds},
        alike=False,
    )


def _default(what: str, latent: str) -> float:
    """How far to go in z; of a uniform one to the end of its range, past which none was trained on."""
    return 1.0 if latent == 'uniform' else _EXTENTS[what]


def _rows(
    options: Options,
    trained: TrainedGenerator,
    z: np.ndarray,
    title: str,
    arrays: dict[str, Any],
    *,
    alike: bool,
) -> SampleOutput:
    """Images of z (rows, frames, d); a row has one label, and with `alike` all rows have."""
    rows, frames, dim_z = z.shape
    labels = trained.labels(sample_labels.given(options, trained), rows)
    if labels is not None:
        labels = np.repeat(labels[:1], rows, axis=0) if alike else labels
        arrays = {**arrays, 'labels': labels}
        labels = np.repeat(labels, frames, axis=0)
    flat = trained.generate(z.reshape(-1, dim_z), labels, weights=options.weights)
    images = flat.reshape(rows, frames, *flat.shape[1:])
    return SampleOutput(
        title=title,
        name=f'{sample_labels.in_name(options)}_{rows}x{frames}',
        pixels=trained.pixels(images),
        arrays={'z': z, **arrays},
    )
