"""Where numbers go on an axis, and which of them are written beside it."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

# From this ratio of the largest to the smallest on, an axis of positive numbers is logarithmic.
_LOG_RATIO = 50.0
# The middle 96 % of the values are shown where the rest would make the axis this many times as long.
_OUTLIERS, _STRETCH = 0.02, 5.0


@dataclasses.dataclass(frozen=True)
class Axis:
    """From `low` to `high`, low < high."""

    low: float | int
    high: float | int
    is_log: bool = False

    def at(self, value: float | int) -> float:
        """The place of a value: 0 at `low`, 1 at `high`; on a logarithmic axis what is not positive is far below."""
        if not self.is_log:
            return (value - self.low) / (self.high - self.low)
        if value <= 0:
            return -10.0
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self, most: int = 6) -> list[float | int]:
        """Round numbers inside, at most `most`."""
        if self.is_log:
            return self._log_ticks(most)
        unit = 10.0 ** math.floor(math.log10((self.high - self.low) / most))
        widths = (unit * m for m in (1, 2, 5, 10, 20, 50))
        for width in widths:
            first = math.ceil(self.low / width - 1e-9)
            last = math.floor(self.high / width + 1e-9)
            if last - first + 1 <= most:
                return [i * width for i in range(first, last + 1)]
        raise AssertionError('50 units are more than the axis has')

    def _log_ticks(self, most):
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1, 2, 5), (1, 3), (1,)):
            found = [f * 10.0**d for d in decades for f in factors]
            found = [x for x in found if self.low * (1 - 1e-9) <= x <= self.high * (1 + 1e-9)]
            if len(found) <= most:
                return found
        return found[:: math.ceil(len(found) / most)]


def axis_of(values: Iterable[float | int], *, may_cut: bool = False) -> Axis:
    """An axis for finite values, logarithmic where they are positive and span decades.

    Args:
        values: what is to be shown.
        may_cut: leave out the outermost 2 % of each side where they would squash all others.
    """
    found = sorted(v for v in values if math.isfinite(v))
    if not found:
        return Axis(0.0, 1.0)
    low, high = found[0], found[-1]
    if may_cut:
        inner = _quantile(found, _OUTLIERS), _quantile(found, 1 - _OUTLIERS)
        if high - low > _STRETCH * (inner[1] - inner[0]) > 0:
            low, high = inner
    if low > 0 and high / low > _LOG_RATIO:
        edge = (high / low) ** 0.04
        return Axis(low / edge, high * edge, is_log=True)
    edge = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    # Near zero, zero itself says more than an edge does.
    start = 0.0 if 0 <= low <= 0.3 * high else low - edge
    return Axis(start, high + edge)


def _quantile(found: Sequence[float], share: float) -> float:
    return found[round(share * (len(found) - 1))]


def short(value: float | int) -> str:
    """A number for an axis: 20k for 20,000, three digits otherwise."""
    for size, letter in ((1e6, 'M'), (1e3, 'k')):
        if abs(value) >= size:
            return f'{value / size:.4g}{letter}'
    return f'{value:.3g}' if value else '0'
