"""How far a run is, read from what it writes, while it writes."""

import json
import pathlib
import statistics

from snjax.runs import resume

# Lower is better; the first that a run has is shown.
SCORES = ('fid', 'frechet_distance')
_TAIL_BYTES = 4096


class Watcher:
    """Follows the `metrics.jsonl` of a run, or of all that are members of one program."""

    def __init__(self, workdir: pathlib.Path):
        self._workdir = workdir
        self._logs: dict[pathlib.Path, _Log] = {}

    def look(self) -> None:
        """Reads what is new."""
        for folder in resume.runs_in(self._workdir):
            self._logs.setdefault(folder, _Log(folder / 'metrics.jsonl')).look()

    @property
    def step(self) -> int:
        """Generator updates done, as far as they are logged."""
        return max((log.step for log in self._logs.values()), default=0)

    @property
    def rate(self) -> float | None:
        """The latest, in updates per second; None before."""
        rates = [float(log.rate) for log in self._logs.values() if log.rate]
        return rates[0] if rates else None

    @property
    def scores(self) -> dict[str, float]:
        """The latest value of each, by name; of several members the mean."""
        found: dict[str, list[float]] = {}
        for log in self._logs.values():
            for name, value in log.scores.items():
                found.setdefault(name, []).append(float(value))
        return {name: statistics.fmean(values) for name, values in found.items()}

    def score(self) -> tuple[str, float] | None:
        """The name and value to compare runs by, where the run has one."""
        scores = self.scores
        return next(((name, scores[name]) for name in SCORES if name in scores), None)


class _Log:
    """One `metrics.jsonl`."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._offset = 0
        self.step, self.rate, self.scores = 0, None, {}

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
        self.rate = values.get('perf/steps_per_s', self.rate)
        for tag, value in values.items():
            if tag.startswith('eval/') and tag.count('/') == 1:
                self.scores[tag.removeprefix('eval/')] = value


def newest_checkpoint(workdir: pathlib.Path) -> int:
    """The step of the newest checkpoint that is whole by its name; 0 without one.

    Of several members the one that all have, those apart that diverged.
    """
    folders = resume.runs_in(workdir)
    going = [folder for folder in folders if not (folder / resume.DIVERGED_NAME).exists()]
    return min(_newest(folder) for folder in going or folders)


def _newest(folder):
    names = (path.name for path in (folder / 'checkpoints').glob('*'))
    return max((int(name) for name in names if name.isdecimal()), default=0)


def last_lines(path: pathlib.Path, num: int = 1, since: int = 0) -> list[str]:
    """The last lines of a log that say something; `since`: bytes of it that are older than what is asked for."""
    if not path.exists():
        return []
    with open(path, 'rb') as file:
        file.seek(max(since, file.seek(0, 2) - _TAIL_BYTES))
        text = file.read().decode(errors='replace')
    return [line.rstrip() for line in text.splitlines() if line.strip()][-num:]
