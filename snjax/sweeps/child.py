"""Starts a run that stays on its cores and ends with the sweep: `child.py PARENT CORES command...`.

A separate program, so that the sweep's own process runs no Python between fork and exec. It imports
nothing of the library and replaces itself by the run.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: str, cores: str, *command: str) -> None:
    """Replaces this process by `command`.

    Args:
        parent: process id of the sweep; when it ends, the kernel sends the run SIGTERM.
        cores: CPU cores of the run, e.g. '0,1'; '' for all.
        *command: the run's command line.
    """
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if cores:
            os.sched_setaffinity(0, map(int, cores.split(',')))
    # SLURM sends SIGUSR2 to all processes of a job; only the parent handles it (`slurm_task.py`).
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if os.getppid() != int(parent):  # the parent ended before prctl took effect
        os.kill(os.getpid(), signal.SIGTERM)
    os.execvp(command[0], command)


if __name__ == '__main__':
    main(*sys.argv[1:])
