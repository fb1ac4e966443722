"""Runs a sweep on a SLURM cluster by submitit: one job per run, together an array, and this process only watches.

Jobs do not need it: they go back to SLURM's queue by themselves when their time is up or their node is wanted. When
the sweep is started again, it finds them by the numbers in its journal.
"""

import contextlib
import io
import pathlib
import pickle
import signal
import time
from collections.abc import Mapping
from typing import Any

from snjax.runs.lock import lock_holder
from snjax.sweeps.board import INTERRUPTED, PREEMPTED, Job, SweepState
from snjax.sweeps.journal import State
from snjax.sweeps.slurm_queue import Queue
from snjax.sweeps.slurm_task import Task
from snjax.sweeps.stop import Stop
from snjax.sweeps.table import Display

_POLL_S = 0.5
_LATE_S = 15.0  # that a network file system may take to show what a job has left
_SUBMIT_AGAIN_S = 10.0
_MANY = 10_000  # times that a job may run out of time: a long run on a short queue


def parse(text: str) -> dict[str, Any]:
    """`partition=gpu,time=600` as submitit takes it: sbatch's options with underscores, numbers as numbers.

    Raises:
        ValueError: a part is no key and value.
    """
    found: dict[str, Any] = {}
    for part in filter(None, text.split(',')):
        key, equals, value = part.partition('=')
        if not equals or not key:
            raise ValueError(f'--slurm={text}: {part!r} is not KEY=VALUE, as partition=gpu')
        found[key.replace('-', '_')] = int(value) if value.isdecimal() else value
    return found


class SlurmEngine:
    """Works off a board's open jobs.

    Args:
        board: with the jobs.
        launcher: the path of `launch.py`, on a file system that the nodes share, as the board's folder is.
        options: of sbatch, as `parse` gives them.
        display: shows the board.

    Raises:
        ValueError: submitit or SLURM is not here, or an option is not SLURM's.
    """

    def __init__(
        self,
        board: SweepState,
        launcher: pathlib.Path,
        options: Mapping[str, Any],
        display: Display,
    ):
        self._board, self._launcher, self._display = board, launcher.resolve(), display
        self._folder = board.folder.resolve() / 'slurm'
        self._executor = _executor(self._folder, self._launcher.parent, options)
        tasks = int(options.get('nodes', 1)) * int(options.get('ntasks_per_node', 1))
        self._tasks = range(tasks)
        self._submitted: dict[str, tuple[Job, Any]] = {}
        self._queue = Queue()
        self._not_before = 0.0

    def run(self) -> bool:
        """Runs what there is to run; whether it came to its end, and was not stopped.

        Raises:
            ValueError: SLURM does not answer, or takes none of the jobs.
        """
        stop, heard = Stop(), 0
        self._adopt()
        with stop.listening():
            while self._submitted or (not heard and self._open()):
                if stop.times > heard:
                    heard = stop.times
                    self._stop(again=heard > 1)
                if not heard:
                    self._submit(self._free())
                self._collect()
                self._board.look()
                self._display.show(self._board, len(self._submitted))
                time.sleep(_POLL_S)
        return not heard

    def _open(self):
        return [job for job in self._board.jobs if job.is_open]

    def _free(self):
        """Open jobs whose workdir nobody uses, as far as this node can see."""
        return [job for job in self._open() if lock_holder(job.workdir) is None]

    def _adopt(self):
        """Takes up jobs that an earlier sweep has left, in the queue, running, or over and nobody has heard it."""
        last = {line['run']: line for line in self._board.journal.lines}
        self._queue.ask()
        for job in self._open():
            line = last.get(job.run.id, {})
            number = line.get('slurm')
            if number is None or line['state'] not in (State.QUEUED, State.RUNNING):
                continue
            found = self._executor.job_class(self._folder, number, self._tasks)
            if not self._queue.is_over(number) or _result(found) is not None:
                self._board.queued(job, number)
                self._submitted[number] = job, found

    def _submit(self, jobs):
        if not jobs or time.monotonic() < self._not_before:
            return
        from submitit.core.utils import FailedJobError  # pyright: ignore[reportMissingImports]

        made = []
        try:
            # What `sbatch` says is in the error as well.
            with contextlib.redirect_stderr(io.StringIO()), self._executor.batch():
                for job in jobs:
                    job.workdir.mkdir(parents=True, exist_ok=True)
                    job.log_start = job.log.stat().st_size if job.log.exists() else 0
                    flags = job.run.arguments(self._board.folder.resolve())
                    task = Task(flags, self._launcher, job.log.resolve(), len(self._tasks) == 1)
                    made.append(self._executor.submit(task))
        except FailedJobError as error:
            self._refused(str(error))
            return
        for job, found in zip(jobs, made, strict=True):
            self._queue.submitted(found.job_id)
            self._submitted[found.job_id] = job, found
            self._board.queued(job, found.job_id)

    def _refused(self, why):
        """`sbatch` failed: at first for what it was asked, later for what will pass, as a controller that restarts."""
        lines = [line for line in why.splitlines() if 'error: ' in line] or why.splitlines()[-1:]
        line = '; '.join(line.partition('error: ')[2] or line for line in lines)
        if not self._submitted and not any(job.attempts for job in self._board.jobs):
            raise ValueError(f'--engine=slurm: sbatch: {line}')
        self._board.say(f'sbatch: {line}; tried again in {_SUBMIT_AGAIN_S:.0f} s')
        self._not_before = time.monotonic() + _SUBMIT_AGAIN_S

    def _collect(self):
        self._queue.look()
        with contextlib.suppress(OSError):  # makes a network file system look again, too
            self._folder.chmod(self._folder.stat().st_mode)
        for number, (job, found) in list(self._submitted.items()):
            code, state = _result(found), self._queue.state(number)
            # A run that was stopped may have been so to go back to the queue, where only SLURM sends it.
            if code is None or code in (PREEMPTED, INTERRUPTED) or code < 0:
                waits = 0.0 if code is not None or self._never_ran(job) else _LATE_S
                over = self._queue.is_over(number, waits)
            else:
                over = True
            if over:
                del self._submitted[number]
                self._ended(job, number, code, state)
            elif job.state == State.QUEUED and state == 'RUNNING':
                self._board.started(job, f'SLURM {number}', slurm=number)
            elif job.state == State.RUNNING and state in ('PENDING', 'REQUEUED'):
                self._board.queued(job, number)

    def _ended(self, job, number, code, state):
        if code is None and self._never_ran(job):
            job.state = State.PENDING
            return
        if job.state == State.QUEUED:  # it was over before anybody looked
            self._board.started(job, f'SLURM {number}', slurm=number)
        if code is None:  # it counts as killed
            self._board.ended(job, -signal.SIGKILL, f'SLURM: {state}')
        else:
            self._board.ended(job, code)

    def _never_ran(self, job):
        """Whether a job was cancelled in the queue."""
        return self._board.stopping and job.state == State.QUEUED

    def _stop(self, *, again):
        """Cancels the jobs: SLURM sends their runs SIGTERM, and they save. Asked twice, they are left to SLURM."""
        self._board.stopping = True
        self._board.say(f'cancelling {len(self._submitted)} jobs')
        for _, found in self._submitted.values():
            found.cancel(check=False)
        if again:
            self._submitted.clear()


def _executor(folder: pathlib.Path, root: pathlib.Path, options: Mapping[str, Any]):
    try:
        import submitit  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise ValueError(
            "--engine=slurm needs submitit: pip install 'submitit>=1.5', or the extra slurm"
        ) from None
    try:
        executor = submitit.SlurmExecutor(folder, max_num_timeout=_MANY)
    except RuntimeError as error:
        raise ValueError(f'--engine=slurm: {error}') from None
    # Jobs find the library as launch.py does, installed or not.
    setup = [f'export PYTHONPATH="{root}${{PYTHONPATH:+:$PYTHONPATH}}"']
    # A cluster may have it that jobs are not sent back to the queue unless they say that they may.
    own = {'job_name': 'snjax', 'setup': setup, 'additional_parameters': {'requeue': True}}
    try:
        executor.update_parameters(**(own | dict(options)))
    except ValueError as error:
        what, _, accepted = str(error).partition('\n')
        names = [line.split()[1] for line in accepted.splitlines() if line.startswith('  - ')]
        raise ValueError(f'--slurm: {what}; accepted are {", ".join(names)}') from None
    return executor


def _result(found) -> int | None:
    """The exit code that a job's tasks have left, the first that is none of success; None where one has left none.

    Not `found.results()`, which waits, and asks `sacct`.
    """
    codes = []
    for task in range(found.num_tasks):
        try:
            outcome, code = pickle.loads(found.task(task).paths.result_pickle.read_bytes())
        except (OSError, EOFError):
            return None
        codes.append(code if outcome == 'success' else -signal.SIGKILL)
    return next((code for code in codes if code), 0)
