"""How a sweep stands: every run's state, what its next one is, and the files that say so.

An engine says when a run begins and how it ends; what follows from that is decided here.
"""

import dataclasses
import json
import pathlib
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from snjax.runs.files import replace_file
from snjax.runs.workdir import JOURNAL_NAME, newest_step
from snjax.sweeps.journal import Journal, State
from snjax.sweeps.runs import Run
from snjax.sweeps.watch import Watcher, last_lines

JOURNAL, SUMMARY, LOG = JOURNAL_NAME, 'sweep.json', 'output.log'
# Exit codes of launch.py, as its docstring has them.
FINISHED, BAD_INPUT, DIVERGED, PREEMPTED, INTERRUPTED = 0, 2, 3, 75, 130
_STOPS = (PREEMPTED, INTERRUPTED, -signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL)
_IN_USE = ' is in use by '
_CRASH_LINES = 12
# What an earlier sweep left in these states is not run again.
_FINAL = (State.FINISHED, State.DIVERGED)


@dataclasses.dataclass
class Job:
    """A run and how it stands.

    Attributes:
        run: what is run.
        workdir: its folder.
        watcher: of that folder.
        state: now.
        attempts: starts so far, those of earlier sweeps in this folder as well.
        failures: ends in a row that were none and came no further than the one before.
        reached: step of the newest checkpoint at the last end.
        seconds: that it has run, over all attempts that came to an end under a sweep's eyes.
        slot: where it runs.
        note: what its last end has to say.
        started: when its last attempt began, in seconds since 1970.
        log_start: bytes of its log from before that.
    """

    run: Run
    workdir: pathlib.Path
    watcher: Watcher
    state: State = State.PENDING
    attempts: int = 0
    failures: int = 0
    reached: int = 0
    seconds: float = 0.0
    slot: str = ''
    note: str = ''
    started: float = 0.0
    log_start: int = 0

    @property
    def log(self) -> pathlib.Path:
        return self.workdir / LOG

    @property
    def is_open(self) -> bool:
        """Whether it still has to be started."""
        return self.state in (State.PENDING, State.WAITING)


class SweepState:
    """All jobs of a sweep.

    Args:
        runs: of the sweep, in its order.
        folder: where the sweep lives; `journal.jsonl` tells what was done there before.
        retries: how often in a row a run that crashed or was killed is started again though it comes no further.
        about: for `sweep.json`: the command, the slots.
        say: prints a line for people.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        folder: pathlib.Path,
        *,
        retries: int,
        about: dict[str, Any],
        say: Callable[[str], None] = print,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.retries, self.say, self._about = folder, retries, say, about
        self.journal = Journal(folder / JOURNAL)
        self.jobs = jobs_of(runs, folder, self.journal.lines)
        self.stopping = False
        self.write()

    def queued(self, job: Job, number: str) -> None:
        """A job is in the queue of SLURM, as `number`."""
        job.state = State.QUEUED
        self.journal.append(job.run.id, State.QUEUED, slurm=number)
        self.say(f'{job.run.name}: queued as {number}')
        self.write()

    def started(self, job: Job, slot: str, **details: Any) -> None:
        """A job begins in `slot`."""
        job.state, job.slot, job.started = State.RUNNING, slot, time.time()
        job.attempts += 1
        job.watcher = Watcher(job.workdir)
        self.journal.append(job.run.id, State.RUNNING, slot=slot, **details)
        at = newest_step(job.workdir)
        self.say(f'{job.run.name}: {f"goes on from step {at}" if at else "starts"} on {slot}')
        self.write()

    def ended(self, job: Job, code: int, note: str = '') -> None:
        """A job's process is gone; a negative `code` is the signal that ended it. The job may be open again.

        `note` says why, where that is known; else its log does.
        """
        job.watcher.look()
        job.seconds += time.time() - job.started
        lines = last_lines(job.log, _CRASH_LINES, job.log_start)
        job.note = (lines or [''])[-1].removeprefix('launch.py: ')
        if code == BAD_INPUT and _IN_USE in job.note:
            job.state, job.attempts = State.WAITING, job.attempts - 1
            return
        job.state = _state_of(code)
        if job.state == State.FINISHED:
            job.note = ''
        elif note or code < 0:
            job.note = note or f'ended by {signal.Signals(-code).name}'
        self.journal.append(
            job.run.id, job.state, code=code, seconds=time.time() - job.started, note=job.note
        )
        self.say(': '.join(filter(None, [job.run.name, job.state, job.note])))
        if job.state == State.CRASHED:
            for line in lines:
                self.say(f'    {line}')
        if job.state in (State.INTERRUPTED, State.CRASHED) and not self.stopping:
            self._retry(job)
        self.write()

    def _retry(self, job):
        """Opens a job again, unless it has come to the same end too often."""
        reached = newest_step(job.workdir)
        job.failures = 1 if reached > job.reached else job.failures + 1
        job.reached = reached
        if job.failures <= self.retries:
            job.state = State.PENDING
        else:
            self.say(
                f'{job.run.name}: given up after {job.failures} ends at step {reached} '
                f'(--retries={self.retries}); see {job.log}'
            )

    def look(self) -> None:
        """Reads how far the running jobs are."""
        for job in self.jobs:
            if job.state == State.RUNNING:
                job.watcher.look()

    def count(self, *states: State) -> int:
        return sum(job.state in states for job in self.jobs)

    def summary(self) -> dict[str, Any]:
        """What `sweep.json` holds."""
        return {**self._about, 'runs': [_describe(job, self.folder) for job in self.jobs]}

    def write(self) -> None:
        """Writes `sweep.json`, whole or not at all."""
        replace_file(self.folder / SUMMARY, json.dumps(self.summary(), indent=2) + '\n')

    def close(self) -> None:
        self.write()
        self.journal.close()


def jobs_of(
    runs: Sequence[Run], folder: pathlib.Path, lines: Sequence[dict[str, Any]]
) -> list[Job]:
    """The jobs as a journal's lines left them: open, but for those with nothing left to do."""
    jobs = {run.id: Job(run, run.workdir(folder), Watcher(run.workdir(folder))) for run in runs}
    for line in lines:
        job = jobs.get(line['run'])
        if job is not None:
            job.state, job.note = State(line['state']), line.get('note', '')
            job.attempts += job.state == State.RUNNING
            job.seconds += line.get('seconds', 0.0)
    for job in jobs.values():
        job.watcher.look()
        job.reached = newest_step(job.workdir)
        if job.state not in _FINAL or not (job.workdir / 'config.json').is_file():
            job.state, job.note = State.PENDING, ''
    return list(jobs.values())


def _state_of(code: int) -> State:
    if code in _STOPS:
        return State.INTERRUPTED
    known = {
        FINISHED: State.FINISHED,
        DIVERGED: State.DIVERGED,
        BAD_INPUT: State.REFUSED,
    }
    return known.get(code, State.CRASHED)


def _describe(job: Job, folder: pathlib.Path) -> dict[str, Any]:
    return {
        'name': job.run.name,
        'id': job.run.id,
        'workdir': str(job.workdir.relative_to(folder)),
        'overrides': job.run.item,
        'arguments': job.run.arguments(folder),
        'state': job.state,
        'attempts': job.attempts,
        'step': job.watcher.step,
        'num_steps': job.run.num_steps,
        'seconds': round(job.seconds, 1),
        'scores': job.watcher.scores,
        'note': job.note,
    }
