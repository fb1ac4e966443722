"""Layouts of SNGAN's paper: figures 1 and 2 (methods under settings A to F) and table 2 (methods on
data sets).
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report import curves, leaderboard, paper, thumbnails
from experiments.report.curves import MEANING
from experiments.report.groups import Group, names_of_scalars, span
from experiments.report.records import (
    CategoryPanel,
    Cell,
    CurvePanel,
    Figure,
    ImageTable,
    Line,
    Section,
    Series,
    Table,
)
from experiments.report.runs import FINISHED
from experiments.report.samples import PAGE_BYTES, columns_of, equal_steps, grid_at, sampled
from experiments.report.scores import capitalized, protocol, title, titled
from experiments.report.spreads import format_spread, spread

_DISTANCES, _CLASS_SCORES = ('fid', 'frechet_distance'), ('inception_score', 'classifier_score')
_PROTOCOL_OF_PAPER = 'published: 10,000 test images, 5,000 fakes, Inception'


def refusal(groups: Sequence[Group]) -> str:
    """The reason why these runs are not the paper's comparison; '' if they are."""
    for group in groups:
        if group.place is None:
            keys = ', '.join(paper.SETTING_KEYS)
            return (
                f'{group.runs[0].folder} is no method of configs/sngan_paper.py '
                f'({", ".join(paper.METHODS)}) under one of its settings A to F ({keys})'
            )
    for place, count in Counter(group.at for group in groups).items():
        if count > 1:
            same = [str(g.runs[0].folder) for g in groups if g.place == place]
            return (
                f'{same[0]} and {same[1]} are both {place.method} under {place.setting} on '
                f'{place.data}, but differ'
            )
    return ''


def by_method(groups: Sequence[Group]) -> list[Group]:
    """The groups with one style for each method, in all settings."""
    methods = methods_of(groups)
    return [dataclasses.replace(g, style=methods.index(g.at.method)) for g in groups if g.place]


def methods_of(groups: Sequence[Group]) -> list[str]:
    """The methods of these groups, in the paper's order."""
    return sorted({g.at.method for g in groups if g.place}, key=paper.METHODS.index)


def _settings_of(groups):
    return sorted({g.at.setting for g in groups})


def _sets_of(groups):
    return sorted({g.data for g in groups})


def sections(
    groups: Sequence[Group], rows: Sequence[Mapping[str, Any]], layout: str
) -> tuple[list[Section], Figure | None]:
    """The first sections of the layout, and its figure.

    Args:
        groups: all runs.
        rows: of the leaderboard.
        layout: 'settings', whose figure comes before table 2, or 'table2', without the figure.
    """
    chosen = {data: _chosen(groups, rows, data) for data in _sets_of(groups)}
    chosen = {data: found for data, found in chosen.items() if found}
    if not chosen:
        return [], None
    figure = _settings_figure(groups, chosen)
    table = _table2(groups, chosen)
    if layout == 'table2':
        return [table], figure
    return [Section('Scores under the settings A to F', [figure]), table], figure


def _chosen(groups, rows, data) -> dict[str, Mapping[str, Any]]:
    """A row for each group on a data set, by the group's name, under the most common protocol."""
    of_folder = {run.folder: g.name for g in groups if g.data == data for run in g.runs}
    by_protocol: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        name = of_folder.get(row['folders'][0])
        if name:
            keys = [k for k in leaderboard.PROTOCOL if k not in ('weights', 'batch_statistics')]
            key = json.dumps([row[k] for k in keys])
            by_protocol.setdefault(key, {}).setdefault(name, []).append(row)
    if not by_protocol:
        return {}
    # Among equally common protocols: the last state before the best, then the first by name.
    widest = max(sorted(by_protocol), key=lambda key: (len(by_protocol[key]), '"best"' not in key))
    return {name: max(found, key=_preference) for name, found in by_protocol[widest].items()}


def _preference(row):
    """Prefers the most seeds, then EMA, then running batch statistics, then the latest step."""
    step = int(str(row['step']).partition('-')[0])
    return row['seeds'], row['weights'] == 'ema', row['batch_statistics'] == 'running', step


def _key_of(found: Mapping[str, Mapping[str, Any]], keys: Sequence[str]) -> str | None:
    return next((key for key in keys if any(key in row for row in found.values())), None)


# ---- figures 1 and 2


def _settings_figure(groups, chosen) -> Figure:
    panels = []
    for data, found in chosen.items():
        extractor = next(iter(found.values()))['extractor']
        for keys in (_CLASS_SCORES, _DISTANCES):
            key = _key_of(found, keys)
            if key:
                heading = f'{data}: {titled(key, extractor)}'
                panels.append(_settings_panel(groups, found, data, key, heading))
    measured = '. '.join(_protocol(found) for found in chosen.values())
    caption = (
        'As figures 1 and 2 of Miyato et al. 2018: marks are means over seeds, bars one standard '
        f'deviation, dots the seeds, † where not all seeds finished. {measured}. Settings (lr, '
        f'beta1, beta2, n_dis): {_setting_values(groups)}.'
    )
    return Figure(panels, _legend(groups), caption)


def _legend(groups):
    return list(dict.fromkeys((g.at.method, g.style) for g in groups))


def _protocol(found):
    """Describes the protocol of these rows and their numbers of seeds."""
    rows = list(found.values())
    counts = Counter(row['seeds'] for row in rows)
    seeds = span(counts)
    several = len({str(row['step']) for row in rows}) > 1
    row = {**rows[0], 'step': 'of its own'} if several else rows[0]
    return f'{capitalized(protocol(row))}, {seeds} seed{"" if seeds == "1" else "s"}'


def _setting_values(groups):
    values = {letter: paper.SETTINGS[letter] for letter in _settings_of(groups)}
    return '; '.join(f'{letter} {", ".join(f"{v:g}" for v in vs)}' for letter, vs in values.items())


def _settings_panel(groups, found, data, key, heading) -> CategoryPanel:
    letters = _settings_of(groups)
    series = []
    for method in methods_of(groups):
        mine = {g.at.setting: g for g in groups if (g.at.method, g.data) == (method, data)}
        if not mine:
            continue
        rows = {letter: found.get(g.name, {}) for letter, g in mine.items()}
        values = [spread(rows.get(x, {}).get('each', {}).get(key, ())) for x in letters]
        remarks = [_remark(mine[x]) if x in mine else '' for x in letters]
        series.append(Series(method, next(iter(mine.values())).style, values, remarks))
    return CategoryPanel(heading, letters, series, 'setting')


def _remark(group) -> str:
    bad = Counter(run.state for run in group.runs if run.state != FINISHED)
    return ', '.join(f'{n} of {len(group.runs)} {state}' for state, n in bad.items())


# ---- table 2


def _table2(groups, chosen) -> Section:
    heads, over, best = ['method'], [('', 1)], {}
    columns = []  # (data, keys, has published numbers)
    for data, found in chosen.items():
        row = next(iter(found.values()))
        keys = [k for k in (_key_of(found, _CLASS_SCORES), _key_of(found, _DISTANCES)) if k]
        theirs = any(paper.published(m, data) for m in methods_of(groups))
        for key in keys:
            best[len(heads)] = -1 if key in _DISTANCES else 1
            heads.append(titled(key, row['extractor']))
        heads += ['setting', 'seeds']
        over.append((f'{data}, measured here', len(keys) + 2))
        if theirs:
            heads += ['Inception score ↑', 'FID ↓']
            over.append((_PROTOCOL_OF_PAPER, 2))
        columns.append((data, keys, theirs))
    rows = [_table2_row(groups, chosen, method, columns) for method in methods_of(groups)]
    measured = '. '.join(f'{data}: {_protocol(found)}' for data, found in chosen.items())
    distance = ' and '.join(
        dict.fromkeys(title(k, '').removesuffix(' ()') for _, keys, _ in columns for k in keys[-1:])
    )
    caption = (
        'As table 2 of Miyato et al. 2018: each method under its setting of the lowest mean '
        f'{distance}. {measured}.'
    )
    return Section('Methods on data sets', [Table(heads, rows, caption, over, best)])


def _table2_row(groups, chosen, method, columns):
    cells = [Cell(method, style=next(g.style for g in groups if g.at.method == method))]
    for data, keys, theirs in columns:
        mine = [g for g in groups if (g.at.method, g.data) == (method, data)]
        scored = [(chosen[data][g.name], g) for g in mine if g.name in chosen[data]]
        scored = [(row, g) for row, g in scored if keys and keys[-1] in row]
        if scored:
            sign = 1 if keys[-1] in _DISTANCES else -1
            row, group = min(scored, key=lambda pair: sign * pair[0][keys[-1]][0])
            found = [spread(row['each'].get(key, ())) for key in keys]
            cells += [Cell(format_spread(s), s.mean) if s else Cell('') for s in found]
            cells += [Cell(group.at.setting), Cell(str(row['seeds']), row['seeds'])]
        else:
            cells += [Cell('')] * (len(keys) + 2)
        if theirs:
            row = paper.published(method, data)
            values = (row.inception_score, row.fid) if row else (None, None)
            cells += [Cell('' if v is None else f'{v:g}', v) for v in values]
    return cells


# ---- curves and samples


def score_curves(groups: Sequence[Group]) -> list[Section]:
    """The distance over steps: a panel for each data set and setting, a line for each method."""
    there = names_of_scalars(groups)
    name = next((f'eval/{k}' for k in _DISTANCES if f'eval/{k}' in there), None)
    if name is None:
        return []
    panels = []
    for data in _sets_of(groups):
        for letter in _settings_of(groups):
            mine = [g for g in groups if (g.at.setting, g.data) == (letter, data)]
            lines = [Line(g.at.method, g.style, g.curve(name)) for g in mine]
            lines = [line for line in lines if line.points]
            if lines:
                panels.append(CurvePanel(f'{data}, setting {letter}', lines))
    heading = curves.heading(name, groups)
    caption = f'{heading}. {MEANING} Scores while training: {curves.live_protocol(groups)}'
    return [Section('Scores over training', [Figure(panels, _legend(groups), caption)])]


def samples(groups: Sequence[Group]) -> list[Section]:
    """Samples of methods and settings side by side, at the last of the most common steps."""
    runs = {g.name: run for g in groups if (run := sampled(g))}
    there = [g for g in groups if g.name in runs]
    if not there:
        return []
    step = equal_steps([runs[g.name].samples for g in there], 1)[0]
    budget = thumbnails.Budget(PAGE_BYTES // len(there))
    letters, tables = _settings_of(there), []
    for data in _sets_of(there):
        rows = []
        for method, style in _legend([g for g in there if g.data == data]):
            mine = {g.at.setting: g for g in there if (g.at.method, g.data) == (method, data)}
            grids = [
                grid_at(runs[mine[x].name], step, budget) if x in mine else None for x in letters
            ]
            rows.append((method, style, grids))
        seeds = span(runs[g.name].seed for g in there if g.data == data)
        named = columns_of([runs[g.name] for g in there if g.data == data])
        caption = f'{data}, step {step}, from fixed z, seed {seeds}.{budget.remark()}{named}'
        tables.append(ImageTable([f'setting {x}' for x in letters], rows, caption))
    return [Section('Samples', tables)]
