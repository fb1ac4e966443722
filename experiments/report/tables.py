"""Tables of a page for documents: as Markdown and as LaTeX (`\\usepackage{booktabs}`)."""

import re
from collections.abc import Sequence

from experiments.report.page import best_cells
from experiments.report.records import Page, Table

_LATEX = {
    '\\': r'\textbackslash{}',
    '±': r'$\pm$',
    '↓': r'$\downarrow$',
    '↑': r'$\uparrow$',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': r'$<$',
    '>': r'$>$',
    '|': r'$|$',
    '†': r'\dag{}',
} | {letter: f'\\{letter}' for letter in '&%$#_{}'}


def tables_of(page: Page) -> list[tuple[str, Table]]:
    """The tables of the sections that are not folded, each with its section's title."""
    return [
        (section.title, block)
        for section in page.sections
        if not section.is_folded
        for block in section.blocks
        if isinstance(block, Table)
    ]


def markdown(page: Page) -> str:
    """All tables in GitHub's Markdown, under their titles; the best of a column is bold."""
    parts = [f'# {_plain(page.title)}']
    for title, table in tables_of(page):
        rows = _marked(table, '**{}**', _escaped)
        lines = [_line(map(_escaped, table.heads)), _line(['---'] * len(table.heads))]
        parts.append(
            '\n'.join([f'## {_plain(title)}', '', table.caption, '', *lines, *map(_line, rows)])
        )
    return '\n\n'.join(parts) + '\n'


def latex(page: Page) -> str:
    """All tables as `table` environments with the rules of booktabs; the best is bold."""
    parts = [r'% \usepackage{booktabs}']
    for _, table in tables_of(page):
        rows = _marked(table, r'\textbf{{{}}}', _tex)
        body = [r' & '.join(row) + r' \\' for row in rows]
        columns = ''.join(_column(table, i) for i in range(len(table.heads)))
        groups = [
            rf'\multicolumn{{{count}}}{{c}}{{{_tex(name)}}}' if count > 1 else _tex(name)
            for name, count in table.groups
        ]
        parts.append(
            '\n'.join(
                [
                    r'\begin{table}',
                    r'\centering',
                    rf'\caption{{{_tex(table.caption)}}}',
                    rf'\begin{{tabular}}{{{columns}}}',
                    r'\toprule',
                    *([' & '.join(groups) + r' \\'] if groups else []),
                    ' & '.join(map(_tex, table.heads)) + r' \\',
                    r'\midrule',
                    *body,
                    r'\bottomrule',
                    r'\end{tabular}',
                    r'\end{table}',
                ]
            )
        )
    return '\n\n'.join(parts) + '\n'


def _marked(table: Table, bold: str, escape) -> list[list[str]]:
    best = best_cells(table)
    return [
        [
            bold.format(escape(cell.text)) if (r, i) in best else escape(cell.text)
            for i, cell in enumerate(row)
        ]
        for r, row in enumerate(table.rows)
    ]


def _column(table: Table, column: int) -> str:
    """Numbers are set to the right."""
    return 'r' if any(row[column].order is not None for row in table.rows) else 'l'


def _line(cells: Sequence[str] | map) -> str:
    return f'| {" | ".join(cells)} |'


def _plain(text: str) -> str:
    return ' '.join(text.split())


def _escaped(text: str) -> str:
    return re.sub(r'([|*_`<\\])', r'\\\1', _plain(text))


def _tex(text: str) -> str:
    return ''.join(_LATEX.get(letter, letter) for letter in _plain(text))
