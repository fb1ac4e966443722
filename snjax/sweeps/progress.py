"""The progress of a run, read from its files while it writes them."""

import pathlib

from snjax.runs import tags
from snjax.runs.files import parse
from snjax.runs.workdir import METRICS_NAME

# Scores by which tables compare runs, best first; lower is better.
SCORES = ('fid', 'frechet_distance')
_TAIL_BYTES = 4096


class Progress:
    """Follows the `metrics.jsonl` of a run.

    Args:
        workdir: folder of the run, which need not exist.

    Attributes:
        step: generator updates done, as far as they are logged.
        rate: updates per second at the last log line; None before the first.
        scores: latest value of each score, by name.
    """

    def __init__(self, workdir: pathlib.Path):
        self._path = workdir / METRICS_NAME
        self._offset = 0
        self.step: int = 0
        self.rate: float | None = None
        self.scores: dict[str, float] = {}

    def refresh(self) -> None:
        """Reads the new lines. A file that a resumed run has truncated is read from its start."""
        try:
            with open(self._path, 'rb') as file:
                if file.seek(0, 2) < self._offset:
                    self._offset = self.step = 0
                file.seek(self._offset)
                complete = file.read().rpartition(b'\n')[0]
        except OSError:  # not there yet, or no file: the run itself says what is wrong
            return
        self._offset += len(complete) + 1 if complete else 0
        for line in complete.splitlines():
            try:
                self._read(parse(line))
            except (ValueError, TypeError, AttributeError):  # truncated and rewritten meanwhile
                continue

    def score(self) -> tuple[str, float] | None:
        """Name and value of the score to compare runs by; None if the run has none."""
        return next(((name, self.scores[name]) for name in SCORES if name in self.scores), None)

    def _read(self, values):
        self.step = max(self.step, int(values.get('step', 0)))
        if 'perf/steps_per_s' in values:
            self.rate = float(values['perf/steps_per_s'])
        for tag, value in values.items():
            if name := tags.score_name(tag):
                self.scores[name] = float(value)


def last_lines(path: pathlib.Path, num: int = 1, since: int = 0) -> list[str]:
    """The last lines of a log that are not blank.

    Args:
        path: the log; [] if it does not exist.
        num: number of lines.
        since: byte offset to start from; text before it is ignored.
    """
    if not path.exists():
        return []
    with open(path, 'rb') as file:
        file.seek(max(since, file.seek(0, 2) - _TAIL_BYTES))
        text = file.read().decode(errors='replace')
    return [line.rstrip() for line in text.splitlines() if line.strip()][-num:]
