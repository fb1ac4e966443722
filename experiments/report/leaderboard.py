"""The leaderboard: scores of many runs, averaged over seeds, beside published scores."""

import csv
import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.report import names
from experiments.report.published import PUBLISHED
from experiments.report.spreads import (
    format_interval,
    format_number,
    format_spread,
    mean_interval,
    spread,
)
from experiments.settings import keys
from snjax.runs import config_file, scores_file
from snjax.runs.workdir import CONFIG_NAME, SCORES_NAME

# Entries of a manifest that decide which scores can be compared.
PROTOCOL = (
    'extractor',
    'protocol',
    'real',
    'real_count',
    'fake_count',
    'checkpoint',
    'weights',
    'batch_statistics',
)
SCORES = (
    'fid',
    'frechet_distance',
    'fid_infinity',
    'frechet_distance_infinity',
    'swd',
    'inception_score',
    'classifier_score',
    'kid',
    'kernel_distance',
    'precision',
    'recall',
    'density',
    'coverage',
    'intra_fid',
    'intra_frechet_distance',
    'accuracy',
    'class_ms_ssim',
)


class Scored(NamedTuple):
    """A run and its scores."""

    folder: pathlib.Path
    config: Mapping[str, Any]
    rows: Sequence[scores_file.Row]


def collect(folders: Sequence[pathlib.Path], extractor: str) -> list[dict[str, Any]]:
    """Returns `rows_of` the runs in these workdirs, for one extractor. Each has a `scores.json`."""
    runs = [
        Scored(
            folder,
            config_file.read_config(folder / CONFIG_NAME),
            scores_file.read(folder / SCORES_NAME),
        )
        for folder in folders
    ]
    return rows_of(runs, extractor)


def rows_of(runs: Sequence[Scored], extractor: str | None = None) -> list[dict[str, Any]]:
    """A row for each kind of run and each protocol, the best first: the lowest distance.

    Args:
        runs: of any kinds, see `experiments.settings.keys.kind`.
        extractor: leaves out the scores of other extractors, whose distances are on other scales;
            None keeps all, in rows of their own.

    Returns:
        Columns by name. A score is (mean, standard deviation over seeds, or None for one seed).
        'each' has the values of the seeds for each score, 'intervals' its 95 % interval over seeds
        or, for one run, that over images if it was measured, and 'folders' the workdirs. A seed that
        was run more than once counts once, by the mean of its runs.
    """
    groups: dict[str, list[tuple[Scored, scores_file.Row]]] = {}
    kinds: dict[str, list[pathlib.Path]] = {}
    for run in runs:
        kind = json.dumps(_kind(run), sort_keys=True)
        kinds.setdefault(kind, []).append(run.folder)
        for row in run.rows:
            found = row.manifest.get('extractor')
            if found and extractor in (None, found):
                key = json.dumps([kind, *_compared(row.manifest)])
                groups.setdefault(key, []).append((run, row))
    named = dict(zip(kinds, names.names(list(kinds.values())), strict=True))
    rows = [_row(members, named[json.loads(key)[0]]) for key, members in groups.items()]
    return sorted(
        rows, key=lambda row: (row['data'], row['protocol'], row['checkpoint'], _distance(row))
    )


def _kind(run: Scored) -> dict[str, Any]:
    try:
        return keys.kind(run.config)
    except ValueError as error:
        raise ValueError(f'{run.folder / CONFIG_NAME}: {error}') from error


def _compared(manifest: Mapping[str, Any]) -> list[Any]:
    """The entries of a manifest that all scores of a row share."""
    # Two data sets may have one name, as folders do.
    same = [*PROTOCOL, 'real_sha256', 'eval_seed']
    # Each seed has its best checkpoint at another step.
    same += ['step'] if manifest.get('checkpoint') != 'best' else []
    return [manifest.get(key) for key in same]


def _distance(row):
    found = (row[key][0] for key in ('fid', 'frechet_distance', 'swd') if key in row)
    return next((value for value in found if np.isfinite(value)), np.inf)


def _row(members: Sequence[tuple[Scored, scores_file.Row]], name: str) -> dict[str, Any]:
    first_run, first = members[0]
    steps = {row.manifest['step'] for _, row in members}
    row: dict[str, Any] = {
        'run': name,
        'data': first_run.config['data']['name'],
        'step': min(steps) if len(steps) == 1 else f'{min(steps)}-{max(steps)}',
    }
    row |= {key: first.manifest.get(key, '') for key in PROTOCOL}
    row['seeds'] = len({run.config['seed'] for run, _ in members})
    row['each'], row['intervals'] = {}, {}
    for key in SCORES:
        if all(key in scored.scores for _, scored in members):
            values = _by_seed(members, key)
            std = float(np.std(values, ddof=1)) if len(values) > 1 else None
            row[key] = float(np.mean(values)), std
            row['each'][key] = values
            interval = _interval(members, key, values)
            if interval:
                row['intervals'][key] = interval
    row['folders'] = [run.folder for run, _ in members]
    row['workdirs'] = ' '.join(map(str, row['folders']))
    return row


def _interval(members, key: str, values: Sequence[float]) -> tuple[float, float] | None:
    """Over the seeds if there are several, or else over the images, if that was measured."""
    if len(members) == 1:
        return members[0][1].intervals.get(key)
    found = spread(values)
    return mean_interval(found) if found and len(found.values) == len(values) else None


def _by_seed(members, key: str) -> list[float]:
    """One value for each seed: a copied or repeated run is no further sample."""
    values: dict[int, list[float]] = {}
    for run, scored in members:
        values.setdefault(run.config['seed'], []).append(scored.scores[key])
    return [float(np.mean(found)) for found in values.values()]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of these scores, and one of published scores on the same data sets."""
    shown = [key for key in SCORES if any(key in row for row in rows)]
    columns = ['run', 'data', 'step', *PROTOCOL[1:], 'seeds', *shown]
    lines = [_line(c.replace('_', ' ') for c in columns), _line('---' for _ in columns)]
    for row in rows:
        cells = [score_text(row, c) if c in shown else _cell(row.get(c, '')) for c in columns]
        lines.append(_line(cells))
    published = [p for p in PUBLISHED if p.data in {row['data'] for row in rows}]
    if published:
        heads = ('published', 'network', 'data', 'protocol', 'inception score', 'fid', 'source')
        lines += ['', _line(heads), _line('---' for _ in heads)]
        for p in published:
            scores = (p.inception_score, p.fid)
            cells = (p.method, p.network, p.data, p.protocol, *scores, p.source)
            lines.append(_line(map(_cell, cells)))
        lines += ['', "FID is Inception's. Distances of other extractors are on another scale."]
    return '\n'.join(lines) + '\n'


def _line(cells):
    return '| ' + ' | '.join(cells) + ' |'


def _cell(value) -> str:
    if isinstance(value, float):
        return format_number(value)
    return '' if value is None else str(value)


def score_text(row: Mapping[str, Any], key: str) -> str:
    """A score as in the report: mean and deviation over seeds, or one run's value and interval."""
    if key not in row['each']:
        return ''
    found = spread(row['each'][key])
    if found is None:
        return 'not finite'
    if found.std is None and key in row['intervals']:
        return f'{format_spread(found)} {format_interval(*row["intervals"][key])}'
    return format_spread(found)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV: mean, standard deviation and ends of the interval in separate columns."""
    shown = [key for key in SCORES if any(key in row for row in rows)]
    columns = ['run', 'data', 'step', *PROTOCOL, 'seeds', 'workdirs']
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    ends = ('', '_std', '_low', '_high')
    writer.writerow([*columns, *(f'{key}{end}' for key in shown for end in ends)])
    for row in rows:
        cells = [
            x
            for key in shown
            for x in (*row.get(key, ('', '')), *row['intervals'].get(key, ('', '')))
        ]
        writer.writerow([row[c] for c in columns] + ['' if x is None else x for x in cells])
    return out.getvalue()
