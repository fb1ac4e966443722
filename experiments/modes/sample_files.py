"""What `--mode=sample` has made, and how it becomes files."""

import json
import pathlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from experiments.settings.check import Config
from snjax.runs import images


class SampleOutput(NamedTuple):
    """What is written.

    Attributes:
        title: what it is, for people.
        name: the same for a file.
        pixels: images (n, h, w, c), or rows of images (n, t, h, w, c).
        columns: of the grid, None for one as wide as high; rows of images decide themselves.
        arrays: further arrays of an npz.
        record: what goes into a JSON file, or None.
    """

    title: str
    name: str
    pixels: UInt8[np.ndarray, 'n *t h w c']
    columns: int | None
    arrays: dict[str, Any]
    record: dict[str, Any] | None


def encoded_ways(s: Config, points: int, dim_z: int) -> np.ndarray:
    """Latents (rows, points, dim_z) to go through, of the file `sampling.latents`, in its order.

    Raises:
        ValueError: there is no such file, it holds no z of this length, or too few.
    """
    path = pathlib.Path(s.latents)
    if not path.is_file():
        raise ValueError(
            f'sampling.latents is {path}: there is no such file; --mode=invert writes them'
        )
    with np.load(path) as arrays:
        z = arrays['z'] if 'z' in arrays else np.zeros((0, 0), np.float32)
    if z.ndim != 2 or z.shape[1] != dim_z or len(z) < points:
        raise ValueError(
            f'sampling.latents is {path}, whose z are {z.shape}: at least {points} of {dim_z} entries are needed'
        )
    rows = min(s.rows, len(z) // points)
    return z[: rows * points].reshape(rows, points, dim_z)


def write(stem: pathlib.Path, made: SampleOutput, form: str, fps: float) -> list[pathlib.Path]:
    """Writes what was made and returns the paths; names may have dots, so suffixes are added, never replaced."""
    out = (
        stem
        if form == 'images'
        else stem.with_name(f'{stem.name}.{"png" if form == "grid" else form}')
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    columns = made.pixels.shape[1] if made.pixels.ndim == 5 else made.columns
    flat = made.pixels.reshape(-1, *made.pixels.shape[-3:])
    if form == 'grid':
        images.save_png(out, images.grid(flat, columns=columns))
    elif form == 'npz':
        np.savez(out, images=made.pixels, **made.arrays)
    elif form == 'images':
        for index in np.ndindex(made.pixels.shape[:-3]):
            name = '_'.join(f'{i:06d}' for i in index)
            images.save_png(out / f'{name}.png', made.pixels[index])
    else:
        frames = [images.grid(frame) for frame in made.pixels.swapaxes(0, 1)]
        images.save_animation(out, frames, fps=fps)
    if made.record is None:
        return [out]
    record = stem.with_name(f'{stem.name}.json')
    record.write_text(json.dumps(made.record, indent=2) + '\n')
    return [out, record]
