"""Tables that give images their classes: labels.csv, labels.json and StyleGAN's dataset.json.

A class is a name. The classes are sorted as subfolders of these names would be, except that whole
numbers are sorted by their value, and so are the images: those of class cat are where the images of
a folder cat would be. A set whose files are sorted into folders is then the same set, in the same
order. StyleGAN's tool numbers the images of such folders in their order, which is kept.

CSV: a row of column names, of which one names the file and one the class (`FILE_COLUMNS`,
`LABEL_COLUMNS`); others are not read. JSON: `{"a.png": "cat"}`, or a list of objects with those
keys, or StyleGAN's `{"labels": [["a.png", 3]]}`, where `{"labels": null}` means no labels.
"""

import csv
import io
import json
import pathlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

# In the folder of the images; looked for in this order.
NAMES = ('labels.csv', 'labels.json', 'dataset.json')
FILE_COLUMNS = ('file', 'filename', 'file_name', 'image', 'image_id', 'path')
LABEL_COLUMNS = ('label', 'class', 'class_name', 'category')
MAX_BYTES = 256 << 20
_DELIMITERS = ',;\t'  # Excel writes all three
_MAX_NAMED = 3
_MAX_SHOWN = 60  # characters of a cell


class Classes(NamedTuple):
    """Labels of files.

    Attributes:
        files: all files, in the order of the set.
        labels: indices into `names`, in that order; None without labels.
        names: of the classes; () without labels.
    """

    files: list[str]
    labels: Int32[np.ndarray, ' n'] | None
    names: tuple[str, ...]


class Row(NamedTuple):
    where: str  # "row 3, column 'file'"
    file: str
    label: Any


def classes(name: str, content: bytes, files: Sequence[str], where: str) -> Classes:
    """The classes that a table gives to files.

    Args:
        name: of the table; its ending tells what it is.
        content: of the table.
        files: all files that need a class, as the table may name them.
        where: the folder or archive, for messages.

    Raises:
        ValueError: of one line with row and column: the table is malformed, names a file that is
            not there or one twice, or has no row for a file.
    """
    try:
        text, keeps_order = text_of(content), False
        if pathlib.PurePosixPath(name).suffix.lower() == '.csv':
            rows = _csv_rows(text)
        else:
            entries, keeps_order = json_entries(text)
            if entries is None:
                return Classes(sorted(files), None, ())
            rows = _json_rows(entries)
        return _sorted(by_file(rows, files), keeps_order)
    except ValueError as error:
        raise ValueError(
            f'{name} in {where}, {error}; correct the table, or take the subfolders for classes '
            'with --config.data.labels=folders'
        ) from error


def _sorted(labels: dict[str, str], keeps_order: bool) -> Classes:
    """Files with their classes, `{file: class}`, as if each lay in the folder of its class."""
    names = class_order(set(labels.values()))
    index = {name: i for i, name in enumerate(names)}
    width = max(map(len, names)) if all(map(_is_number, names)) else 0
    # Without a width, the text of the path alone: 'cat-b/...' is before 'cat/...'.
    files = sorted(labels, key=lambda file: f'{labels[file].zfill(width)}/{file}')
    files = sorted(labels) if keeps_order else files
    return Classes(files, np.array([index[labels[file]] for file in files], np.int32), names)


def class_order(names: Collection[str]) -> tuple[str, ...]:
    """Names of classes as subfolders of these names are sorted, but whole numbers by their value."""
    if all(map(_is_number, names)):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _is_number(name: str) -> bool:
    return len(name) <= 18 and name.isascii() and name.isdecimal()


def by_file(rows: Iterator[Row], files: Sequence[str]) -> dict[str, Any]:
    """What the rows say of each file: {file: label}.

    Raises:
        ValueError: a row names no file, or one twice, or a file has no row.
    """
    there = set(files)
    found: dict[str, Row] = {}
    for row in rows:
        file = row.file if row.file in there else _normal(row.file)
        if file not in there:
            raise ValueError(
                f'{row.where}: there is no image {shown(row.file)}{_near(file, files)}'
            )
        if file in found:
            raise ValueError(
                f'{row.where}: image {shown(row.file)} is in {found[file].where} already'
            )
        found[file] = row
    if not found:
        raise ValueError('which has no rows: one for each image is needed')
    missing = [file for file in files if file not in found]
    if missing:
        named = ', '.join(shown(file) for file in missing[:_MAX_NAMED])
        more = ', ...' if len(missing) > _MAX_NAMED else ''
        raise ValueError(
            f'which has no row for {len(missing)} of {len(files)} images: {named}{more}'
        )
    return {file: row.label for file, row in found.items()}


def _normal(file: str) -> str:
    """A path as people write it: ./cat/a.png, cat\\a.png."""
    return file.replace('\\', '/').removeprefix('./')


def _near(file: str, files: Sequence[str]) -> str:
    """What else the name may mean: a file in a subfolder, or of another ending."""
    asked = pathlib.PurePosixPath(file)
    paths = [pathlib.PurePosixPath(other) for other in files]
    near = [path for path in paths if path.name == asked.name]
    near += [path for path in paths if asked.stem.lower() == path.stem.lower()]
    return f' (did you mean {shown(str(near[0]))}?)' if near else ''


def shown(cell: Any) -> str:
    text = repr(cell)
    return text if len(text) <= _MAX_SHOWN else f'{text[:_MAX_SHOWN]}...'


def text_of(content: bytes) -> str:
    if content.startswith((b'\xff\xfe', b'\xfe\xff')):
        raise ValueError('row 1: the text is UTF-16; save it as UTF-8')
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        before = content[: error.start]
        row, column = before.count(b'\n') + 1, len(before) - (before.rfind(b'\n') + 1) + 1
        byte = f'0x{content[error.start]:02x}'
        raise ValueError(
            f'row {row}, byte {column}: {byte} is no UTF-8; save it as UTF-8'
        ) from error


# ---- CSV


def csv_cells(text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, numbered as a spreadsheet does; the first has the column names.

    Raises:
        ValueError: a row that is no CSV, or has another number of columns than the first.
    """
    first = text.partition('\n')[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=delimiter, strict=True)
    width = number = 0
    while True:
        number += 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f'row {number}: {error}') from error
        if not any(cells):
            continue
        if width and len(cells) != width:
            raise ValueError(f'row {number} has {len(cells)} columns, and row 1 {width}')
        width = len(cells)
        yield number, cells


def _csv_rows(text: str) -> Iterator[Row]:
    rows = csv_cells(text)
    for number, header in rows:
        at_file, at_label = (
            column(number, header, accepted) for accepted in (FILE_COLUMNS, LABEL_COLUMNS)
        )
        for number, cells in rows:
            for at in (at_file, at_label):
                if not cells[at]:
                    raise ValueError(f'row {number}, column {header[at]!r} is empty')
            yield Row(f'row {number}, column {header[at_file]!r}', cells[at_file], cells[at_label])


def column(number: int, header: list[str], accepted: Sequence[str]) -> int:
    """Position of the only column with one of the accepted names."""
    places = [i for i, name in enumerate(header) if name.lower() in accepted]
    if len(places) == 1:
        return places[0]
    named = ', '.join(shown(name) for name in header[:12])
    raise ValueError(
        f'row {number} has {len(places) or "no"} columns named {", ".join(accepted)} (its columns: '
        f'{named}): exactly one is needed'
    )


# ---- JSON


class Pairs(list):
    """An object of a JSON text, whose keys may be there twice."""


def json_entries(text: str) -> tuple[list | None, bool]:
    """The entries, None for no labels, and whether StyleGAN's tool may have written them."""
    try:
        found = json.loads(text, object_pairs_hook=Pairs)
    except json.JSONDecodeError as error:
        raise ValueError(f'row {error.lineno}, column {error.colno}: {error.msg}') from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f'row 1: {" ".join(str(error).split())}') from error
    if isinstance(found, Pairs):
        inner = [value for key, value in found if key == 'labels']
        if len(inner) == 1 and (inner[0] is None or isinstance(inner[0], list)):
            return inner[0], True
    if not isinstance(found, list):
        raise ValueError('row 1: neither an object nor a list')
    return found, False


def _json_rows(found: list) -> Iterator[Row]:
    """Entries, numbered from 1."""
    # The entries of an object are pairs already.
    for number, entry in enumerate(found, 1):
        where = f'entry {number}'
        if isinstance(entry, Pairs):
            keys = [key for key, _ in entry]
            try:
                at = [column(number, keys, names) for names in (FILE_COLUMNS, LABEL_COLUMNS)]
            except ValueError as error:
                raise ValueError(str(error).replace('row', 'entry', 1)) from None
            entry = [entry[i][1] for i in at]
        if not isinstance(entry, list | tuple) or len(entry) != 2:
            raise ValueError(f'{where} is {shown(entry)}: a file and its class are needed')
        file, label = entry
        if not isinstance(file, str) or not file:
            raise ValueError(f'{where}, file is {shown(file)}: the name of an image is needed')
        is_number = isinstance(label, int) and not isinstance(label, bool) and label >= 0
        if not is_number and not (isinstance(label, str) and label.strip()):
            raise ValueError(
                f'{where}, label is {shown(label)}: a whole number from 0 or a name is needed'
            )
        yield Row(where, file, str(label).strip())
