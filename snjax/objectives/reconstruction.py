"""Reconstruction losses of GLO: the distance between a reconstruction and its image, one per image.

GLO is "Optimizing the Latent Space of Generative Networks" (Bojanowski et al. 2018,
arXiv:1707.05776). Its Lap1 is the weighted L1 norm of a Laplacian pyramid (Ling and Okada 2006) of
the difference of two images (the pyramid is linear, so that one pyramid is enough).

In the paper, Lap1(x, x') = sum_j w_j |L^j(x) - L^j(x')|_1. It is quoted with two weights:

* `'level_means'`: w_j = 2^(2j). Level j has 4^-j of the pixels, so this is the sum over levels of
  the mean absolute value: coarse and fine levels count the same. The default.
* `'fine'`: w_j = 2^(-2j), which multiplies the term of level j by 16^-j.

All losses are divided by the number of values of an image, so that a loss is about as large at 32,
64 and 128 px and the paper's learning rates suit all sizes. Images are in [-1, 1].

The paper does not specify the border of its pyramid or the number of levels. `PYRAMIDS` has two
readings.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

Images = Float[Array, 'b h w c']
Level = Float[Array, 'b _ _ c']  # of any height and width
PerImage = Float[Array, ' b']

_BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16
_PROFILE = np.exp(-(np.arange(-2, 3, dtype=np.float32) ** 2) / 4)


# ---- pyramids


def laplacian_pyramid(images: Images, num_levels: int, kind: str = 'binomial') -> list[Level]:
    """The detail that each halving of the resolution removes, finest first, and the remaining image
    last.

    Args:
        images: of any values.
        num_levels: halvings.
        kind: `'binomial'`, the pyramid of Burt and Adelson 1983: blur with [1 4 6 4 1] / 16 in both
            directions, keep every second pixel; a level is an image minus the enlarged next image.
            `collapse` inverts it. Or `'minimal_glo'`, the pyramid of the public port
            tneumann/minimal_glo, for comparison with it: a level is an image minus its blur, and
            the next image is the blur averaged over 2x2 pixels; its kernel adds two profiles
            exp(-d^2 / 4) where a blur multiplies them. Pixels at the border are repeated outwards.

    Returns:
        `num_levels` + 1 arrays (B, ceil(H / 2^j), ceil(W / 2^j), C); `'minimal_glo'` rounds sides
        down.

    Raises:
        ValueError: the kind is unknown, or the images cannot be halved so often.
    """
    if kind not in PYRAMIDS:
        raise ValueError(f'pyramid {kind!r}: accepted are {", ".join(PYRAMIDS)}')
    side = min(images.shape[1:3])
    if not 0 <= num_levels < side.bit_length():
        raise ValueError(
            f'a pyramid of {num_levels} levels: 0 to {side.bit_length() - 1} halve images of '
            f'{side} px (--config.glo.levels)'
        )
    levels = []
    for _ in range(num_levels):
        level, images = PYRAMIDS[kind](images)
        levels.append(level)
    return [*levels, images]


def collapse(levels: list[Level]) -> Level:
    """The images that a `'binomial'` pyramid was made from."""
    images = levels[-1]
    for level in levels[-2::-1]:
        images = level + _enlarge(images, level.shape)
    return images


def _burt_adelson(images):
    height, width = (_filter(side, _BINOMIAL)[::2] for side in images.shape[1:3])
    small = _apply(height, width, images)
    return images - _enlarge(small, images.shape), small


def _minimal_glo(images):
    # The sum of two profiles is not separable, but its two terms are: a profile along one axis,
    # ones along the other.
    profile, ones = _PROFILE / (10 * _PROFILE.sum()), np.ones(5)
    sides = images.shape[1:3]
    (tall, wide), (high, broad) = ([_filter(n, taps) for n in sides] for taps in (profile, ones))
    blurred = _apply(tall, broad, images) + _apply(high, wide, images)
    height, width = (_mean_of_pairs(n) for n in sides)
    return images - blurred, _apply(height, width, blurred)


PYRAMIDS = {'binomial': _burt_adelson, 'minimal_glo': _minimal_glo}


def _apply(height, width, images):
    """Applies a matrix along each side.

    Shifted sums give the same, but take a CPU several times as long to compile.
    """
    images = jnp.einsum('ij,bjwc->biwc', height, images, precision=lax.Precision.HIGHEST)
    return jnp.einsum('ij,bhjc->bhic', width, images, precision=lax.Precision.HIGHEST)


def _enlarge(images, shape):
    """Twice the size, by the binomial; without the last row or column where `shape` is odd."""
    height, width = (_double(n)[:m] for n, m in zip(images.shape[1:3], shape[1:3], strict=True))
    return _apply(height, width, images)


# Matrices that act on one side of n pixels; the pixels at its ends are repeated outwards.


def _filter(n, taps):
    """(n, n): five taps around every pixel."""
    matrix = np.zeros((n, n), np.float32)
    for i in range(5):
        np.add.at(matrix, (np.arange(n), np.clip(np.arange(n) + i - 2, 0, n - 1)), taps[i])
    return matrix


def _double(n):
    """(2 n, n): new pixels are the mean of two neighbours, old ones 1/8, 6/8, 1/8 of three."""
    matrix = np.zeros((2 * n, n), np.float32)
    for i, (even, odd) in enumerate([(1 / 8, 0), (6 / 8, 1 / 2), (1 / 8, 1 / 2)]):
        column = np.clip(np.arange(n) + i - 1, 0, n - 1)
        np.add.at(matrix, (2 * np.arange(n), column), even)
        np.add.at(matrix, (2 * np.arange(n) + 1, column), odd)
    return matrix


def _mean_of_pairs(n):
    """(n // 2, n): the mean of every two pixels."""
    matrix, half = np.zeros((n // 2, n), np.float32), np.arange(n // 2)
    matrix[half, 2 * half] = matrix[half, 2 * half + 1] = 1 / 2
    return matrix


# ---- losses


class Pyramid(NamedTuple):
    """Options of Lap1.

    Attributes:
        num_levels: halvings; the image that remains is one more level.
        weighting: `'level_means'` or `'fine'` (module docstring).
        kind: see `laplacian_pyramid`.
    """

    num_levels: int = 3
    weighting: str = 'level_means'
    kind: str = 'binomial'


_DEFAULT = Pyramid()


def l1(made: Images, real: Images, pyramid: Pyramid = _DEFAULT) -> PerImage:
    """Mean absolute difference."""
    return jnp.mean(jnp.abs(made - real), axis=(1, 2, 3))


def l2(made: Images, real: Images, pyramid: Pyramid = _DEFAULT) -> PerImage:
    """Mean squared difference."""
    return jnp.mean(jnp.square(made - real), axis=(1, 2, 3))


def lap1(made: Images, real: Images, pyramid: Pyramid = _DEFAULT) -> PerImage:
    """Lap1 of Bojanowski et al. 2018, section 2, divided by the values of an image (module
    docstring).

    Raises:
        ValueError: the weighting is unknown; also those of `laplacian_pyramid`.
    """
    if pyramid.weighting not in WEIGHTINGS:
        raise ValueError(f'weighting {pyramid.weighting!r}: accepted are {", ".join(WEIGHTINGS)}')
    levels = laplacian_pyramid(made - real, pyramid.num_levels, pyramid.kind)
    factor = WEIGHTINGS[pyramid.weighting]
    terms = [factor**j * jnp.mean(jnp.abs(x), axis=(1, 2, 3)) for j, x in enumerate(levels)]
    return jnp.sum(jnp.stack(terms), axis=0)


def l2_lap1(made: Images, real: Images, pyramid: Pyramid = _DEFAULT) -> PerImage:
    """`l2` + `lap1`, which the paper trains with."""
    return l2(made, real, pyramid) + lap1(made, real, pyramid)


# The factor from level j to level j + 1, both as means.
WEIGHTINGS = {'level_means': 1.0, 'fine': 1 / 16}

RECONSTRUCTION_LOSSES: dict[str, Callable[..., PerImage]] = {
    'l1': l1,
    'l2': l2,
    'lap1': lap1,
    'l2_lap1': l2_lap1,
}
