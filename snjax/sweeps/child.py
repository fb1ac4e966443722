"""Becomes a run that stays on its cores and does not outlive the sweep: `child.py PARENT CORES command...`.

A program of its own, so that nothing happens between fork and exec in the sweep's process. It imports nothing of the
library, and is gone once the run has begun.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: str, cores: str, *command: str) -> None:
    """Executes `command` on `cores` ('0,1', or '' for all); the kernel stops it when process `parent` is gone."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if cores:
            os.sched_setaffinity(0, map(int, cores.split(',')))
    # SLURM sends it to all processes of a job; it is the one above that knows what it means (`slurm_task.py`).
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if os.getppid() != int(parent):  # gone before the kernel knew what to do then
        os.kill(os.getpid(), signal.SIGTERM)
    os.execvp(command[0], command)


if __name__ == '__main__':
    main(*sys.argv[1:])
