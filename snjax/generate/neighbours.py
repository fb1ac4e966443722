"""Nearest neighbours in pixel space: does a generator repeat its training images?

The usual check for memorised images (as in Brock et al. 2019, appendix A). Near in pixels says "copied"; far says only
that there is no copy that lies still, for an image moved by a pixel is far from itself. Mirrored images of training
with `data.flip` count as others.

Runs on the host in NumPy. The search is exact: squared distances of 8-bit pixels are whole numbers below 2^53, which
float64 products add without rounding.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num, UInt8

from snjax.data.lazy_images import LazyImages

_BLOCK_ELEMENTS = 2**22  # of a block of images in float64: 32 MiB
_BLOCK_QUERIES = 1024


class Neighbours(NamedTuple):
    """The k nearest images of each query, nearest first; of images equally far, the one of lower index comes first.

    Attributes:
        index: positions in the set.
        distance: Euclidean distances in pixel levels (0 to 255), over all pixels and channels.
    """

    index: Int[np.ndarray, 'q k']
    distance: Float[np.ndarray, 'q k']


def nearest(
    queries: UInt8[np.ndarray, 'q h w c'],
    images: UInt8[np.ndarray | LazyImages, 'n h w c'],
    k: int,
) -> Neighbours:
    """Finds the `k` images nearest to each query, in blocks, so that memory is bounded whatever the set.

    Args:
        queries: pixels, (Q, H, W, C).
        images: pixels of the set, (N, H, W, C); may be mapped from a file, or decoded block by block.
        k: neighbours of each query, 1 to N.

    Raises:
        ValueError: for another `k`, or sizes that differ.
    """
    if queries.shape[1:] != images.shape[1:]:
        raise ValueError(
            f'queries of {queries.shape[1:]} and images of {images.shape[1:]} cannot be compared: give one size'
        )
    return nearest_vectors(queries.reshape(len(queries), -1), images.reshape(len(images), -1), k)


def nearest_vectors(
    queries: Num[np.ndarray, 'q d'], vectors: Num[np.ndarray | LazyImages, 'n d'], k: int
) -> Neighbours:
    """`nearest` of any vectors, as latents; of numbers with fractions it is exact but for rounding.

    Raises:
        ValueError: for a `k` that is not 1 to N.
    """
    if not 1 <= k <= len(vectors):
        raise ValueError(
            f'neighbours is {k}: 1 to {len(vectors)} are accepted, the images of the set (--sample.neighbours)'
        )
    parts = [
        _nearest(queries[start : start + _BLOCK_QUERIES], vectors, k)
        for start in range(0, len(queries), _BLOCK_QUERIES)
    ]
    index, squared = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Neighbours(index, np.sqrt(squared))


def _nearest(queries, vectors, k):
    """Indices (q, k) and squared distances (q, k) of one block of queries."""
    queries = queries.astype(np.float64)
    query_norms = np.sum(queries**2, axis=1, keepdims=True)
    index = np.zeros((len(queries), 0), np.int64)
    squared = np.zeros((len(queries), 0))
    block = max(1, _BLOCK_ELEMENTS // queries.shape[1])
    for start in range(0, len(vectors), block):
        candidates = vectors[start : start + block].astype(np.float64)
        norms = np.sum(candidates**2, axis=1)
        to_block = query_norms + norms - 2 * queries @ candidates.T
        ids = np.broadcast_to(start + np.arange(len(candidates)), to_block.shape)
        index = np.concatenate([index, ids], axis=1)
        squared = np.concatenate([squared, to_block], axis=1)
        # A stable sort leaves the lower index first among equals: those kept come before the block.
        order = np.argsort(squared, axis=1, kind='stable')[:, :k]
        index, squared = (np.take_along_axis(x, order, axis=1) for x in (index, squared))
    return index, squared
