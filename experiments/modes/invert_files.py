"""Writes the results of `--mode=invert`: a grid, a table, a JSON record and an npz."""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt

from snjax.generate import inversion
from snjax.image_format import bits_of
from snjax.metrics.distortion import Distortion
from snjax.runs import images

_COLUMNS = 20  # the grid shows the first images


class Targets(NamedTuple):
    """The images to restore.

    Attributes:
        pixels: the images.
        index: their positions in the set.
        labels: their classes (n,), or numbers (n, k); None if the set's classes are not the
            generator's.
        source: name, split and hash of the set, for the record.
    """

    pixels: UInt[np.ndarray, 'n h w c']
    index: Int[np.ndarray, ' n']
    labels: Int[np.ndarray, ' n'] | Float[np.ndarray, 'n k'] | None
    source: dict[str, str]


class Row(NamedTuple):
    """A row of the grid.

    Attributes:
        name: what the row shows.
        images: in [-1, 1].
        distortion: distance from the originals; None for originals and measurements.
    """

    name: str
    images: Float[np.ndarray, 'n h w c']
    distortion: Distortion | None


def write(
    stem: pathlib.Path,
    targets: Targets,
    rows: list[Row],
    found: inversion.Inversion,
    used: Mapping[str, np.ndarray],
    about: dict[str, Any],
) -> list[str]:
    """Writes a grid, a table, a record and the arrays.

    Args:
        stem: path of the files without a suffix.
        targets: the images that were to be restored.
        rows: the rows of the grid.
        found: the result.
        used: 'labels', the class in which each image was found; empty for an unconditional
            generator.
        about: further entries of the record, about the run and the options.

    Returns:
        Lines for the terminal: the table and the paths.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    scored = {row.name: row.distortion for row in rows if row.distortion is not None}
    # The stem may contain dots, so suffixes are appended, never replaced.
    grid, table, record, arrays = (
        stem.with_name(stem.name + suffix) for suffix in ('.png', '.md', '.json', '.npz')
    )
    num = len(targets.pixels)
    columns = min(_COLUMNS, num)
    bits = bits_of(targets.pixels.dtype)
    pixels = [targets.pixels, *(images.to_pixels(row.images, bits) for row in rows[1:])]
    sheet = np.concatenate([x[:columns] for x in pixels])
    images.save_png(grid, images.grid(images.shown(sheet), columns=columns))
    lines = _table(scored)
    table.write_text('\n'.join([f'{stem.name}: means of {num} images', '', *lines]) + '\n')
    per_image = [_image_record(i, targets, scored, found, used) for i in range(num)]
    means = {name: _numbers(x.psnr.mean(), x.ssim.mean()) for name, x in scored.items()}
    content = about | {'rows': [row.name for row in rows], 'means': means, 'images': per_image}
    record.write_text(json.dumps(content, indent=2, allow_nan=False) + '\n')
    results: dict[str, Any] = {**found._asdict(), **used}
    np.savez(arrays, originals=targets.pixels, index=targets.index, **results)
    where = f'rows {", ".join(row.name for row in rows)} at {grid}'
    return [*lines, where, *map(str, (table, record, arrays))]


def _table(scored: Mapping[str, Distortion]) -> list[str]:
    """Lines of a Markdown table of mean distortions, aligned for the terminal."""
    width = max(len(name) for name in scored)
    head = [f'| {"":{width}} | PSNR, dB | SSIM   |', f'|-{"":-<{width}}-|---------:|-------:|']
    return head + [
        f'| {name:{width}} | {x.psnr.mean():8.2f} | {x.ssim.mean():6.3f} |'
        for name, x in scored.items()
    ]


def _image_record(
    i: int,
    targets: Targets,
    scored: Mapping[str, Distortion],
    found: inversion.Inversion,
    used: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """The entry of image `i` in the JSON file."""
    return {
        'index': int(targets.index[i]),
        **({'label': used['labels'][i].tolist()} if used else {}),
        'objective': _finite(found.objective[i]),
        'restart': int(found.restart[i]),
        **{name: _numbers(x.psnr[i], x.ssim[i]) for name, x in scored.items()},
    }


def _numbers(psnr, ssim) -> dict[str, float | None]:
    return {'psnr': _finite(psnr), 'ssim': _finite(ssim)}


def _finite(value) -> float | None:
    """The number, or None (null in JSON) for the infinite PSNR of equal images and for NaN."""
    return float(value) if math.isfinite(value) else None
