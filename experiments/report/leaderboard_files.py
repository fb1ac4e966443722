"""The files of a leaderboard: Markdown, CSV and LaTeX."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report import leaderboard, scores, tables
from experiments.report.records import Cell, Page, Section, Table
from experiments.report.spreads import spread
from snjax.runs.files import replace_file


def write(folders: Sequence[pathlib.Path], extractor: str) -> None:
    """Writes `leaderboard.md`, `.csv` and `.tex` of scored runs, and prints the table.

    The files go into the deepest folder that holds the folders of all runs.
    """
    rows = leaderboard.collect(folders, extractor)
    place = pathlib.Path(os.path.commonpath([folder.resolve().parent for folder in folders]))
    text = leaderboard.markdown(rows)
    replace_file(place / 'leaderboard.md', text)
    replace_file(place / 'leaderboard.csv', leaderboard.as_csv(rows))
    replace_file(place / 'leaderboard.tex', latex(rows))
    print(text)
    print(f'{place / "leaderboard.md"}, .csv and .tex', flush=True)


def latex(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table for each protocol as LaTeX, whose caption says how the scores were measured."""
    by_protocol: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        key = json.dumps([row['data'], *(row[name] for name in leaderboard.PROTOCOL)])
        by_protocol.setdefault(key, []).append(row)
    found = [_table(members) for members in by_protocol.values()]
    return tables.latex(Page('Leaderboard', [], [Section('Scores', found)]))


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    keys = [key for key in leaderboard.SCORES if any(key in row for row in rows)]
    heads = ['run', 'seeds', 'step', *(scores.titled(key, rows[0]['extractor']) for key in keys)]
    body = [
        [
            Cell(row['run']),
            Cell(str(row['seeds']), row['seeds']),
            Cell(str(row['step'])),
            *(_cell(row, key) for key in keys),
        ]
        for row in rows
    ]
    caption = f'{rows[0]["data"]}, {scores.protocol({**rows[0], "step": "below"})}'
    best = {3 + i: scores.SIGNS[key] for i, key in enumerate(keys) if key in scores.SIGNS}
    return Table(heads, body, caption, best=best)


def _cell(row: Mapping[str, Any], key: str) -> Cell:
    found = spread(row['each'][key]) if key in row else None
    return Cell(leaderboard.score_text(row, key), found.mean if found else None)
