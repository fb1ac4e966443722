"""A folder of images or a zip archive of one, read recursively, with a class for each image."""

import zipfile
from typing import Any

import numpy as np

from snjax.data import (
    condition_tables,
    encoded,
    folder_files,
    label_tables,
    pixels,
    zip_files,
)
from snjax.data.image_set import ImageSource
from snjax.host import paths

Files = folder_files.FolderFiles | zip_files.ZipFiles
_TABLES = ('.csv', '.json')  # endings


def find_folder(
    path: str | None,
    *,
    split: str,
    skip_broken: bool,
    cache_dir: str | None,
    decode_later: bool = False,
    labels: str = '',
    conditions: str | None = None,
    **form: Any,
) -> ImageSource:
    """Finds every image under `path`.

    The classes are those of a table (`label_tables`) if there is one, or else the first-level
    subfolders, sorted by name, if every image lies in one; otherwise the set has no labels. The
    images are in the order of the sorted paths, with a table as if each lay in the folder of its
    class. Hidden files and folders (a leading dot) are skipped.

    Args:
        path: the folder, or a zip archive of it.
        split: 'train'; a folder has no other split.
        skip_broken: leave out files that cannot be decoded and name them in a warning, instead of
            stopping at the first.
        cache_dir: see `cache.cached`.
        decode_later: decode the images on access (`LazyImages`) and cache nothing.
        labels: name of the table in `path`; '' for labels.csv, labels.json or dataset.json if one
            of them is there; 'folders' for the subfolders in any case.
        conditions: name of the table of numbers in `path` (`condition_tables`), alone or as
            TABLE:COLUMN,COLUMN; '' for conditions.csv or conditions.json if one of them is there;
            None reads none.
        form: of the result, see `pixels.Form`.

    Raises:
        ValueError: no such folder, no image in it, a malformed table, or another split; `read`
            raises it for a broken file.
    """
    files = _files(path)
    root = files.root
    if split != 'train':
        raise ValueError(
            f"a folder has no split {split!r}; accepted: 'train' (all its images); "
            'set --config.data.path to the folder of that split'
        )
    if not files.names:
        there = f' ({folder_files.counted(files.others)})' if files.others else ''
        raise ValueError(
            f'{root} has no images{there}; accepted: files named {" ".join(sorted(folder_files.suffixes()))}, '
            'also in subfolders; set --config.data.path to another folder'
        )
    classes, table = _classes(files, labels)
    return encoded.source(
        'folder',
        split,
        files,
        classes,
        table=table,
        conditions=_conditions(files, conditions, classes.files),
        form=pixels.Form(**form),
        skip_broken=skip_broken,
        cache_dir=cache_dir,
        decode_later=decode_later,
    )


def _files(path: str | None) -> Files:
    """The images of a folder or of a zip archive."""
    if not path:
        raise ValueError("the set 'folder' needs a folder; set --config.data.path=<folder>")
    root = paths.absolute(path, 'data.path')
    if root.is_dir():
        return folder_files.FolderFiles(root)
    if root.is_file() and (root.suffix.lower() == '.zip' or zipfile.is_zipfile(root)):
        return zip_files.ZipFiles(root)
    raise ValueError(
        f'{root} is not a folder; set --config.data.path to a folder of images or a zip archive of one'
    )


def _classes(files: Files, labels: str) -> tuple[label_tables.Classes, str]:
    """The classes, and the name of the table that gave them; '' for subfolders."""
    table = _table(files, labels)
    if not table:
        return _folders(files.names), ''
    if files.num_bytes(table) > label_tables.MAX_BYTES:
        raise ValueError(
            f'{table} in {files.root} has {files.num_bytes(table) / 1e6:,.0f} MB, which no table of '
            'labels has; set --config.data.labels to another, or to folders'
        )
    found = label_tables.classes(table, files.read(table), files.names, str(files.root))
    return found, table


def _table(files: Files, labels: str) -> str:
    """Name of the table of labels; '' for none."""
    if labels == 'folders':
        return ''
    if labels:
        if not labels.lower().endswith(_TABLES) or not files.has(labels):
            raise ValueError(
                f'data.labels is {labels!r}: the name of a .csv or .json file in {files.root} is '
                'needed, or folders for its subfolders'
            )
        return labels
    there = [name for name in label_tables.NAMES if files.has(name)]
    if len(there) > 1:
        raise ValueError(
            f'{files.root} has {" and ".join(there)}; say which gives the classes: '
            f'--config.data.labels={there[0]}'
        )
    return there[0] if there else ''


def _conditions(
    files: Files, asked: str | None, order: list[str]
) -> condition_tables.Conditions | None:
    """The numbers of the images in this order; None if no table has any, or is asked for."""
    if asked is None:
        return None
    name, _, columns = asked.partition(':')
    if asked and (not name.lower().endswith(_TABLES) or not files.has(name)):
        raise ValueError(
            f'data.conditions is {asked!r}: TABLE or TABLE:COLUMN,COLUMN is needed, with the name of '
            f'a .csv or .json file in {files.root}'
        )
    there = [name for name in condition_tables.NAMES if files.has(name)]
    if not asked and len(there) > 1:
        raise ValueError(
            f'{files.root} has {" and ".join(there)}; say which gives the numbers: '
            f'--config.data.conditions={there[0]}'
        )
    if not asked and not there:
        return None
    name = name or there[0]
    if files.num_bytes(name) > label_tables.MAX_BYTES:
        raise ValueError(
            f'{name} in {files.root} has {files.num_bytes(name) / 1e6:,.0f} MB, which no table has; '
            'set --config.data.conditions to another'
        )
    chosen = [column.strip() for column in columns.split(',') if column.strip()]
    content, root = files.read(name), str(files.root)
    return condition_tables.conditions(name, content, order, root, chosen)


def _folders(names: list[str]) -> label_tables.Classes:
    """Classes by the first-level subfolders; none unless every image lies in one."""
    if any('/' not in name for name in names):
        return label_tables.Classes(names, None, ())
    folders = [name.split('/', 1)[0] for name in names]
    class_names, labels = np.unique(folders, return_inverse=True)
    return label_tables.Classes(names, labels, tuple(str(name) for name in class_names))
