"""A page from its records: one HTML file that needs nothing else, neither network nor server."""

import base64
import html
from collections.abc import Sequence

from snjax.report import figure as figures
from snjax.report import style
from snjax.report.records import Block, Cell, Figure, Page, Section, Sheet, Table, Text

_SHORT = 32  # letters that stay in one line of a table


def render(page: Page) -> str:
    """The whole document."""
    title = html.escape(page.title)
    about = ''.join(f'<p class="about">{html.escape(line)}</p>' for line in page.about)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{title}</title><style>{style.PAGE_CSS}</style></head>\n'
        f'<body><h1>{title}</h1>{about}\n{"".join(map(_section, page.sections))}'
        f'<script>{style.SCRIPT}</script></body></html>\n'
    )


def _section(section: Section) -> str:
    head = f'<h2>{html.escape(section.title)}</h2>'
    body = '\n'.join(map(_block, section.blocks))
    if section.is_folded:
        return f'<details><summary>{head}</summary>\n{body}</details>\n'
    return f'<section>{head}\n{body}</section>\n'


def _block(block: Block) -> str:
    match block:
        case Table():
            return _table(block)
        case Figure():
            return _figure(block)
        case Sheet():
            return _sheet(block)
        case Text():
            text = html.escape(block.text)
            return f'<pre>{text}</pre>' if block.is_code else f'<p>{text}</p>'


def _table(table: Table) -> str:
    best = _best(table)
    apart = _apart(table.groups)
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


def _apart(groups: Sequence[tuple[str, int]]) -> set[int]:
    """Columns of the groups after the first named one: what others published stands apart from one's own."""
    columns, start = set(), 0
    for name, count in groups:
        if name.startswith('published'):
            columns |= set(range(start, start + count))
        start += count
    return columns


def _best(table: Table) -> set[tuple[int, int]]:
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
    text = html.escape(cell.text)
    text = f'<strong>{text}</strong>' if is_best else text
    return f'<td{_class(classes)}{order}{hint}>{_mark(cell.style)}{text}</td>'


def _class(names: str) -> str:
    return f' class="{names}"' if names else ''


def _mark(number: int | None) -> str:
    if number is None:
        return ''
    shape = style.mark(number, 6, 6, 5)
    return f'<svg class="mark {style.colour_class(number)}" viewBox="0 0 12 12">{shape}</svg>'


def _figure(figure: Figure) -> str:
    panels = ''.join(map(figures.panel, figure.panels))
    legend = ''.join(
        f'<li data-series="{number}"><svg class="{style.colour_class(number)}" viewBox="0 0 26 12">'
        f'{figures.sample(number)}</svg>{html.escape(name)}</li>'
        for name, number in figure.legend
    )
    caption = f'<figcaption>{html.escape(figure.caption)}</figcaption>' if figure.caption else ''
    return f'<figure><div class="panels">{panels}</div><ul class="legend">{legend}</ul>{caption}</figure>'


def _captioned(caption: str, table: str) -> str:
    """A table under its caption, which stays in sight where a wide table is scrolled."""
    told = f'<figcaption>{html.escape(caption)}</figcaption>' if caption else ''
    return f'<figure>{told}{table}</figure>'


def _sheet(sheet: Sheet) -> str:
    heads = ''.join(f'<th scope="col">{html.escape(head)}</th>' for head in sheet.columns)
    rows = '\n'.join(
        f'<tr><th scope="row">{_mark(number)}{html.escape(name)}</th>'
        f'{"".join(_picture(png, f"{name}, {head}") for png, head in zip(pngs, sheet.columns, strict=True))}</tr>'
        for name, number, pngs in sheet.rows
    )
    return _captioned(
        sheet.caption,
        f'<div class="wide"><table class="sheet"><thead><tr><th></th>{heads}</tr></thead>\n'
        f'<tbody>{rows}</tbody></table></div>',
    )


def _picture(png: bytes | None, alt: str) -> str:
    if png is None:
        return '<td class="none">none</td>'
    data = base64.b64encode(png).decode()
    return f'<td><img src="data:image/png;base64,{data}" alt="{html.escape(alt)}"></td>'
