"""Processes in a bounded time: asked to stop before it is over, and ended when it is. Imports no JAX."""

import dataclasses
import pathlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence

PREEMPTED = 75
_BEAT = 10.0  # seconds between reports of a process that runs


class Budget:
    """The time of a whole call, and a stop that SIGTERM or Ctrl-C asks for.

    Args:
        seconds: from now on; None for no bound.
        grace: seconds before the end at which a process is asked to stop, so that it can save.
    """

    def __init__(self, seconds: float | None = None, grace: float = 40.0):
        self.grace = grace
        self._end = None if seconds is None else time.monotonic() + seconds
        self._stopped = threading.Event()

    def listen(self) -> None:
        """Takes SIGTERM and Ctrl-C for a wish to stop; for the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopped.set())

    def left(self) -> float:
        """Seconds until a process has to be asked to stop; negative when it is late."""
        if self._stopped.is_set():
            return -1.0
        return float('inf') if self._end is None else self._end - self.grace - time.monotonic()

    def is_over(self) -> bool:
        return self.left() <= 0


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code; negative for a signal.
        seconds: of wall time.
        was_stopped: it was asked to, and so any code but 0 means that there is more to do.
    """

    code: int
    seconds: float
    was_stopped: bool

    @property
    def is_unfinished(self) -> bool:
        return self.code != 0 and (self.was_stopped or self.code == PREEMPTED)


def run(
    command: Sequence[str],
    log: pathlib.Path,
    budget: Budget,
    *,
    cwd: pathlib.Path,
    beat: Callable[[float], None] = lambda seconds: None,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Runs a process inside a budget.

    At the end of the budget it gets SIGTERM, and SIGKILL if it is still there `budget.grace` seconds later.

    Args:
        command: its arguments.
        log: file to which its output is added.
        budget: see `Budget`.
        cwd: where it runs.
        beat: told its seconds so far now and then, so that little is forgotten if this process is killed.
        env: its environment; None for this one's.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    began = told = time.monotonic()
    asked = None
    with log.open('ab') as out:
        # A session of its own: Ctrl-C is ours to pass on, once.
        child = subprocess.Popen(
            command, stdout=out, stderr=out, cwd=cwd, env=env, start_new_session=True
        )
        try:
            while child.poll() is None:
                now = time.monotonic()
                if asked is None and budget.is_over():
                    child.terminate()
                    asked = now
                elif asked is not None and now > asked + budget.grace:
                    child.kill()
                if now > told + _BEAT:
                    told = now
                    beat(now - began)
                _wait(child)
        finally:
            if child.poll() is None:  # an error of ours: nothing is left running
                child.kill()
                child.wait()
    return Ended(child.returncode, time.monotonic() - began, asked is not None)


def _wait(child):
    try:
        child.wait(0.2)
    except subprocess.TimeoutExpired:
        pass


def last_line(log: pathlib.Path) -> str:
    """The last line of a log: of `launch.py`, what was wrong."""
    lines = log.read_text(errors='replace').splitlines() if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), 'nothing was printed')
