"""Runs a sweep on this machine: one process per run, one run per slot, and this process only watches.

A run is `launch.py` itself, in a session of its own, so that a terminal's Ctrl-C reaches the sweep alone, which asks
its runs to save. Should this process be killed, the kernel asks them (`child.py`).
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
from snjax.sweeps.board import Job, SweepState
from snjax.sweeps.journal import State
from snjax.sweeps.slots import Slot, environment
from snjax.sweeps.stop import Stop
from snjax.sweeps.table import Display

_POLL_S = 0.1
_SHOW_EVERY_S = 1.0


class LocalEngine:
    """Works off a board's open jobs.

    Args:
        board: with the jobs.
        slots: places to run them in.
        launcher: the path of `launch.py`.
        display: shows the board.
    """

    def __init__(
        self, board: SweepState, slots: Sequence[Slot], launcher: pathlib.Path, display: Display
    ):
        self._board, self._slots, self._display = board, slots, display
        self._launcher = launcher
        self._running: dict[str, tuple[Job, subprocess.Popen]] = {}
        self._shown = 0.0
        self._told: set[str] = set()

    def run(self) -> bool:
        """Runs what there is to run; whether it came to its end, and was not stopped."""
        stop, heard = Stop(), 0
        with stop.listening():
            try:
                while self._running or (not heard and self._open()):
                    if stop.times > heard:
                        heard = stop.times
                        self._stop(again=heard > 1)
                    self._collect()
                    if not heard:
                        self._fill()
                    self._show()
                    time.sleep(_POLL_S)
            finally:  # an error of ours must not leave runs that nobody watches
                for _, process in self._running.values():
                    process.terminate()
        return not heard

    def _open(self):
        """Jobs to start, in their order; those that failed come last."""
        found = [job for job in self._board.jobs if job.is_open]
        return sorted(found, key=lambda job: job.failures)

    def _fill(self):
        """Starts jobs while there are free slots and workdirs that nobody uses."""
        for slot in self._slots:
            if slot.name in self._running:
                continue
            job = next((job for job in self._open() if self._is_free(job)), None)
            if job is None:
                return
            self._start(job, slot)

    def _is_free(self, job):
        """A run of a sweep that was killed a moment ago may still be saving: its workdir has to be waited for."""
        holder = lock_holder(job.workdir)
        if holder is None:
            return True
        job.state = State.WAITING
        if job.run.id not in self._told:
            self._told.add(job.run.id)
            self._board.say(f'{job.run.name}: waits, {holder} still works there')
        return False

    def _start(self, job, slot):
        job.workdir.mkdir(parents=True, exist_ok=True)
        python = [sys.executable, str(self._launcher)]
        before = [sys.executable, child.__file__, str(os.getpid()), ','.join(map(str, slot.cores))]
        with open(job.log, 'ab') as log:
            job.log_start = log.tell()
            process = subprocess.Popen(
                [*before, *python, *job.run.arguments(self._board.folder)],
                env=environment(slot),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running[slot.name] = job, process
        self._board.started(job, slot.name, pid=process.pid)

    def _collect(self):
        for name, (job, process) in list(self._running.items()):
            code = process.poll()
            if code is not None:
                del self._running[name]
                self._board.ended(job, code)

    def _stop(self, *, again):
        self._board.stopping = True
        if again:
            self._board.say(f'killing {len(self._running)} runs')
        else:
            self._board.say(
                f'stopping: {len(self._running)} runs save what they have; again to kill them'
            )
        for _, process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                if again:
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.terminate()

    def _show(self):
        now = time.monotonic()
        if now - self._shown >= _SHOW_EVERY_S:
            self._shown = now
            self._board.look()
            self._display.show(self._board, len(self._slots))
