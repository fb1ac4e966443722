"""Seeds taken together: mean and standard deviation of numbers, and of curves."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Numbers of several seeds.

    Attributes:
        mean: of the finite ones.
        std: their sample standard deviation (n - 1 in the denominator); None of a single one.
        values: the finite ones.
    """

    mean: float
    std: float | None
    values: tuple[float, ...]


class Point(NamedTuple):
    """A point of a curve.

    Attributes:
        step: generator updates; of a bin, the mean of its steps.
        spread: over the seeds that have a value here.
        is_whole: every seed has one.
    """

    step: float
    spread: Spread
    is_whole: bool


def spread(values: Sequence[float | int]) -> Spread | None:
    """Mean and standard deviation; None where no value is finite."""
    finite = tuple(float(v) for v in values if math.isfinite(v))
    if not finite:
        return None
    std = statistics.stdev(finite) if len(finite) > 1 else None
    return Spread(statistics.fmean(finite), std, finite)


def curve(seeds: Sequence[Mapping[int, float]], *, bins: int = 150) -> list[Point]:
    """The mean curve of several seeds, thinned to `bins` points.

    Where there are more steps than bins, a seed counts in each bin with the mean of its values there, so the spread is
    between seeds and not along the curve.

    Args:
        seeds: a value for each step, for each seed; values that are not finite count as absent.
        bins: the most points.
    """
    seeds = [{k: v for k, v in seed.items() if math.isfinite(v)} for seed in seeds]
    seeds = [seed for seed in seeds if seed]
    points = []
    for steps in _binned(sorted({step for seed in seeds for step in seed}), bins):
        there = [[seed[k] for k in steps if k in seed] for seed in seeds]
        found = spread([statistics.fmean(values) for values in there if values])
        if found:
            step = statistics.fmean(steps)
            points.append(Point(step, found, len(found.values) == len(seeds)))
    return points


def _binned(steps: Sequence[int], bins: int) -> list[list[int]]:
    """Steps, increasing, in at most `bins` groups of equal width; empty ones are left out."""
    if len(steps) <= bins:
        return [[step] for step in steps]
    low, width = steps[0], (steps[-1] - steps[0]) / bins
    groups: dict[int, list[int]] = {}
    for step in steps:
        groups.setdefault(min(int((step - low) / width), bins - 1), []).append(step)
    return list(groups.values())
