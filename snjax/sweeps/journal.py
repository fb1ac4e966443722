"""The states of a sweep's runs, in an append-only file that survives any kill."""

import enum
import json
import os
import pathlib
import time
from typing import Any

from snjax.runs.files import check_file, parse


class RunState(enum.StrEnum):
    """State of a run. The journal holds every change except those to pending and waiting."""

    PENDING = 'pending'
    WAITING = 'waiting'  # another process uses its workdir
    QUEUED = 'queued'  # in a cluster's queue
    RUNNING = 'running'
    FINISHED = 'finished'
    INTERRUPTED = 'interrupted'  # stopped or killed; it can resume
    CRASHED = 'crashed'
    DIVERGED = 'diverged'
    REFUSED = 'refused'  # bad input


class Journal:
    """`journal.jsonl` of a sweep: one line {"time", "run", "state", ...} for every change.

    A line is on the disk before `append` returns. A last line that a kill cut short is removed on
    opening.

    Args:
        path: the file, created if needed in an existing folder.

    Attributes:
        lines: all lines so far, as dicts.

    Raises:
        ValueError: a line other than the last is damaged, or the file is a folder.
    """

    def __init__(self, path: pathlib.Path):
        self.lines = read(path)
        with open(path, 'ab') as file:
            file.truncate(_end_of_lines(path))
        self._file = open(path, 'ab')

    def append(self, run: str, state: RunState, **details: Any) -> None:
        """Adds the line that run `run` is now in `state`; `details` have JSON types."""
        line = {'time': time.time(), 'run': run, 'state': state} | details
        self._file.write(json.dumps(line).encode() + b'\n')
        self._file.flush()
        os.fsync(self._file.fileno())
        self.lines.append(line)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> 'Journal':
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The complete lines of a journal; [] if there is no file.

    Raises:
        ValueError: a line other than the last is damaged.
    """
    check_file(path)
    if not path.exists():
        return []
    lines = []
    complete = path.read_bytes()[: _end_of_lines(path)].splitlines()
    for number, text in enumerate(complete, start=1):
        try:
            line = parse(text)
            _ = RunState(line['state']), line['run']
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{path}, line {number} is damaged ({error}): '
                'remove the line; the sweep then checks its run again'
            ) from None
        lines.append(line)
    return lines


def _end_of_lines(path: pathlib.Path) -> int:
    return path.read_bytes().rfind(b'\n') + 1
