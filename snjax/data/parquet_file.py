"""One Parquet file of encoded images, and the rows of several."""

import bisect
import collections
import itertools
import json
import pathlib
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from snjax import host
from snjax.data.cache import file_state

_USUAL_IMAGES, _USUAL_LABELS = ('image', 'img'), ('label',)
_MAX_LISTED = 12
_KEPT_GROUPS = 4  # besides those that threads are just reading


class Columns(NamedTuple):
    """What is read of a file."""

    image: str
    label: str  # '' without labels
    class_names: tuple[str, ...]  # () where the file does not say them

    def __str__(self) -> str:
        classes = f' ({len(self.class_names)} classes)' if self.class_names else ''
        return f'{self.image} and {self.label or "no labels"}{classes}'


class ParquetFile:
    """A Parquet file and its columns of images and labels.

    Args:
        path: the file.
        label: name of the column of labels; '' to find it.

    Attributes:
        path: as given.
        columns: which columns have images and labels.

    Raises:
        ValueError: of one line: pyarrow is missing, it is no such file, has no such
            columns, or row groups that are larger than the memory.
    """

    def __init__(self, path: pathlib.Path, label: str):
        try:
            import pyarrow.parquet as pq
        except ImportError as error:
            raise ValueError(
                "the set 'parquet' needs pyarrow, which is not installed: pip install pyarrow"
            ) from error
        self.path, self._lock = path, threading.Lock()
        try:
            self._file: Any = pq.ParquetFile(path, page_checksum_verification=True)
        except Exception as error:  # pyarrow answers damage with many types
            raise ValueError(
                f'{path} cannot be read as Parquet ({_one_line(error)}); set --config.data.path to '
                'whole files'
            ) from error
        self.columns = _columns(path, self._file.schema_arrow, label)
        self._check_memory()

    def _check_memory(self) -> None:
        """Raises a ValueError if a row group is larger than the memory, which then is full."""
        meta = self._file.metadata
        groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
        chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
        of_images = [c for c in chunks if c.path_in_schema.split('.')[0] == self.columns.image]
        num_bytes = max((chunk.total_uncompressed_size for chunk in of_images), default=0)
        if 2 * num_bytes > host.memory():  # once as pyarrow has it, once as Python has it
            raise ValueError(
                f'{self.path}, column {self.columns.image} has row groups of {num_bytes / 1e9:,.1f} GB, '
                'which do not fit in memory: write it with smaller ones, as `datasets` does'
            )

    def group_sizes(self) -> list[int]:
        """Number of rows of each row group."""
        meta = self._file.metadata
        return [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]

    def labels(self) -> list[Any]:
        """All labels: integers, texts or None."""
        return self._read(range(self._file.metadata.num_row_groups), self.columns.label)

    def images(self, group: int) -> list[bytes | None]:
        """The encoded images of a row group.

        Raises:
            ValueError: of one line: the group is damaged.
        """
        cells = self._read([group], self.columns.image)
        return [cell.get('bytes') if isinstance(cell, dict) else cell for cell in cells]

    def _read(self, groups: Iterable[int], column: str) -> list[Any]:
        try:
            with self._lock:
                return self._file.read_row_groups(list(groups), columns=[column])[0].to_pylist()
        except Exception as error:
            raise ValueError(
                f'{self.path}, column {column} is damaged ({_one_line(error)}): get the file again'
            ) from error


class Rows:
    """The rows of several files as encoded images, for `snjax.data.encoded`.

    Args:
        root: a folder that has all files.
        files: in the order of their rows.

    Attributes:
        root: as given.
        names: 'train-00000-of-00001.parquet, row 1' and so on.
        others: empty.

    Raises:
        ValueError: there are no rows.
    """

    def __init__(self, root: pathlib.Path, files: Sequence[ParquetFile]):
        self.root, self.others = root, Counter()
        self._groups: list[tuple[ParquetFile, int]] = []
        self.names, sizes = [], []
        for file in files:
            of_file = file.group_sizes()
            self._groups += [(file, i) for i in range(len(of_file))]
            sizes += of_file
            name = file.path.relative_to(root).as_posix()
            self.names += [f'{name}, row {i + 1}' for i in range(sum(of_file))]
        if not self.names:
            raise ValueError(f'{files[0].path} has no rows; set --config.data.path to another file')
        self._starts = list(itertools.accumulate(sizes, initial=0))[:-1]
        self._places = {name: i for i, name in enumerate(self.names)}
        self._states = {
            file.path.relative_to(root).as_posix(): file_state(file.path) for file in files
        }
        self._kept: collections.OrderedDict[int, list[bytes | None]] = collections.OrderedDict()
        self._lock = threading.Lock()

    def image(self, name: str) -> bytes:
        """The encoded image of a row; safe to call from several threads.

        Raises:
            ValueError: there is none, or the file is damaged.
        """
        place = self._places[name]
        group = bisect.bisect_right(self._starts, place) - 1
        found = self._group(group)[place - self._starts[group]]
        if found is None:
            raise ValueError('the row has no bytes; embed the images before to_parquet')
        return found

    def _group(self, group: int) -> list[bytes | None]:
        with self._lock:
            if group in self._kept:
                self._kept.move_to_end(group)
                return self._kept[group]
        file, index = self._groups[group]
        images = file.images(index)
        with self._lock:
            self._kept[group] = images
            while len(self._kept) > _KEPT_GROUPS:
                self._kept.popitem(last=False)
        return images

    def state(self, name: str) -> tuple[int, ...]:
        """What tells that the file of a row is the same as before."""
        return self._states[name.rpartition(',')[0]]


def _columns(path: pathlib.Path, schema: Any, wanted: str) -> Columns:
    """Which columns of a file are read."""
    import pyarrow as pa

    images, labels, features = [], [], _features(schema)
    for field in schema:
        kind = field.type
        is_struct = pa.types.is_struct(kind) and kind.get_field_index('bytes') >= 0
        if is_struct or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            images.append(field.name)
        else:
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
            if is_text or pa.types.is_integer(kind):
                labels.append(field.name)
    listed = ', '.join(schema.names[:_MAX_LISTED])

    def marked(names, kind):
        return [name for name in names if features.get(name, {}).get('_type') == kind]

    image = _only(marked(images, 'Image') or images, _USUAL_IMAGES)
    if image is None:
        raise ValueError(
            f'{path} has {len(images) or "no"} columns of encoded images (its columns: {listed}); '
            'accepted: one, or one named image; set --config.data.path to another file'
        )
    usual = [name for name in labels if name in _USUAL_LABELS]
    label = wanted or _only(marked(labels, 'ClassLabel') or usual or [''], _USUAL_LABELS)
    if label is None or label not in ('', *labels):
        raise ValueError(
            f'data.labels is {wanted!r}, but {path} has the columns {listed}; accepted: one of '
            f'{", ".join(marked(labels, "ClassLabel") or labels) or "whole numbers or texts"}; set '
            '--config.data.labels'
        )
    names = features.get(label, {}).get('names')
    return Columns(image, label, tuple(map(str, names)) if isinstance(names, list) else ())


def _only(names: list[str], usual: Sequence[str]) -> str | None:
    """The only name, or the only usual one; None if that is none."""
    names = names if len(names) == 1 else [name for name in names if name in usual]
    return names[0] if len(names) == 1 else None


def _features(schema: Any) -> dict[str, dict]:
    """What `datasets` says of the columns; {} if it wrote nothing, or nothing readable."""
    try:
        features = json.loads((schema.metadata or {})[b'huggingface'])['info']['features']
        return {name: of for name, of in features.items() if isinstance(of, dict)}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())[:200] or type(error).__name__
