"""Pictures small enough for a page that holds many."""

import io

from PIL import Image

_PADDING = 2  # between the images of a grid, see `snjax.runs.images.grid`


class Budget:
    """Cuts grids of images to their first rows and columns where their files are too large.

    Args:
        size: bytes that a picture may have, about.
    """

    def __init__(self, size: int):
        self._size = size
        self._cut = False

    def take(self, png: bytes, cell: int) -> bytes:
        """The picture, or its upper left part that ends between two images of `cell` pixels; 0: not known."""
        if len(png) <= self._size or not cell:
            return png
        with Image.open(io.BytesIO(png)) as whole:
            across = (whole.width + _PADDING) // (cell + _PADDING)
            kept = max(2, int(across * (self._size / len(png)) ** 0.5))
            if kept >= across:
                return png
            edge = kept * (cell + _PADDING) - _PADDING
            part = whole.crop((0, 0, min(edge, whole.width), min(edge, whole.height)))
        out = io.BytesIO()
        part.save(out, format='PNG', optimize=True)
        self._cut = True
        return out.getvalue()

    def remark(self) -> str:
        """A sentence for the caption, or nothing."""
        return (
            ' The first images of each grid: the page would be too large with all.'
            if self._cut
            else ''
        )
