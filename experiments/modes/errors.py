"""Ends `launch.py` after an error: one line on stderr and an exit code. Imports no JAX."""

import contextlib
import errno
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

BAD_INPUT, DIVERGED, PREEMPTED, INTERRUPTED = 2, 3, 75, 130
_UNUSABLE_PATH = (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError)
_UNUSABLE_ERRNO = (errno.EROFS, errno.ENAMETOOLONG)  # errors without an exception class
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_GET_CONFIG = 'get_config'
# Python's messages for a config file with a surplus or missing argument, and their meaning.
_ARGUMENTS = (
    (
        rf'{_GET_CONFIG}\(\) takes 0 positional arguments but 1 was given',
        'it takes no argument, leave out the colon and the text after it',
    ),
    (
        rf"{_GET_CONFIG}\(\) missing \d required positional arguments?: '(\w+)'.*",
        r'it needs an argument, write :\1 after the file',
    ),
)


def input_error(error: ValueError | OSError, workdir: Any) -> Exception:
    """Returns the error to report in one line, if the user can mend it.

    Args:
        error: an error caused by a bad value, an unusable path, a full disk, or the machine.
        workdir: named as the full disk if the error names no file.

    Raises:
        OSError: `error` itself if the machine caused it; its traceback is needed then.
    """
    if not isinstance(error, OSError) or isinstance(error, (*_UNUSABLE_PATH, ValueError)):
        return error
    if error.errno in _DISK_FULL:
        return ValueError(
            f'{error.strerror}: {error.filename or workdir} cannot be written; free some space, '
            'or use another --workdir (the run resumes in a copy of this one)'
        )
    if error.errno not in _UNUSABLE_ERRNO:
        raise error
    return error


def end(error: Exception, code: int) -> NoReturn:
    """Prints the error in one line on stderr and exits with `code`."""
    message = error
    # str() of a KeyError puts its message in quotes.
    while isinstance(message, AttributeError | KeyError):
        message = message.args[0]
    # ml_collections lists all other keys of a locked config, which would fill the screen.
    message = re.sub(r' Other fields present: ".*?}"', '', str(message))
    if isinstance(error, AttributeError) and error.name == _GET_CONFIG:
        message = (
            f'{error.obj.__file__} has no {_GET_CONFIG}(): '
            'give --config a file that has one, e.g. one in configs/'
        )
    # ml_collections found no similar key to suggest.
    if isinstance(error, AttributeError) and re.fullmatch(r"'\w+'", message):
        message = f'{message} is not a key of the config; configs/base.py lists all keys'
    before, parsing, trace = message.partition('Error whilst parsing config file:')
    # ml_collections puts a whole traceback into the message; its last line is the error.
    if parsing:
        message = before + trace.strip().splitlines()[-1].partition(': ')[2]
    for pattern, meaning in _ARGUMENTS:
        message = re.sub(pattern, meaning, message)
    print(f'launch.py: {" ".join(message.split())}', file=sys.stderr, flush=True)
    sys.exit(code)


def end_at_fault(error: Exception, configs: pathlib.Path) -> NoReturn:
    """Exits with code 2 and the faulty line of a config or sweep definition.

    Args:
        error: what loading them raised.
        configs: the folder of configs; files named on the command line count as well.

    Raises:
        Exception: `error` itself if it arose in no such file.
    """
    given = {word.rpartition('=')[2].partition(':')[0] for word in sys.argv[1:]}
    files = {pathlib.Path(name).resolve() for name in given} | set(configs.resolve().rglob('*.py'))
    places = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((error.filename or '', error.lineno))
    in_configs = [
        (path, line) for name, line in places if (path := pathlib.Path(name).resolve()) in files
    ]
    if not in_configs:
        raise error
    path, line = in_configs[-1]
    what = error.msg if isinstance(error, SyntaxError) else error
    end(ValueError(f'{path}, line {line}: {type(error).__name__}: {what}'), BAD_INPUT)


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """Ignores that the reader of stdout closes it early, as `| head` does."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout again on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def interrupt(*_: Any) -> NoReturn:
    """Handler of Ctrl-C: exits at once; a thread may compile for minutes and is not waited for."""
    with contextlib.suppress(RuntimeError, OSError):  # Python may be printing just now
        sys.stdout.flush()
    os.write(2, b'launch.py: interrupted\n')
    os._exit(INTERRUPTED)
