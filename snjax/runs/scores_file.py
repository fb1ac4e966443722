"""`scores.json`: a run's scores, each with everything that it depends on. Imports no JAX."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable
from typing import Any

from snjax.runs.files import replace_file


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of `scores.json`.

    Attributes:
        scores: by name.
        manifest: everything that the scores depend on (JSON types).
    """

    scores: dict[str, float]
    manifest: dict[str, Any]


def identity(manifest: dict[str, Any]) -> str:
    """The key of a row: a new row replaces an old one with the same key."""
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
    if not path.exists():
        return []
    try:
        return [Row(row['scores'], row['manifest']) for row in json.loads(path.read_text())['rows']]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is damaged ({error}): move it away') from error


def add(path: pathlib.Path, rows: Iterable[Row]) -> None:
    """Adds rows to a `scores.json`. Rows with the same `identity` are replaced."""
    kept = {identity(row.manifest): row for row in read(path)}
    kept |= {identity(row.manifest): row for row in rows}
    text = json.dumps({'rows': [dataclasses.asdict(row) for row in kept.values()]}, indent=2)
    replace_file(path, text + '\n')
