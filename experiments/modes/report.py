"""`launch.py --mode=report`: shows runs, finished or not, in one HTML page and one figure.

It reads only files that runs write, and imports no JAX, so it can be repeated while runs train.
"""

import os
import pathlib
from collections.abc import Sequence

from experiments.report import contents, figure, leaderboard, page, tables
from experiments.report import runs as run_folders
from experiments.report.groups import groups_of
from snjax.runs.files import replace_file

# File formats of the main figure.
FIGURES = ('svg', 'pdf', 'png')


def run_report(pattern: pathlib.Path, layout: str = 'auto') -> None:
    """Writes `report.html`, the main figure as `report.svg`, `.pdf` and `.png`, and the tables.

    The tables of the page are `report.md` and `report.tex`; `report.csv` has all scores as numbers.

    The files go into the folder that `pattern` names, or the deepest one that holds all its runs.

    Args:
        pattern: a sweep's folder, a run, or a pattern of either.
        layout: one of `experiments.report.LAYOUTS`; see `contents.choose_layout`.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: no run can be read, or the runs do not have the layout.
    """
    folders, not_runs = run_folders.find(pattern)
    runs, damaged = run_folders.read(folders)
    if not runs:
        raise ValueError('; '.join(damaged))
    groups = groups_of(runs)
    layout = contents.choose_layout(layout, groups)
    place = _place(pattern, [run.folder for run in runs])
    warnings = not_runs + damaged
    rows = contents.score_rows(runs)
    made, main = contents.build(str(place), groups, layout, rows, warnings)
    replace_file(place / 'report.html', page.render(made))
    replace_file(place / 'report.md', tables.markdown(made))
    replace_file(place / 'report.tex', tables.latex(made))
    replace_file(place / 'report.csv', leaderboard.as_csv(rows))
    for kind, content in (figure.files(main) if main else {}).items():
        replace_file(place / f'report.{kind}', content)
    for line in warnings:
        print(f'left out: {line}')
    drawn = f' and {", ".join(f".{kind}" for kind in FIGURES)}' if main else ''
    print(
        f'{contents.counts(groups)}, {contents.states(runs)}; layout {layout}: '
        f'{place / "report.html"}{drawn}; tables: .md, .tex and .csv'
    )


def _place(pattern: pathlib.Path, folders: Sequence[pathlib.Path]) -> pathlib.Path:
    if pattern.is_dir():
        return pattern
    return pathlib.Path(os.path.commonpath([folder.resolve().parent for folder in folders]))
