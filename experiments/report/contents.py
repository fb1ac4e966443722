"""The sections of a page and their order, for each layout."""

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report import configs, curves, leaderboard, paper_layouts, samples, scores
from experiments.report.groups import Group
from experiments.report.records import Figure, Page, Section, Text
from experiments.report.runs import Run


def choose_layout(asked: str, groups: Sequence[Group]) -> str:
    """The layout for these groups.

    'runs' takes any runs, 'settings' and 'table2' take runs of the paper's comparison. 'auto' is
    'settings' for several of the paper's settings A to F, 'table2' for several methods or data sets
    under one setting, and 'runs' otherwise.

    Args:
        asked: one of `experiments.report.LAYOUTS`.
        groups: all runs.

    Raises:
        ValueError: the runs do not have the layout asked for.
    """
    if asked == 'runs':
        return asked
    reason = paper_layouts.refusal(groups)
    if asked != 'auto':
        if reason:
            raise ValueError(f'--layout={asked}: {reason}; --layout=runs takes any runs')
        return asked
    if reason:
        return 'runs'
    if len({group.at.setting for group in groups}) > 1:
        return 'settings'
    others = {group.at.method for group in groups}, {group.at.data for group in groups}
    return 'table2' if any(len(names) > 1 for names in others) else 'runs'


def score_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The rows of the leaderboard of all runs."""
    return leaderboard.rows_of([leaderboard.Scored(r.folder, r.config, r.rows) for r in runs])


def build(
    title: str,
    groups: Sequence[Group],
    layout: str,
    rows: Sequence[Mapping[str, Any]],
    warnings: Sequence[str] = (),
) -> tuple[Page, Figure | None]:
    """The page, and its main figure for documents.

    Args:
        title: where the runs are.
        groups: all runs.
        layout: 'runs', 'settings' or 'table2'.
        rows: of `score_rows`.
        warnings: lines about files that could not be read.

    Returns:
        The page and the main figure, which is None if nothing has been logged or scored yet.
    """
    runs = [run for group in groups for run in group.runs]
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
    about = [f'{counts(groups)}: {states(runs)}. Made {now}.']
    return Page(f'Runs in {title}', about, sections), main


def counts(groups: Sequence[Group]) -> str:
    """'3 runs of 1 kind'."""
    num_runs = sum(len(group.runs) for group in groups)
    counted = ((num_runs, 'run'), (len(groups), 'kind'))
    return ' of '.join(f'{n} {word}{"s" * (n != 1)}' for n, word in counted)


def states(runs: Sequence[Run]) -> str:
    """'2 finished, 1 diverged'."""
    found = Counter(run.state for run in runs)
    return ', '.join(f'{count} {state}' for state, count in found.most_common())
