"""Parquet files of encoded images, as Hugging Face's `datasets` writes them.

A row has a struct of `bytes`, an encoded image, and `path`, and may have a label. The schema says
under the key `huggingface` which column is an `Image`, which a `ClassLabel`, and how its classes
are called; without it, columns are known by their types and names. Files of several splits are told
apart by the beginning of their names (`train-00000-of-00002.parquet`) or by their folder
(`train/0000.parquet`).

pyarrow, in the extra `snjax[parquet]`, reads them; nothing in a file is executed.
"""

import collections
import itertools
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from snjax.data import encoded, parquet_file, pixels
from snjax.data.image_set import ImageSource
from snjax.data.label_tables import Classes, class_order
from snjax.data.parquet_file import ParquetFile
from snjax.host import paths

_SPLIT = re.compile(r'[^-.]+')


def find_parquet(
    path: str | None,
    *,
    split: str,
    skip_broken: bool,
    cache_dir: str | None,
    decode_later: bool = False,
    labels: str = '',
    **form: Any,
) -> ImageSource:
    """Finds the rows of a split, in their order.

    Args:
        path: a Parquet file, which is one split whatever `split` is, or a folder of them.
        split: which files of a folder: those that are named after it or lie in a folder of its
            name. A folder whose files are of one split alone is 'train', too.
        skip_broken, cache_dir: as for a folder.
        decode_later: refused, because single rows cannot be read.
        labels: name of the column; '' for the only `ClassLabel`, or the column `label`, if any.
        form: of the result, see `pixels.Form`.

    Raises:
        ValueError: of one line, with file, row and column: no such file or column, no images, a row
            without label, or pyarrow is missing. `read` raises it for a broken image.
    """
    if decode_later:
        raise ValueError(
            'data.stream=decode reads single images in any order, which Parquet files are not made '
            'for: use --config.data.stream=on'
        )
    root, found = _files(path, split)
    files = [ParquetFile(file, labels) for file in found]
    first = files[0]
    for file in files[1:]:
        if file.columns != first.columns:
            raise ValueError(
                f'{file.path} has the columns {file.columns}, and {first.path} {first.columns}: set '
                '--config.data.path to files of one set'
            )
    rows = parquet_file.Rows(root, files)
    return encoded.source(
        'parquet',
        split,
        rows,
        _classes(files, rows.names),
        table=first.columns.label,
        form=pixels.Form(**form),
        skip_broken=skip_broken,
        cache_dir=cache_dir,
        decode_later=False,
    )


def _files(path: str | None, split: str) -> tuple[pathlib.Path, list[pathlib.Path]]:
    """The folder, and the files of a split in it, sorted."""
    if not path:
        raise ValueError("the set 'parquet' needs a file or folder; set --config.data.path=<file>")
    root = paths.absolute(path, 'data.path')
    if root.is_file():
        return root.parent, [root]
    by_split = collections.defaultdict(list)
    for file in sorted(root.rglob('*.parquet')):
        is_hidden = any(part.startswith('.') for part in file.relative_to(root).parts)
        if file.is_file() and not is_hidden:
            by_split[_split_of(file)].append(file)
    if not by_split:
        raise ValueError(
            f'{root} is no Parquet file and no folder with *.parquet files; set --config.data.path'
        )
    if split in by_split:
        return root, by_split[split]
    if split == 'train' and len(by_split) == 1:
        return root, next(iter(by_split.values()))
    raise ValueError(
        f'{root} has no files of split {split!r}; accepted: {", ".join(sorted(by_split))}; set '
        '--config.data.split, or --config.data.path to the file'
    )


def _split_of(file: pathlib.Path) -> str:
    """The split that a file belongs to; in a set of one folder per split, files have numbers."""
    name = _SPLIT.match(file.stem)
    return file.parent.name if name is None or name[0].isdecimal() else name[0]


def _classes(files: Sequence[ParquetFile], names: list[str]) -> Classes:
    """The labels of all rows; none if no row has one, for which `datasets` writes -1 or null."""
    column, class_names = files[0].columns.label, files[0].columns.class_names
    if not column:
        return Classes(names, None, ())
    cells = list(itertools.chain.from_iterable(file.labels() for file in files))
    if all(cell is None or cell == -1 for cell in cells):
        return Classes(names, None, ())
    for name, cell in zip(names, cells, strict=True):
        is_name = isinstance(cell, str) and cell.strip() and not class_names
        is_number = isinstance(cell, int) and 0 <= cell < (len(class_names) or 1 << 31)
        if not is_name and not is_number:
            accepted = f'0 to {len(class_names) - 1}' if class_names else 'a whole number from 0'
            raise ValueError(
                f'{name}, column {column} is {cell!r:.60}: {accepted} is accepted, as is no label '
                'in any row; correct the file, or choose another column with --config.data.labels'
            )
    texts = [str(cell).strip() for cell in cells]
    if class_names:
        return Classes(names, np.array(cells, np.int32), class_names)
    class_names = class_order(set(texts))
    index = {name: i for i, name in enumerate(class_names)}
    return Classes(names, np.array([index[text] for text in texts], np.int32), class_names)
