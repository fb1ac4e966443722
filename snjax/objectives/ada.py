"""The augmentations of ADA: "Training Generative Adversarial Networks with Limited Data" (Karras et
al. 2020, arXiv:2006.06676, appendix B), after the code of NVlabs/stylegan2-ada-pytorch,
`training/augment.py`.

Eighteen transformations, each applied to an image with the same probability p and drawn apart, in
this order:

* `'blit'`, pixel blitting: 1 mirror, left and right; 2 rotation by a multiple of 90 degrees; 3 whole
  pixels of translation, up to 1/8 of each side.
* `'geom'`: 4 isotropic scaling, 2^N(0, .2^2); 5 rotation, before the next; 6 anisotropic scaling by
  s and 1/s, s = 2^N(0, .2^2); 7 rotation, after it; 8 translation, N(0, (1/8)^2) of each side. Each
  of the two rotations, by U(-180, 180) degrees, has probability 1 - sqrt(1 - p), so that one of them is
  applied with probability p.
* `'color'`: 9 brightness, + N(0, .2^2); 10 contrast, times 2^N(0, .5^2); 11 luma flip, which turns the
  mean over channels round; 12 hue, U(-180, 180) degrees around the grey axis; 13 saturation, the
  distance from the grey axis times 2^N(0, 1).
* `'filter'`: 14 to 17, one of four octaves amplified by 2^N(0, 1), at equal expected power.
* `'noise'`: 18 Gaussian noise of standard deviation |N(0, .1^2)|; `'cutout'` is a rectangle of half of
  each side, set to 0 (the code counts the two as corruptions).

`PIPELINES` has them by the code's names: `'bgc'`, its default, is blit, geom and color; `'bgcfnc'`
everything. All of blit and geom is one affine map: the image is reflected at its borders, enlarged
by 2 with the orthogonal wavelet filter sym6, sampled bilinearly, and reduced with the same filter.
Far outside, beyond one reflection, are zeros.

Images are in [-1, 1] and are not clipped. Hue needs three channels and is left out otherwise; the
other colour changes take any number, as mean and rest, where the code refuses all but 1 and 3. Draws
of an image depend on its key, and on nothing else in the pipeline.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key

Image = Float[Array, 'h w c']
Rng = Key[Array, '']
Scalar = Float[Array, '']

PARTS = ('blit', 'geom', 'color', 'filter', 'noise', 'cutout')
PIPELINES: dict[str, tuple[str, ...]] = {
    'blit': PARTS[:1],
    'geom': PARTS[1:2],
    'bg': PARTS[:2],
    'bgc': PARTS[:3],
    'bgcf': PARTS[:4],
    'bgcfn': PARTS[:5],
    'bgcfnc': PARTS,
}
# Scaling filters of the wavelets sym6 and sym2 (Daubechies 1992, tables 6.3 and 6.1).
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
SYM2 = tuple((np.array([1, 3, 3, 1]) + np.sqrt(3) * np.array([-1, -1, 1, 1])) / (4 * np.sqrt(2)))
_MARGIN = len(SYM6) // 4  # pixels around the output that its filter reaches


def run(image: Image, key: Rng, parts: Sequence[str], chance: Any) -> Image:
    """An image under some of `PARTS`.

    Args:
        image: in [-1, 1].
        key: of this image.
        parts: names; those of an image are drawn apart from each other.
        chance: p, the probability of each transformation; a number or a scalar array.
    """

    def draws(name):
        return Draws(jax.random.fold_in(key, PARTS.index(name)), chance)

    affine = jnp.eye(3)  # of the coordinates of the output to those of the input
    if 'blit' in parts:
        affine = affine @ blitting(draws('blit'), *image.shape[:2])
    if 'geom' in parts:
        affine = affine @ geometry(draws('geom'), *image.shape[:2])
    if {'blit', 'geom'} & set(parts):
        image = warp(image, affine)
    for name, change in _ON_PIXELS.items():
        if name in parts:
            image = change(image, draws(name))
    return image


class Draws:
    """The draws of one image for one part: a parameter where its transformation is applied, else
    what does nothing.
    """

    def __init__(self, key: Rng, chance: Any) -> None:
        self.chance, self._key, self._turn = chance, key, 0

    def next(self) -> Rng:
        """A key that has not been used."""
        self._turn += 1
        return jax.random.fold_in(self._key, self._turn)

    def uniform(self, low: float, high: float, neutral: float = 0.0, **kwargs: Any) -> Array:
        """U(low, high), or `neutral`."""
        return self._drawn(
            lambda k, s: jax.random.uniform(k, s, jnp.float32, low, high), neutral, **kwargs
        )

    def normal(self, std: float, **kwargs: Any) -> Array:
        """N(0, std^2), or 0."""
        return self._drawn(lambda k, s: std * jax.random.normal(k, s), 0.0, **kwargs)

    def whole(self, num: int) -> Array:
        """A whole number below `num` as a float, or 0."""
        return self._drawn(lambda k, s: jax.random.randint(k, s, 0, num).astype(jnp.float32), 0.0)

    def _drawn(self, draw: Callable[..., Array], neutral, shape=(), chance=None) -> Array:
        value, applied = draw(self.next(), shape), self.next()
        chance = self.chance if chance is None else chance
        return jnp.where(jax.random.bernoulli(applied, chance), value, neutral)


# ---- geometry: matrices on (x, y, 1), pixels from the image's middle, to the right and down


def _matrix(*rows) -> Float[Array, '3 3']:
    return jnp.stack([jnp.stack([jnp.asarray(x, jnp.float32) for x in row]) for row in rows])


def translated(x: Any, y: Any) -> Float[Array, '3 3']:
    """What moves to a place where (x, y) is added comes from (-x, -y) of it."""
    return _matrix((1, 0, -x), (0, 1, -y), (0, 0, 1))


def scaled(x: Any, y: Any) -> Float[Array, '3 3']:
    """What is enlarged by x and y comes from nearer the middle."""
    return _matrix((1 / x, 0, 0), (0, 1 / y, 0), (0, 0, 1))


def rotated(angle: Any) -> Float[Array, '3 3']:
    """Rotation by `angle` radians about the middle."""
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    return _matrix((cos, -sin, 0), (sin, cos, 0), (0, 0, 1))


def blitting(draws: Draws, height: int, width: int) -> Float[Array, '3 3']:
    """Transformations 1 to 3, from output to input."""
    mirror, quarters = draws.whole(2), draws.whole(4)
    x, y = draws.uniform(-1 / 8, 1 / 8, shape=(2,))
    moved = translated(jnp.round(x * width), jnp.round(y * height))
    return scaled(1 - 2 * mirror, 1) @ rotated(jnp.pi / 2 * quarters) @ moved


def geometry(draws: Draws, height: int, width: int) -> Float[Array, '3 3']:
    """Transformations 4 to 8, from output to input."""
    either = 1 - jnp.sqrt(jnp.clip(1 - jnp.asarray(draws.chance, jnp.float32), 0, 1))
    size = jnp.exp2(draws.normal(0.2))
    before = draws.uniform(-jnp.pi, jnp.pi, chance=either)
    aspect = jnp.exp2(draws.normal(0.2))
    after = draws.uniform(-jnp.pi, jnp.pi, chance=either)
    x, y = draws.normal(1 / 8, shape=(2,))
    turned = rotated(before) @ scaled(aspect, 1 / aspect) @ rotated(after)
    return scaled(size, size) @ turned @ translated(x * width, y * height)


def warp(image: Image, affine: Float[Array, '3 3']) -> Image:
    """The image under an affine map.

    Args:
        image: (h, w, c).
        affine: takes (x, y, 1) of a pixel of the output to where its value lies in the input, both from
            the middle of the image.
    """
    height, width, _ = image.shape
    padded = jnp.pad(image, ((height - 1,) * 2, (width - 1,) * 2, (0, 0)), 'reflect')
    fine = _resampled(padded, up=True)
    # Pixels of twice the resolution; the filter has an even length, so its middle is between two.
    rows, columns = (2 * (size + 2 * _MARGIN) for size in (height, width))
    y, x = (jnp.arange(size, dtype=jnp.float32) + 1 - size / 2 for size in (rows, columns))
    grid = jnp.stack([*jnp.broadcast_arrays(x[None] / 2, y[:, None] / 2, jnp.ones(()))])
    place = jnp.einsum('ij,jhw->ihw', affine[:2], grid, precision=lax.Precision.HIGHEST)
    at = [2 * place[i] - 1 + size / 2 for i, size in ((1, fine.shape[0]), (0, fine.shape[1]))]
    sample = lambda channel: jax.scipy.ndimage.map_coordinates(channel, at, 1, 'constant')  # noqa: E731
    return _resampled(jax.vmap(sample, 2, 2)(fine), up=False)


def _resampled(image, *, up):
    """Enlarged by 2, or reduced by 2 to what lies inside the margin, with sym6 along both sides."""
    taps = np.asarray(SYM6[::-1] if up else SYM6) * np.sqrt(2) / (1 if up else 2)
    pad = (len(SYM6) // 2,) * 2 if up else (-1, -1)
    x = jnp.moveaxis(image, -1, 0)[..., None]
    for axis in (0, 1):
        x = _filtered(
            x, jnp.asarray(taps, image.dtype), axis, pad, stride=1 if up else 2, dilation=1 + up
        )
    return jnp.moveaxis(x[..., 0], 0, -1)


def _filtered(x, taps, axis, pad=(0, 0), *, stride=1, dilation=1):
    """Images (n, h, w, 1) correlated with `taps` along one side."""
    along = lambda value, other: tuple(value if i == axis else other for i in (0, 1))  # noqa: E731
    return lax.conv_general_dilated(
        x,
        taps.reshape(*along(-1, 1), 1, 1),
        along(stride, 1),
        along(pad, (0, 0)),
        lhs_dilation=along(dilation, 1),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        precision=lax.Precision.HIGHEST,
    )


# ---- pixels


def color(image: Image, draws: Draws) -> Image:
    """Transformations 9 to 13."""
    brightness, contrast = draws.normal(0.2), jnp.exp2(draws.normal(0.5))
    flipped, angle = draws.whole(2), draws.uniform(-jnp.pi, jnp.pi)
    saturation = jnp.exp2(draws.normal(1.0))
    image = contrast * (image + brightness)
    luma = jnp.mean(image, -1, keepdims=True)
    rest, luma = image - luma, luma * (1 - 2 * flipped)
    if image.shape[-1] == 3:  # about the grey axis: Rodrigues' formula, of what is normal to it
        turned = (jnp.roll(rest, 1, -1) - jnp.roll(rest, -1, -1)) / np.sqrt(3)
        rest = jnp.cos(angle) * rest + jnp.sin(angle) * turned
    return luma + saturation * rest


def _bands() -> np.ndarray:
    """Four filters that share the frequencies by octaves, the lowest first, and add up to 1."""
    low = np.asarray(SYM2)
    high = low * (-1) ** np.arange(len(low))
    half_low, half_high = (np.convolve(h, h[::-1]) / 2 for h in (low, high))
    bank = np.ones((1, 1))
    for _ in range(3):
        apart = np.zeros((len(bank), 2 * bank.shape[1] - 1))
        apart[:, ::2] = bank
        bank = np.stack([np.convolve(band, half_low) for band in apart])
        middle = (bank.shape[1] - len(half_high)) // 2
        top = np.pad(half_high, middle)
        bank = np.concatenate([bank, top[None]])
    return bank


BANDS = _bands()
_POWER = np.array([10, 1, 1, 1]) / 13  # expected in each band, 1/f


def filtered(image: Image, draws: Draws) -> Image:
    """Transformations 14 to 17."""
    gains = jnp.ones(len(BANDS))
    for i in range(len(BANDS)):
        one = jnp.ones(len(BANDS)).at[i].set(jnp.exp2(draws.normal(1.0)))
        gains *= one / jnp.sqrt(jnp.sum(_POWER * jnp.square(one)))
    return amplified(image, gains)


def amplified(image: Image, gains: Float[Array, ' b']) -> Image:
    """The image with its octaves times `gains`, along both sides."""
    taps = jnp.asarray(gains @ jnp.asarray(BANDS, image.dtype))
    pad = (BANDS.shape[1] // 2,) * 2
    x = jnp.pad(image, (pad, pad, (0, 0)), 'reflect')
    x = jnp.moveaxis(x, -1, 0)[..., None]
    for axis in (0, 1):
        x = _filtered(x, taps, axis)
    return jnp.moveaxis(x[..., 0], 0, -1)


def noisy(image: Image, draws: Draws) -> Image:
    """Transformation 18."""
    return image + jnp.abs(draws.normal(0.1)) * jax.random.normal(draws.next(), image.shape)


def cut(image: Image, draws: Draws) -> Image:
    """The centre of the rectangle is anywhere in the image, so that some of it may lie outside."""
    size = draws.uniform(0.5, 0.5)
    away = []
    for length in image.shape[:2]:
        places = (jnp.arange(length) + 0.5) / length
        away.append(jnp.abs(places - jax.random.uniform(draws.next())) >= size / 2)
    return jnp.where(away[0][:, None, None] | away[1][None, :, None], image, 0)


_ON_PIXELS = {'color': color, 'filter': filtered, 'noise': noisy, 'cutout': cut}
