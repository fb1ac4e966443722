"""How often the intervals of `snjax.metrics.intervals` hold the expected score.

    python -m benchmarks.interval_coverage --trials=400

Real points and fakes are drawn anew in each trial from known distributions; the expected score at
these counts is the mean over many further draws. Prints the share of the trials whose interval
holds it, for each score, beside the nominal confidence: the table in docs/scores.md.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from absl import app, flags

from snjax.metrics import intervals, scores
from snjax.metrics.comparison import ScoredSet
from snjax.metrics.extractors import Features
from snjax.metrics.manifold import prdc

CONFIDENCE = 0.95

TRIALS = flags.DEFINE_integer('trials', 400, 'intervals for each distribution')
HALVES = flags.DEFINE_integer('half_samples', 200, 'half-samples for each interval')
DRAWS = flags.DEFINE_integer('draws', 4000, 'draws for the expected scores')


@dataclasses.dataclass(frozen=True)
class Setting:
    """Distributions of real points and of fakes, and how many of each.

    Attributes:
        name: in the table.
        real, fake: draw that many points (n, d).
        num_real, num_fake: the counts.
    """

    name: str
    real: Callable[[np.random.Generator, int], np.ndarray]
    fake: Callable[[np.random.Generator, int], np.ndarray]
    num_real: int
    num_fake: int


def _normal(dim: int, shift: float = 0.0, scale: float = 1.0):
    return lambda rng, n: (shift + scale * rng.standard_normal((n, dim))).astype(np.float32)


def _mixture(dim: int, shares: tuple[float, ...]):
    """Unit Gaussians at +-3 along the first axes, with these shares."""

    def draw(rng, n):
        points = rng.standard_normal((n, dim))
        which = rng.choice(len(shares), n, p=shares)
        points[np.arange(n), which // 2] += np.where(which % 2, 3.0, -3.0)
        return points.astype(np.float32)

    return draw


SETTINGS = (
    Setting('Gaussians, 8 features, shifted', _normal(8), _normal(8, 0.3), 300, 200),
    Setting('Gaussians, 32 features, narrower fakes', _normal(32), _normal(32, 0, 0.8), 500, 400),
    Setting(
        '4 clusters, one of them rare among the fakes',
        _mixture(8, (0.25, 0.25, 0.25, 0.25)),
        _mixture(8, (0.4, 0.3, 0.28, 0.02)),
        300,
        200,
    ),
)


def score(real: ScoredSet, fake: ScoredSet) -> dict[str, float]:
    """The scores of an evaluation that need features only."""
    a, b = real.features.features, fake.features.features
    x, y = scores.moments(a), scores.moments(b)
    size = min(len(a), len(b))
    return {
        'frechet_distance': scores.frechet_distance(x.mean, x.cov, y.mean, y.cov),
        'kernel_distance': scores.kernel_distance(a, b, subsets=10, subset_size=size).mean,
        **prdc(a, b)._asdict(),
    }


def coverage(
    setting: Setting,
    *,
    trials: int,
    half_samples: int,
    draws: int,
    score: Callable[[ScoredSet, ScoredSet], dict[str, float]] = score,
) -> dict[str, float]:
    """Share of the trials in which the interval holds the expected score, by score."""
    rng = np.random.default_rng(0)

    def draw():
        return [
            ScoredSet(Features(points, np.zeros((len(points), 1), np.float32)))
            for points in (
                setting.real(rng, setting.num_real),
                setting.fake(rng, setting.num_fake),
            )
        ]

    drawn = [score(*draw()) for _ in range(draws)]
    expected = {name: float(np.mean([x[name] for x in drawn])) for name in drawn[0]}
    held = dict.fromkeys(expected, 0)
    for trial in range(trials):
        found = intervals.of_scores(
            score, *draw(), num=half_samples, confidence=CONFIDENCE, seed=trial
        )
        for name, (low, high) in found.items():
            held[name] += low <= expected[name] <= high
    return {name: count / trials for name, count in held.items()}


def main(argv):
    del argv
    print(f'share of {TRIALS.value} intervals that hold the expected score, nominal {CONFIDENCE}')
    for setting in SETTINGS:
        found = coverage(setting, trials=TRIALS.value, half_samples=HALVES.value, draws=DRAWS.value)
        cells = ', '.join(f'{name} {share:.3f}' for name, share in found.items())
        print(f'{setting.name}: {cells}', flush=True)


if __name__ == '__main__':
    app.run(main)
