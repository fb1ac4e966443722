"""Nearest neighbours in pixel space: does a generator repeat its training images?

The usual check for memorized images (as in Brock et al. 2019, appendix A). A fake near a training
image in pixels is a copy. A fake far from all may still be a shifted copy: an image moved by one
pixel is far from itself. With `data.flip`, a mirrored training image counts as another image.

Runs on the host in NumPy. The search is exact: squared distances of 8-bit pixels are whole numbers
below 2^53, which float64 products add without rounding.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num, UInt

from snjax.data.distances import tiles
from snjax.data.lazy_images import LazyImages

_BLOCK_ELEMENTS = 2**22  # values per block of images; 32 MiB in float64
_BLOCK_QUERIES = 1024


class Neighbours(NamedTuple):
    """The k nearest images of each query, nearest first, and among equals the lower index first.

    Attributes:
        index: positions in the set.
        distance: Euclidean distance over all pixels and channels, in pixel levels (0 to 255, or 65535).
    """

    index: Int[np.ndarray, 'q k']
    distance: Float[np.ndarray, 'q k']


def nearest(
    queries: UInt[np.ndarray, 'q h w c'],
    images: UInt[np.ndarray | LazyImages, 'n h w c'],
    k: int,
) -> Neighbours:
    """Finds the `k` images nearest to each query, block by block, in bounded memory.

    Args:
        queries: pixels, (Q, H, W, C).
        images: pixels of the set, (N, H, W, C); may be mapped from a file, or decoded on access.
        k: neighbours per query, 1 to N.

    Raises:
        ValueError: another `k`, or images of another size than the queries.
    """
    if queries.shape[1:] != images.shape[1:]:
        raise ValueError(
            f'queries of {queries.shape[1:]} and images of {images.shape[1:]} cannot be compared: '
            'give one size'
        )
    return nearest_vectors(queries.reshape(len(queries), -1), images.reshape(len(images), -1), k)


def nearest_vectors(
    queries: Num[np.ndarray, 'q d'], vectors: Num[np.ndarray | LazyImages, 'n d'], k: int
) -> Neighbours:
    """`nearest` for any vectors, such as latents; exact up to rounding for fractions.

    Raises:
        ValueError: a `k` outside 1 to N.
    """
    if not 1 <= k <= len(vectors):
        raise ValueError(
            f'neighbours is {k}: 1 to {len(vectors)} are accepted, the images of the set '
            '(--sample.neighbours)'
        )
    index = np.zeros((len(queries), k), np.int64)
    squared = np.full((len(queries), k), np.inf)
    width = max(1, _BLOCK_ELEMENTS // queries.shape[1])
    for tile in tiles(queries, vectors, _BLOCK_QUERIES, width):
        ids = np.broadcast_to(np.arange(tile.columns.start, tile.columns.stop), tile.squared.shape)
        near = np.concatenate([squared[tile.rows], tile.squared], axis=1)
        near_ids = np.concatenate([index[tile.rows], ids], axis=1)
        # A stable sort puts the lower index first among equals: earlier tiles stand to the left.
        order = np.argsort(near, axis=1, kind='stable')[:, :k]
        squared[tile.rows] = np.take_along_axis(near, order, axis=1)
        index[tile.rows] = np.take_along_axis(near_ids, order, axis=1)
    return Neighbours(index, np.sqrt(squared))
