"""Figures as SVG for pages, and as SVG, PDF and PNG for documents, by Matplotlib.

Colours are literal, so that every reader of SVG shows them, and a figure's bytes depend on its
record alone. Matplotlib's settings and the user's own are left as they are.
"""

import contextlib
import html
import io
import logging
import re
import textwrap
import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from experiments.report import panels, style
from experiments.report.records import Figure, Panel

# Size of a panel, and distances from its edges to its axes: pixels, the unit of the SVG.
WIDTH, HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 34, 46
_LETTER = 6.6  # width of a character of the legend and the caption, about
_LINE = 18  # height of a line of these

_SETTINGS: dict[Any, Any] = {
    'font.size': 12,
    'font.sans-serif': ['DejaVu Sans'],  # comes with Matplotlib
    'text.parse_math': False,  # a name may have dollars in it
    'axes.titlesize': 12,
    'axes.titleweight': 'bold',
    'axes.titlecolor': style.INK,
    'axes.labelcolor': style.INK,
    'text.color': style.INK,
    'lines.linewidth': 2,
    'lines.markersize': 7,
    'lines.solid_joinstyle': 'round',
    'svg.fonttype': 'none',  # text stays text
    'pdf.fonttype': 42,
}
# Entries that are left out: a date or a version would make two equal figures differ.
_NO_METADATA: dict[str, dict[str, Any]] = {
    'svg': dict.fromkeys(('Date', 'Creator', 'Format', 'Type')),
    'pdf': dict.fromkeys(('CreationDate', 'Creator', 'Producer')),
    'png': {'Software': None},
}


def panel_svg(panel: Panel, salt: str = '') -> str:
    """One panel as an SVG element for a page.

    Args:
        panel: to draw.
        salt: makes the ids inside unique; each element of a page needs another.
    """
    with _settings(salt):
        canvas = Canvas(figsize=(WIDTH / 72, HEIGHT / 72), facecolor='none')
        panels.draw(canvas.add_axes(_place(0, 0, WIDTH, HEIGHT)), panel)
        svg = _saved(canvas, 'svg').decode()
    label = f'role="img" aria-label="{html.escape(panel.title)}"'
    body = svg[svg.index('</defs>') + len('</defs>') :]
    return style.screen(_tidy(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" {label}>{body}'))


def files(figure: Figure) -> dict[str, bytes]:
    """The whole figure for documents: all panels, the legend and the caption.

    Returns:
        The contents of a file for each of 'svg', 'pdf' and 'png'.
    """
    with _settings():
        canvas = draw_figure(figure)
        svg = _tidy(_saved(canvas, 'svg').decode())
        # Pixels: points would be shown a third larger.
        svg = re.sub(r'(width|height)="([\d.]+)pt"', r'\1="\2"', svg)
        made = {kind: _saved(canvas, kind) for kind in ('pdf', 'png')}
    return {'svg': svg.encode(), **made}


@contextlib.contextmanager
def _settings(salt: str = '') -> Iterator[None]:
    """Gives Matplotlib the settings of this module and no others."""
    # On its first start on a machine Matplotlib lists the fonts, and would report that on stderr.
    logging.getLogger('matplotlib.font_manager').setLevel(logging.ERROR)
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Glyph .* missing from font', UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        matplotlib.rcParams['svg.hashsalt'] = f'snjax {salt}'
        yield


def _saved(canvas: Canvas, kind: str) -> bytes:
    out = io.BytesIO()
    canvas.savefig(out, format=kind, dpi=144, metadata=_NO_METADATA[kind])
    return out.getvalue()


def _tidy(svg: str) -> str:
    """Removes the names of groups from an SVG, because nothing refers to them.

    The name that `panels.named` gave becomes a `data-series`, by which the page's script picks out
    a series, and a `<title>`, which is shown while the pointer is over the group.
    """
    svg = re.sub(r'<g id="[^"]*"/>\s*', '', svg)  # empty
    svg = re.sub(r'<g id="series (\d+) ([^"]*)">', r'<g data-series="\1"><title>\2</title>', svg)
    return re.sub(r'<g id="[^"]*">', '<g>', svg)


def _place(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    """The axes of the panel whose upper left corner is at (x, y) of a canvas, as shares of it."""
    return (
        (x + _LEFT) / width,
        1 - (y + HEIGHT - _BOTTOM) / height,
        (WIDTH - _LEFT - _RIGHT) / width,
        (HEIGHT - _TOP - _BOTTOM) / height,
    )


def draw_figure(figure: Figure) -> Canvas:
    """All panels in two columns, with the legend and the caption below."""
    columns = min(len(figure.panels), 2) or 1
    width = columns * WIDTH
    foot = -(-len(figure.panels) // columns) * HEIGHT  # of the panels
    longest = max((len(name) for name, _ in figure.legend), default=0)
    across = max(1, int((width - 20) // (longest * _LETTER + 50)))
    caption = textwrap.wrap(figure.caption, int(width / _LETTER) - 4)
    caption_top = foot + 16 + _LINE * -(-len(figure.legend) // across)
    height = caption_top + _LINE * len(caption) + 8
    canvas = Canvas(figsize=(width / 72, height / 72), facecolor=style.PAPER)
    for i, panel in enumerate(figure.panels):
        corner = i % columns * WIDTH, i // columns * HEIGHT
        panels.draw(canvas.add_axes(_place(*corner, width, height)), panel)
    if figure.legend:
        canvas.legend(
            [_sample(number) for _, number in figure.legend],
            [name for name, _ in figure.legend],
            ncols=across,
            loc='upper left',
            bbox_to_anchor=(8 / width, 1 - foot / height),
            borderpad=0.4,
            borderaxespad=0,
            frameon=False,
        )
    text: dict[str, Any] = {'va': 'top', 'color': style.SOFT, 'linespacing': 1.3}
    canvas.text(10 / width, 1 - caption_top / height, '\n'.join(caption), **text)
    return canvas


def _sample(number: int) -> Line2D:
    """An entry of the legend."""
    return Line2D([], [], **panels.line_style(number), **panels.mark_style(number))
