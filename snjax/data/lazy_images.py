"""An array-like set of images that decodes on access."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt

# Stores the images at the given positions in the array; must be safe to call from several threads.
Read = Callable[[Sequence[int], np.ndarray], None]


class LazyImages:
    """Read-only (N, H, W, C) with `len`, `shape`, `dtype` and `[...]` along the first axis.

    Args:
        shape: (N, H, W, C).
        dtype: uint8 or uint16.
        read: `read(positions, out)`; raises a ValueError of one line for an unreadable image.
    """

    def __init__(self, shape: tuple[int, ...], read: Read, dtype: Any = np.uint8):
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._image_shape, self._read = shape[1:], read

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded images."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> UInt[np.ndarray, '...']:
        """The images at an integer, a slice or integers (n,), as an array."""
        if isinstance(index, slice):
            places = range(*index.indices(len(self)))
        else:
            places = np.reshape(index, -1).tolist()
            if places and not 0 <= min(places) <= max(places) < len(self):
                raise IndexError(f'positions {min(places)} to {max(places)} of {len(self)} images')
        images = np.empty((len(places), *self._image_shape), self.dtype)
        self._read(places, images)
        out = images.reshape(len(places), *self.shape[1:])
        return out if isinstance(index, slice) or np.ndim(index) else out[0]

    def reshape(self, num: int, *shape: int) -> 'LazyImages':
        """The same images, each in another shape."""
        other = LazyImages((len(self), *self._image_shape), self._read, self.dtype)
        other.shape = (num, *np.empty(self._image_shape, bool).reshape(shape).shape)
        return other
