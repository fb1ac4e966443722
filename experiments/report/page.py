"""A `Page` as one HTML file that needs no network, no server and no JavaScript."""

import base64
import html
import pathlib
from collections.abc import Sequence

from experiments.report import figure as figures
from experiments.report import style
from experiments.report.records import Block, Cell, Figure, ImageTable, Page, Section, Table, Text

_SHORT = 32  # a text of at most this many characters is not broken into lines
_CSS, _SCRIPT = (pathlib.Path(__file__).with_name(f'page.{end}') for end in ('css', 'js'))


def render(page: Page) -> str:
    """The whole document."""
    title = html.escape(page.title)
    about = ''.join(f'<p class="about">{html.escape(line)}</p>' for line in page.about)
    css = style.variables() + style.screen(_CSS.read_text())
    sections = ''.join(_section(s, str(i)) for i, s in enumerate(page.sections))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{title}</title><style>{css}</style></head>\n'
        f'<body><h1>{title}</h1>{about}\n{sections}'
        f'<script>{_SCRIPT.read_text()}</script></body></html>\n'
    )


def _section(section: Section, number: str) -> str:
    head = f'<h2>{html.escape(section.title)}</h2>'
    body = '\n'.join(_block(b, f'{number}.{i}') for i, b in enumerate(section.blocks))
    if section.is_folded:
        return f'<details><summary>{head}</summary>\n{body}</details>\n'
    return f'<section>{head}\n{body}</section>\n'


def _block(block: Block, number: str) -> str:
    match block:
        case Table():
            return _table(block)
        case Figure():
            return _figure(block, number)
        case ImageTable():
            return _image_table(block)
        case Text():
            text = html.escape(block.text)
            return f'<pre>{text}</pre>' if block.is_code else f'<p>{text}</p>'


# ---- tables


def _table(table: Table) -> str:
    best = best_cells(table)
    apart = _published_columns(table.groups)
    groups = ''.join(
        f'<th class="group" colspan="{n}" scope="colgroup">{html.escape(name)}</th>'
        for name, n in table.groups
    )
    groups = f'<tr>{groups}</tr>' if groups else ''
    heads = ''.join(
        f'<th scope="col"{_class("apart" if i in apart else "")}>'
        f'<button type="button">{html.escape(head)}</button></th>'
        for i, head in enumerate(table.heads)
    )
    rows = '\n'.join(
        f'<tr>{"".join(_cell(c, (r, i) in best, i in apart) for i, c in enumerate(row))}</tr>'
        for r, row in enumerate(table.rows)
    )
    return _captioned(
        table.caption,
        f'<div class="wide"><table><thead>{groups}<tr>{heads}</tr></thead>\n'
        f'<tbody>{rows}</tbody></table></div>',
    )


def _published_columns(groups: Sequence[tuple[str, int]]) -> set[int]:
    """The columns of published numbers, which the page sets apart from scores measured here."""
    columns, start = set(), 0
    for name, count in groups:
        if name.startswith('published'):
            columns |= set(range(start, start + count))
        start += count
    return columns


def best_cells(table: Table) -> set[tuple[int, int]]:
    """(row, column) of the cells in bold."""
    found = set()
    for column, sign in table.best.items():
        orders = [(row[column].order, r) for r, row in enumerate(table.rows)]
        known = [(sign * order, r) for order, r in orders if order is not None]
        if len(known) > 1:
            found |= {(r, column) for order, r in known if order == max(known)[0]}
    return found


def _cell(cell: Cell, is_best: bool, is_apart: bool) -> str:
    kinds = {'number': cell.order is not None, 'short': len(cell.text) <= _SHORT, 'apart': is_apart}
    classes = ' '.join(name for name, is_on in kinds.items() if is_on)
    order = '' if cell.order is None else f' data-order="{cell.order!r}"'
    hint = f' title="{html.escape(cell.hint)}"' if cell.hint else ''
    text = html.escape(cell.text) if cell.style is None else _breaking(cell.text)
    text = f'<strong>{text}</strong>' if is_best else text
    return f'<td{_class(classes)}{order}{hint}>{_mark(cell.style)}{text}</td>'


def _breaking(name: str) -> str:
    """A name of runs, which may break between the overrides of a sweep."""
    return html.escape(name).replace(',', ',<wbr>')


def _class(names: str) -> str:
    return f' class="{names}"' if names else ''


def _mark(number: int | None) -> str:
    return '' if number is None else style.mark_svg(number)


def _captioned(caption: str, table: str) -> str:
    """Puts a caption above a table; it stays in sight while a wide table is scrolled."""
    head = f'<figcaption>{html.escape(caption)}</figcaption>' if caption else ''
    return f'<figure>{head}{table}</figure>'


# ---- figures and images


def _figure(figure: Figure, number: str) -> str:
    panels = ''.join(
        figures.panel_svg(panel, f'{number}.{i}') for i, panel in enumerate(figure.panels)
    )
    legend = ''.join(
        f'<li data-series="{series}">{style.line_svg(series)}{html.escape(name)}</li>'
        for name, series in figure.legend
    )
    caption = f'<figcaption>{html.escape(figure.caption)}</figcaption>' if figure.caption else ''
    return (
        f'<figure><div class="panels">{panels}</div><ul class="legend">{legend}</ul>{caption}'
        '</figure>'
    )


def _image_table(table: ImageTable) -> str:
    heads = ''.join(f'<th scope="col">{html.escape(head)}</th>' for head in table.columns)
    rows = []
    for name, number, pngs in table.rows:
        images = ''.join(
            _image(png, f'{name}, {head}') for png, head in zip(pngs, table.columns, strict=True)
        )
        rows.append(f'<tr><th scope="row">{_mark(number)}{_breaking(name)}</th>{images}</tr>')
    body = '\n'.join(rows)
    return _captioned(
        table.caption,
        f'<div class="wide"><table class="images"><thead><tr><th></th>{heads}</tr></thead>\n'
        f'<tbody>{body}</tbody></table></div>',
    )


def _image(png: bytes | None, alt: str) -> str:
    if png is None:
        return '<td class="none">none</td>'
    data = base64.b64encode(png).decode()
    return f'<td><img src="data:image/png;base64,{data}" alt="{html.escape(alt)}"></td>'
