"""The states of this user's jobs, as SLURM's controller reports them (`squeue`).

Not `sacct`, which submitit calls: it needs an accounting database, and many clusters have none. All
users share one controller, so it is asked for all jobs at once, and rarely.
"""

import subprocess
import time

_ASK_EVERY_S = 5.0
_TIMEOUT_S = 60
_COMMAND = ('squeue', '--me', '--array', '--states=all', '--noheader', '--format=%i|%T')
# A job in any other state, including states of later SLURM versions, may still run.
_OVER = {
    *('COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT', 'DEADLINE', 'OUT_OF_MEMORY', 'PREEMPTED'),
    *('NODE_FAIL', 'BOOT_FAIL', 'LAUNCH_FAILED', 'RECONFIG_FAIL', 'REVOKED'),
}
# State of a job that squeue no longer lists; by default SLURM drops it five minutes after its end.
_FORGOTTEN = 'FORGOTTEN'


class Queue:
    """The latest answer of `squeue`. A job counts as over only when an answer says so."""

    def __init__(self):
        self._states: dict[str, str] = {}
        self._over_since: dict[str, float] = {}
        self._asked_at = float('-inf')

    def submitted(self, number: str) -> None:
        """Records a job that was just submitted."""
        self._states[number] = 'PENDING'

    def state(self, number: str) -> str:
        """SLURM's state of a job, or FORGOTTEN."""
        return self._states.get(number, _FORGOTTEN)

    def is_over(self, number: str, seconds: float = 0.0) -> bool:
        """True once the job has been known to be finished for `seconds`."""
        if self.state(number) not in _OVER | {_FORGOTTEN}:
            self._over_since.pop(number, None)
            return False
        now = time.monotonic()
        return now - self._over_since.setdefault(number, now) >= seconds

    def refresh(self) -> None:
        """Asks again if the last answer is old; keeps it if the controller does not answer."""
        if time.monotonic() - self._asked_at >= _ASK_EVERY_S:
            try:
                self.ask()
            except ValueError:
                pass

    def ask(self) -> None:
        """Asks the controller now.

        Raises:
            ValueError: the controller does not answer.
        """
        self._asked_at = time.monotonic()
        try:
            done = subprocess.run(
                _COMMAND,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                start_new_session=True,  # so that Ctrl-C does not reach it
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ValueError(f'squeue: {error}') from None
        if done.returncode:
            raise ValueError(f'squeue: {" ".join(done.stderr.split())}')
        lines = [line.strip().split('|') for line in done.stdout.splitlines()]
        self._states = {number: state for number, state in lines}
