"""Figures as SVG: curves with a band over seeds, and points with error bars by category."""

import html
import math
from collections.abc import Sequence

from snjax.report import style
from snjax.report.axes import Axis, axis_of, short
from snjax.report.records import Categories, Curves, Figure, Line, Series
from snjax.report.spreads import Point, Spread

WIDTH, HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 34, 46
_MARKED_POINTS = 30  # of a line: with more of them, marks would hide it
_LETTER = 6.6  # pixels that a character of the legend takes, about


def panel(record: Curves | Categories, part: str = 'xmlns="http://www.w3.org/2000/svg"') -> str:
    """One panel; `part` are further attributes of the svg element."""
    drawn = _curves(record) if isinstance(record, Curves) else _categories(record)
    label = html.escape(record.title)
    return (
        f'<svg {part} viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f'<text class="title" x="{_LEFT}" y="18">{label}</text>{drawn}</svg>'
    )


def alone(figure: Figure) -> str:
    """All panels, legend and caption in one SVG file, for documents: light and dark as the reader's screen is."""
    columns = min(len(figure.panels), 2) or 1
    rows = -(-len(figure.panels) // columns)
    width = columns * WIDTH
    legend, below = _legend(figure.legend, width, rows * HEIGHT + 8)
    words = [line for line in _wrapped(figure.caption, int(width / _LETTER) - 4) if line]
    notes = ''.join(
        f'<text class="soft" x="10" y="{below + 16 + 16 * i}">{html.escape(line)}</text>'
        for i, line in enumerate(words)
    )
    height = below + 16 * len(words) + 12
    places = [(i % columns * WIDTH, i // columns * HEIGHT) for i in range(len(figure.panels))]
    panels = ''.join(
        panel(p, f'x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}"')
        for p, (x, y) in zip(figure.panels, places, strict=True)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<style>{style.FIGURE_CSS}</style><rect class="paper" width="{width}" height="{height}"/>'
        f'{panels}{legend}{notes}</svg>\n'
    )


def sample(number: int) -> str:
    """The line and the mark of a series, 26 x 12 pixels, inside an svg element."""
    dash = style.dash(number)
    line = f'<path d="M0 6H26" stroke="currentColor" stroke-width="2" stroke-dasharray="{dash}"/>'
    return f'{line}{style.mark(number, 13, 6)}'


def _legend(entries, width, top):
    """Entries in columns, and where the space below them begins."""
    if not entries:
        return '', top
    across = max(len(name) for name, _ in entries) * _LETTER + 50
    columns = max(1, int((width - 10) // across))
    out = []
    for i, (name, number) in enumerate(entries):
        x, y = 10 + i % columns * across, top + i // columns * 18
        out.append(
            f'<g class="{style.colour_class(number)}" transform="translate({x:.0f} {y})">{sample(number)}'
            f'<text x="32" y="10">{html.escape(name)}</text></g>'
        )
    return ''.join(out), top + -(-len(entries) // columns) * 18


def _wrapped(text, width):
    lines = ['']
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append('')
        lines[-1] = f'{lines[-1]} {word}'.strip()
    return lines


# ---- what both kinds share


def _y(axis: Axis, value: float | int) -> float:
    """Pixels from the top; far outside of the axis is just outside of the panel."""
    place = min(max(axis.at(value), -0.5), 1.5)
    return HEIGHT - _BOTTOM - place * (HEIGHT - _TOP - _BOTTOM)


def _frame(y_axis: Axis, x_label: str) -> str:
    right, foot = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    out = []
    for tick in y_axis.ticks():
        y = _y(y_axis, tick)
        out.append(
            f'<path class="rule" d="M{_LEFT} {y:.1f}H{right}"/>'
            f'<text class="soft" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>'
        )
    out.append(f'<path class="axis" d="M{_LEFT} {foot}H{right}" fill="none"/>')
    middle = (_LEFT + right) / 2
    label = html.escape(x_label)
    out.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{label}</text>')
    if y_axis.is_log:
        out.append(
            f'<text class="soft" x="{right}" y="{_TOP - 4}" text-anchor="end">log scale</text>'
        )
    return ''.join(out)


def _inside(content: str) -> str:
    """Content cut at the axes: a nested svg clips by itself, and needs no name that a page might have twice."""
    w, h = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    return (
        f'<svg x="{_LEFT}" y="{_TOP}" width="{w}" height="{h}" viewBox="{_LEFT} {_TOP} {w} {h}">'
        f'{content}</svg>'
    )


def number(value: float | int) -> str:
    """Four digits."""
    return f'{value:.4g}'


def said(spread: Spread) -> str:
    """'12.3 ± 4.5': the deviation with two digits, the mean as far as these go; the mean alone of a single seed."""
    if spread.std is None:
        return number(spread.mean)
    if spread.std == 0:
        return f'{number(spread.mean)} ± 0'
    digits = 1 - math.floor(math.log10(spread.std))
    if digits > 5:  # smaller than what is worth writing out
        return f'{number(spread.mean)} ± {spread.std:.2g}'
    places = max(digits, 0)
    return f'{spread.mean:.{places}f} ± {spread.std:.{places}f}'


# ---- curves


def _curves(record: Curves) -> str:
    points = [p for line in record.lines for p in line.points]
    x_axis = Axis(0.0, max((p.step for p in points), default=1.0) or 1.0)
    y_axis = axis_of((p.spread.mean for p in points), may_cut=True)
    y_axis = _with_bands(y_axis, points)

    def x(step):
        return _LEFT + x_axis.at(step) * (WIDTH - _LEFT - _RIGHT)

    foot = HEIGHT - _BOTTOM
    ticks = ''.join(
        f'<path class="axis" d="M{x(t):.1f} {foot}v4"/>'
        f'<text class="soft" x="{x(t):.1f}" y="{foot + 17}" text-anchor="middle">{short(t)}</text>'
        for t in x_axis.ticks()
    )
    # Bands first: none hides the line of another.
    bands = ''.join(_band(line, x, y_axis) for line in record.lines)
    lines = ''.join(_line(line, x, y_axis) for line in record.lines)
    return _frame(y_axis, record.x_label) + ticks + _inside(bands + lines)


def _with_bands(axis: Axis, points: Sequence[Point]) -> Axis:
    """The axis wide enough for what of the bands is near the lines: wild seeds do not squash the means."""
    edges = [p.spread.mean + sign * (p.spread.std or 0) for p in points for sign in (-1, 1)]
    if axis.is_log or not edges:
        return axis
    room = 0.5 * (axis.high - axis.low)
    low = min(axis.low, max(min(edges), axis.low - room))
    if axis.low == 0.0:  # of what is never negative
        low = 0.0
    return Axis(low, max(axis.high, min(max(edges), axis.high + room)))


def _band(line: Line, x, y_axis) -> str:
    out = []
    for run in _runs([p.spread.std is not None for p in line.points]):
        points = [line.points[i] for i in run]
        if len(points) < 2:
            continue
        top = [(x(p.step), _y(y_axis, p.spread.mean + (p.spread.std or 0))) for p in points]
        foot = [(x(p.step), _y(y_axis, p.spread.mean - (p.spread.std or 0))) for p in points]
        path = 'L'.join(f'{a:.1f} {b:.1f}' for a, b in [*top, *reversed(foot)])
        out.append(f'<path d="M{path}z" fill="currentColor" opacity=".16"/>')
    return _series(line.style, ''.join(out))


def _line(line: Line, x, y_axis) -> str:
    at = [(x(p.step), _y(y_axis, p.spread.mean)) for p in line.points]
    dash = style.dash(line.style)
    out = []
    for is_whole in (True, False):
        # A segment is thin where one of its ends lacks a seed.
        pairs = [
            p.is_whole and q.is_whole for p, q in zip(line.points, line.points[1:], strict=False)
        ]
        for run in _runs([whole == is_whole for whole in pairs]):
            path = 'L'.join(f'{a:.1f} {b:.1f}' for a, b in at[run[0] : run[-1] + 2])
            out.append(
                f'<path d="M{path}" fill="none" stroke="currentColor" stroke-width="{2 if is_whole else 0.9}" '
                f'stroke-linejoin="round" stroke-dasharray="{dash}"/>'
            )
    every = 1 if len(at) <= _MARKED_POINTS else -(-len(at) // 8)
    first = (line.style * 3) % every if every > 1 else 0  # marks of several lines do not coincide
    for (a, b), point in list(zip(at, line.points, strict=True))[first::every]:
        out.append(f'<g>{style.mark(line.style, a, b, 3.5)}{_hint(line.name, point)}</g>')
    return _series(line.style, ''.join(out))


def _hint(name, point):
    n = len(point.spread.values)
    seeds = f' ({n} seeds)' if n > 1 else ''
    text = f'{name}, step {point.step:.0f}: {said(point.spread)}{seeds}'
    return f'<title>{html.escape(text)}</title>'


def _series(number: int, content: str) -> str:
    return f'<g class="{style.colour_class(number)}" data-series="{number}">{content}</g>'


def _runs(flags: Sequence[bool]) -> list[list[int]]:
    """Indices of consecutive True values."""
    runs: list[list[int]] = []
    for i, flag in enumerate(flags):
        if flag and i and flags[i - 1]:
            runs[-1].append(i)
        elif flag:
            runs.append([i])
    return runs


# ---- points by category


def _categories(record: Categories) -> str:
    spreads = [s for series in record.series for s in series.values if s]
    values = [v for s in spreads for v in (*s.values, s.mean)]
    lowest = min(values, default=0)
    bars = [s.mean + sign * (s.std or 0) for s in spreads for sign in (1, -1)]
    # A bar may reach far below every value, of a distance below zero: the axis does not follow it there.
    y_axis = axis_of([*values, *(b for b in bars if lowest < 0 or b >= 0.5 * lowest)])
    width = (WIDTH - _LEFT - _RIGHT) / max(len(record.categories), 1)
    foot = HEIGHT - _BOTTOM
    out = []
    for i, name in enumerate(record.categories):
        start = _LEFT + i * width
        out.append(
            f'<text x="{start + width / 2:.1f}" y="{foot + 17}" text-anchor="middle">{html.escape(name)}</text>'
        )
        if i:
            out.append(f'<path class="rule" d="M{start:.1f} {_TOP}V{foot}"/>')
    step = width / (len(record.series) + 1)
    for n, series in enumerate(record.series):
        content = ''.join(
            _point(series, i, _LEFT + i * width + (n + 1) * step, y_axis)
            for i in range(len(record.categories))
        )
        out.append(_series(series.style, content))
    return _frame(y_axis, record.x_label) + ''.join(out)


def _point(series: Series, i: int, x: float | int, y_axis: Axis) -> str:
    """The mean's mark, its error bar and each seed; a remark alone is a cross at the top."""
    found, remark = series.values[i], series.remarks[i]
    out = []
    if found:
        if found.std is not None:
            high, low = (_y(y_axis, found.mean + sign * found.std) for sign in (1, -1))
            low = min(low, HEIGHT - _BOTTOM)
            out.append(
                f'<path d="M{x:.1f} {high:.1f}V{low:.1f}M{x - 3:.1f} {high:.1f}h6M{x - 3:.1f} {low:.1f}h6" '
                'stroke="currentColor" stroke-width="1.3" fill="none"/>'
            )
        out += [
            f'<circle cx="{x + 4:.1f}" cy="{_y(y_axis, v):.1f}" r="1.5" fill="currentColor" opacity=".55"/>'
            for v in found.values
            if len(found.values) > 1
        ]
        out.append(style.mark(series.style, x, _y(y_axis, found.mean)))
    if remark:
        out.append(
            f'<text x="{x:.1f}" y="{_TOP - 3}" text-anchor="middle" style="fill:currentColor">†</text>'
        )
    if not out:
        return ''
    words = ': '.join(filter(None, [series.name, said(found) if found else '', remark]))
    return f'<g>{"".join(out)}<title>{html.escape(words)}</title></g>'
