"""How `launch.py` ends other than well: one line on stderr and an exit code. Imports no JAX."""

import contextlib
import errno
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

from absl import flags

from experiments.modes import key_errors

BAD_INPUT, DIVERGED, PREEMPTED, INTERRUPTED = 2, 3, 75, 130
_UNUSABLE_PATH = (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError)
_UNUSABLE_ERRNO = (errno.EROFS, errno.ENAMETOOLONG)  # of an OSError that has no class of its own
_FULL = (errno.ENOSPC, errno.EDQUOT)
_GET_CONFIG = 'get_config'
_CONFIGS = pathlib.Path(__file__).resolve().parents[2] / 'configs'
_BAD_FLAGS = (flags.Error, ValueError, TypeError, KeyError, AttributeError, OSError)
# How Python says that a config file was given an argument it does not take, or none that it needs.
_ARGUMENTS = (
    (
        rf'{_GET_CONFIG}\(\) takes 0 positional arguments but 1 was given',
        'it takes no argument, leave out the colon and what follows',
    ),
    (
        rf"{_GET_CONFIG}\(\) missing \d required positional arguments?: '(\w+)'.*",
        r'it needs an argument, write :\1 after the file',
    ),
)


def input_error(error: ValueError | OSError, workdir: Any) -> Exception:
    """The error to end with, where it is of what was asked for, or of a full disk.

    Args:
        error: what was raised.
        workdir: where a disk may be full, if the error does not say it.

    Raises:
        OSError: the same, where it is of the machine: its traceback is needed.
    """
    if not isinstance(error, OSError) or isinstance(error, (*_UNUSABLE_PATH, ValueError)):
        return error
    if error.errno in _FULL:
        return ValueError(
            f'{error.strerror}: {error.filename or workdir} cannot be written; free some, or use another --workdir '
            '(after a copy of this one, the run goes on in it)'
        )
    if error.errno not in _UNUSABLE_ERRNO:
        raise error
    return error


def end(error: Exception, code: int) -> NoReturn:
    """Prints one line on stderr and ends with the exit code."""
    message = error
    # A KeyError's str() is its message, quoted.
    while isinstance(message, AttributeError | KeyError):
        message = message.args[0]
    message = str(message)
    if isinstance(error, AttributeError) and error.name == _GET_CONFIG:
        message = (
            f'{error.obj.__file__} has no {_GET_CONFIG}(): give --config a file that has, as those '
            'in configs/'
        )
    before, parsing, trace = message.partition('Error whilst parsing config file:')
    # ml_collections puts the whole traceback into the message; its last line is the error.
    if parsing:
        message = before + trace.strip().splitlines()[-1].partition(': ')[2]
    for pattern, meaning in _ARGUMENTS:
        message = re.sub(pattern, meaning, message)
    print(f'launch.py: {" ".join(message.split())}', file=sys.stderr, flush=True)
    sys.exit(code)


def end_at_config(error: Exception, source: str | None = None) -> NoReturn:
    """Ends for an error in the flags, in a config file or in the definition of a sweep.

    Args:
        error: what was raised.
        source: the file that defines a sweep.

    Raises:
        Exception: the same error, if none of these is at fault: its traceback is needed.
    """
    found = key_errors.explained(error, source)
    if found:
        end(found, BAD_INPUT)
    if isinstance(error, AttributeError) and error.name == _GET_CONFIG:
        end(error, BAD_INPUT)
    if isinstance(error, _BAD_FLAGS):
        end(error, BAD_INPUT)
    place = _place(error)
    if not place:
        raise error
    what = error.msg if isinstance(error, SyntaxError) else error
    end(ValueError(f'{place}: {type(error).__name__}: {what}'), BAD_INPUT)


def end_at_key(error: AttributeError | KeyError) -> NoReturn:
    """Ends for a key that a config does not have; raises the error again if it is another one."""
    found = key_errors.explained(error)
    if not found:
        raise error
    end(found, BAD_INPUT)


def _place(error: Exception) -> str:
    """'FILE, line N' of the last line in a config or in a file named on the command line; '' for none."""
    named = {word.rpartition('=')[2].partition(':')[0] for word in sys.argv[1:]}
    files = {pathlib.Path(name).resolve() for name in named} | set(_CONFIGS.rglob('*.py'))
    places = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((error.filename or '', error.lineno))
    found = [
        f'{path}, line {line}'
        for name, line in places
        if (path := pathlib.Path(name).resolve()) in files
    ]
    return found[-1] if found else ''


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """Ends what is printed in silence when nobody reads on, as `| head` does."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def interrupt(*_: Any) -> NoReturn:
    """Ctrl-C: ends at once, without waiting for threads, of which one may compile for minutes."""
    with contextlib.suppress(RuntimeError, OSError):  # it may have come while Python was printing
        sys.stdout.flush()
    os.write(2, b'launch.py: interrupted\n')
    os._exit(INTERRUPTED)
