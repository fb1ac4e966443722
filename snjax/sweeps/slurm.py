"""Runs a sweep on a SLURM cluster through submitit: one job per run, submitted as an array.

The jobs do not depend on this process. They return to SLURM's queue by themselves when their time
is up or their node is wanted, and a sweep that is started again finds them by the numbers in its
journal.
"""

import contextlib
import io
import pathlib
import pickle
import signal
import time
from collections.abc import Mapping
from typing import Any

from snjax.host.exit_codes import INTERRUPTED, RESUMABLE
from snjax.runs.lock import lock_holder
from snjax.sweeps.journal import RunState
from snjax.sweeps.slurm_queue import Queue
from snjax.sweeps.slurm_task import Task
from snjax.sweeps.stop import StopRequests
from snjax.sweeps.sweep_state import Job, SweepState
from snjax.sweeps.table import Display

_POLL_S = 0.5
_RESULT_DELAY_S = 15.0  # until a network file system shows the files of a job that has ended
_SUBMIT_AGAIN_S = 10.0
_MAX_TIMEOUTS = 10_000  # how often a job may run out of time: a long run in a short queue


def parse(text: str) -> dict[str, Any]:
    """Parses 'partition=gpu,time=600' into submitit's options.

    Returns:
        sbatch's options, with underscores in their names and numbers as int.

    Raises:
        ValueError: a part is not KEY=VALUE.
    """
    options: dict[str, Any] = {}
    for part in filter(None, text.split(',')):
        key, equals, value = part.partition('=')
        if not equals or not key:
            raise ValueError(f'--slurm={text}: {part!r} is not KEY=VALUE, e.g. partition=gpu')
        options[key.replace('-', '_')] = int(value) if value.isdecimal() else value
    return options


class SlurmEngine:
    """Runs the open jobs of a sweep.

    Args:
        sweep: state of the sweep; its folder is on a file system that the nodes share.
        launcher: path of `launch.py`, on such a file system as well.
        options: sbatch's options from `parse`.
        display: shows the sweep's state.

    Raises:
        ValueError: submitit or SLURM is not installed, or SLURM has no such option.
    """

    def __init__(
        self,
        sweep: SweepState,
        launcher: pathlib.Path,
        options: Mapping[str, Any],
        display: Display,
    ):
        self._sweep, self._launcher, self._display = sweep, launcher.resolve(), display
        self._folder = sweep.folder.resolve() / 'slurm'
        self._executor = _executor(self._folder, self._launcher.parent, options)
        tasks = int(options.get('nodes', 1)) * int(options.get('ntasks_per_node', 1))
        self._tasks = range(tasks)
        self._submitted: dict[str, tuple[Job, Any]] = {}  # by SLURM's number: job, submitit's job
        self._queue = Queue()
        self._no_submit_before = 0.0

    def run(self) -> bool:
        """Runs all open jobs; returns False if Ctrl-C or SIGTERM stopped the sweep.

        Raises:
            ValueError: SLURM does not answer, or refuses the first jobs.
        """
        stop, handled = StopRequests(), 0
        self._adopt()
        with stop.counting():
            while self._submitted or (not handled and self._open_jobs()):
                if stop.count > handled:
                    handled = stop.count
                    self._cancel(leave=handled > 1)
                if not handled:
                    self._submit(self._free_jobs())
                self._collect()
                self._sweep.refresh()
                self._display.show(self._sweep, len(self._submitted))
                time.sleep(_POLL_S)
        return not handled

    def _open_jobs(self):
        return [job for job in self._sweep.jobs if job.is_open]

    def _free_jobs(self):
        """Open jobs whose workdir nobody uses, as far as this node can see."""
        return [job for job in self._open_jobs() if lock_holder(job.workdir) is None]

    def _adopt(self):
        """Takes over the jobs of an earlier sweep: queued, running, or ended without a record."""
        last = {line['run']: line for line in self._sweep.journal.lines}
        self._queue.ask()
        for job in self._open_jobs():
            line = last.get(job.run.id, {})
            number = line.get('slurm')
            if number is None or line['state'] not in (RunState.QUEUED, RunState.RUNNING):
                continue
            slurm_job = self._executor.job_class(self._folder, number, self._tasks)
            if not self._queue.is_over(number) or _result(slurm_job) is not None:
                self._sweep.mark_queued(job, number)
                self._submitted[number] = job, slurm_job

    def _submit(self, jobs):
        if not jobs or time.monotonic() < self._no_submit_before:
            return
        from submitit.core.utils import FailedJobError  # pyright: ignore[reportMissingImports]

        slurm_jobs = []
        try:
            # submitit prints sbatch's stderr, and the error holds it as well.
            with contextlib.redirect_stderr(io.StringIO()), self._executor.batch():
                for job in jobs:
                    job.workdir.mkdir(parents=True, exist_ok=True)
                    job.log_start = job.log.stat().st_size if job.log.exists() else 0
                    flags = job.run.arguments(self._sweep.folder.resolve())
                    task = Task(flags, self._launcher, job.log.resolve(), len(self._tasks) == 1)
                    slurm_jobs.append(self._executor.submit(task))
        except FailedJobError as error:
            self._handle_refusal(str(error))
            return
        for job, slurm_job in zip(jobs, slurm_jobs, strict=True):
            self._queue.submitted(slurm_job.job_id)
            self._submitted[slurm_job.job_id] = job, slurm_job
            self._sweep.mark_queued(job, slurm_job.job_id)

    def _handle_refusal(self, stderr):
        """Raises if sbatch refused the first jobs; retries later ones, e.g. if SLURM restarts."""
        lines = [line for line in stderr.splitlines() if 'error: ' in line]
        lines = lines or stderr.splitlines()[-1:]
        line = '; '.join(line.partition('error: ')[2] or line for line in lines)
        if not self._submitted and not any(job.attempts for job in self._sweep.jobs):
            raise ValueError(f'--engine=slurm: sbatch: {line}')
        self._sweep.say(f'sbatch: {line}; trying again in {_SUBMIT_AGAIN_S:.0f} s')
        self._no_submit_before = time.monotonic() + _SUBMIT_AGAIN_S

    def _collect(self):
        """Records the jobs that have started, gone back to the queue, or ended."""
        self._queue.refresh()
        with contextlib.suppress(OSError):  # makes a network file system reread the folder
            self._folder.chmod(self._folder.stat().st_mode)
        for number, (job, slurm_job) in list(self._submitted.items()):
            code, state = _result(slurm_job), self._queue.state(number)
            if self._has_ended(job, number, code):
                del self._submitted[number]
                self._mark_ended(job, number, code, state)
            elif job.state == RunState.QUEUED and state == 'RUNNING':
                self._sweep.mark_started(job, f'SLURM {number}', slurm=number)
            elif job.state == RunState.RUNNING and state in ('PENDING', 'REQUEUED'):
                self._sweep.mark_queued(job, number)

    def _has_ended(self, job, number, code):
        if code is not None and code >= 0 and code not in (RESUMABLE, INTERRUPTED):
            return True
        # A run that was stopped may go back to the queue, so SLURM has to say that its job is over.
        needs_result = code is None and not self._never_ran(job)
        return self._queue.is_over(number, _RESULT_DELAY_S if needs_result else 0.0)

    def _mark_ended(self, job, number, code, state):
        if code is None and self._never_ran(job):
            job.state = RunState.PENDING
            return
        if job.state == RunState.QUEUED:  # it started and ended between two polls
            self._sweep.mark_started(job, f'SLURM {number}', slurm=number)
        if code is None:  # no result: the job counts as killed
            self._sweep.mark_ended(job, -signal.SIGKILL, f'SLURM: {state}')
        else:
            self._sweep.mark_ended(job, code)

    def _never_ran(self, job):
        """Whether a job was cancelled while it was in the queue."""
        return self._sweep.is_stopping and job.state == RunState.QUEUED

    def _cancel(self, *, leave):
        """Cancels all jobs: their runs get SIGTERM and save. With `leave` nobody waits for them."""
        self._sweep.is_stopping = True
        self._sweep.say(f'cancelling {len(self._submitted)} jobs')
        for _, slurm_job in self._submitted.values():
            slurm_job.cancel(check=False)
        if leave:
            self._submitted.clear()


def _executor(folder: pathlib.Path, root: pathlib.Path, options: Mapping[str, Any]):
    """submitit's executor with `options`; `root` is the folder of `launch.py`."""
    try:
        import submitit  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise ValueError(
            "--engine=slurm needs submitit: pip install 'submitit>=1.5', or the extra slurm"
        ) from None
    try:
        executor = submitit.SlurmExecutor(folder, max_num_timeout=_MAX_TIMEOUTS)
    except RuntimeError as error:
        raise ValueError(f'--engine=slurm: {error}') from None
    # The job must find the library even where it is not installed.
    setup = [f'export PYTHONPATH="{root}${{PYTHONPATH:+:$PYTHONPATH}}"']
    # Some clusters requeue only jobs that allow it.
    defaults = {'job_name': 'snjax', 'setup': setup, 'additional_parameters': {'requeue': True}}
    try:
        executor.update_parameters(**(defaults | dict(options)))
    except ValueError as error:
        what, _, accepted = str(error).partition('\n')
        names = [line.split()[1] for line in accepted.splitlines() if line.startswith('  - ')]
        raise ValueError(f'--slurm: {what}; accepted are {", ".join(names)}') from None
    return executor


def _result(slurm_job) -> int | None:
    """The first nonzero exit code of a job's tasks, 0 if all succeeded; None if one has no result.

    Not `slurm_job.results()`, which waits for the job and calls `sacct`.
    """
    codes = []
    for task in range(slurm_job.num_tasks):
        try:
            pickled = slurm_job.task(task).paths.result_pickle.read_bytes()
            outcome, code = pickle.loads(pickled)
        except (OSError, EOFError):
            return None
        codes.append(code if outcome == 'success' else -signal.SIGKILL)
    return next((code for code in codes if code), 0)
