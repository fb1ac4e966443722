"""What a SLURM job of a sweep does on its node: it starts the run, and hands on that SLURM wants the node back."""

import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from snjax.sweeps import child

_POLL_S = 0.2


class Task:
    """A run as submitit calls it; the result is the exit code.

    Args:
        flags: of `launch.py`.
        launcher: its path, the same on all nodes.
        log: of the run.
        alone: whether it is one process. Several find each other by SLURM's variables; one must not look for others.
    """

    def __init__(
        self, flags: Sequence[str], launcher: pathlib.Path, log: pathlib.Path, alone: bool
    ):
        self._flags, self._launcher, self._log, self._alone = list(flags), launcher, log, alone
        self._process: subprocess.Popen | None = None

    def __call__(self) -> int:
        from submitit import JobEnvironment  # pyright: ignore[reportMissingImports]

        # What an attempt has left that was sent back to the queue is not this one's.
        JobEnvironment().paths.result_pickle.unlink(missing_ok=True)
        rank = os.environ.get('SLURM_PROCID', '0')
        log = self._log if rank == '0' else self._log.with_suffix(f'.{rank}.log')
        log.parent.mkdir(parents=True, exist_ok=True)
        flags = self._flags if self._alone else [*self._flags, '--distributed=auto']
        before = [sys.executable, child.__file__, str(os.getpid()), '']
        with open(log, 'ab') as file:
            self._process = subprocess.Popen(
                [*before, sys.executable, str(self._launcher), *flags],
                env=environment(os.environ, alone=self._alone),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        # Not wait(): the handler of SLURM's signal, which comes meanwhile, waits as well.
        while (code := self._process.poll()) is None:
            time.sleep(_POLL_S)
        return code

    def checkpoint(self):
        """SLURM's notice that time is up or the node is wanted: the run saves, and the job goes back to the queue."""
        from submitit import helpers  # pyright: ignore[reportMissingImports]

        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return helpers.DelayedSubmission(Task(self._flags, self._launcher, self._log, self._alone))


def environment(environ: Mapping[str, str], *, alone: bool) -> dict[str, str]:
    """Of the run: without submitit's variables, and alone without SLURM's."""
    strangers = ('SUBMITIT_', 'SLURM_') if alone else ('SUBMITIT_',)
    return {key: value for key, value in environ.items() if not key.startswith(strangers)}
