"""Writes the output of `--mode=sample` as PNG, npz, GIF or WebP, and reads latents from a file."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt

from experiments.modes.options import Options
from snjax.data import npz_file
from snjax.host import paths
from snjax.runs import images, video

# Formats that move, and end where they begin.
MOVING = ('gif', 'webp', 'mp4')


class SampleOutput(NamedTuple):
    """Pictures to be written.

    Attributes:
        title: a description for people.
        name: a description as part of a file name.
        pixels: images (n, h, w, c), or rows of images (n, t, h, w, c).
        columns: columns of the grid; None for a grid about as wide as high. Ignored for rows of
            images, whose grid has t columns.
        arrays: further arrays of the npz.
        record: content of a JSON file; None for no such file.
    """

    title: str
    name: str
    pixels: UInt[np.ndarray, 'n *t h w c']
    columns: int | None = None
    arrays: Mapping[str, Any] = {}
    record: Mapping[str, Any] | None = None


def write(
    stem: pathlib.Path, output: SampleOutput, file_format: str, fps: float
) -> list[pathlib.Path]:
    """Writes pictures and returns the paths of their files.

    Args:
        stem: path without a suffix. It may contain dots, so suffixes are appended to it.
        output: the pictures.
        file_format: a format of `experiments.modes.sample.FORMATS`.
        fps: frames per second of a format that moves.
    """
    suffix = {'images': '', 'grid': '.png'}.get(file_format, f'.{file_format}')
    path = stem.with_name(stem.name + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = output.pixels
    if file_format == 'grid':
        columns = pixels.shape[1] if pixels.ndim == 5 else output.columns
        flat = images.shown(pixels.reshape(-1, *pixels.shape[-3:]))
        images.save_png(path, images.grid(flat, columns=columns))
    elif file_format == 'npz':
        np.savez(path, images=pixels, **output.arrays)
    elif file_format == 'images':
        for index in np.ndindex(pixels.shape[:-3]):
            name = '_'.join(f'{i:06d}' for i in index)
            images.save_png(path / f'{name}.png', pixels[index])
    else:
        frames = [images.grid(frame) for frame in images.shown(pixels).swapaxes(0, 1)]
        if file_format == 'mp4':
            video.save(path, np.stack(frames), fps)
        else:
            images.save_animation(path, frames, fps=fps)
    if output.record is None:
        return [path]
    record = stem.with_name(f'{stem.name}.json')
    record.write_text(json.dumps(output.record, indent=2) + '\n')
    return [path, record]


def check_moving(file_format: str, fps: float | int) -> None:
    """Raises a ValueError for a film of this format that cannot be written here."""
    if file_format != 'mp4':
        return images.check_fps(f'.{file_format}', fps)
    try:
        video.check(fps)
    except ModuleNotFoundError as error:
        raise ValueError(f'sample.format is mp4: {error}') from error


def encoded_corners(options: Options, points: int, dim_z: int) -> np.ndarray:
    """Latents (rows, points, dim_z) to interpolate between, from the file `sample.latents`.

    Raises:
        ValueError: there is no such file, or it has too few z of this length.
    """
    path = paths.expanded(options.latents, 'sample.latents')
    if not path.is_file():
        raise ValueError(
            f'sample.latents is {path}: there is no such file; --mode=invert writes them'
        )
    try:
        arrays, _ = npz_file.read(path, lambda names: ['z'])
    except ValueError as error:
        raise ValueError(
            f'sample.latents is {path}, which is no .npz of --mode=invert: {error}'
        ) from error
    z = arrays.get('z', np.zeros((0, 0), np.float32))
    if z.dtype.kind != 'f':
        raise ValueError(f'sample.latents is {path}, whose z are {z.dtype}: floats are needed')
    if z.ndim != 2 or z.shape[1] != dim_z or len(z) < points:
        raise ValueError(
            f'sample.latents is {path}, whose z have the shape {z.shape}: at least {points} of '
            f'{dim_z} entries are needed'
        )
    rows = min(options.rows, len(z) // points)
    return z[: rows * points].reshape(rows, points, dim_z)
