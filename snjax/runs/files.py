"""Small files of a run: written in one step, and believed only after they were checked.

`replace_file` is the one writer and `read_json`, `read_lines` are the readers of everything that a
run keeps beside its checkpoints.
"""

import contextlib
import json
import math
import os
import re
import stat
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from snjax.host import file_lock

# What a kill inside `replace_file` leaves.
_NEW = re.compile(r'\.[0-9a-f]{32}\.tmp')
_MAX_BYTES = 256 << 20  # no file of these is larger by far; a damaged size must not fill the memory


class Damaged(ValueError):
    """A file that is not what its writer wrote; the message is one line that names it."""


def replace_file(path: str | os.PathLike, content: str | bytes | Iterable[bytes]) -> None:
    """Writes a file so that readers see the old file or the whole new one, also after a crash.

    The content goes to a hidden file beside `path`, to the disk, and then to its name. Folders are
    made if they are missing. Processes may write the same file at the same time: the last one wins.

    Args:
        path: the file.
        content: text (written as UTF-8), bytes, or chunks of bytes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    chunks = [content.encode()] if isinstance(content, str) else content
    new, file = _open_new(path)
    try:
        with file:
            file.writelines([chunks] if isinstance(chunks, bytes) else chunks)
            file.flush()
            os.fsync(file.fileno())
            os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)
    sync_folder(path.parent)


def _open_new(path: Path) -> tuple[Path, IO[bytes]]:
    """A new hidden file, locked as long as it is open: what `remove_leftovers` can lock is dead."""
    while True:
        # The name does not contain that of the file: TensorBoard reads every name with 'tfevents'.
        new = path.with_name(f'.{uuid.uuid4().hex}.tmp')
        file = open(new, 'xb')
        with contextlib.suppress(OSError):  # a file system without locks
            file_lock.lock(file, wait=True)
        if new.exists():
            return new, file
        file.close()  # removed between the two calls above


def remove_leftovers(folder: Path) -> list[str]:
    """Removes what killed processes left of unfinished `replace_file`s; returns the names."""
    removed = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not _NEW.fullmatch(path.name):
            continue
        with contextlib.suppress(OSError), open(path, 'rb') as file:
            file_lock.lock(file, wait=False)  # fails while its writer lives
            path.unlink()
            removed.append(path.name)
    return removed


def sync_folder(folder: Path) -> None:
    """Forces the names in a folder to the disk, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Waits until no other process is inside for this folder; without effect where locks fail.

    The lock is on the folder itself, so that no file is left behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            file_lock.lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def check_file(path: Path) -> None:
    """Raises `Damaged` if there is something other than a regular file, such as a folder."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = 'a folder' if stat.S_ISDIR(mode) else 'no regular file'
        raise Damaged(f'{path} is {kind} where a file belongs: move it away')


def read_json(path: Path, *, finite: bool = True) -> Any:
    """The content of a JSON file; None if there is no such file.

    Args:
        path: the file.
        finite: refuse NaN, Infinity, and numbers that are too large for a float.

    Raises:
        Damaged: it is no regular file, empty, too large, no UTF-8 or no JSON.
        OSError: it cannot be read.
    """
    check_file(path)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    if size > _MAX_BYTES:
        raise Damaged(f'{path} is damaged ({size:,} bytes are more than any such file has)')
    try:
        return parse(path.read_bytes(), finite=finite)
    except ValueError as error:
        raise Damaged(f'{path} is damaged ({error})') from None


def parse(text: bytes, *, finite: bool = True) -> Any:
    """Parses JSON; raises a ValueError of one line for anything else, empty text included."""
    if not text.strip(b' \r\n\t'):
        raise ValueError('it is empty')
    if not text.strip(b'\0 \r\n\t'):
        raise ValueError('it holds zero bytes only')
    hooks: dict[str, Any] = {'parse_float': _float, 'parse_constant': _refuse} if finite else {}
    try:
        return json.loads(text.decode(), **hooks)
    except RecursionError:
        raise ValueError('it is nested too deeply') from None
    except UnicodeDecodeError as error:
        raise ValueError(f'byte {error.start} is no UTF-8') from None


class Lines(NamedTuple):
    """The lines of a log.

    Attributes:
        good: each good line with its bytes.
        bad: the bytes of damaged lines.
        tail: an incomplete last line, which a live process may be writing; b'' for none.
    """

    good: list[tuple[bytes, dict[str, Any]]]
    bad: list[bytes]
    tail: bytes


def read_lines(path: Path) -> Lines:
    """Reads a log of one JSON object a line; empty if there is no such file.

    Raises:
        Damaged: it is no regular file.
        OSError: it cannot be read.
    """
    check_file(path)
    try:
        *lines, tail = path.read_bytes().split(b'\n')
    except FileNotFoundError:
        return Lines([], [], b'')
    good, bad = [], []
    for line in lines:
        try:
            content = parse(line)
        except ValueError:
            content = None
        if isinstance(content, dict):
            good.append((line + b'\n', content))
        else:
            bad.append(line + b'\n')
    return Lines(good, bad, tail)


def whole(number: Any) -> int:
    """A JSON number as a count; raises a ValueError for anything but an integer from 0 to 2**63."""
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**63:
        raise ValueError(f'{number!r} is no count')
    return number


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f'{text} is too large')
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f'{name} is no JSON')
