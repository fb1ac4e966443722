"""How far a reconstruction is from its image: the losses of GLO, one number per image.

GLO is "Optimizing the Latent Space of Generative Networks" (Bojanowski et al. 2018, arXiv:1707.05776). Its Lap1 is the
weighted L1 norm of a Laplacian pyramid (Ling and Okada 2006) of the difference of two images; the pyramid is linear, so
one pyramid serves.

The paper writes Lap1(x, x') = sum_j w_j |L^j(x) - L^j(x')|_1 and is quoted with two weights:

* `'level_means'`: w_j = 2^(2j). Level j has 4^-j of the pixels, so this is the sum over levels of the mean
  absolute value, and coarse levels count as much as fine ones. The default.
* `'fine'`: w_j = 2^(-2j), under which level j counts 16^-j as much as above.

All are divided by the number of values of an image, so a loss has about the same size at 32, 64 and 128 px, and the
learning rates of the paper mean the same. Images are in [-1, 1].

The paper does not say how its pyramid ends at the border or how many levels it has. `PYRAMIDS` has two readings.
"""

import functools
import operator
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Images = Float[Array, 'b h w c']
PerImage = Float[Array, ' b']

_BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16
_PROFILE = np.exp(-(np.arange(-2, 3, dtype=np.float32) ** 2) / 4)


# ---- pyramids


def laplacian_pyramid(images: Images, num_levels: int, kind: str = 'binomial') -> list[Images]:
    """What each halving of the resolution loses, finest first, and last what is left.

    Args:
        images: any values.
        num_levels: halvings.
        kind: `'binomial'`, the pyramid of Burt and Adelson 1983: blur with [1 4 6 4 1] / 16 in both directions, keep
            every second pixel; a level is an image minus the next one enlarged. `collapse` inverts it. Or
            `'minimal_glo'`, that of the public port tneumann/minimal_glo, for comparison with it: a level is an image
            minus its blur, and the next one is the blur averaged over 2x2 pixels; its kernel adds two profiles
            exp(-d^2 / 4) where a blur multiplies them. Pixels at the border are repeated outwards.

    Returns:
        `num_levels` + 1 arrays (B, ceil(H / 2^j), ceil(W / 2^j), C); `'minimal_glo'` rounds sides down.

    Raises:
        ValueError: for another kind, or more levels than the images can be halved.
    """
    if kind not in PYRAMIDS:
        raise ValueError(f'pyramid {kind!r}: accepted are {", ".join(PYRAMIDS)}')
    side = min(images.shape[1:3])
    if num_levels < 0 or side < 2**num_levels:
        raise ValueError(
            f'a pyramid of {num_levels} levels needs images of {2**num_levels} px or more, not {side}: use fewer '
            '(--config.reconstruction.levels)'
        )
    levels = []
    for _ in range(num_levels):
        level, images = PYRAMIDS[kind](images)
        levels.append(level)
    return [*levels, images]


def collapse(levels: list[Images]) -> Images:
    """The image of a `'binomial'` pyramid."""
    images = levels[-1]
    for level in levels[-2::-1]:
        images = level + _enlarge(images, level.shape)
    return images


def _burt_adelson(images):
    small = _filter(images, _BINOMIAL, _BINOMIAL)[:, ::2, ::2]
    return images - _enlarge(small, images.shape), small


def _minimal_glo(images):
    # The sum of two profiles is not separable, but its halves are: a profile along one axis, ones along the other.
    profile, ones = _PROFILE / (10 * _PROFILE.sum()), np.ones(5, np.float32)
    blurred = _filter(images, profile, ones) + _filter(images, ones, profile)
    b, h, w, c = blurred.shape
    cells = blurred[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
    return images - blurred, cells.mean((2, 4))


PYRAMIDS = {'binomial': _burt_adelson, 'minimal_glo': _minimal_glo}


def _filter(images, rows, columns):
    """Filters of five taps along height and width. Shifted sums, which XLA fuses: no convolution of one channel."""
    padded = jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode='edge')
    height, width = images.shape[1:3]
    tall = _sum(float(rows[i]) * padded[:, i : i + height] for i in range(5))
    return _sum(float(columns[i]) * tall[:, :, i : i + width] for i in range(5))


def _sum(terms: Iterable[Array]) -> Array:
    return functools.reduce(operator.add, terms)


def _enlarge(images, shape):
    """Twice the size by the same binomial: pixels between two are their mean, others 1/8, 6/8, 1/8 of three."""
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (1, 1)
        padded, n = jnp.pad(images, pad, mode='edge'), images.shape[axis]
        before, here, after = (jnp.take(padded, jnp.arange(i, i + n), axis=axis) for i in range(3))
        both = jnp.stack([(before + 6 * here + after) / 8, (here + after) / 2], axis + 1)
        merged = both.reshape(*images.shape[:axis], 2 * n, *images.shape[axis + 1 :])
        images = jnp.take(merged, jnp.arange(shape[axis]), axis=axis)
    return images


# ---- losses


class Pyramid(NamedTuple):
    """Which Lap1 is meant.

    Attributes:
        num_levels: halvings; what is left after them is a level as well.
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
    """Lap1 of Bojanowski et al. 2018, section 2, divided by the values of an image (module docstring).

    Raises:
        ValueError: for an unknown weighting, and as `laplacian_pyramid`.
    """
    if pyramid.weighting not in WEIGHTINGS:
        raise ValueError(f'weighting {pyramid.weighting!r}: accepted are {", ".join(WEIGHTINGS)}')
    levels = laplacian_pyramid(made - real, pyramid.num_levels, pyramid.kind)
    factor = WEIGHTINGS[pyramid.weighting]
    terms = [factor**j * jnp.mean(jnp.abs(x), axis=(1, 2, 3)) for j, x in enumerate(levels)]
    return jnp.sum(jnp.stack(terms), axis=0)


def l2_lap1(made: Images, real: Images, pyramid: Pyramid = _DEFAULT) -> PerImage:
    """The sum of both, which the paper trains with."""
    return l2(made, real, pyramid) + lap1(made, real, pyramid)


# What level j + 1 counts beside level j, as means.
WEIGHTINGS = {'level_means': 1.0, 'fine': 1 / 16}

RECONSTRUCTION_LOSSES: dict[str, Callable[..., PerImage]] = {
    'l1': l1,
    'l2': l2,
    'lap1': lap1,
    'l2_lap1': l2_lap1,
}
