"""Runs a sweep on this machine: one process per run and one run per slot.

A run is `launch.py` in a session of its own. So Ctrl-C in the terminal reaches only the sweep,
which then asks its runs to save. If the sweep itself is killed, the kernel asks them (`child.py`).
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from snjax.runs.lock import lock_holder
from snjax.sweeps import child
from snjax.sweeps.journal import RunState
from snjax.sweeps.slots import Slot, environment
from snjax.sweeps.stop import StopRequests
from snjax.sweeps.sweep_state import Job, SweepState
from snjax.sweeps.table import Display

_POLL_S = 0.1
_SHOW_EVERY_S = 1.0


class LocalEngine:
    """Runs the open jobs of a sweep.

    Args:
        sweep: state of the sweep.
        slots: where to run jobs, one at a time in each.
        launcher: path of `launch.py`.
        display: shows the sweep's state.
    """

    def __init__(
        self, sweep: SweepState, slots: Sequence[Slot], launcher: pathlib.Path, display: Display
    ):
        self._sweep, self._slots, self._display = sweep, slots, display
        self._launcher = launcher
        self._running: dict[str, tuple[Job, subprocess.Popen]] = {}  # by the slot's name
        self._shown_at = 0.0
        self._reported_waiting: set[str] = set()

    def run(self) -> bool:
        """Runs all open jobs; returns False if Ctrl-C or SIGTERM stopped the sweep."""
        stop, handled = StopRequests(), 0
        with stop.counting():
            try:
                while self._running or (not handled and self._open_jobs()):
                    if stop.count > handled:
                        handled = stop.count
                        self._stop_runs(kill=handled > 1)
                    self._collect()
                    if not handled:
                        self._fill_slots()
                    self._show()
                    time.sleep(_POLL_S)
            finally:  # an error here must not leave runs behind that nobody supervises
                for _, process in self._running.values():
                    process.terminate()
        return not handled

    def _open_jobs(self):
        """Jobs to start, in their order; jobs that have failed come last."""
        jobs = [job for job in self._sweep.jobs if job.is_open]
        return sorted(jobs, key=lambda job: job.failures)

    def _fill_slots(self):
        """Starts a job in every free slot, as long as there are jobs with a free workdir."""
        for slot in self._slots:
            if slot.name in self._running:
                continue
            job = next((job for job in self._open_jobs() if self._is_free(job)), None)
            if job is None:
                return
            self._start(job, slot)

    def _is_free(self, job):
        """Whether no process uses the workdir; a run of a sweep that was killed may still save."""
        holder = lock_holder(job.workdir)
        if holder is None:
            return True
        job.state = RunState.WAITING
        if job.run.id not in self._reported_waiting:
            self._reported_waiting.add(job.run.id)
            self._sweep.say(f'{job.run.name}: waiting for {holder}, which uses its workdir')
        return False

    def _start(self, job, slot):
        job.workdir.mkdir(parents=True, exist_ok=True)
        cores = ','.join(map(str, slot.cores))
        wrapper = [sys.executable, child.__file__, str(os.getpid()), cores]
        command = [sys.executable, str(self._launcher), *job.run.arguments(self._sweep.folder)]
        with open(job.log, 'ab') as log:
            job.log_start = log.tell()
            process = subprocess.Popen(
                [*wrapper, *command],
                env=environment(slot),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running[slot.name] = job, process
        self._sweep.mark_started(job, slot.name, pid=process.pid)

    def _collect(self):
        """Records the runs that have ended."""
        for name, (job, process) in list(self._running.items()):
            code = process.poll()
            if code is not None:
                del self._running[name]
                self._sweep.mark_ended(job, code)

    def _stop_runs(self, *, kill):
        self._sweep.is_stopping = True
        if kill:
            self._sweep.say(f'killing {len(self._running)} runs')
        else:
            self._sweep.say(
                f'stopping: {len(self._running)} runs save a checkpoint; '
                'press Ctrl-C again to kill them'
            )
        for _, process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                if kill:
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.terminate()

    def _show(self):
        now = time.monotonic()
        if now - self._shown_at >= _SHOW_EVERY_S:
            self._shown_at = now
            self._sweep.refresh()
            self._display.show(self._sweep, len(self._slots))
