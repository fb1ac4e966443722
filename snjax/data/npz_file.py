"""Arrays of `.npz` files of other people: only those that are asked for, and never code.

NumPy alone reads all members, believes a header that asks for more than the machine has, and
advises to load pickled ones unsafely.
"""

import pathlib
import zipfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from snjax import host

_SUFFIX = '.npy'


def read(
    path: pathlib.Path, choose: Callable[[list[str]], Iterable[str]] = lambda names: names
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads some arrays of an `.npz`.

    Args:
        path: the file.
        choose: takes the names of all arrays and returns those that are wanted; names that are not
            there are left out. By default all.

    Returns:
        The arrays by name, and the names of all arrays in the file.

    Raises:
        ValueError: of one line, without the path: it is no such file, is damaged, holds pickled
            objects, or more than the memory takes.
    """
    try:
        if not path.is_file():
            raise ValueError('no such file')
        if not zipfile.is_zipfile(path):  # np.load would also take an .npy file
            raise ValueError('it is no zip archive, or was cut off')
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(_SUFFIX): name for name in archive.namelist()}
            wanted = [name for name in choose(list(members)) if name in members]
            _check_size(sum(archive.getinfo(members[name]).file_size for name in wanted))
            return {name: _array(archive, members[name]) for name in wanted}, list(members)
    except ValueError:
        raise
    except (Exception, MemoryError) as error:  # zipfile and NumPy answer damage with many types
        raise ValueError(' '.join(str(error).split()) or type(error).__name__) from error


def shape_of(path: pathlib.Path, names: Sequence[str]) -> tuple[int, ...]:
    """The shape of the first of some arrays that an `.npz` has, without reading it.

    Raises:
        ValueError: of one line, with the path: it has none of them, or cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            found = next((f'{n}{_SUFFIX}' for n in names if f'{n}{_SUFFIX}' in members), None)
            if found is None:
                raise ValueError(f'it has no array {" or ".join(names)}')
            with archive.open(found) as file:
                return _header(file)[0]
    except Exception as error:  # zipfile and NumPy answer damage with many types
        raise ValueError(f'{path}: {" ".join(str(error).split())}') from error


def _array(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    if not member.endswith(_SUFFIX):
        raise ValueError(f'its member {member!r:.60} is no array')
    with archive.open(member) as file:
        shape, _, dtype = _header(file)
        if dtype.hasobject:
            raise ValueError(f'its member {member!r:.60} is pickled, which is never loaded')
        num_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if num_bytes > archive.getinfo(member).file_size:
            raise ValueError(f'its member {member!r:.60} is shorter than its header says')
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)  # also of 3.0, whose text is UTF-8


def _check_size(num_bytes: int) -> None:
    there = host.memory()
    if num_bytes > there:
        raise ValueError(
            f'its arrays are {num_bytes / 1e9:,.1f} GB, and there are {there / 1e9:,.1f} GB of memory'
        )
