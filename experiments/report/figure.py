"""Figures as SVG for pages, and as SVG, PDF and PNG for documents, by Matplotlib.

A file for documents is 6.5 inches wide, a page of text, in a serif font of 8 points; one panel alone
is half as wide. Its colours are literal and the letters of its SVG are outlines, so that every
reader shows the same; the PDF keeps its text. A figure's bytes depend on its record alone.
Matplotlib's settings and the user's own are left as they are.
"""

import contextlib
import html
import io
import logging
import re
import textwrap
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from experiments.report import panels, style
from experiments.report.records import Figure, Panel


class Look(NamedTuple):
    """Sizes of a medium, in its unit: pixels of the page's SVG, points of a document.

    Attributes:
        width, height: of a panel.
        edges: from its edges to its axes: left, right, top, bottom.
        letter, line: width of a letter of the legend and the caption, about, and height of a line.
        settings: of Matplotlib, beside `_SETTINGS`.
    """

    width: float
    height: float
    edges: tuple[float, float, float, float]
    letter: float
    line: float
    settings: dict[Any, Any]


# All fonts come with Matplotlib; a letter that the first lacks is taken from the second.
SCREEN = Look(
    460,
    300,
    (54, 14, 34, 46),
    6.6,
    18,
    {
        'font.size': 12,
        'font.family': ['DejaVu Sans'],
        'axes.titlesize': 12,
        'lines.linewidth': 2,
        'lines.markersize': 7,
        'svg.fonttype': 'none',  # text stays text
    },
)
PAPER = Look(
    234,
    165,
    (34, 8, 24, 30),
    3.9,
    11,
    {
        'font.size': 8,
        'font.family': ['STIXGeneral', 'DejaVu Sans'],
        'axes.titlesize': 8,
        'lines.linewidth': 1.2,
        'lines.markersize': 4,
        'svg.fonttype': 'path',
    },
)
_SETTINGS: dict[Any, Any] = {
    'text.parse_math': False,  # a name may have dollars in it
    'axes.titleweight': 'bold',
    'axes.titlecolor': style.INK,
    'axes.labelcolor': style.INK,
    'text.color': style.INK,
    'lines.solid_joinstyle': 'round',
    'pdf.fonttype': 42,
}
_DPI = 300  # of PNGs
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
    width, height = SCREEN.width, SCREEN.height
    with _settings(SCREEN, salt):
        canvas = Canvas(figsize=(width / 72, height / 72), facecolor='none')
        panels.draw(canvas.add_axes(_place(SCREEN, 0, 0, width, height)), panel)
        svg = _saved(canvas, 'svg').decode()
    label = f'role="img" aria-label="{html.escape(panel.title)}"'
    body = svg[svg.index('</defs>') + len('</defs>') :]
    return style.screen(_tidy(f'<svg viewBox="0 0 {width} {height}" {label}>{body}'))


def files(figure: Figure) -> dict[str, bytes]:
    """The whole figure for documents: all panels, the legend and the caption.

    Returns:
        The contents of a file for each of 'svg', 'pdf' and 'png'.
    """
    with _settings(PAPER):
        canvas = draw_figure(figure)
        made = {kind: _saved(canvas, kind) for kind in ('svg', 'pdf', 'png')}
    return {**made, 'svg': _tidy(made['svg'].decode()).encode()}


@contextlib.contextmanager
def _settings(look: Look, salt: str = '') -> Iterator[None]:
    """Gives Matplotlib the settings of this module and no others."""
    # On its first start on a machine Matplotlib lists the fonts, and would report that on stderr.
    logging.getLogger('matplotlib.font_manager').setLevel(logging.ERROR)
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Glyph .* missing from font', UserWarning)
        matplotlib.rcdefaults()
        for settings in (_SETTINGS, look.settings):
            matplotlib.rcParams.update(settings)
        matplotlib.rcParams['svg.hashsalt'] = f'snjax {salt}'
        yield


def _saved(canvas: Canvas, kind: str) -> bytes:
    out = io.BytesIO()
    canvas.savefig(out, format=kind, dpi=_DPI, metadata=_NO_METADATA[kind])
    return out.getvalue()


def _tidy(svg: str) -> str:
    """Removes the names of groups from an SVG, because nothing refers to them.

    The name that `panels.named` gave becomes a `data-series`, by which the page's script picks out
    a series, and a `<title>`, which is shown while the pointer is over the group.
    """
    svg = re.sub(r'<g id="[^"]*"/>\s*', '', svg)  # empty
    svg = re.sub(r'<g id="series (\d+) ([^"]*)">', r'<g data-series="\1"><title>\2</title>', svg)
    return re.sub(r'<g id="[^"]*">', '<g>', svg)


def _place(
    look: Look, x: float, y: float, width: float, height: float
) -> tuple[float, float, float, float]:
    """The axes of the panel whose upper left corner is at (x, y) of a canvas, as shares of it."""
    left, right, top, bottom = look.edges
    return (
        (x + left) / width,
        1 - (y + look.height - bottom) / height,
        (look.width - left - right) / width,
        (look.height - top - bottom) / height,
    )


def draw_figure(figure: Figure) -> Canvas:
    """All panels in two columns, with the legend and the caption below, for documents."""
    look, columns = PAPER, min(len(figure.panels), 2) or 1
    width = columns * look.width
    foot = -(-len(figure.panels) // columns) * look.height  # of the panels
    longest = max((len(name) for name, _ in figure.legend), default=0)
    across = max(1, int((width - 12) // (longest * look.letter + 36)))
    caption = textwrap.wrap(figure.caption, int(width / look.letter) - 4)
    caption_top = foot + 10 + look.line * -(-len(figure.legend) // across)
    height = caption_top + look.line * len(caption) + 6
    canvas = Canvas(figsize=(width / 72, height / 72), facecolor=style.PAPER)
    for i, panel in enumerate(figure.panels):
        corner = i % columns * look.width, i // columns * look.height
        panels.draw(canvas.add_axes(_place(look, *corner, width, height)), panel)
    if figure.legend:
        canvas.legend(
            [_sample(number) for _, number in figure.legend],
            [name for name, _ in figure.legend],
            ncols=across,
            loc='upper left',
            bbox_to_anchor=(6 / width, 1 - foot / height),
            borderpad=0.4,
            borderaxespad=0,
            frameon=False,
        )
    text: dict[str, Any] = {'va': 'top', 'color': style.SOFT, 'linespacing': 1.3}
    canvas.text(8 / width, 1 - caption_top / height, '\n'.join(caption), **text)
    return canvas


def _sample(number: int) -> Line2D:
    """An entry of the legend."""
    return Line2D([], [], **panels.line_style(number), **panels.mark_style(number))
