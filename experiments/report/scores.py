"""Tables of scores, one for each protocol, and the published ones."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report import leaderboard
from experiments.report.groups import Group
from experiments.report.published import PUBLISHED
from snjax.report.figure import number, said
from snjax.report.records import Cell, Section, Table
from snjax.report.spreads import spread

# Names of scores for people; -1: lower is better, 1: higher.
_SIGNS = {
    'fid': -1,
    'frechet_distance': -1,
    'inception_score': 1,
    'classifier_score': 1,
    'kid': -1,
    'kernel_distance': -1,
    'precision': 1,
    'recall': 1,
    'density': 1,
    'coverage': 1,
    'intra_fid': -1,
    'intra_frechet_distance': -1,
    'accuracy': 1,
    'class_ms_ssim': -1,
}
_ARROWS = {-1: ' ↓', 1: ' ↑'}
# Of a protocol, what may differ inside one table, in columns.
_VARIANT = ('weights', 'batch_statistics')


def title(key: str, extractor: str) -> str:
    """A score as people are told of it: only Inception's distance is called FID."""
    known = {'fid': 'FID', 'kid': 'KID', 'frechet_distance': f'Frechet distance ({extractor})'}
    return known.get(key, key.replace('_', ' ').capitalize())


def titled(key: str, extractor: str) -> str:
    """`title` and an arrow to where it is better."""
    return title(key, extractor) + _ARROWS.get(_SIGNS.get(key, 0), '')


def protocol(row: Mapping[str, Any], variant: bool = True) -> str:
    """What a row of the leaderboard was scored by, in a line."""
    fakes = f'{row["fake_count"]} fakes against {row["real_count"]} real images ({row["real"]})'
    parts = [f'protocol {row["protocol"]}: {fakes}', f'extractor {row["extractor"]}']
    parts.append(
        {'last': 'the last state', 'best': "each run's best checkpoint"}.get(row['checkpoint'], '')
    )
    parts.append(f'at step {row["step"]}' if row['checkpoint'] != 'best' else '')
    if variant:
        parts.append({'ema': 'EMA of the generator', 'raw': 'raw weights'}.get(row['weights'], ''))
        parts.append(f'{row["batch_statistics"]} batch statistics')
    return ', '.join(filter(None, parts))


def tables(groups: Sequence[Group], rows: Sequence[Mapping[str, Any]]) -> list[Section]:
    """A table for each protocol, best first, and one of kinds that have no scores."""
    of_folder = {run.folder: group for group in groups for run in group.runs}
    tables: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        key = [row[k] for k in leaderboard.PROTOCOL if k not in _VARIANT]
        tables.setdefault(json.dumps(key), []).append(row)
    # What says most of a run comes first.
    ordered = sorted(tables.values(), key=lambda found: -len(found[0]['each']))
    blocks = [_scores_table(found, of_folder) for found in ordered]
    scored = {of_folder[folder].name for row in rows for folder in row['folders']}
    without = [group for group in groups if group.name not in scored]
    if without:
        blocks.append(_unscored_table(without, 'Without scores' if rows else ''))
    return [Section('Scores', blocks)]


def _scores_table(rows, of_folder):
    keys = [key for key in leaderboard.SCORES if any(key in row for row in rows)]
    variant = [key for key in _VARIANT if len({row[key] for row in rows}) > 1]
    is_one_step = len({str(row['step']) for row in rows}) == 1
    heads = ['run', 'seeds', 'state', 'step', *(v.replace('_', ' ') for v in variant)]
    extractor = rows[0]['extractor']
    body = []
    for row in rows:
        group = of_folder[row['folders'][0]]
        cells = [*_who(group, row['seeds']), Cell(str(row['step']), _first(row['step']))]
        cells += [Cell(str(row[key])) for key in variant]
        body.append(cells + [_score_cell(row, key) for key in keys])
    told = protocol(rows[0] if is_one_step else {**rows[0], 'step': 'below'}, not variant)
    caption = f'{told[0].upper()}{told[1:]}. Mean ± standard deviation over seeds.'
    best = {len(heads) + i: _SIGNS[key] for i, key in enumerate(keys) if not variant}
    return Table([*heads, *(titled(key, extractor) for key in keys)], body, caption, best=best)


def _score_cell(row, key):
    if key not in row:
        return Cell('')
    values = row['each'][key]
    found = spread(values)
    if found is None:
        return Cell('not finite')
    return Cell(said(found), found.mean, hint=', '.join(map(number, values)))


def _who(group, seeds):
    counts = Counter(run.state for run in group.runs)
    state = ', '.join(f'{n} {s}' if len(group.runs) > 1 else s for s, n in counts.most_common())
    notes = '; '.join(sorted({run.note for run in group.runs if run.note}))
    return [Cell(group.name, style=group.style), Cell(str(seeds), seeds), Cell(state, hint=notes)]


def _unscored_table(groups, caption):
    rows = [
        [*_who(g, len({r.seed for r in g.runs})), Cell(g.steps(), g.runs[0].step)] for g in groups
    ]
    return Table(['run', 'seeds', 'state', 'step'], rows, caption)


def _first(step):
    return float(str(step).partition('-')[0])


def published(rows: Sequence[Mapping[str, Any]]) -> list[Section]:
    """What others published on the same data sets; nothing where there is nothing."""
    found = [p for p in PUBLISHED if p.data in {row['data'] for row in rows}]
    if not found:
        return []
    body = [
        [
            *map(Cell, (p.method, p.network, p.data, p.protocol)),
            *(Cell('' if v is None else f'{v:g}', v) for v in (p.inception_score, p.fid)),
            Cell(p.source),
        ]
        for p in found
    ]
    heads = ('method', 'network', 'data', 'protocol', 'inception score ↑', 'FID ↓', 'source')
    caption = (
        "Not measured here, each under its own protocol. FID and inception score are Inception's: scores of other "
        'extractors are on other scales.'
    )
    table = Table(heads, body, caption, groups=[('published', len(heads))])
    return [Section('Published scores', [table])]
