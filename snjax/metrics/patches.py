"""Sliced Wasserstein distance of patches at every scale: a score without a network, for any images.

Karras et al. 2018 (arXiv:1710.10196), section 5: 7x7 patches are drawn from every level of a
Laplacian pyramid, down to 16 px. Patches of real images and of fakes are two clouds of points,
normalized per colour channel; their distance is the mean over random directions of the
one-dimensional Wasserstein distance of the projections. A small distance at a coarse level means
that large structures are alike, at the finest level that details and noise are. The paper's counts
are 16,384 images, 128 patches of each and 512 directions, and its numbers are times 1,000; so are
these, from 32 patches of each image, to save time.

Precision and recall (Kynkaanniemi et al. 2019, k = 5) of the same points stand beside it: fewer
kinds of patches lower recall, patches unlike the real ones lower precision.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Num, UInt

from snjax.image_format import to_floats
from snjax.metrics.manifold import precision_recall
from snjax.objectives.reconstruction import laplacian_pyramid

SIDE = 7  # of a patch
SMALLEST = 16  # px of the coarsest level
PATCHES = 32  # of an image
DIRECTIONS = 512
MOST_IMAGES = 2**14
# Bounds of the memory.
_IMAGES_AT_ONCE = 256
_DIRECTIONS_AT_ONCE = 16
NEIGHBOUR_NUM = 2000  # points of each set for precision and recall
_SEED = 0

Images = UInt[np.ndarray, 'n h w c']
Points = Num[np.ndarray, 'n d']


class PatchSet(NamedTuple):
    """Points (n, 7 * 7 * c) of every level, finest first; `sizes` are the levels' heights in px."""

    sizes: tuple[int, ...]
    points: tuple[Points, ...]


def levels_of(side: int) -> tuple[int, ...]:
    """Heights of the pyramid's levels for images whose smaller side has `side` pixels."""
    sizes = [side]
    while sizes[-1] % 2 == 0 and sizes[-1] // 2 >= SMALLEST:
        sizes.append(sizes[-1] // 2)
    return tuple(sizes)


def patches(images: Images) -> PatchSet:
    """`PATCHES` patches of each image from each level, at positions drawn with a fixed seed.

    Of more than `MOST_IMAGES` images an evenly spaced part is used.

    Raises:
        ValueError: the images are smaller than a patch.
    """
    n, h, w, c = images.shape
    if min(h, w) < SIDE:
        raise ValueError(f'images of {h}x{w} px have no patches of {SIDE}x{SIDE} px')
    images = images[np.arange(min(n, MOST_IMAGES)) * n // min(n, MOST_IMAGES)]
    sizes = levels_of(min(h, w))
    pyramid = jax.jit(lambda x: laplacian_pyramid(x, len(sizes) - 1))
    rng = np.random.default_rng(_SEED)
    points: list[list[np.ndarray]] = [[] for _ in sizes]
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        part = to_floats(np.asarray(images[start : start + _IMAGES_AT_ONCE]))
        for kept, level in zip(points, pyramid(part), strict=True):
            kept.append(_cut(np.asarray(level), rng))
    return PatchSet(sizes, tuple(_normalized(np.concatenate(x), c) for x in points))


def _cut(level: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random patches (n * PATCHES, SIDE * SIDE * c) of a level (n, h, w, c)."""
    n, h, w, _ = level.shape
    rows = rng.integers(0, h - SIDE + 1, (n, PATCHES))
    columns = rng.integers(0, w - SIDE + 1, (n, PATCHES))
    windows = np.lib.stride_tricks.sliding_window_view(level, (SIDE, SIDE), axis=(1, 2))
    found = windows[np.arange(n)[:, None], rows, columns]  # (n, PATCHES, c, SIDE, SIDE)
    return np.moveaxis(found, 2, -1).reshape(n * PATCHES, -1)


def _normalized(points: np.ndarray, channels: int) -> np.ndarray:
    """Mean 0 and standard deviation 1 of every colour channel over all patches."""
    by_channel = points.reshape(len(points), -1, channels)
    mean = by_channel.mean((0, 1), dtype=np.float64)
    std = by_channel.std((0, 1), dtype=np.float64)
    scaled = (by_channel - mean) / np.where(std > 0, std, 1)
    return scaled.reshape(points.shape).astype(np.float32)


def sliced_wasserstein(
    a: Float[np.ndarray, 'n d'], b: Float[np.ndarray, 'm d'], directions: int = DIRECTIONS
) -> float:
    """Mean over random unit directions of the Wasserstein-1 distance of two projected sets.

    Sets of unequal size are compared at the quantiles of the smaller one.

    Args:
        a, b: points.
        directions: number of directions, drawn with a fixed seed.
    """
    rng = np.random.default_rng(_SEED)
    num = min(len(a), len(b))
    total = 0.0
    for start in range(0, directions, _DIRECTIONS_AT_ONCE):
        shape = min(_DIRECTIONS_AT_ONCE, directions - start), a.shape[1]
        chosen = rng.standard_normal(shape)
        chosen = (chosen / np.linalg.norm(chosen, axis=1, keepdims=True)).astype(np.float32)
        ours, theirs = (_quantiles(chosen @ points.T, num) for points in (a, b))
        total += np.abs(ours - theirs).mean(axis=1, dtype=np.float64).sum()
    return float(total / directions)


def _quantiles(values: np.ndarray, num: int) -> np.ndarray:
    """Each row sorted; of more than `num` values those in the middles of `num` equal shares."""
    values = np.sort(values, axis=1)
    n = values.shape[1]
    return values if n == num else values[:, (2 * np.arange(num) + 1) * n // (2 * num)]


def compare(real: PatchSet, fake: PatchSet) -> dict[str, float]:
    """`swd` (the mean over levels, times 1,000), `swd_32` and so on, `precision` and `recall`.

    Precision and recall are means over levels, on at most 2,000 patches of each set.
    """
    values, near = {}, []
    for size, a, b in zip(real.sizes, real.points, fake.points, strict=True):
        values[f'swd_{size}'] = 1000 * sliced_wasserstein(a, b)
        near.append(precision_recall(_some(a), _some(b), k=5))
    return {
        'swd': float(np.mean(list(values.values()))),
        **values,
        'precision': float(np.mean([x.precision for x in near])),
        'recall': float(np.mean([x.recall for x in near])),
    }


def _some(points: np.ndarray) -> np.ndarray:
    num = min(len(points), NEIGHBOUR_NUM)
    return points[np.arange(num) * len(points) // num]
