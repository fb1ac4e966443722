"""Sections of scores: a table for each protocol, and the published scores."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report import leaderboard
from experiments.report.groups import Group
from experiments.report.published import PUBLISHED
from experiments.report.records import Cell, Section, Table
from experiments.report.spreads import format_interval, format_number, spread

# -1: lower is better; 1: higher is better.
SIGNS = {
    'fid': -1,
    'frechet_distance': -1,
    'fid_infinity': -1,
    'frechet_distance_infinity': -1,
    'swd': -1,
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
# Entries of a protocol that may differ inside one table; the table then has columns for them.
_VARIANT = ('weights', 'batch_statistics')


def title(key: str, extractor: str) -> str:
    """The name of a score for people; only the Frechet distance of Inception is called FID."""
    known = {
        'fid': 'FID',
        'kid': 'KID',
        'frechet_distance': f'Frechet distance ({extractor})',
        'fid_infinity': 'FID of infinitely many fakes',
        'frechet_distance_infinity': f'Frechet distance of infinitely many fakes ({extractor})',
        'swd': 'Sliced Wasserstein distance x 1000',
    }
    return known.get(key, key.replace('_', ' ').capitalize())


def titled(key: str, extractor: str) -> str:
    """`title` with an arrow that points to better scores."""
    return title(key, extractor) + _ARROWS.get(SIGNS.get(key, 0), '')


def protocol(row: Mapping[str, Any], variant: bool = True) -> str:
    """Describes in one line how the scores of a row were measured.

    Args:
        row: of the leaderboard.
        variant: name the weights and the batch statistics too.
    """
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
    """A table for each protocol, best run first, and one of the runs without scores."""
    group_of = {run.folder: group for group in groups for run in group.runs}
    by_protocol: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        key = [row[k] for k in leaderboard.PROTOCOL if k not in _VARIANT]
        by_protocol.setdefault(json.dumps(key), []).append(row)
    # The protocol with the most scores comes first.
    ordered = sorted(by_protocol.values(), key=lambda found: -len(found[0]['each']))
    blocks = [_scores_table(found, group_of) for found in ordered]
    scored = {group_of[folder].name for row in rows for folder in row['folders']}
    without = [group for group in groups if group.name not in scored]
    if without:
        blocks.append(_unscored_table(without, 'Without scores' if rows else ''))
    return [Section('Scores', blocks)]


def _scores_table(rows: Sequence[Mapping[str, Any]], group_of: Mapping[Any, Group]) -> Table:
    keys = [key for key in leaderboard.SCORES if any(key in row for row in rows)]
    variant = [key for key in _VARIANT if len({row[key] for row in rows}) > 1]
    is_one_step = len({str(row['step']) for row in rows}) == 1
    heads = ['run', 'seeds', 'state', 'step', *(v.replace('_', ' ') for v in variant)]
    body = []
    for row in rows:
        group = group_of[row['folders'][0]]
        cells = [*_who(group, row['seeds']), Cell(str(row['step']), _first(row['step']))]
        cells += [Cell(str(row[key])) for key in variant]
        body.append(cells + [_score_cell(row, key) for key in keys])
    measured = protocol(rows[0] if is_one_step else {**rows[0], 'step': 'below'}, not variant)
    caption = f'{capitalized(measured)}. Mean ± standard deviation over seeds.'
    if any(row['seeds'] == 1 and row['intervals'] for row in rows):
        caption += ' In brackets: intervals over images, of one run.'
    best = {len(heads) + i: SIGNS[key] for i, key in enumerate(keys) if not variant}
    titles = [titled(key, rows[0]['extractor']) for key in keys]
    return Table([*heads, *titles], body, caption, best=best)


def capitalized(text: str) -> str:
    """Makes the first letter a capital and leaves the rest as it is."""
    return f'{text[0].upper()}{text[1:]}'


def _score_cell(row: Mapping[str, Any], key: str) -> Cell:
    if key not in row:
        return Cell('')
    values, text = row['each'][key], leaderboard.score_text(row, key)
    found = spread(values)
    if found is None:
        return Cell(text)
    hint = ', '.join(map(format_number, values))
    if found.std is not None and key in row['intervals']:
        hint += f'; 95 % interval of the mean {format_interval(*row["intervals"][key])}'
    return Cell(text, found.mean, hint=hint)


def _who(group: Group, seeds: int) -> list[Cell]:
    """The cells with the runs of a row and their states."""
    counts = Counter(run.state for run in group.runs)
    state = ', '.join(f'{n} {s}' if len(group.runs) > 1 else s for s, n in counts.most_common())
    notes = '; '.join(sorted({run.note for run in group.runs if run.note}))
    return [Cell(group.name, style=group.style), Cell(str(seeds), seeds), Cell(state, hint=notes)]


def _unscored_table(groups: Sequence[Group], caption: str) -> Table:
    rows = [
        [*_who(g, len({r.seed for r in g.runs})), Cell(g.steps(), g.runs[0].step)] for g in groups
    ]
    return Table(['run', 'seeds', 'state', 'step'], rows, caption)


def _first(step: int | str) -> float:
    """The first number of a step such as '40-80'."""
    return float(str(step).partition('-')[0])


def published(rows: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Published scores on the same data sets; no section if there are none."""
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
        "Not measured here, each under its own protocol. FID and inception score are Inception's: "
        'scores of other extractors are on other scales.'
    )
    table = Table(heads, body, caption, groups=[('published', len(heads))])
    return [Section('Published scores', [table])]
