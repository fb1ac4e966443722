"""Tables that give images numbers: attributes of 0 and 1, or any quantities.

`conditions.csv` has a row of column names, of which one names the file (`FILE_COLUMNS`); every
other column, or those that are asked for, is one number per image: 0 and 1 for an attribute that an
image has or lacks (-1 and 1 serve as well, as in CelebA), or a quantity such as an angle.
`conditions.json` is `{"a.png": {"angle": 0.3}}`, or `{"a.png": [0.3, 1]}` without names.

The numbers reach the networks as they are. Bring quantities to about -1 to 1: a network would have
to learn the scale of others.
"""

import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from snjax.data.label_tables import (
    FILE_COLUMNS,
    Pairs,
    Row,
    by_file,
    column,
    csv_cells,
    json_entries,
    shown,
    text_of,
)

# In the folder of the images; looked for in this order.
NAMES = ('conditions.csv', 'conditions.json')
MAX_NUMBERS = 1000
_LARGEST = float(np.finfo(np.float32).max)


class Conditions(NamedTuple):
    """Numbers of files.

    Attributes:
        values: a row of numbers for each file, in the order asked for.
        names: of the columns.
        table: name of the file that gave them.
    """

    values: Float32[np.ndarray, 'n k']
    names: tuple[str, ...]
    table: str


def conditions(
    name: str, content: bytes, files: Sequence[str], where: str, columns: Sequence[str] = ()
) -> Conditions:
    """The numbers that a table gives to files.

    Args:
        name: of the table; its ending tells what it is.
        content: of the table.
        files: all files that need numbers, in the order of the result.
        where: the folder or archive, for messages.
        columns: names of the columns to read, in their order; () for all.

    Raises:
        ValueError: of one line with row and column: the table is malformed, names a file that is
            not there or one twice, has no row for a file, no such column, or a cell that is no
            number.
    """
    try:
        text = text_of(content)
        is_csv = pathlib.PurePosixPath(name).suffix.lower() == '.csv'
        names, rows = _from_csv(text) if is_csv else _from_json(text)
        chosen = _chosen(names, columns)
        found = by_file(_as_numbers(rows, names, chosen), files)
        values = np.array([found[file] for file in files], np.float32)
        return Conditions(values, tuple(names[i] for i in chosen), name)
    except ValueError as error:
        raise ValueError(
            f'{name} in {where}, {error}; correct the table, or name another one with '
            '--config.data.conditions=TABLE, or TABLE:COLUMN,COLUMN'
        ) from error


def _from_csv(text: str) -> tuple[list[str], Iterator[Row]]:
    rows = csv_cells(text)
    number, header = next(rows, (1, []))
    at_file = column(number, header, FILE_COLUMNS)
    names = [name for i, name in enumerate(header) if i != at_file]

    def read() -> Iterator[Row]:
        for number, cells in rows:
            if not cells[at_file]:
                raise ValueError(f'row {number}, column {header[at_file]!r} is empty')
            yield Row(f'row {number}', cells.pop(at_file), cells)

    return names, read()


def _from_json(text: str) -> tuple[list[str], Iterator[Row]]:
    entries, _ = json_entries(text)
    if not entries:
        raise ValueError('which has no entries: one for each image is needed')
    first = entries[0][1] if _is_pair(entries[0]) else None
    if isinstance(first, Pairs):
        names = [str(key) for key, _ in first]
    elif isinstance(first, list):
        names = [str(i) for i in range(len(first))]
    else:
        raise ValueError(
            f'entry 1 is {shown(entries[0])}: the name of an image with its numbers is needed, as '
            '"a.png": {"angle": 0.3} or "a.png": [0.3]'
        )

    def read() -> Iterator[Row]:
        for number, entry in enumerate(entries, 1):
            values = entry[1] if _is_pair(entry) else None
            keyed = isinstance(values, Pairs)
            keys = [str(key) for key, _ in values] if keyed else names
            if not isinstance(values, list) or len(values) != len(names) or keys != names:
                raise ValueError(
                    f'entry {number} is {shown(entry)}: the name of an image with the numbers '
                    f'{", ".join(names)} is needed, as in entry 1'
                )
            cells = [value for _, value in values] if keyed else values
            yield Row(f'entry {number}', entry[0], cells)

    return names, read()


def _is_pair(entry: Any) -> bool:
    return isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[0], str)


def _chosen(names: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Positions of the columns to read."""
    for name in columns:
        if name not in names:
            raise ValueError(
                f'which has no column {shown(name)} (its columns: {", ".join(map(shown, names[:12]))})'
            )
    chosen = [names.index(name) for name in columns] or list(range(len(names)))
    if not 1 <= len(chosen) <= MAX_NUMBERS:
        raise ValueError(f'which has {len(chosen)} numbers a row: 1 to {MAX_NUMBERS} are accepted')
    return chosen


def _as_numbers(rows: Iterator[Row], names: Sequence[str], chosen: Sequence[int]) -> Iterator[Row]:
    for row in rows:
        values = []
        for i in chosen:
            cell = row.label[i]
            try:
                value = math.nan if isinstance(cell, list) else float(cell)
            except (TypeError, ValueError, OverflowError):
                value = math.nan
            if not abs(value) <= _LARGEST:
                raise ValueError(
                    f'{row.where}, column {names[i]!r} is {shown(cell)}: a finite number is needed'
                )
            values.append(value)
        yield row._replace(label=values)
