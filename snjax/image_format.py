"""The size of images and the depth of their pixels, as configs and sets name them. No JAX.

A size is one number of pixels for squares, or (height, width). Pixels have 8 bits (uint8) or 16
(uint16); networks see both in [-1, 1].
"""

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

ImageSize = int | Sequence[int]
# Types of pixels by their bits, `data.bits` of a config.
DEPTHS = {8: np.dtype(np.uint8), 16: np.dtype(np.uint16)}
MAX_SIDE = 2**16
MAX_COLUMNS = 20  # a grid with a column for each of more classes is hard to look at
MAX_CHANNELS = 16


def sides(size: ImageSize) -> tuple[int, int]:
    """Height and width, pixels."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def canonical(size: ImageSize) -> int | tuple[int, int]:
    """The one form of a size: a number for squares, a tuple (height, width) for others."""
    height, width = sides(size)
    return height if height == width else (height, width)


def words(size: ImageSize) -> str:
    """'48x64', height first; '64x64' for squares."""
    return '{}x{}'.format(*sides(size))


def said(size: ImageSize) -> str:
    """'64' for squares, as configs write it; '48x64', height first, for others."""
    size = canonical(size)
    return str(size) if isinstance(size, int) else words(size)


def is_size(size: Any) -> TypeGuard[ImageSize]:
    """Whether a value is a whole number of pixels from 1 to `MAX_SIDE`, or two of them."""
    numbers = list(size) if isinstance(size, list | tuple) else [size, size]
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
    return len(numbers) == 2 and whole and all(1 <= n <= MAX_SIDE for n in numbers)


def check_size(size: Any) -> None:
    """Raises a ValueError of one line for a value that is no size."""
    if not is_size(size):
        raise ValueError(
            f'image_size is {size!r:.60}; accepted: a whole number of pixels from 1 to {MAX_SIDE}, '
            'or height,width as 48,64; set --config.data.image_size'
        )


def to_floats(pixels: Any) -> Any:
    """Images in [-1, 1]: x / 127.5 - 1 of uint8, x / 32767.5 - 1 of uint16, float32.

    Args:
        pixels: of any shape; an array of NumPy or JAX.
    """
    return pixels.astype(np.float32) / np.float32(half_range(pixels.dtype)) - np.float32(1)


def half_range(dtype: Any) -> float:
    """Half of the largest value: 127.5 for uint8, 32767.5 for uint16."""
    return np.iinfo(dtype).max / 2


def bits_of(dtype: Any) -> int:
    """8 or 16."""
    return np.iinfo(dtype).bits


def to_8_bits(pixels: np.ndarray) -> np.ndarray:
    """Values of 16 bits scaled to 8: v * 255 / 65535, rounded."""
    return ((pixels.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8)
