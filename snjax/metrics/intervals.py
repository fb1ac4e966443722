"""Error bars: how far a score would move with other images of the same kinds, at the same counts.

A score of n images is compared with the same score of random halves of them, drawn without
replacement. A mean of m of n values varies around the mean of all n with the variance
s^2 (1/m - 1/n). That is s^2 / n for m = n / 2: as far as the mean of n new values varies around its
expectation. So the deviations of halves from their own mean serve as those of the score, unscaled
(half-samples: McCarthy 1969; subsampling: Politis and Romano 1994). A bootstrap, which draws some
images twice, would not do: a nearest neighbour at distance 0 changes precision, recall, density and
coverage, and the fewer distinct images raise a Frechet distance.

The interval is for the expectation of the score **at these counts**. A Frechet distance is biased
upwards, the more the fewer images; `snjax.metrics.extrapolated` estimates it without that bias.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from snjax.metrics.comparison import ScoredSet

# A half needs 6 images, for the fifth nearest neighbour.
MIN_IMAGES = 12
# Scores that may be below 0: unbiased estimates. Those of infinitely many fakes may, too.
_SIGNED = ('kernel_distance', 'kid')
# Scores that are shares, and cannot leave [0, 1].
_SHARES = ('precision', 'recall', 'coverage', 'accuracy', 'smallest_class_share')

Scores = Mapping[str, float]
Interval = tuple[float, float]


def of_scores(
    score: Callable[[ScoredSet, ScoredSet], Scores],
    real: ScoredSet,
    fake: ScoredSet,
    *,
    num: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
    values: Scores | None = None,
) -> dict[str, Interval]:
    """Intervals of all scores of fakes against real images.

    Both sets count as samples: the interval also holds what another choice of real images does.

    Args:
        score: maps real images and fakes to scores by name; called with halves of both.
        real, fake: the images, at least `MIN_IMAGES` of each.
        num: number of half-samples.
        confidence: probability, such as 0.95, with which an interval holds the expected score.
        seed: of the choice of halves.
        values: the scores of all images; None: computed by `score`.

    Returns:
        (low, high) for each score that every pair of halves has, finite.

    Raises:
        ValueError: fewer images than `MIN_IMAGES`, or a `num` or `confidence` out of range.
    """
    fewest = min(len(real), len(fake))
    if fewest < MIN_IMAGES:
        raise ValueError(f'error bars of {fewest} images: at least {MIN_IMAGES} are needed')
    rng = np.random.default_rng(seed)
    values = score(real, fake) if values is None else values
    halves = [score(_half(real, rng), _half(fake, rng)) for _ in range(num)]
    found = {}
    for name, value in values.items():
        column = np.array([half.get(name, np.nan) for half in halves], np.float64)
        if np.isfinite(value) and np.isfinite(column).all():
            low, high = around(value, column, confidence)
            if not name.startswith(_SIGNED) and not name.endswith('_infinity'):
                low = max(low, 0.0)
            found[name] = low, (min(high, 1.0) if name in _SHARES else high)
    return found


def size_in_half(num: int, most: int) -> int:
    """Points of a half to take where a score takes `most` of `num` at most.

    A mean of p points of a random half varies around its mean with s^2 (1/p - 1/num), and the score
    around its expectation with s^2 / most; this p makes both equal.
    """
    some = num // 2 if num <= most else round(most * num / (most + num))
    return max(some, MIN_IMAGES // 2)


def around(value: float, replicates: Float[np.ndarray, ' n'], confidence: float) -> Interval:
    """The interval for the expectation of a score from its value and replicates of it.

    The basic interval: what the value may lie above its expectation by, the expectation may lie
    below the value by. Replicates count as deviations from their own mean.

    Args:
        value: the score of all images.
        replicates: scores whose deviations from their mean are distributed as those of the score
            from its expectation.
        confidence: between 0 and 1.

    Raises:
        ValueError: fewer than 2 replicates, or another confidence.
    """
    check(len(replicates), confidence)
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates - np.mean(replicates), [tail, 1 - tail])
    return float(value - high), float(value - low)


def check(num: int, confidence: float) -> None:
    """Raises a ValueError of one line for a number of half-samples or a confidence out of range."""
    if not 0 < confidence < 1:
        raise ValueError(f'confidence is {confidence}: accepted is a probability such as 0.95')
    fewest = math.ceil(round(2 / (1 - confidence), 6))
    if num < fewest:
        raise ValueError(
            f'{num} half-samples have no tail of {(1 - confidence) / 2:.3g}: with a confidence of '
            f'{confidence} at least {fewest} are needed'
        )


def _half(scored: ScoredSet, rng: np.random.Generator) -> ScoredSet:
    """A random half, in the order of the whole: images of which pixels are kept stay first."""
    return scored.take(np.sort(rng.permutation(len(scored))[: len(scored) // 2]))
