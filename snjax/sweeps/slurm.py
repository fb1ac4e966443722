"""Runs a sweep on a SLURM cluster by submitit: one job per run, together an array, and this process only watches.

Jobs do not need it: they go back to SLURM's queue by themselves when their time is up or their node is wanted. When
the sweep is started again, it finds them by the numbers in its journal.
"""

import pathlib
import signal
import time
from collections.abc import Mapping
from typing import Any

from snjax.resume import lock_holder
from snjax.sweeps.board import Board, Job
from snjax.sweeps.journal import State
from snjax.sweeps.slurm_task import Task
from snjax.sweeps.stop import Stop
from snjax.sweeps.table import Display

_POLL_S = 0.5
_ASK_EVERY_S = 5.0
_MANY = 10_000  # times that a job may run out of time: a long run on a short queue
_ALIVE = ('READY', 'PENDING', 'RUNNING', 'REQUEUED', 'COMPLETING', 'PREEMPTED', 'SUSPENDED')


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
        self, board: Board, launcher: pathlib.Path, options: Mapping[str, Any], display: Display
    ):
        self._board, self._launcher, self._display = board, launcher.resolve(), display
        self._folder = board.folder.resolve() / 'slurm'
        self._executor = _executor(self._folder, self._launcher.parent, options)
        tasks = int(options.get('nodes', 1)) * int(options.get('ntasks_per_node', 1))
        self._tasks = range(tasks)
        self._submitted: dict[str, tuple[Job, Any]] = {}
        self._asked = 0.0

    def run(self) -> bool:
        """Runs what there is to run; whether it came to its end, and was not stopped."""
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
        for job in self._open():
            line = last.get(job.run.id, {})
            number = line.get('slurm')
            if number is None or line['state'] not in (State.QUEUED, State.RUNNING):
                continue
            found = self._executor.job_class(self._folder, number, self._tasks)
            state = found.watcher.get_state(number, mode='force').split()[0]
            if state in _ALIVE or found.paths.result_pickle.exists():
                self._board.queued(job, number)
                self._submitted[number] = job, found

    def _submit(self, jobs):
        if not jobs:
            return
        with self._executor.batch():
            made = []
            for job in jobs:
                job.workdir.mkdir(parents=True, exist_ok=True)
                job.log_start = job.log.stat().st_size if job.log.exists() else 0
                flags = job.run.arguments(self._board.folder.resolve())
                task = Task(flags, self._launcher, job.log.resolve(), len(self._tasks) == 1)
                made.append(self._executor.submit(task))
        for job, found in zip(jobs, made, strict=True):
            self._submitted[found.job_id] = job, found
            self._board.queued(job, found.job_id)

    def _collect(self):
        now = time.monotonic()
        if now - self._asked >= _ASK_EVERY_S:  # one question for all jobs
            self._asked = now
            self._executor.job_class.watcher.update()
        for number, (job, found) in list(self._submitted.items()):
            if found.done():
                del self._submitted[number]
                if job.state == State.QUEUED:  # it was over before anybody looked
                    self._board.started(job, f'SLURM {number}', slurm=number)
                self._board.ended(job, *_end(found, number))
            elif job.state == State.QUEUED and found.state.startswith('RUNNING'):
                self._board.started(job, f'SLURM {number}', slurm=number)

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
    try:
        executor.update_parameters(**{'job_name': 'snjax', 'setup': setup, **options})
    except ValueError as error:
        what, _, accepted = str(error).partition('\n')
        names = [line.split()[1] for line in accepted.splitlines() if line.startswith('  - ')]
        raise ValueError(f'--slurm: {what}; accepted are {", ".join(names)}') from None
    return executor


def _end(found, number: str) -> tuple[int, str]:
    """The exit code, and what SLURM says where there is none: then the run counts as killed."""
    from submitit.core import utils  # pyright: ignore[reportMissingImports]

    try:
        codes = found.results()
    except (utils.FailedJobError, utils.UncompletedJobError):
        state = found.watcher.get_state(number, mode='cache')
        return -signal.SIGKILL, f'SLURM: {state}'
    return next((code for code in codes if code), 0), ''
