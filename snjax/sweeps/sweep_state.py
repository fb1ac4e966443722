"""The state of a sweep: its jobs, what happens to a job next, and the files that record it.

An engine reports when a job starts and how it ends; this module decides what follows.
"""

import dataclasses
import json
import pathlib
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from snjax.host.exit_codes import BAD_INPUT, DIVERGED, FINISHED, INTERRUPTED, RESUMABLE
from snjax.runs.files import replace_file
from snjax.runs.workdir import CONFIG_NAME, JOURNAL_NAME, SUMMARY_NAME, newest_step
from snjax.sweeps.journal import Journal, RunState
from snjax.sweeps.progress import Progress, last_lines
from snjax.sweeps.runs import Run

JOURNAL, SUMMARY, LOG = JOURNAL_NAME, SUMMARY_NAME, 'output.log'
_STOPPED_CODES = (RESUMABLE, INTERRUPTED, -signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL)
_IN_USE = ' is in use by '
_CRASH_LINES = 12
# A run that an earlier sweep left in one of these states is not started again.
_FINAL = (RunState.FINISHED, RunState.DIVERGED)


@dataclasses.dataclass
class Job:
    """A run and its state.

    Attributes:
        run: what to run.
        workdir: folder of the run.
        progress: progress of the run, read from `workdir`.
        state: current state.
        attempts: number of starts, including those by earlier sweeps in this folder.
        failures: failed attempts in a row without a newer checkpoint.
        checkpoint_step: step of the newest checkpoint at the end of the last attempt.
        seconds: run time of all attempts that ended while a sweep was running.
        slot: name of the slot it runs in.
        note: the reason for its last end.
        start_time: start of the last attempt, in seconds since 1970.
        log_start: size of its log in bytes before the last attempt.
    """

    run: Run
    workdir: pathlib.Path
    progress: Progress
    state: RunState = RunState.PENDING
    attempts: int = 0
    failures: int = 0
    checkpoint_step: int = 0
    seconds: float = 0.0
    slot: str = ''
    note: str = ''
    start_time: float = 0.0
    log_start: int = 0

    @property
    def log(self) -> pathlib.Path:
        return self.workdir / LOG

    @property
    def is_open(self) -> bool:
        """Whether it still has to be started."""
        return self.state in (RunState.PENDING, RunState.WAITING)


class SweepState:
    """All jobs of a sweep.

    Args:
        runs: the runs, in the order in which they start.
        folder: folder of the sweep; its `journal.jsonl` holds what earlier sweeps did there.
        retries: number of times in a row that a run which crashed or was killed is started again
            without a newer checkpoint.
        about: entries for `sweep.json`, e.g. the command and the slots.
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
        self.jobs = restore_jobs(runs, folder, self.journal.lines)
        self.is_stopping = False
        self.write()

    def mark_queued(self, job: Job, number: str) -> None:
        """Records that a job is in SLURM's queue under `number`."""
        job.state = RunState.QUEUED
        self.journal.append(job.run.id, RunState.QUEUED, slurm=number)
        self.say(f'{job.run.name}: queued as {number}')
        self.write()

    def mark_started(self, job: Job, slot: str, **details: Any) -> None:
        """Records that a job starts in `slot`; `details` go to the journal."""
        job.state, job.slot, job.start_time = RunState.RUNNING, slot, time.time()
        job.attempts += 1
        job.progress = Progress(job.workdir)
        self.journal.append(job.run.id, RunState.RUNNING, slot=slot, **details)
        step = newest_step(job.workdir)
        self.say(f'{job.run.name}: {f"resumes from step {step}" if step else "starts"} on {slot}')
        self.write()

    def mark_ended(self, job: Job, code: int, note: str = '') -> None:
        """Records that a job's process has ended, and opens the job again if it is to be retried.

        Args:
            job: the job.
            code: its exit code; negative for the signal that ended it.
            note: the reason, if known; otherwise the last line of its log.
        """
        job.progress.refresh()
        job.seconds += time.time() - job.start_time
        lines = last_lines(job.log, _CRASH_LINES, job.log_start)
        job.note = (lines or [''])[-1].removeprefix('launch.py: ')
        if code == BAD_INPUT and _IN_USE in job.note:
            job.state, job.attempts = RunState.WAITING, job.attempts - 1
            return
        job.state = _state_for(code)
        if job.state == RunState.FINISHED:
            job.note = ''
        elif note or code < 0:
            job.note = note or f'ended by {signal.Signals(-code).name}'
        seconds = time.time() - job.start_time
        self.journal.append(job.run.id, job.state, code=code, seconds=seconds, note=job.note)
        self.say(': '.join(filter(None, [job.run.name, job.state, job.note])))
        if job.state == RunState.CRASHED:
            for line in lines:
                self.say(f'    {line}')
        if job.state in (RunState.INTERRUPTED, RunState.CRASHED) and not self.is_stopping:
            self._retry(job)
        self.write()

    def _retry(self, job):
        """Opens a job again unless it has failed too often without a newer checkpoint."""
        step = newest_step(job.workdir)
        job.failures = 1 if step > job.checkpoint_step else job.failures + 1
        job.checkpoint_step = step
        if job.failures <= self.retries:
            job.state = RunState.PENDING
        else:
            attempts = f'{job.failures} attempt{"s" * (job.failures > 1)}'
            self.say(
                f'{job.run.name}: gave up after {attempts} without progress past step {step} '
                f'(--retries={self.retries}); see {job.log}'
            )

    def refresh(self) -> None:
        """Reads the progress of the running jobs."""
        for job in self.jobs:
            if job.state == RunState.RUNNING:
                job.progress.refresh()

    def count(self, *states: RunState) -> int:
        """Number of jobs in any of `states`."""
        return sum(job.state in states for job in self.jobs)

    def summary(self) -> dict[str, Any]:
        """The content of `sweep.json`."""
        return {**self._about, 'runs': [_describe(job, self.folder) for job in self.jobs]}

    def write(self) -> None:
        """Writes `sweep.json`, completely or not at all."""
        replace_file(self.folder / SUMMARY, json.dumps(self.summary(), indent=2) + '\n')

    def close(self) -> None:
        self.write()
        self.journal.close()


def restore_jobs(
    runs: Sequence[Run], folder: pathlib.Path, lines: Sequence[dict[str, Any]]
) -> list[Job]:
    """The jobs of a sweep in the states that a journal's `lines` say.

    A job is pending unless it finished or diverged and its workdir still holds a `config.json`.
    """
    jobs = {run.id: Job(run, run.workdir(folder), Progress(run.workdir(folder))) for run in runs}
    for line in lines:
        job = jobs.get(line['run'])
        if job is not None:
            job.state, job.note = RunState(line['state']), line.get('note', '')
            job.attempts += job.state == RunState.RUNNING
            job.seconds += line.get('seconds', 0.0)
    for job in jobs.values():
        job.progress.refresh()
        job.checkpoint_step = newest_step(job.workdir)
        if job.state not in _FINAL or not (job.workdir / CONFIG_NAME).is_file():
            job.state, job.note = RunState.PENDING, ''
    return list(jobs.values())


def _state_for(code: int) -> RunState:
    if code in _STOPPED_CODES:
        return RunState.INTERRUPTED
    states = {
        FINISHED: RunState.FINISHED,
        DIVERGED: RunState.DIVERGED,
        BAD_INPUT: RunState.REFUSED,
    }
    return states.get(code, RunState.CRASHED)


def _describe(job: Job, folder: pathlib.Path) -> dict[str, Any]:
    return {
        'name': job.run.name,
        'id': job.run.id,
        'workdir': str(job.workdir.relative_to(folder)),
        'overrides': job.run.item,
        'arguments': job.run.arguments(folder),
        'state': job.state,
        'attempts': job.attempts,
        'step': job.progress.step,
        'num_steps': job.run.num_steps,
        'seconds': round(job.seconds, 1),
        'scores': job.progress.scores,
        'note': job.note,
    }
