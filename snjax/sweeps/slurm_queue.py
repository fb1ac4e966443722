"""The states of this user's jobs, as SLURM's controller has them (`squeue`).

Not `sacct`, which submitit asks: it needs an accounting database, and many clusters have none. A cluster has one
controller for all, so it is asked for all jobs at once, and not often.
"""

import subprocess
import time

_ASK_EVERY_S = 5.0
_ANSWER_WITHIN_S = 60
_COMMAND = ('squeue', '--me', '--array', '--states=all', '--noheader', '--format=%i|%T')
# A job in any other state, and be it one of a later SLURM, may still run.
_OVER = {
    *('COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT', 'DEADLINE', 'OUT_OF_MEMORY', 'PREEMPTED'),
    *('NODE_FAIL', 'BOOT_FAIL', 'LAUNCH_FAILED', 'RECONFIG_FAIL', 'REVOKED'),
}
_FORGOTTEN = 'FORGOTTEN'  # SLURM's memory of a job that is over is five minutes long by default


class Queue:
    """What is known of the jobs: the latest answer, however old it is. Only an answer says that a job is over."""

    def __init__(self):
        self._states: dict[str, str] = {}
        self._over: dict[str, float] = {}
        self._asked = float('-inf')

    def submitted(self, number: str) -> None:
        """A job is in the queue since now."""
        self._states[number] = 'PENDING'

    def state(self, number: str) -> str:
        """Of a job, as SLURM calls it, or FORGOTTEN."""
        return self._states.get(number, _FORGOTTEN)

    def is_over(self, number: str, seconds: float = 0.0) -> bool:
        """Whether a job is over, and has been known to be for that long."""
        if self.state(number) not in _OVER | {_FORGOTTEN}:
            self._over.pop(number, None)
            return False
        now = time.monotonic()
        return now - self._over.setdefault(number, now) >= seconds

    def look(self) -> None:
        """Asks again, if the last time is long enough ago. A controller that does not answer has changed nothing."""
        if time.monotonic() - self._asked >= _ASK_EVERY_S:
            try:
                self.ask()
            except ValueError:
                pass

    def ask(self) -> None:
        """Asks now.

        Raises:
            ValueError: there is no answer.
        """
        self._asked = time.monotonic()
        try:
            done = subprocess.run(
                _COMMAND,
                capture_output=True,
                text=True,
                timeout=_ANSWER_WITHIN_S,
                start_new_session=True,  # Ctrl-C is not for it
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ValueError(f'squeue: {error}') from None
        if done.returncode:
            raise ValueError(f'squeue: {" ".join(done.stderr.split())}')
        lines = [line.strip().split('|') for line in done.stdout.splitlines()]
        self._states = {number: state for number, state in lines}
