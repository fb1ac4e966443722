"""Scores of infinitely many fakes: Chong and Forsyth 2020 (arXiv:1911.07023).

The Frechet distance and the Inception score of N fakes have a bias that is nearly linear in 1/N and
depends on the generator, so a ranking by N fakes need not be the ranking of the generators. A line
through the scores of several N, read at 1/N = 0, has almost none of that bias. The bias of the
finite number of real images stays; it is the same for all generators.

The authors also draw z from a Sobol sequence, which lowers the variance; fakes here are of random z.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from snjax.metrics.scores import Moments, frechet_distance, inception_score, moments

POINTS = 15  # as in the authors' code
_SMALLEST = 10  # the smallest N is a tenth of all fakes, also as in the authors' code


class Extrapolated(NamedTuple):
    """A score at 1/N = 0, and the scores (points,) that the line was fitted to.

    Attributes:
        value: of infinitely many fakes. For two equal distributions it may lie a little below 0.
        sizes: the N.
        scores: at each N.
    """

    value: float
    sizes: tuple[int, ...]
    scores: tuple[float, ...]


def frechet(real: Moments, fake: Num[np.ndarray, 'n d'], *, seed: int = 0) -> Extrapolated:
    """FID-infinity of fakes by their features; `real` are the moments of all real images.

    Raises:
        ValueError: fewer fakes than `needed`.
    """

    def score(rows):
        part = moments(fake[rows])
        return frechet_distance(real.mean, real.cov, part.mean, part.cov)

    return _at_infinity(score, len(fake), needed(fake.shape[1]), seed)


def classifier_score(logits: Num[np.ndarray, 'n k'], *, seed: int = 0) -> Extrapolated:
    """IS-infinity of fakes by a classifier's logits, in one split.

    Raises:
        ValueError: fewer fakes than `needed`.
    """

    def score(rows):
        return inception_score(logits[rows], splits=1).mean

    return _at_infinity(score, len(logits), needed(logits.shape[1]), seed)


def needed(dim: int) -> int:
    """The fewest fakes of `dim` features: the smallest N must have a covariance of full rank."""
    return _SMALLEST * (dim + 1)


def _at_infinity(
    score: Callable[[np.ndarray], float], num: int, fewest: int, seed: int
) -> Extrapolated:
    if num < fewest:
        raise ValueError(
            f'{num} fakes are too few to extrapolate: at least {fewest} are needed, ten times as '
            'many as there are features'
        )
    rng = np.random.default_rng(seed)
    sizes = np.linspace(num / _SMALLEST, num, POINTS).round().astype(int)
    values = np.array([score(np.sort(rng.permutation(num)[:size])) for size in sizes])
    return Extrapolated(
        _intercept(1 / sizes, values), tuple(sizes.tolist()), tuple(values.tolist())
    )


def _intercept(x: Float[np.ndarray, ' n'], y: Float[np.ndarray, ' n']) -> float:
    """Where the least-squares line meets x = 0."""
    return float(np.polynomial.polynomial.polyfit(x, y, 1)[0])
