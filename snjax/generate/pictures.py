"""Images as one picture for a notebook: `snjax.show(run.sample(64))`."""

from typing import Any

import numpy as np
from PIL import Image

from snjax.image_format import DEPTHS
from snjax.runs import images as pixels

# A grid of smaller images is enlarged, each pixel to a square, to at least this many pixels.
_LEAST = 400


def show(images: Any, *, columns: int | None = None, least: int = _LEAST) -> Image.Image:
    """The images as a grid, which a notebook displays; `.save('x.png')` writes it.

    Args:
        images: (n, H, W, C) or one (H, W, C): floats in [-1, 1], or pixels of 8 or 16 bits; of 2 or
            4 channels the last is alpha, of more than 4 the first three are drawn.
        columns: images per row; None for a square grid.
        least: smaller grids are enlarged by a whole factor until they are this many pixels wide.

    Raises:
        ValueError: another shape or type.
    """
    images = np.asarray(images)
    images = images[None] if images.ndim == 3 else images
    if images.ndim != 4:
        raise ValueError(f'images have shape {images.shape}; (N, H, W, C) or (H, W, C) is needed')
    if images.dtype not in DEPTHS.values():
        images = pixels.to_uint8(images)
    sheet = pixels.grid(pixels.shown(images), columns=columns)
    picture = Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet)
    factor = max(1, -(-least // picture.width))
    size = picture.width * factor, picture.height * factor
    return picture.resize(size, Image.Resampling.NEAREST)
