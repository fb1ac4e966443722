"""How far a run is, read from what it writes, while it writes."""

import json
import pathlib

# Lower is better; the first that a run has is shown.
SCORES = ('fid', 'frechet_distance')
_TAIL_BYTES = 4096


class Watcher:
    """Follows the `metrics.jsonl` of a run.

    Attributes:
        step: generator updates done, as far as they are logged.
        rate: the latest, in updates per second; None before the first.
        scores: the latest value of each score, by name.
    """

    def __init__(self, workdir: pathlib.Path):
        self._path = workdir / 'metrics.jsonl'
        self._offset = 0
        self.step, self.rate = 0, None
        self.scores: dict[str, float] = {}

    def score(self) -> tuple[str, float] | None:
        """The name and value to compare runs by, where the run has one."""
        return next(((name, self.scores[name]) for name in SCORES if name in self.scores), None)

    def look(self) -> None:
        """Reads what is new; a file that a resumed run has cut is read from its start."""
        try:
            with open(self._path, 'rb') as file:
                if file.seek(0, 2) < self._offset:
                    self._offset = self.step = 0
                file.seek(self._offset)
                whole = file.read().rpartition(b'\n')[0]
        except FileNotFoundError:
            return
        self._offset += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, AttributeError):  # cut and written on meanwhile
                continue

    def _take(self, values):
        self.step = max(self.step, int(values.get('step', 0)))
        if values.get('perf/steps_per_s'):
            self.rate = float(values['perf/steps_per_s'])
        for tag, value in values.items():
            if tag.startswith('eval/') and tag.count('/') == 1:
                self.scores[tag.removeprefix('eval/')] = float(value)


def newest_checkpoint(workdir: pathlib.Path) -> int:
    """The step of the newest checkpoint that is whole by its name; 0 without one."""
    names = (path.name for path in (workdir / 'checkpoints').glob('*'))
    return max((int(name) for name in names if name.isdecimal()), default=0)


def last_lines(path: pathlib.Path, num: int = 1, since: int = 0) -> list[str]:
    """The last lines of a log that say something; `since`: bytes of it that are older than what is asked for."""
    if not path.exists():
        return []
    with open(path, 'rb') as file:
        file.seek(max(since, file.seek(0, 2) - _TAIL_BYTES))
        text = file.read().decode(errors='replace')
    return [line.rstrip() for line in text.splitlines() if line.strip()][-num:]
