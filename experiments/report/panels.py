"""Draws panels on Matplotlib's axes: curves with a band over seeds, and points by category."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from experiments.report import style
from experiments.report.limits import Limits, curve_limits, limits, short
from experiments.report.records import CategoryPanel, CurvePanel, Line, Panel, Series
from experiments.report.spreads import format_spread

_MOST_MARKS = 30  # a line of more points has 8 marks, so that they do not hide it
_BAND_OPACITY = 0.16
_BESIDE = 0.01  # of the width, from the mean's mark to the seeds' dots


def draw(axes: Axes, panel: Panel) -> None:
    """Draws a panel with its title, axes and grid."""
    axes.set_facecolor('none')
    axes.set_title(panel.title, loc='left', pad=12)
    axes.set_xlabel(panel.x_label, labelpad=6)
    axes.grid(axis='y', color=style.RULE, linewidth=1)
    axes.set_axisbelow(True)
    axes.spines[['left', 'top', 'right']].set_visible(False)
    axes.spines['bottom'].set_color(style.SOFT)
    axes.tick_params(color=style.SOFT, labelcolor=style.SOFT)
    axes.tick_params(axis='y', length=0, pad=6)
    if isinstance(panel, CurvePanel):
        _draw_curves(axes, panel)
    else:
        _draw_categories(axes, panel)


def _set_y(axes: Axes, shown: Limits) -> None:
    if shown.is_log:
        axes.set_yscale('log', nonpositive='clip')
        axes.text(1, 1.02, 'log scale', transform=axes.transAxes, ha='right', color=style.SOFT)
        decades = shown.high / shown.low
        factors = (1, 2, 5) if decades < 200 else (1, 3) if decades < 1000 else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=factors, numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.set_ylim(shown.low, shown.high)


def _draw_curves(axes: Axes, panel: CurvePanel) -> None:
    points = [p for line in panel.lines for p in line.points]
    _set_y(axes, curve_limits(points))
    last = max((p.step for p in points), default=1.0) or 1.0
    axes.set_xlim(0, 1.015 * last)  # room for the last mark
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    # Bands first, so that none hides the line of another.
    for line in panel.lines:
        _draw_band(axes, line)
    for line in panel.lines:
        _draw_line(axes, line)


def _draw_band(axes: Axes, line: Line) -> None:
    spreads = [p.spread for p in line.points]
    low, high = axes.get_ylim()
    # On a logarithmic axis a band that reaches zero goes half an axis further down.
    floor = low * (low / high) ** 0.5 if axes.get_yscale() == 'log' else -math.inf
    axes.fill_between(
        [p.step for p in line.points],
        [max(s.mean - (s.std or 0), floor) for s in spreads],
        [s.mean + (s.std or 0) for s in spreads],
        where=[s.std is not None for s in spreads],
        color=style.colour(line.style),
        alpha=_BAND_OPACITY,
        linewidth=0,
        gid=named(line.style, line.name),
    )


def _draw_line(axes: Axes, line: Line) -> None:
    """Draws the mean and its marks; the line is thin beside a point that lacks a seed."""
    steps = [p.step for p in line.points]
    means = [p.spread.mean for p in line.points]
    whole = [p.is_whole for p in line.points]
    looks = line_style(line.style)
    looks['gid'] = named(line.style, line.name)
    if not all(whole):
        near = [not (whole[i] and all(whole[max(i - 1, 0) : i + 2])) for i in range(len(whole))]
        axes.plot(steps, _only(means, near), linewidth=0.9, **looks)
    axes.plot(steps, _only(means, whole), **looks)
    every = 1 if len(steps) <= _MOST_MARKS else -(-len(steps) // 8)
    first = line.style * 3 % every  # marks of several lines are not at the same steps
    looks |= mark_style(line.style)
    looks['linestyle'] = 'none'
    axes.plot(steps, means, markevery=(first, every), **looks)


def _only(values: Sequence[float], flags: Sequence[bool]) -> list[float]:
    """Replaces the values whose flag is off by NaN, which leaves gaps."""
    return [v if flag else math.nan for v, flag in zip(values, flags, strict=True)]


def _draw_categories(axes: Axes, panel: CategoryPanel) -> None:
    _set_y(axes, _category_limits(panel))
    num = len(panel.categories)
    axes.set_xlim(0, max(num, 1))
    axes.set_xticks([i + 0.5 for i in range(num)], panel.categories)
    axes.tick_params(axis='x', length=0, labelcolor=style.INK)
    for edge in range(1, num):
        axes.axvline(edge, color=style.RULE, linewidth=1, zorder=0)
    for n, series in enumerate(panel.series):
        _draw_series(axes, series, (n + 1) / (len(panel.series) + 1))


def _category_limits(panel: CategoryPanel) -> Limits:
    spreads = [s for series in panel.series for s in series.values if s]
    values = [v for s in spreads for v in (*s.values, s.mean)]
    lowest = min(values, default=0)
    bars = [s.mean + sign * (s.std or 0) for s in spreads for sign in (1, -1)]
    # A bar is cut off if it reaches far below all values, which for a distance can be below zero.
    return limits([*values, *(b for b in bars if lowest < 0 or b >= 0.5 * lowest)])


def _draw_series(axes: Axes, series: Series, offset: float) -> None:
    """Marks of the means, error bars, a dot for each seed, and a dagger for each remark.

    Args:
        axes: with the categories at 0 to 1, 1 to 2 and so on.
        series: one method.
        offset: of the series inside each category, from 0 to 1.
    """
    colour, gid = style.colour(series.style), named(series.style, series.name)
    spreads = [(i + offset, found) for i, found in enumerate(series.values) if found]
    several = [(x, found) for x, found in spreads if found.std is not None]
    if several:
        places, found = zip(*several, strict=True)
        bars = axes.errorbar(
            places,
            [spread.mean for spread in found],
            [spread.std for spread in found],
            fmt='none',
            color=colour,
            elinewidth=1.3,
            capsize=3,
            capthick=1.3,
        )
        for artist in bars.get_children():
            artist.set_gid(gid)
        beside = _BESIDE * axes.get_xlim()[1]
        dots = [(x + beside, value) for x, spread in several for value in spread.values]
        axes.scatter(*zip(*dots, strict=True), s=9, color=colour, lw=0, alpha=0.55, gid=gid)
    for i, (spread, remark) in enumerate(zip(series.values, series.remarks, strict=True)):
        words = [series.name, format_spread(spread) if spread else '', remark]
        hint = named(series.style, ': '.join(filter(None, words)))
        if spread:
            mark: dict[str, Any] = {'gid': hint, 'clip_on': False} | mark_style(series.style)
            axes.plot(i + offset, spread.mean, color=colour, **mark)
        if remark:
            at_top: dict[str, Any] = {'transform': axes.get_xaxis_transform(), 'ha': 'center'}
            axes.text(i + offset, 1.01, '†', color=colour, gid=hint, **at_top)


# ---- looks of a series


def line_style(number: int) -> dict[str, Any]:
    """Colour and dashes of a series' line, as arguments of Matplotlib's functions."""
    dashes = style.dashes(number)
    # Matplotlib's dashes are in widths of the line.
    return {
        'color': style.colour(number),
        'linestyle': (0, [length / 2 for length in dashes]) if dashes else 'solid',
    }


def mark_style(number: int) -> dict[str, Any]:
    """The mark of a series, as arguments of Matplotlib's functions."""
    marker = style.marker(number)
    return {'marker': marker, 'markeredgewidth': 2 if marker in 'x+' else 0}


def named(number: int, hint: str) -> str:
    """The name of an artist of a series, with a text that the page shows."""
    return f'series {number} {hint}'
