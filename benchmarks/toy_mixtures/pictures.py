"""Scatter plots of points as one PNG, drawn with NumPy: rows of cells, a cell per method."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

_CELL, _LABEL, _COLUMNS = 150, 14, 4
_PAPER, _INK, _REAL = 255, (20, 60, 160), (235, 170, 110)


def scatter(canvas: np.ndarray, points: np.ndarray, extent: float, colour) -> None:
    """Sets a pixel of `canvas` (h, w, 3) for every point in [-extent, extent]^2, y upwards."""
    size = np.array(canvas.shape[1::-1])
    # Compared before the cast: far points and non-finite points have no pixel.
    scaled = (points / extent * (1, -1) + 1) / 2 * size
    with np.errstate(invalid='ignore'):
        is_inside = np.all((scaled >= 0) & (scaled < size), axis=1)
    x, y = scaled[is_inside].astype(int).T
    canvas[y, x] = colour


def sheet(cells: Mapping[str, np.ndarray], real: np.ndarray, extent: float) -> np.ndarray:
    """One picture (h, w, 3), uint8: real points alone first, then every cell's points over them.

    Args:
        cells: points (n, 2) by title.
        real: points of the set (m, 2).
        extent: half of the side of the square that a cell shows.
    """
    titled = {'real': real[:0], **cells}
    rows = -(-len(titled) // _COLUMNS)
    image = np.full((rows * (_CELL + _LABEL), _COLUMNS * _CELL, 3), _PAPER, np.uint8)
    corners = {}
    for i, (title, points) in enumerate(titled.items()):
        row, column = divmod(i, _COLUMNS)
        top, left = row * (_CELL + _LABEL), column * _CELL
        cell = image[top + _LABEL : top + _LABEL + _CELL, left : left + _CELL]
        cell[[0, -1]], cell[:, [0, -1]] = 200, 200
        scatter(cell, real, extent, _REAL)
        scatter(cell, points, extent, _INK)
        corners[title] = (left + 4, top + 1)
    labelled = Image.fromarray(image)
    draw = ImageDraw.Draw(labelled)
    for title, corner in corners.items():
        draw.text(corner, title, fill=0)
    return np.asarray(labelled)
