"""The SLURM job of a run: starts `launch.py` on its node and passes on SLURM's signals."""

import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from snjax.sweeps import child

_POLL_S = 0.2


class Task:
    """A run as a function for submitit; it returns the run's exit code.

    Args:
        flags: flags of `launch.py`.
        launcher: path of `launch.py`, the same on all nodes.
        log: log file of the run.
        is_single: whether the run is one process. Several processes find each other through SLURM's
            variables; a single one must not see them.
    """

    def __init__(
        self, flags: Sequence[str], launcher: pathlib.Path, log: pathlib.Path, is_single: bool
    ):
        self._flags, self._launcher, self._log = list(flags), launcher, log
        self._is_single = is_single
        self._process: subprocess.Popen | None = None

    def __call__(self) -> int:
        from submitit import JobEnvironment  # pyright: ignore[reportMissingImports]

        # An earlier attempt that was requeued may have left its result.
        JobEnvironment().paths.result_pickle.unlink(missing_ok=True)
        rank = os.environ.get('SLURM_PROCID', '0')
        log = self._log if rank == '0' else self._log.with_suffix(f'.{rank}.log')
        log.parent.mkdir(parents=True, exist_ok=True)
        flags = self._flags if self._is_single else [*self._flags, '--distributed=auto']
        wrapper = [sys.executable, child.__file__, str(os.getpid()), '']
        with open(log, 'ab') as file:
            self._process = subprocess.Popen(
                [*wrapper, sys.executable, str(self._launcher), *flags],
                env=environment(os.environ, is_single=self._is_single),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        # Not wait(): the handler of SLURM's signal interrupts this loop and waits itself.
        while (code := self._process.poll()) is None:
            time.sleep(_POLL_S)
        return code

    def checkpoint(self):
        """Called by submitit when the time is up or the node is wanted: saves and requeues."""
        from submitit import helpers  # pyright: ignore[reportMissingImports]

        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return helpers.DelayedSubmission(
            Task(self._flags, self._launcher, self._log, self._is_single)
        )


def environment(environ: Mapping[str, str], *, is_single: bool) -> dict[str, str]:
    """The run's environment: without submitit's variables, for a single process without SLURM's."""
    removed = ('SUBMITIT_', 'SLURM_') if is_single else ('SUBMITIT_',)
    return {key: value for key, value in environ.items() if not key.startswith(removed)}
