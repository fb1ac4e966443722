"""Colours, marks and dashes of the series, in figures and on the page.

The eight colours are those of Okabe and Ito, which colour-blind readers can tell apart. Yellow and
the lighter colours are darkened for white paper, the darker ones lightened for a dark screen. Next
to each other in the order, colours differ in lightness as well as in hue, and each series has its
own mark, so a grey print can be read.
"""

# By colour on white paper: the colour on a dark screen.
SERIES = {
    '#0072b2': '#56a8e8',
    '#d55e00': '#ff8145',
    '#007a5a': '#2fc79b',
    '#b0558f': '#e69ac6',
    '#b57a00': '#f0b030',
    '#3b9bd0': '#a9dbf7',
    '#1a1a1a': '#ededed',
    '#8c7a00': '#e6db58',
}
INK, SOFT, RULE, PAPER = '#1d1d1f', '#5c5c62', '#d9d9de', '#ffffff'
_GREYS = {INK: '#ececee', SOFT: '#a5a5ad', RULE: '#3a3a40', PAPER: '#161618', '#f5f5f7': '#212124'}
_DASHES = ('', '6 3', '2 2', '8 3 2 3')
# By Matplotlib's name of a marker: the same shape as an SVG path in a box of 12 by 12.
_MARKS = {
    'o': 'M10 6a4 4 0 1 1-8 0a4 4 0 1 1 8 0z',
    's': 'M2 2h8v8h-8z',
    '^': 'M6 1l5 9h-10z',
    'D': 'M6 1l5 5l-5 5l-5-5z',
    'v': 'M6 11l5-9h-10z',
    'x': 'M2 2l8 8M2 10l8-8',
    '+': 'M6 1v10M1 6h10',
}


def colour(style: int) -> str:
    """The colour of a series on white paper, as '#0072b2'."""
    return list(SERIES)[style % len(SERIES)]


def dashes(style: int) -> tuple[float, ...]:
    """Lengths of dashes and gaps of a series' line; () for the first eight, which are solid."""
    return tuple(map(float, _DASHES[style // len(SERIES) % len(_DASHES)].split()))


def marker(style: int) -> str:
    """The mark of a series by Matplotlib's name."""
    return list(_MARKS)[style % len(_MARKS)]


def mark_svg(style: int) -> str:
    """The mark of a series as an inline SVG element, for tables."""
    return (
        f'<svg class="mark" viewBox="0 0 12 12" style="color:{screen(colour(style))}">'
        f'{_mark_path(style)}</svg>'
    )


def line_svg(style: int) -> str:
    """A piece of a series' line with its mark as an inline SVG element, for legends."""
    dash = ' '.join(f'{length:g}' for length in dashes(style))
    return (
        f'<svg viewBox="0 0 26 12" style="color:{screen(colour(style))}">'
        f'<path d="M0 6H26" stroke="currentColor" stroke-width="2" stroke-dasharray="{dash}"/>'
        f'<g transform="translate(7 0)">{_mark_path(style)}</g></svg>'
    )


def _mark_path(style):
    is_open = marker(style) in 'x+'
    paint = (
        'stroke="currentColor" stroke-width="2" fill="none"' if is_open else 'fill="currentColor"'
    )
    return f'<path d="{_MARKS[marker(style)]}" {paint}/>'


def screen(text: str) -> str:
    """Replaces each colour by a CSS variable, which follows the screen's light or dark scheme."""
    for light in SERIES | _GREYS:
        text = text.replace(light, f'var(--c{light[1:]})')
    return text


def variables() -> str:
    """The style sheet that defines the variables of `screen`."""
    pairs = (SERIES | _GREYS).items()
    light = ''.join(f'--c{name[1:]}:{name};' for name, _ in pairs)
    dark = ''.join(f'--c{name[1:]}:{value};' for name, value in pairs)
    return (
        f':root{{color-scheme:light;{light}}}'
        f'@media(prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}'
    )
