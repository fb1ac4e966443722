"""`scores.json`: a run's scores, each with everything that it depends on. Read without jax, written whole."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of `scores.json`.

    Attributes:
        scores: by name.
        manifest: everything that they depend on (JSON types).
    """

    scores: dict[str, float]
    manifest: dict[str, Any]


def identity(manifest: dict[str, Any]) -> str:
    """What makes a row that row: another with the same replaces it."""
    keys = ['protocol', 'extractor', 'weights', 'batch_statistics', 'eval_seed', 'checkpoint']
    if manifest.get('checkpoint') not in ('last', 'best'):  # those are of one step at a time
        keys.append('step')
    return json.dumps([manifest.get(key) for key in keys])


def read(path: pathlib.Path) -> list[Row]:
    """The rows of a `scores.json`; none where there is no such file.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.exists():
        return []
    try:
        return [Row(row['scores'], row['manifest']) for row in json.loads(path.read_text())['rows']]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is damaged ({error}): move it away') from error


def add(path: pathlib.Path, rows: Iterable[Row]) -> None:
    """Adds rows to a `scores.json`, in place of those with the same identity; written whole or not at all."""
    kept = {identity(row.manifest): row for row in read(path)}
    kept |= {identity(row.manifest): row for row in rows}
    text = json.dumps({'rows': [dataclasses.asdict(row) for row in kept.values()]}, indent=2)
    new = path.with_suffix('.json.new')
    new.write_text(text + '\n')
    os.replace(new, path)
