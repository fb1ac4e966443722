"""`launch.py --mode=report`: runs, finished or not, as one HTML page and one figure that need nothing else.

It reads what runs write, imports no jax, and can be made again at any moment while they go on.
"""

import dataclasses
import datetime
import json
import os
import pathlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from experiments.report import configs, curves, leaderboard, paper, paper_layouts, samples, scores
from experiments.report import runs as run_folders
from experiments.report.groups import Group
from experiments.report.runs import Run
from snjax.report import figure, page
from snjax.report.records import Figure, Page, Section, Text

LAYOUTS = ('auto', 'runs', 'settings', 'table2')


def run_report(pattern: pathlib.Path, layout: str = 'auto') -> None:
    """Writes `report.html` and `report.svg` of the runs that a path or pattern means, beside them, and says where.

    Args:
        pattern: a sweep's folder, a run, or a pattern of either.
        layout: of `LAYOUTS`; auto: settings where runs are of several of the paper's settings A to F, table2 where they
            are of several of its methods or data sets under one, else runs.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: none can be read, or they do not have the layout.
    """
    folders, unread = run_folders.find(pattern)
    runs, damaged = run_folders.read(folders)
    warnings = unread + damaged
    if not runs:
        raise ValueError('; '.join(damaged))
    groups = groups_of(runs)
    layout = _layout(layout, groups)
    place = _place(pattern, [run.folder for run in runs])
    made, main = build(str(place), groups, layout, warnings)
    _write(place / 'report.html', page.render(made))
    if main:
        _write(place / 'report.svg', figure.alone(main))
    for line in warnings:
        print(f'left out: {line}')
    print(
        f'{_counts(runs, groups)}, {states(runs)}; layout {layout}: {place / "report.html"}'
        + (' and .svg' if main else '')
    )


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """Runs that differ in nothing but their seed (and in what makes no difference, as intervals of logs) together."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(json.dumps(leaderboard.kind(run.config), sort_keys=True), []).append(run)
    found = [sorted(group, key=lambda run: run.seed) for group in members.values()]
    places = [paper.place_of(group[0].flat) for group in found]
    names = _names(found, places)
    groups = [
        Group(name, 0, tuple(group), place)
        for name, group, place in zip(names, found, places, strict=True)
    ]
    groups.sort(key=_natural)
    return [dataclasses.replace(group, style=i) for i, group in enumerate(groups)]


def _names(found: Sequence[Sequence[Run]], places) -> list[str]:
    if all(places) and len(set(places)) == len(places):
        many = len({place.data for place in places}) > 1
        return [
            f'{p.method}, setting {p.setting}' + (f', {p.data}' if many else '') for p in places
        ]
    names = leaderboard.names([group[0].config for group in found])
    counts = Counter(names)
    return [
        f'{name} num_steps={group[0].num_steps}' if counts[name] > 1 else name
        for name, group in zip(names, found, strict=True)
    ]


def _natural(group: Group) -> list[Any]:
    """By place in the paper, then by name with its numbers as numbers."""
    at = group.place
    first = (paper.METHODS.index(at.method), at.setting) if at else (len(paper.METHODS), '')
    parts = re.split(r'(\d+\.?\d*(?:e-?\d+)?)', group.name)
    return [*first, *((float(x), '') if i % 2 else (0.0, x) for i, x in enumerate(parts))]


def states(runs: Sequence[Run]) -> str:
    """'2 finished, 1 diverged'."""
    counts = Counter(run.state for run in runs)
    return ', '.join(f'{count} {state}' for state, count in counts.most_common())


def _counts(runs, groups) -> str:
    """'3 runs of 1 kind'."""
    counted = ((len(runs), 'run'), (len(groups), 'kind'))
    return ' of '.join(f'{n} {word}{"s" * (n != 1)}' for n, word in counted)


def _layout(asked: str, groups: Sequence[Group]) -> str:
    """The layout that runs have; a ValueError of one line where the one asked for is not theirs."""
    if asked == 'runs':
        return asked
    why = paper_layouts.refusal(groups)
    if asked != 'auto':
        if why:
            raise ValueError(f'--layout={asked}: {why}; --layout=runs takes any runs')
        return asked
    if why:
        return 'runs'
    settings, methods, sets = ({g.place[i] for g in groups if g.place} for i in (1, 0, 2))
    if len(settings) > 1:
        return 'settings'
    return 'table2' if len(methods) > 1 or len(sets) > 1 else 'runs'


def build(
    title: str, groups: Sequence[Group], layout: str, warnings: Sequence[str] = ()
) -> tuple[Page, Figure | None]:
    """The page and the figure that stands for it in a document, None where there is nothing to draw yet."""
    runs = [run for group in groups for run in group.runs]
    rows = leaderboard.rows_of([leaderboard.Scored(r.folder, r.config, r.rows) for r in runs])
    if layout == 'runs':
        first, main = [], None
        over_steps = curves.score_curves(groups)
        grids = samples.samples(groups)
    else:
        groups = paper_layouts.by_method(groups)
        first, main = paper_layouts.sections(groups, rows, layout)
        over_steps = paper_layouts.score_curves(groups)
        grids = paper_layouts.samples(groups)
    sections = [
        *first,
        *scores.tables(groups, rows),
        *over_steps,
        *grids,
        *scores.published(rows),
        *configs.differences(groups),
        *curves.everything_else(groups),
        configs.workdirs(groups),
        configs.common(groups),
    ]
    if warnings:
        sections.append(Section('Left out', [Text('\n'.join(warnings), is_code=True)]))
    if main is None:
        figures = [b for section in over_steps for b in section.blocks if isinstance(b, Figure)]
        main = figures[0] if figures else None
    now = datetime.datetime.now().astimezone().strftime('%Y-%m-%d %H:%M %Z')
    about = [f'{_counts(runs, groups)}: {states(runs)}. Made {now}.']
    return Page(f'Runs in {title}', about, sections), main


def _place(pattern: pathlib.Path, folders: Sequence[pathlib.Path]) -> pathlib.Path:
    """Where the page goes: into the folder that was named, or the deepest one that holds all that a pattern matches."""
    if pattern.is_dir():
        return pattern
    return pathlib.Path(os.path.commonpath([folder.resolve().parent for folder in folders]))


def _write(path: pathlib.Path, text: str) -> None:
    new = path.with_name(f'.{path.name}.new')
    new.write_text(text)
    os.replace(new, path)
