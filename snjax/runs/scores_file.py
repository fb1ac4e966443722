"""`scores.json`: a run's scores, each with everything that it depends on. Imports no JAX."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable
from typing import Any

from absl import logging

from snjax.runs.files import Damaged, exclusive, read_json, replace_file


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of `scores.json`.

    Attributes:
        scores: by name.
        manifest: everything that the scores depend on (JSON types).
        intervals: (low, high) of scores, by name; the manifest says with which confidence.
    """

    scores: dict[str, float]
    manifest: dict[str, Any]
    intervals: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)


# Manifest entries of what an evaluation adds to scores without changing the others: error bars, and
# scores of infinitely many fakes.
_BARS, _INFINITE = ('half_samples', 'confidence'), ('extrapolated_through',)
# Says that both are there, but from two evaluations: the scores of infinitely many have no bars.
MERGED = 'merged'
_VARYING = (*_BARS, *_INFINITE, MERGED, 'versions', 'device')


def identity(manifest: dict[str, Any]) -> str:
    """The key of a row: a new row replaces an old one with the same key, see `add`."""
    keys = ['protocol', 'extractor', 'weights', 'batch_statistics', 'eval_seed', 'checkpoint']
    if manifest.get('checkpoint') not in (
        'last',
        'best',
    ):  # those two names have one step at a time
        keys.append('step')
    return json.dumps([manifest.get(key) for key in keys])


def read(path: pathlib.Path) -> list[Row]:
    """The rows of a `scores.json`; none if there is no such file.

    Raises:
        ValueError: the file is damaged.
    """
    content = read_json(path, finite=False)  # a score may be NaN
    if content is None:
        return []
    try:
        return [_row(row) for row in content['rows']]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f'{path} is damaged ({error}): move it away') from None


def _row(row: Any) -> Row:
    if not isinstance(row['scores'], dict) or not isinstance(row['manifest'], dict):
        raise TypeError('a row is not scores and their manifest')
    scores = {str(name): float(value) for name, value in row['scores'].items()}
    # Versions up to 0.2.0 wrote none.
    intervals = {
        str(name): (float(low), float(high))
        for name, (low, high) in row.get('intervals', {}).items()
    }
    return Row(scores, row['manifest'], intervals)


def add(path: pathlib.Path, rows: Iterable[Row]) -> None:
    """Adds rows to a `scores.json`. Rows with the same `identity` are replaced.

    The old row's error bars, or its scores of infinitely many fakes, are kept where the new row has
    none and is of the same step, counts and networks: its other scores are the same.

    Processes that add at the same time take turns, so that none loses the other's rows. A damaged
    file is set aside as `scores.json.damaged`, with a warning.
    """
    with exclusive(path.parent):
        try:
            kept = {identity(row.manifest): row for row in read(path)}
        except Damaged as error:
            aside = path.with_name(f'{path.name}.damaged')
            path.replace(aside)
            logging.warning('%s; kept as %s', error, aside)
            kept = {}
        for row in rows:
            key = identity(row.manifest)
            kept[key] = _with_extras(kept[key], row) if key in kept else row
        text = json.dumps({'rows': [dataclasses.asdict(row) for row in kept.values()]}, indent=2)
        replace_file(path, text + '\n')


def _with_extras(old: Row, new: Row) -> Row:
    """The new row with the old one's extras that it lacks."""
    bars, infinite = (
        key in old.manifest and key not in new.manifest for key in (_BARS[0], _INFINITE[0])
    )
    if not (bars or infinite) or _same(old) != _same(new):
        return new
    taken = (_BARS if bars else ()) + (_INFINITE if infinite else ())
    manifest = new.manifest | {key: old.manifest[key] for key in taken if key in old.manifest}
    if not (bars and infinite) and {_BARS[0], _INFINITE[0]} <= manifest.keys():
        manifest[MERGED] = True
    scores = {k: v for k, v in old.scores.items() if k not in new.scores} if infinite else {}
    intervals = {k: v for k, v in old.intervals.items() if bars and k in new.scores | scores}
    return Row(scores | new.scores, manifest, intervals | new.intervals)


def _same(row: Row) -> dict[str, Any]:
    """The manifest without what changes no score by more than rounding."""
    return {key: value for key, value in row.manifest.items() if key not in _VARYING}
