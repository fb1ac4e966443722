"""Draws of latents and labels, and images from them, for training, sampling and notebooks."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Int32, Key

LATENTS = ('normal', 'uniform')
MAX_SEEDS = 2**32

# A class, classes (n,), or float weights (n, num_classes) that mix classes.
Labels = ArrayLike | Sequence[int] | Sequence[float]


def seed_key(seed: int, role: str) -> Key[Array, '']:
    """The key of a seed for one role: 'init', 'data', 'train', 'grid', 'sample' and others.

    Raises:
        ValueError: `seed` does not fit into 32 bits. JAX would take the lower 32 of it, so that two
            seeds would be one.
    """
    if not 0 <= seed < MAX_SEEDS:
        raise ValueError(f'seed {seed}: 0 up to {MAX_SEEDS - 1} is accepted')
    # New roles come last, so that the keys of the others stay what they are.
    roles = ('init', 'data', 'train', 'grid', 'sample', 'sentinel', 'rollback')
    return jax.random.fold_in(jax.random.key(seed), roles.index(role))


def latents(
    rng: Key[Array, ''],
    ids: Int[Array, ' b'],
    dim_z: int,
    latent: str = 'normal',
    truncation: float | None = None,
) -> Float[Array, 'b d']:
    """z of the examples `ids`, each from its own key, so that sharding and batching do not change
    it.

    Args:
        rng: key of the whole draw.
        ids: global positions of the examples.
        dim_z: length of z.
        latent: 'normal' for N(0, I), 'uniform' for U(-1, 1).
        truncation: draw from the normal restricted to [-truncation, truncation] (Brock et al. 2019,
            section 3.1), or scale the uniform's range; None for the whole distribution.

    Raises:
        ValueError: the latent is unknown, or the truncation is not positive.
    """
    if latent not in LATENTS:
        raise ValueError(f'latent {latent!r}: accepted are {", ".join(LATENTS)}')
    if truncation is not None and truncation <= 0:
        raise ValueError(f'truncation {truncation}: a positive number or none is accepted')

    def one(key):
        if latent == 'uniform':
            bound = truncation or 1.0
            return jax.random.uniform(key, (dim_z,), jnp.float32, -bound, bound)
        # float32 also where JAX computes in 64 bits: a seed has one z everywhere.
        if truncation is None:
            return jax.random.normal(key, (dim_z,), jnp.float32)
        return jax.random.truncated_normal(key, -truncation, truncation, (dim_z,), jnp.float32)

    return jax.vmap(lambda i: one(jax.random.fold_in(rng, i)))(ids)


def class_labels(
    rng: Key[Array, ''], ids: Int[Array, ' b'], num_classes: int, counts: Sequence[int] = ()
) -> Int[Array, ' b']:
    """Classes of the examples `ids`, each from its own key.

    Args:
        rng: key of the whole draw.
        ids: global positions of the examples.
        num_classes: number of classes.
        counts: images of each class in the training set: a class is then that of a random image.
            Empty: all classes are equally likely.
    """
    num = sum(counts) if counts else num_classes

    def one(i):
        return jax.random.randint(jax.random.fold_in(rng, i), (), 0, num, jnp.int32)

    drawn = jax.vmap(one)(ids)
    if not counts:
        return drawn
    ends = jnp.asarray(np.cumsum(counts), jnp.int32)
    return jnp.searchsorted(ends, drawn, side='right').astype(jnp.int32)


def proportional_labels(counts: Sequence[int], num: int) -> Int32[np.ndarray, ' n']:
    """Classes of `num` images for scores, as often as in a set of these counts.

    No random draw: positions spread evenly by the golden ratio, so that every class has its share
    up to a few images, in the first images too, and the first n do not depend on `num`.
    """
    places = np.arange(num) * ((5**0.5 - 1) / 2) % 1.0 * sum(counts)
    return np.searchsorted(np.cumsum(counts), places, side='right').astype(np.int32)


def check_labels(
    labels: Labels | None, num: int, num_classes: int, num_conditions: int = 0
) -> np.ndarray | None:
    """Labels of `num` images in the form of `generate`: int32 (num,), float32 (num, num_classes),
    of a generator with conditions float32 (num, num_conditions), or None.

    Args:
        labels: one class for all images, one class per image, or weights of the classes (of any
            sign and sum); None for all classes in turn, if there are classes. With conditions: the
            same numbers for all images (num_conditions,), or (num, num_conditions).
        num: number of images.
        num_classes: of the generator; 0 for an unconditional one.
        num_conditions: numbers per image in place of classes; 0 for none.

    Raises:
        ValueError: the generator is unconditional, a class does not exist, or a shape is wrong.
    """
    if num_conditions:
        return _check_numbers(labels, num, num_conditions)
    if not num_classes:
        if labels is not None:
            raise ValueError('labels were given to an unconditional generator: leave them out')
        return None
    given = np.asarray(np.arange(num) % num_classes if labels is None else labels)
    if given.dtype.kind in 'iu' and given.shape in ((), (num,)):
        wrong = given[(given < 0) | (given >= num_classes)]
        if wrong.size:
            raise ValueError(f'label {wrong[0]}: the classes are 0 to {num_classes - 1}')
        return np.broadcast_to(given, (num,)).astype(np.int32)
    if given.dtype.kind == 'f' and given.shape == (num, num_classes):
        return given.astype(np.float32)
    raise ValueError(
        f'labels are {given.dtype} {given.shape}: accepted are one class, classes ({num},) and '
        f'float weights ({num}, {num_classes})'
    )


def _check_numbers(labels: Labels | None, num: int, num_conditions: int) -> np.ndarray:
    given = np.asarray(() if labels is None else labels)
    fits = given.shape in ((num_conditions,), (num, num_conditions)) and given.dtype.kind in 'biuf'
    if not fits or not np.isfinite(given).all():
        words = 'none' if labels is None else f'{given.dtype} {given.shape}'
        raise ValueError(
            f'labels are {words}: this generator takes {num_conditions} finite '
            f'number{"s" * (num_conditions > 1)} per image, as an array ({num_conditions},) for all '
            f'images or ({num}, {num_conditions})'
        )
    return np.broadcast_to(given.astype(np.float32), (num, num_conditions))


def generate(
    gen: nn.Module,
    variables: Mapping[str, Any],
    z: Float[Array, 'b d'],
    labels: Int[Array, ' b'] | Float[Array, 'b num_classes'] | None = None,
) -> Float[Array, 'b h w c']:
    """Images in [-1, 1] with the running batch statistics, as the official code evaluates.

    Labels are classes, or weights that mix classes; None for a generator without classes.
    """
    images: Any = gen.apply(variables, z, labels, train=False)
    return images
