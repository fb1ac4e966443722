"""Means and standard deviations over seeds, of numbers and of curves."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scipy import special


class Spread(NamedTuple):
    """One quantity measured with several seeds.

    Attributes:
        mean: of the finite values.
        std: their sample standard deviation (n - 1 in the denominator); None for a single value.
        values: the finite values.
    """

    mean: float
    std: float | None
    values: tuple[float, ...]


class Point(NamedTuple):
    """One point of a curve.

    Attributes:
        step: generator updates; for a bin of several steps their mean.
        spread: over the seeds that have a value here.
        is_whole: whether every seed has a value here.
    """

    step: float
    spread: Spread
    is_whole: bool


def spread(values: Sequence[float | int]) -> Spread | None:
    """Mean and standard deviation of the finite values; None if there are none."""
    finite = tuple(float(v) for v in values if math.isfinite(v))
    if not finite:
        return None
    std = statistics.stdev(finite) if len(finite) > 1 else None
    return Spread(statistics.fmean(finite), std, finite)


def mean_interval(spread: Spread, confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's interval for the mean over seeds; None for a single seed.

    For two seeds it reaches 9 deviations to each side, because two values say little about how far
    seeds differ.

    Args:
        spread: of the seeds.
        confidence: probability with which the interval holds the mean over all seeds.
    """
    if spread.std is None:
        return None
    n = len(spread.values)
    half = float(special.stdtrit(n - 1, (1 + confidence) / 2)) * spread.std / math.sqrt(n)
    return spread.mean - half, spread.mean + half


def curve(seeds: Sequence[Mapping[int, float]], *, bins: int = 150) -> list[Point]:
    """The mean curve of several seeds, thinned to at most `bins` points.

    If there are more steps than bins, a bin holds for each seed the mean of its values there.
    The standard deviation is therefore between seeds, and not along the curve.

    Args:
        seeds: for each seed a value at each step; values that are not finite count as absent.
        bins: the largest number of points.
    """
    seeds = [{k: v for k, v in seed.items() if math.isfinite(v)} for seed in seeds]
    seeds = [seed for seed in seeds if seed]
    points = []
    for steps in _binned(sorted({step for seed in seeds for step in seed}), bins):
        inside = [[seed[k] for k in steps if k in seed] for seed in seeds]
        found = spread([statistics.fmean(values) for values in inside if values])
        if found:
            step = statistics.fmean(steps)
            points.append(Point(step, found, len(found.values) == len(seeds)))
    return points


def _binned(steps: Sequence[int], bins: int) -> list[list[int]]:
    """Increasing steps in at most `bins` groups of equal width, without the empty groups."""
    if len(steps) <= bins:
        return [[step] for step in steps]
    low, width = steps[0], (steps[-1] - steps[0]) / bins
    groups: dict[int, list[int]] = {}
    for step in steps:
        groups.setdefault(min(int((step - low) / width), bins - 1), []).append(step)
    return list(groups.values())


def format_number(value: float | int) -> str:
    """The number with four significant digits."""
    return f'{value:.4g}'


def format_interval(low: float, high: float) -> str:
    """'[low, high]' with four significant digits."""
    return f'[{format_number(low)}, {format_number(high)}]'


def format_spread(spread: Spread) -> str:
    """'12.3 ± 4.5', or the mean alone for a single seed.

    The deviation has two significant digits, and the mean as many decimal places as the deviation.
    """
    if spread.std is None:
        return format_number(spread.mean)
    if spread.std == 0:
        return f'{format_number(spread.mean)} ± 0'
    digits = 1 - math.floor(math.log10(spread.std))
    if digits > 5:  # longer numbers are not written out
        return f'{format_number(spread.mean)} ± {spread.std:.2g}'
    places = max(digits, 0)
    return f'{spread.mean:.{places}f} ± {spread.std:.{places}f}'
