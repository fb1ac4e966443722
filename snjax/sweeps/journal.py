"""The states of a sweep's runs, as lines that are added to a file and never changed: it survives any kill."""

import enum
import json
import os
import pathlib
import time
from typing import Any


class State(enum.StrEnum):
    """How a run stands. Pending and waiting (for a workdir in use) are nobody's news, and not in the file."""

    PENDING = 'pending'
    WAITING = 'waiting'
    QUEUED = 'queued'  # by a cluster
    RUNNING = 'running'
    FINISHED = 'finished'
    INTERRUPTED = 'interrupted'  # stopped or killed: it goes on
    CRASHED = 'crashed'
    DIVERGED = 'diverged'
    REFUSED = 'refused'  # bad input


class Journal:
    """`journal.jsonl` of a sweep: a line {"time", "run", "state", ...} for every change.

    A line is on the disk before `append` returns. One that was cut short by a kill is removed on opening.

    Args:
        path: of the file, made when needed; its folder exists.

    Raises:
        ValueError: a line other than the last is damaged.
    """

    def __init__(self, path: pathlib.Path):
        self.lines = read(path)
        with open(path, 'ab') as file:
            file.truncate(_end_of_lines(path))
        self._file = open(path, 'ab')

    def append(self, run: str, state: State, **details: Any) -> None:
        """Notes that a run is in `state` now; `details` are of JSON types."""
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
    """The lines of a journal, without a last one that was cut short; none where there is no file."""
    if not path.exists():
        return []
    lines = []
    whole = path.read_bytes()[: _end_of_lines(path)].splitlines()
    for number, text in enumerate(whole, start=1):
        try:
            line = json.loads(text)
            _ = State(line['state']), line['run']
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{path}, line {number} is damaged ({error}): remove the line, and its run is looked at again'
            ) from error
        lines.append(line)
    return lines


def _end_of_lines(path: pathlib.Path) -> int:
    return path.read_bytes().rfind(b'\n') + 1
