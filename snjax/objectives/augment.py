"""Differentiable augmentation of a discriminator's images: DiffAugment (Zhao et al. 2020,
arXiv:2006.10738).

Real and fake images are augmented before every application of D, in the generator's update too,
whose gradient passes through the augmentation. A policy is a tuple of names. They are applied in
order, and each draws anew for every image:

* `'color'`: brightness, x + U(-0.5, 0.5); then saturation, the distance from the mean over channels
  times U(0, 2); then contrast, the distance from the mean over the image times U(0.5, 1.5). On grey
  images saturation is the identity.
* `'translation'`: by whole pixels, uniform up to 1/8 of the height and of the width; pixels from
  outside are 0.
* `'cutout'`: sets a part of half the height and width to 0. Its centre is anywhere in the image, so
  that some of it may lie outside.

These are the ranges of the paper's code, on images in [-1, 1], so that 0 is mid-grey; nothing is
clipped, and colours may leave [-1, 1]. An image's draws depend on its key and the name alone, not
on the batch or the rest of the policy.

The other names are pipelines of ADA (`snjax.objectives.ada`), whose transformations each have the
probability that is given here.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from snjax.objectives import ada

Image = Float[Array, 'h w c']
Images = Float[Array, 'b h w c']

TRANSLATION = 1 / 8  # of the height and the width
CUTOUT = 1 / 2


def augment(
    images: Images, keys: Key[Array, ' b'], policy: Sequence[str], chance: Any = 1.0
) -> Images:
    """`images` under `policy`, with separate draws for each. Affine in each image, differentiable
    to any order.

    Args:
        images: in [-1, 1].
        keys: one per image; real and fake images need different keys.
        policy: names of `POLICIES` and `ada.PIPELINES`; () leaves the images unchanged.
        chance: probability of each name for each image, and of each transformation of a pipeline,
            drawn apart as in ADA (Karras et al. 2020, arXiv:2006.06676); a number or a scalar array.

    Raises:
        ValueError: a name is unknown or occurs twice.
    """
    _check(policy)

    def one(image, key):
        for name in policy:
            draw = jax.random.fold_in(key, _NAMES.index(name))
            if name in ada.PIPELINES:
                image = ada.run(image, draw, ada.PIPELINES[name], chance)
                continue
            changed = POLICIES[name](image, draw)
            if isinstance(chance, float) and chance == 1:
                image = changed
            else:
                is_drawn = jax.random.bernoulli(jax.random.fold_in(draw, _CHANCE), chance)
                image = jnp.where(is_drawn, changed, image)
        return image

    return jax.vmap(one)(images, keys)


def parse_policy(text: str) -> tuple[str, ...]:
    """The names in a comma-separated `text`, in order; () for an empty one.

    Raises:
        ValueError: a name is unknown or occurs twice.
    """
    policy = tuple(name.strip() for name in text.split(',')) if text.strip() else ()
    _check(policy)
    return policy


def _check(policy):
    wrong = [name for name in policy if name not in _NAMES or policy.count(name) > 1]
    if wrong:
        raise ValueError(
            f'augment policy {",".join(policy)!r}: accepted are {", ".join(_NAMES)}, each once, '
            'with commas between (--config.data.augment)'
        )


def color(image: Image, key: Key[Array, '']) -> Image:
    """Brightness, saturation and contrast, in this order."""
    brightness, saturation, contrast = jax.random.uniform(key, (3,), image.dtype)
    image = image + (brightness - 0.5)
    if image.shape[-1] > 1:
        image = _spread(image, jnp.mean(image, -1, keepdims=True), 2 * saturation)
    return _spread(image, jnp.mean(image), contrast + 0.5)


def _spread(image, centre, factor):
    return centre + factor * (image - centre)


def translation(image: Image, key: Key[Array, '']) -> Image:
    """Moves the image by whole pixels, down or up and right or left; pixels from outside are 0."""
    limit = jnp.array([_rounded(size, TRANSLATION) for size in image.shape[:2]])
    return shift(image, jax.random.randint(key, (2,), -limit, limit + 1))


def _rounded(size, ratio):
    return int(size * ratio + 0.5)


@jax.custom_vjp
def shift(image: Image, by: Int[Array, '2']) -> Image:
    """The image moved down and right by `by` (rows, columns), at most `TRANSLATION` of its size;
    zeros fill in.

    The gradient is the shift back, a slice as well. Automatic differentiation makes it a scatter,
    which takes 5 (32 px) to 10 times (128 px) as long for 64 images on two CPU cores.
    """
    rows, columns = (_rounded(size, TRANSLATION) for size in image.shape[:2])
    padded = jnp.pad(image, ((rows, rows), (columns, columns), (0, 0)))
    return lax.dynamic_slice(padded, (rows - by[0], columns - by[1], 0), image.shape)


shift.defvjp(lambda image, by: (shift(image, by), by), lambda by, g: (shift(g, -by), None))


def cutout(image: Image, key: Key[Array, '']) -> Image:
    """Sets what lies in the image of a part of half its height and width to 0."""
    row_key, column_key = jax.random.split(key)
    rows, columns = _outside(image.shape[0], row_key), _outside(image.shape[1], column_key)
    return jnp.where(rows[:, None, None] | columns[:, None], image, 0)


def _outside(size: int, key: Key[Array, '']) -> Bool[Array, ' n']:
    """Mask of the rows or columns that a cutout keeps.

    It is centred on any of them, or between two if its width is even.
    """
    width = _rounded(size, CUTOUT)
    start = jax.random.randint(key, (), 0, size + 1 - width % 2) - width // 2
    index = jnp.arange(size)
    return (index < start) | (index >= start + width)


POLICIES = {'color': color, 'translation': translation, 'cutout': cutout}
# New names come last, so that the draws of the others stay what they are.
_NAMES = (*POLICIES, *ada.PIPELINES)
_CHANCE = 1  # of a name's key: whether it is applied
