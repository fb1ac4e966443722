"""Warnings that Pillow gives while images are decoded on many threads, with the files' names."""

import contextlib
import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from absl import logging

_MAX_NAMED = 3
_current = threading.local()  # .file: the file that this thread decodes


@contextlib.contextmanager
def of_file(file: str | os.PathLike) -> Iterator[None]:
    """Warnings of this thread inside are about `file`."""
    _current.file = os.fspath(file)
    try:
        yield
    finally:
        _current.file = None


@contextlib.contextmanager
def named(what: str) -> Iterator[None]:
    """Logs the warnings about files inside, on all threads, as one line per kind.

    Python alone prints a warning once, for the first file, and without its name. The state of the
    module `warnings` is that of the process, so it is changed here, once for all threads.

    Args:
        what: begins the lines.
    """
    found: dict[str, list[str]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter('always')
        show = warnings.showwarning

        def collect(message: Any, *args: Any, **kwargs: Any) -> None:
            file = getattr(_current, 'file', None)
            if file is None:
                show(message, *args, **kwargs)
            else:
                kind = ' '.join(str(message).split())[:160]
                found.setdefault(kind, []).append(file)

        warnings.showwarning = collect
        yield
    for kind, files in found.items():
        files = list(dict.fromkeys(files))
        more = f' and {len(files) - _MAX_NAMED} more' if len(files) > _MAX_NAMED else ''
        logging.warning('%s: %s%s: %s', what, ', '.join(files[:_MAX_NAMED]), more, kind)
