"""Grids of images small enough for a page that holds many."""

import io

from PIL import Image

from snjax.image_format import ImageSize, sides

_PADDING = 2  # pixels between the images of a grid, see `snjax.runs.images.grid`


class Budget:
    """Cuts grids of images to their first rows and columns where their files are too large.

    Args:
        size: bytes that one grid may have, about.
    """

    def __init__(self, size: int):
        self._size = size
        self._has_cut = False

    def take(self, png: bytes, cell: ImageSize) -> bytes:
        """The grid, or its upper left part, cut between two images.

        Args:
            png: of the grid.
            cell: size of one image; 0 if that is not known, which cuts nothing.
        """
        if len(png) <= self._size or not cell:
            return png
        with Image.open(io.BytesIO(png)) as grid:
            height, width = sides(cell)
            across = (grid.width + _PADDING) // (width + _PADDING)
            kept = max(2, int(across * (self._size / len(png)) ** 0.5))
            if kept >= across:
                return png
            right, below = (kept * (side + _PADDING) - _PADDING for side in (width, height))
            part = grid.crop((0, 0, min(right, grid.width), min(below, grid.height)))
        out = io.BytesIO()
        part.save(out, format='PNG', optimize=True)
        self._has_cut = True
        return out.getvalue()

    def remark(self) -> str:
        """A sentence for the caption if any grid was cut, else ''."""
        if not self._has_cut:
            return ''
        return ' Only the first images of each grid are shown, to keep the page small.'
