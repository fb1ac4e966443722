"""Fakes for scores, as 8-bit pixels, from chosen weights and batch statistics.

The choice of batch statistics moves scores, and publications seldom state theirs:

* `running`: the moving averages of training, as the official SNGAN code evaluates;
* `batch`: the statistics of each batch of fakes, as in training;
* `reestimated`: computed anew from fakes of the same weights (standing statistics, Brock et al.
  2019, section 4.1). An EMA of the weights has no running averages that were measured with it.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from snjax import parallel
from snjax.generate import weights
from snjax.generate.trained import TrainedGenerator
from snjax.image_format import DEPTHS, half_range
from snjax.latents.sampling import generate, proportional_labels

# Images of each class in a set, or its numbers (N, k); () for labels in turn.
Follow = Sequence[int] | Float[np.ndarray, 'n k']

STATISTICS = ('running', 'batch', 'reestimated')
REESTIMATED_BATCHES = 16


@dataclasses.dataclass(frozen=True)
class Variant:
    """Weights and batch statistics to generate with.

    Attributes:
        weights: 'ema' or 'raw'.
        statistics: 'running', 'batch' or 'reestimated'.
    """

    weights: str
    statistics: str

    def __str__(self) -> str:
        return f'{self.weights}/{self.statistics}'


def variants(text: str, trained: TrainedGenerator) -> tuple[Variant, ...]:
    """The variants that `evaluate.variants` names.

    Args:
        text: 'auto' (the EMA if the run kept one, running statistics), 'grid' (every variant of the
            run), or a list as 'ema/running,raw/batch'.
        trained: the run, with or without an EMA and batch norm.

    Raises:
        ValueError: another text, or 'ema' of a run without one.
    """
    if text == 'auto':
        return (Variant(trained.kept('auto'), 'running'),)
    if text == 'grid':
        there = {'ema': trained.ema, 'raw': trained.raw}
        kept = [kind for kind in weights.KINDS if there[kind] is not None]
        statistics = STATISTICS if 'batch_stats' in trained.variables() else ('running',)
        return tuple(Variant(w, s) for w in kept for s in statistics)
    found = tuple(Variant(*part.strip().partition('/')[::2]) for part in text.split(','))
    for variant in found:
        if variant.weights not in weights.KINDS or variant.statistics not in STATISTICS:
            raise ValueError(
                f'evaluate.variants has {str(variant)!r}: accepted are auto, grid, and '
                f'WEIGHTS/STATISTICS of {", ".join(weights.KINDS)} and {", ".join(STATISTICS)}, '
                'as ema/running,raw/batch'
            )
        trained.variables(variant.weights)
    return found


def fakes(
    trained: TrainedGenerator,
    variant: Variant,
    num: int,
    *,
    seed: int = 0,
    batch_size: int = 128,
    follow: Follow = (),
) -> Iterator[tuple[Any, int]]:
    """Generates `num` fakes in batches.

    Every batch is full, so that batch statistics are always over `batch_size` images; surplus
    images of the last one do not count. Without `follow`, classes come in turn: image i has class
    i % num_classes.

    Args:
        trained: the run.
        variant: its weights and batch statistics.
        num: number of images.
        seed: of z; the first n images of a seed are the same for every `num`.
        batch_size: images per call, a multiple of the number of devices.
        follow: what the labels follow: images of each class in a set, or its rows of numbers.

    Yields:
        Images (batch_size, H, W, C) with the set's bits on the devices, and how many of them count.
    """
    variables = trained.variables(variant.weights)
    is_reestimated = variant.statistics == 'reestimated' and 'batch_stats' in variables
    if is_reestimated:
        variables = reestimated(trained, variables, seed=seed, batch_size=batch_size, follow=follow)
    is_batch = variant.statistics == 'batch' and 'batch_stats' in variables
    program = _pixels_program(trained.gen, is_batch, trained.bits)
    for inputs, count in _inputs(trained, num, seed, batch_size, follow):
        yield program(variables, inputs), count


def labels_of(trained: TrainedGenerator, num: int, follow: Follow = ()) -> np.ndarray | None:
    """Labels of the images from `fakes`; None for an unconditional generator."""
    if trained.num_conditions and len(follow):
        return np.asarray(follow, np.float32)[proportional_labels([1] * len(follow), num)]
    if trained.num_classes and len(follow):
        return proportional_labels(np.asarray(follow).tolist(), num)
    return trained.labels(None, num)


def reestimated(
    trained: TrainedGenerator,
    variables: Mapping[str, Any],
    *,
    seed: int,
    batch_size: int,
    follow: Follow = (),
) -> Mapping[str, Any]:
    """`variables` with batch statistics pooled over `REESTIMATED_BATCHES` batches of fakes.

    The pooled mean is the mean of the means. The pooled variance is the mean of the variances plus
    the variance of the means.
    """
    program, total = _statistics_program(trained.gen), None
    num = REESTIMATED_BATCHES * batch_size
    # A different seed: the scored z must not set their own statistics.
    for inputs, _ in _inputs(trained, num, seed + 1_000_003, batch_size, follow):
        moments = program(variables, inputs)
        total = moments if total is None else jax.tree.map(jnp.add, total, moments)
    average = jax.tree.map(lambda x: x / REESTIMATED_BATCHES, total)

    def pooled(node):
        if 'mean' not in node:
            return {name: pooled(child) for name, child in node.items()}
        return {'mean': node['mean'], 'var': jnp.maximum(node['square'] - node['mean'] ** 2, 0)}

    return {**variables, 'batch_stats': pooled(average)}


def _inputs(trained, num, seed, batch_size, follow):
    """z and classes of full batches, and how many rows of each count."""
    whole = -(-num // batch_size) * batch_size
    z = np.asarray(trained.latents(whole, seed=seed), np.float32)
    labels = labels_of(trained, whole, follow)
    for start in range(0, num, batch_size):
        rows = slice(start, start + batch_size)
        inputs = z[rows], None if labels is None else labels[rows]
        yield inputs, min(batch_size, num - start)


@functools.cache
def _pixels_program(gen, is_batch, bits):
    half = half_range(DEPTHS[bits])

    def pixels(variables, inputs):
        z, labels = inputs
        if is_batch:
            images, _ = gen.apply(variables, z, labels, train=True, mutable=['batch_stats'])
        else:
            images = generate(gen, variables, z, labels)
        # The same rounding as `snjax.runs.images.to_pixels`.
        scaled = images.astype(jnp.float32) * half + half
        return jnp.clip(scaled, 0, 2 * half).astype(DEPTHS[bits])

    return parallel.OverBatches(pixels)


@functools.cache
def _statistics_program(gen):
    def moments(variables, inputs):
        """Mean and mean of squares of the batch in every batch norm."""

        def moved(start):
            stats = jax.tree.map(lambda x: jnp.full_like(x, start), variables['batch_stats'])
            started = {**variables, 'batch_stats': stats}
            _, out = gen.apply(started, *inputs, train=True, mutable=['batch_stats'])
            return out['batch_stats']

        # A moving average goes from a to decay * a + (1 - decay) * batch. Its results from a = 0
        # and from a = 1 give both decay and batch.
        from_zero, from_one = moved(0.0), moved(1.0)
        batch = jax.tree.map(lambda a, b: a / (1 - (b - a)), from_zero, from_one)

        def squares(node):
            if 'mean' not in node:
                return {name: squares(child) for name, child in node.items()}
            return {'mean': node['mean'], 'square': node['var'] + node['mean'] ** 2}

        return squares(batch)

    return parallel.OverBatches(moments)
