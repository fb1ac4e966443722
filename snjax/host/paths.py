"""Paths as people write them: ~ expanded, patterns told from names, and names that can be printed.

Every path that comes from a flag, a config, an environment variable or an argument goes through
`expanded`, so that all of them mean the same and fail with the same words.
"""

import glob
import os
import pathlib


def expanded(path: str | os.PathLike, what: str = 'the path') -> pathlib.Path:
    """The path with ~ and ~user expanded.

    Args:
        path: as given.
        what: names the key or flag that it was given to, for the message.

    Raises:
        ValueError: of one line: there is no such user or no home folder, or no file can have this
            name.
    """
    text = os.fspath(path)
    if '\0' in text:
        raise ValueError(f'{what} is {printable(text)!r}, which has a NUL byte: give another path')
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:  # pathlib's word for a missing user or home
        user = pathlib.Path(text).parts[0][1:]
        reason = (
            f'there is no user {user!r}'
            if user
            else 'this user has no home folder (HOME is not set)'
        )
        raise ValueError(
            f'{what} is {printable(text)!r}, but {reason}: give the path without ~'
        ) from error


def absolute(path: str | os.PathLike, what: str = 'the path') -> pathlib.Path:
    """`expanded`, and independent of the current folder; `..`, links and `/` at the end resolved."""
    return pathlib.Path(os.path.realpath(expanded(path, what)))


def check_workdir(path: pathlib.Path) -> None:
    """Raises a ValueError for a file, and for a name that the libraries which write checkpoints do not
    take.

    TensorStore wants UTF-8 and reads a backslash as a separator; Orbax reads `gs:/` and its like as
    an address.
    """
    if os.path.isfile(path):
        raise ValueError(
            f'--workdir={printable(path)} is a file: give the folder of a run; a training begins with '
            'the .safetensors of a generator by --init_from'
        )
    full = os.path.abspath(path)
    bad = [part for part in pathlib.Path(full).parts if part.endswith(':') or '\\' in part]
    if not is_text(full):
        bad = [full]
    if bad:
        raise ValueError(
            f'--workdir={printable(path)}: checkpoints cannot be written to a folder named '
            f'{printable(bad[0])!r} (a backslash, a colon at the end, or bytes that are no UTF-8): '
            'use another --workdir'
        )


def matches(pattern: str | os.PathLike, below: str = '') -> list[pathlib.Path]:
    """The paths that a pattern of `glob` matches, sorted; an existing path matches only itself.

    Args:
        pattern: of a folder or file. `runs/a[1]` is the folder of that name if there is one.
        below: a name to look for in each of them; '' for themselves.
    """
    path = expanded(pattern)
    if path.exists():
        return [path / below] if (path / below).exists() else []
    found = glob.glob(str(path / glob.escape(below)) if below else str(path))
    return [pathlib.Path(name) for name in sorted(found)]


def is_text(name: str | os.PathLike) -> bool:
    """Whether a name on the disk is UTF-8."""
    try:
        os.fspath(name).encode()
    except UnicodeEncodeError:  # Python keeps other bytes as surrogates
        return False
    return True


def printable(name: object) -> str:
    r"""A name in which line ends, control characters and other bytes are escaped, as `\x1b`."""
    text = str(name)
    if text.isprintable():
        return text
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)
