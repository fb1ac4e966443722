"""One table of many runs: mean and standard deviation over seeds, with the protocol, beside what was published."""

import csv
import io
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.report.published import PUBLISHED
from snjax.runs import config_file, scores_file

# Groups and keys that do not make a run another kind of run.
_INCIDENTAL = ('seed', 'checkpoint', 'log', 'sampling', 'inversion', 'eval', 'steps_per_call')
_PLACES = ('data_dir', 'cache_dir', 'path')
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


def write(folders: Sequence[pathlib.Path], extractor: str) -> None:
    """Compares runs that have been scored; `leaderboard.md` and `.csv` go where the runs have their folders."""
    rows = collect(folders, extractor)
    # Of runs in several places: the deepest folder that holds them all.
    place = pathlib.Path(os.path.commonpath([folder.resolve().parent for folder in folders]))
    text = markdown(rows)
    (place / 'leaderboard.md').write_text(text)
    (place / 'leaderboard.csv').write_text(as_csv(rows))
    print(text)
    print(f'{place / "leaderboard.md"} and .csv', flush=True)


def collect(folders: Sequence[pathlib.Path], extractor: str) -> list[dict[str, Any]]:
    """`rows_of` the runs in these workdirs, each with a `scores.json`, for one extractor."""
    runs = [
        Scored(
            folder,
            config_file.read_config(folder / 'config.json'),
            scores_file.read(folder / 'scores.json'),
        )
        for folder in folders
    ]
    return rows_of(runs, extractor)


class Scored(NamedTuple):
    """A run and its scores."""

    folder: pathlib.Path
    config: Mapping[str, Any]
    rows: Sequence[scores_file.Row]


def rows_of(runs: Sequence[Scored], extractor: str | None = None) -> list[dict[str, Any]]:
    """A row for each kind of run and protocol, best Frechet distance first inside a protocol.

    Args:
        runs: of any kinds.
        extractor: rows of others are left out: their distances cannot be compared. None: all, which stand apart.

    Returns:
        Names of columns to values; scores are (mean, standard deviation over seeds or None of a single one),
        'each' has a list of their values by name, one a seed, and 'folders' the workdirs. A seed that was run more than
        once counts once, by the mean of its runs.
    """
    groups: dict[str, list[tuple[pathlib.Path, Mapping, scores_file.Row]]] = {}
    for folder, config, scored in runs:
        for row in scored:
            told = row.manifest.get('extractor')
            if told and extractor in (None, told):
                # Sets may share a name, as folders do.
                same = [*PROTOCOL, 'real_sha256', 'eval_seed']
                if (
                    row.manifest.get('checkpoint') != 'best'
                ):  # each seed has its best at its own step
                    same.append('step')
                key = [kind(config), *(row.manifest.get(k) for k in same)]
                groups.setdefault(json.dumps(key), []).append((folder, config, row))
    kinds = {json.dumps(kind(config)): config for g in groups.values() for _, config, _ in g}
    named = dict(zip(kinds, names(list(kinds.values())), strict=True))
    rows = [_row(members, named[json.dumps(kind(members[0][1]))]) for members in groups.values()]
    return sorted(
        rows, key=lambda row: (row['data'], row['protocol'], row['checkpoint'], _distance(row))
    )


def _distance(row):
    return row.get('fid', row.get('frechet_distance', (np.inf, None)))[0]


def _row(members, name):
    _, config, first = members[0]
    row: dict[str, Any] = {
        'run': name,
        'data': config['data']['name'],
        'step': _range({row.manifest['step'] for _, _, row in members}),
    }
    row |= {key: first.manifest.get(key, '') for key in PROTOCOL}
    row['seeds'] = len({c['seed'] for _, c, _ in members})
    row['each'] = {}
    for key in SCORES:
        if all(key in m.scores for _, _, m in members):
            by_seed: dict[int, list[float]] = {}
            for _, c, m in members:
                by_seed.setdefault(c['seed'], []).append(m.scores[key])
            # A run that was copied or done twice is no further draw: it would shrink the deviation.
            values = [float(np.mean(found)) for found in by_seed.values()]
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
            row[key] = float(np.mean(values)), spread
            row['each'][key] = values
    row['folders'] = [folder for folder, _, _ in members]
    row['workdirs'] = ' '.join(str(folder) for folder, _, _ in members)
    return row


def _range(steps):
    low, high = min(steps), max(steps)
    return low if low == high else f'{low}-{high}'


def kind(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what differs between seeds and machines."""
    kept = {k: v for k, v in config.items() if k not in _INCIDENTAL}
    kept['data'] = {k: v for k, v in config['data'].items() if k not in _PLACES}
    return kept


def names(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The method of each config, and those of its values in which it differs from the others."""
    flat = [dict(leaves(kind(config))) for config in configs]
    differing = [
        key
        for key in sorted({key for f in flat for key in f})
        if key not in ('method', 'num_steps') and len({json.dumps(f.get(key)) for f in flat}) > 1
    ]
    return [
        ' '.join(
            [c['method'], *(f'{key.split(".")[-1]}={f[key]}' for key in differing if key in f)]
        )
        for c, f in zip(configs, flat, strict=True)
    ]


def leaves(tree: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """('group.key', value) for every leaf of a nested config."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Two tables: one's own scores, and published ones of the same data sets under their own protocols."""
    shown = [key for key in SCORES if any(key in row for row in rows)]
    columns = ['run', 'data', 'step', *PROTOCOL[1:], 'seeds', *shown]
    lines = [_line(c.replace('_', ' ') for c in columns), _line('---' for _ in columns)]
    lines += [_line(_cell(row.get(c, '')) for c in columns) for row in rows]
    published = [p for p in PUBLISHED if p.data in {row['data'] for row in rows}]
    if published:
        heads = ('published', 'network', 'data', 'protocol', 'inception score', 'fid', 'source')
        lines += ['', _line(heads), _line('---' for _ in heads)]
        lines += [
            _line(
                map(
                    _cell,
                    (p.method, p.network, p.data, p.protocol, p.inception_score, p.fid, p.source),
                )
            )
            for p in published
        ]
        lines += ['', "FID is Inception's. Distances of other extractors are on another scale."]
    return '\n'.join(lines) + '\n'


def _line(cells):
    return '| ' + ' | '.join(cells) + ' |'


def _cell(value) -> str:
    if isinstance(value, tuple):
        mean, spread = value
        return f'{mean:.4g}' if spread is None else f'{mean:.4g} ± {spread:.2g}'
    if isinstance(value, float):
        return f'{value:.4g}'
    return '' if value is None else str(value)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The same rows with mean and standard deviation in columns of their own."""
    shown = [key for key in SCORES if any(key in row for row in rows)]
    columns = ['run', 'data', 'step', *PROTOCOL, 'seeds', 'workdirs']
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    writer.writerow([*columns, *(f'{key}{end}' for key in shown for end in ('', '_std'))])
    for row in rows:
        cells = [x for key in shown for x in row.get(key, ('', ''))]
        writer.writerow([row[c] for c in columns] + ['' if x is None else x for x in cells])
    return out.getvalue()
