"""The range of values that an axis shows."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from experiments.report.spreads import Point

# An axis of positive numbers is logarithmic from this ratio of the largest to the smallest.
_LOG_RATIO = 50.0
# The outermost 2 % at each end are cut off if they make the axis more than 5 times as long.
_OUTLIERS, _STRETCH = 0.02, 5.0


class Limits(NamedTuple):
    """An axis from `low` to `high`, with low < high."""

    low: float
    high: float
    is_log: bool = False


def limits(values: Iterable[float | int], *, may_cut: bool = False) -> Limits:
    """Limits for finite values, logarithmic where the values are positive and span decades.

    Args:
        values: to be shown.
        may_cut: cut off the outermost 2 % at each end where they would squash all others.
    """
    found = sorted(v for v in values if math.isfinite(v))
    if not found:
        return Limits(0.0, 1.0)
    low, high = found[0], found[-1]
    if may_cut:
        inner_low, inner_high = _quantile(found, _OUTLIERS), _quantile(found, 1 - _OUTLIERS)
        if high - low > _STRETCH * (inner_high - inner_low) > 0:
            low, high = inner_low, inner_high
    if low > 0 and high / low > _LOG_RATIO:
        edge = (high / low) ** 0.04
        return Limits(low / edge, high * edge, is_log=True)
    edge = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    # Zero replaces a lower limit close to it.
    return Limits(0.0 if 0 <= low <= 0.3 * high else low - edge, high + edge)


def _quantile(found: Sequence[float], share: float) -> float:
    return found[round(share * (len(found) - 1))]


def curve_limits(points: Sequence[Point]) -> Limits:
    """Limits for curves with bands: all means but outliers, and the nearby parts of the bands.

    Bands widen the axis by at most half its length at each end, so that one seed far from the
    others does not squash the means.
    """
    means = limits((p.spread.mean for p in points), may_cut=True)
    spreads = [p.spread for p in points if p.spread.std is not None]
    edges = [s.mean + sign * (s.std or 0) for s in spreads for sign in (-1, 1)]
    if means.is_log or not edges:
        return means
    room = 0.5 * (means.high - means.low)
    low = min(means.low, max(min(edges), means.low - room))
    # Values that are never negative keep their zero.
    low = 0.0 if means.low == 0.0 else low
    return Limits(low, max(means.high, min(max(edges), means.high + room)))


def short(value: float | int) -> str:
    """A number for an axis: '20k' for 20,000, else three significant digits."""
    if abs(value) >= 1e9:
        return f'{value:.3g}'
    for size, letter in ((1e6, 'M'), (1e3, 'k')):
        if abs(value) >= size:
            return f'{value / size:.4g}{letter}'
    return f'{value:.3g}' if value else '0'
