"""Ends `launch.py` after an error: one line on stderr and an exit code. Imports no JAX."""

import errno
import pathlib
import re
import sys
import traceback
from typing import Any, NoReturn

from absl import flags

from experiments.modes import key_errors
from experiments.modes.lines import complain
from snjax.host.exit_codes import BAD_INPUT

_UNUSABLE_PATH = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
# Errors without an exception class.
_UNUSABLE_ERRNO = (errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_GET_CONFIG = 'get_config'
_CONFIGS = pathlib.Path(__file__).resolve().parents[2] / 'configs'
_BAD_FLAGS = (flags.Error, ValueError, TypeError, KeyError, AttributeError, OSError)
# Python's messages about an argument of a config file or a value, and their meaning for users.
_MEANINGS = (
    (r"invalid literal for int\(\) with base 10: '.*?'", 'a whole number is accepted'),
    (r"could not convert string to float: '.*?'", 'a number is accepted'),
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
    if error.errno is None:  # one of ours, with a line of its own
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
    message = str(message)
    if isinstance(error, AttributeError) and error.name == _GET_CONFIG:
        message = (
            f'{error.obj.__file__} has no {_GET_CONFIG}(): '
            'give --config a file that has one, e.g. one in configs/'
        )
    before, parsing, trace = message.partition('Error whilst parsing config file:')
    # ml_collections puts a whole traceback into the message; its last line is the error.
    if parsing:
        message = before + trace.strip().splitlines()[-1].partition(': ')[2]
    for pattern, meaning in _MEANINGS:
        message = re.sub(pattern, meaning, message)
    complain(' '.join(message.split()))
    sys.exit(code)


def end_at_config(error: Exception, source: str | None = None) -> NoReturn:
    """Exits with code 2 after an error in flags, in a config file or in the definition of a sweep.

    Args:
        error: what reading them raised.
        source: the file that defines a sweep.

    Raises:
        Exception: `error` itself if it arose elsewhere.
    """
    found = key_errors.explained(error, source)
    is_syntax = isinstance(error, SyntaxError)
    place = _place(error) or (source if is_syntax else '')
    if found or (isinstance(error, _BAD_FLAGS) and not is_syntax):
        if not found and place and key_errors.is_of_library(error):
            found = ValueError(f'{place}: {error}')
        end(found or error, BAD_INPUT)
    if not place:
        raise error
    what = error.msg if is_syntax else error
    end(ValueError(f'{place}: {type(error).__name__}: {what}'), BAD_INPUT)


def end_at_key(error: AttributeError | KeyError) -> NoReturn:
    """Exits with code 2 after reading a key that a config does not have.

    Raises:
        AttributeError, KeyError: `error` itself if it has another cause.
    """
    found = key_errors.explained(error)
    if not found:
        raise error
    end(found, BAD_INPUT)


def _place(error: Exception) -> str:
    """'FILE, line N' of the faulty line in a config or in another file of a user; '' for none."""
    places = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((error.filename or '', error.lineno))
    found = [
        f'{path}, line {line}'
        for name, line in places
        if _is_input(path := pathlib.Path(name).resolve())
    ]
    return found[-1] if found else ''


def _is_input(path: pathlib.Path) -> bool:
    """Whether a Python file is a config or a sweep, and neither this program nor a library."""
    given = {word.rpartition('=')[2].partition(':')[0] for word in sys.argv[1:]}
    if path.is_relative_to(_CONFIGS) or path in {pathlib.Path(name).resolve() for name in given}:
        return True
    programs = (_CONFIGS.parent, sys.prefix, sys.base_prefix)
    is_program = any(path.is_relative_to(folder) for folder in programs)
    return path.is_file() and not is_program and 'site-packages' not in path.parts
