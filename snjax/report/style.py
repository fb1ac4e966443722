"""Colours, dashes, marks and the style sheet of the page.

The eight colours are those of Okabe and Ito, which the colour-blind tell apart too; yellow and the lighter ones are
darkened for paper, the darker ones lightened for a dark screen. Neighbours in the order differ in lightness as well as
in hue, and each series has a mark of its own, so that a print in grey can be read.
"""

_LIGHT = ('#0072b2', '#d55e00', '#007a5a', '#b0558f', '#b57a00', '#3b9bd0', '#1a1a1a', '#8c7a00')
_DARK = ('#56a8e8', '#ff8145', '#2fc79b', '#e69ac6', '#f0b030', '#a9dbf7', '#ededed', '#e6db58')
NUM_COLOURS = len(_LIGHT)
_DASHES = ('', '6 3', '2 2', '8 3 2 3')
_NUM_MARKS = 7


def colour_class(style: int) -> str:
    """The CSS class that sets `color` to the series's own."""
    return f's{style % NUM_COLOURS}'


def dash(style: int) -> str:
    """`stroke-dasharray` of the series: the first eight are solid."""
    return _DASHES[style // NUM_COLOURS % len(_DASHES)]


def mark(style: int, x: float | int, y: float | int, size: float | int = 4) -> str:
    """The series's mark at (x, y) as an SVG path of the current colour, `size` pixels to each side."""
    s, t = size, size * 0.8
    n = style % _NUM_MARKS
    if n == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{t:.1f}" fill="currentColor"/>'
    shapes = {
        1: f'M{-t:.1f} {-t:.1f}h{2 * t:.1f}v{2 * t:.1f}h{-2 * t:.1f}z',  # square
        2: f'M0 {-s:.1f}L{s:.1f} {t:.1f}H{-s:.1f}z',  # triangle
        3: f'M0 {-s:.1f}L{s:.1f} 0L0 {s:.1f}L{-s:.1f} 0z',  # diamond
        4: f'M0 {s:.1f}L{s:.1f} {-t:.1f}H{-s:.1f}z',  # triangle on its point
        5: f'M{-t:.1f} {-t:.1f}L{t:.1f} {t:.1f}M{-t:.1f} {t:.1f}L{t:.1f} {-t:.1f}',  # cross
        6: f'M0 {-s:.1f}V{s:.1f}M{-s:.1f} 0H{s:.1f}',  # plus
    }
    paint = 'stroke="currentColor" stroke-width="2" fill="none"' if n > 4 else 'fill="currentColor"'
    return f'<path transform="translate({x:.1f} {y:.1f})" d="{shapes[n]}" {paint}/>'


def _colours(values):
    return ''.join(f'.s{i}{{color:{value}}}' for i, value in enumerate(values))


_INK = (
    '--ink:#1d1d1f;--soft:#5c5c62;--rule:#d9d9de;--paper:#ffffff;--shade:#f5f5f7;color-scheme:light'
)
_DARK_INK = (
    '--ink:#ececee;--soft:#a5a5ad;--rule:#3a3a40;--paper:#161618;--shade:#212124;color-scheme:dark'
)

# What figures need, alone or in the page.
FIGURE_CSS = (
    f':root{{{_INK}}}{_colours(_LIGHT)}'
    f'@media(prefers-color-scheme:dark){{:root{{{_DARK_INK}}}{_colours(_DARK)}}}'
    'svg{font:12px system-ui,sans-serif}svg text{fill:var(--ink)}svg .soft{fill:var(--soft)}'
    'svg .title{font-weight:600}svg .rule{stroke:var(--rule)}svg .axis{stroke:var(--soft)}'
    '.paper{fill:var(--paper)}.dim{opacity:.12}'
)

PAGE_CSS = (
    FIGURE_CSS
    + """
body{margin:0 auto;padding:1.5rem;max-width:1280px;background:var(--paper);color:var(--ink);
  font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2.2rem 0 .5rem}
p{margin:.4rem 0}.about,figcaption{color:var(--soft);font-size:.87rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.87rem;font-variant-numeric:tabular-nums;margin:.4rem 0 1rem}
th,td{padding:.22rem .7rem .22rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
td.number,td.short{white-space:nowrap}
th{font-weight:600;vertical-align:bottom;border-bottom-color:var(--soft)}
th.group{border-bottom:1px solid var(--rule);font-weight:400;color:var(--soft)}
th button{all:unset;cursor:pointer}th button:hover,th button:focus-visible{text-decoration:underline}
th[aria-sort=ascending] button::after{content:" \\2191"}th[aria-sort=descending] button::after{content:" \\2193"}
.apart{border-left:3px double var(--soft);padding-left:.7rem;color:var(--soft)}
td .mark,th .mark{flex:none;width:12px;height:12px;margin-right:.4rem;vertical-align:-1px}
figure{margin:.5rem 0 1rem}figcaption{max-width:70rem}
.panels{display:flex;flex-wrap:wrap;gap:.5rem}.panels svg{flex:1 1 380px;max-width:620px;height:auto}
.legend{display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;padding:0;margin:.3rem 0;list-style:none;font-size:.87rem}
.legend svg{width:26px;height:12px;margin-right:.35rem;vertical-align:-1px}
.sheet td{border:0;padding:.25rem .5rem .25rem 0}.sheet th{border:0}
.sheet th[scope=row]{max-width:13rem;font-weight:400;vertical-align:middle}
.sheet img{display:block;width:170px;image-rendering:pixelated;background:#000}
.none{color:var(--soft);font-size:.87rem}
details{margin:.5rem 0}summary{cursor:pointer}summary h2{display:inline}
pre{background:var(--shade);padding:.7rem;overflow-x:auto;font-size:.82rem;line-height:1.4}
"""
)

# Sorting by a column, and one series of a figure at a time. The page says everything without it.
SCRIPT = """
for (const button of document.querySelectorAll('th button')) button.onclick = () => {
  const head = button.parentElement, table = head.closest('table'), body = table.tBodies[0];
  const column = [...head.parentElement.children].indexOf(head);
  const up = head.getAttribute('aria-sort') !== 'ascending';
  for (const other of head.parentElement.children) other.removeAttribute('aria-sort');
  head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
  const key = row => row.cells[column].dataset.order ?? row.cells[column].textContent.trim();
  const compare = (a, b) => {
    if (a === '' || b === '') return (a === '') - (b === '');  // what is missing stays last
    const order = isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, {numeric: true}) : a - b;
    return up ? order : -order;
  };
  [...body.rows].sort((a, b) => compare(key(a), key(b))).forEach(row => body.append(row));
};
for (const figure of document.querySelectorAll('figure')) {
  const all = figure.querySelectorAll('[data-series]');
  for (const entry of all) {
    const dim = on => all.forEach(x => x.classList.toggle('dim', on && x.dataset.series !== entry.dataset.series));
    entry.addEventListener('mouseenter', () => dim(true));
    entry.addEventListener('mouseleave', () => dim(false));
  }
}
"""
