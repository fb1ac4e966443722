"""Ends this process when another process of its run is gone, instead of waiting for it forever.

There are three signs:

* A process dies, or its machine vanishes: JAX's coordination service, which process 0 runs, has heard no heartbeat for
  `seconds`. Heartbeats come from threads of C++, so a process that compiles, evaluates or sleeps is alive.
* Process 0 vanishes: it does not answer for two fifths of that time; after half of it JAX may abort this process. If it
  dies, and its connections are closed, JAX does so before Python hears of it: then `snjax.host.supervisor` speaks.
* A process ends by itself: it leaves its exit code behind.

JAX is asked not to end the others in the first case (`jax_enable_recoverability`), because it aborts them.
"""

import os
import pathlib
import re
import sys
import threading
import time
from typing import Any

import jax

from snjax.host import supervisor

_EVERY_S = 1.0
_LEFT = 'snjax/left'  # process -> exit code, in the coordination service
_HERE = 'snjax/here'
_OF_PROCESS_0 = 0.4  # of the seconds that others have
_OWN_WORDS_S = 10.0  # for a process to end with words of its own, after another has failed
_PART_S = 5.0  # for those who have said that they end, to part from the service
_END_TOGETHER_S = 300.0  # for the others, after this one has ended well
# Diverged and preempted: what ends one ends all, after they have saved.
_REPEATED_BY_ALL = (3, supervisor.GOES_ON)
# How errors of collectives begin, whatever Python's type for them is (ValueError for UNKNOWN); not RESOURCE_EXHAUSTED.
_STATUS = re.compile(
    '(ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION|INTERNAL|UNAVAILABLE|UNKNOWN):'
)


class Watch:
    """Threads that look after the other processes; they end with this one.

    Args:
        client: of JAX's coordination service.
        process_id, num_processes: this process, and how many there are.
        seconds: without a sign until a process is taken for gone.
        workdir: of the run, to say where it can go on.
    """

    def __init__(
        self,
        client: Any,
        process_id: int,
        num_processes: int,
        seconds: float,
        workdir: pathlib.Path | None,
    ):
        self._client, self._workdir = client, workdir
        self._id, self._num, self._seconds = process_id, num_processes, seconds
        self._codes: dict[int, int] = {}
        self._alive: set[int] = set(range(num_processes))
        self._has_left = False
        self._lock, self._done = threading.Lock(), threading.Event()
        if process_id == 0:
            client.key_value_set(_HERE, 'yes')
        looks = self._look_for_silent, self._look_for_ended
        self._threads = [threading.Thread(target=look, daemon=True) for look in looks]
        for thread in self._threads:
            thread.start()

    def leave(self, code: int) -> None:
        """Tells the others how this process ends. Process 0 stays until they have ended: with it goes the service."""
        if self._has_left:
            return
        self._has_left = True
        try:
            self._leave(code)
        except Exception as error:
            # The coordinator is gone, and with it whoever might want to know.
            print(f'nobody to take leave of: {error}', file=sys.stderr)

    def _leave(self, code):
        self._tell(code)
        if self._id == 0:
            deadline = time.monotonic() + (self._seconds if code else _END_TOGETHER_S)
            while len(self._ended()) < self._num and time.monotonic() < deadline:
                time.sleep(0.1)
            deadline = min(deadline, time.monotonic() + _PART_S)
            while len(self._alive) > 1 and time.monotonic() < deadline:
                time.sleep(0.1)
        self._done.set()
        for thread in self._threads:  # Python aborts if one comes back from C++ while it ends
            thread.join(_PART_S)
        if self._id and not code:  # whoever is still joined to a service that ends is aborted
            jax.distributed.shutdown()

    def _tell(self, code):
        self._client.key_value_set(f'{_LEFT}/{self._id}', str(code), allow_overwrite=True)

    def exit_if_peer_lost(self, error: BaseException) -> None:
        """Waits for the words on a process that is gone, if that may be why something failed with `error`.

        Returns if it is not, or if nobody is gone after all.
        """
        if not _STATUS.match(str(error)):
            return
        deadline = time.monotonic() + 1.5 * self._seconds
        while time.monotonic() < deadline:
            for process, code in self._codes.items():
                if code and process != self._id:
                    self._end_as(process, code)
            time.sleep(0.1)

    def _look_for_silent(self):
        """Asks the service who is alive; it answers when all who are have asked."""
        everyone = range(self._num)
        while not self._done.wait(_EVERY_S):
            try:
                self._alive = set(self._client.get_live_nodes(list(everyone)))
                missing = set(everyone) - self._alive
                gone = sorted(missing - self._ended().keys()) if missing else []
            except Exception:  # the service is gone, which the other thread finds out
                gone = []
            if gone:
                names = ' and '.join(map(str, gone))
                verb = 'are' if len(gone) > 1 else 'is'
                self._lost(f'process {names} of {self._num} {verb} gone', self._seconds)

    def _look_for_ended(self):
        """Asks process 0 for the exit codes that others have left; no answer says that it is gone itself."""
        silent, patience = 0.0, _OF_PROCESS_0 * self._seconds
        failed: dict[int, float] = {}
        while silent < patience:
            if self._done.wait(0 if silent else _EVERY_S):
                return
            began = time.monotonic()
            try:
                self._client.blocking_key_value_get(_HERE, int(1000 * _EVERY_S))
                self._codes = self._ended()
                silent = 0.0
            except Exception:
                time.sleep(0.1)
                # Not more than that, however long this thread had to wait for its turn.
                silent += min(time.monotonic() - began, 2 * _EVERY_S)
                continue
            for process, code in self._codes.items():
                since = failed.setdefault(process, time.monotonic())
                own_words = self._seconds if code in _REPEATED_BY_ALL else _OWN_WORDS_S
                if code and process != self._id and time.monotonic() > since + own_words:
                    self._end_as(process, code)
        self._lost(f'process 0 of {self._num} is gone', patience)

    def _ended(self):
        found = self._client.key_value_dir_get(_LEFT)
        return {int(key.rpartition('/')[2]): int(code) for key, code in found}

    def _lost(self, what, seconds):
        line = supervisor.last_words(f'{what} (no sign for {seconds:g} s)', self._workdir)
        self._end(line, supervisor.GOES_ON)

    def _end_as(self, process, code):
        self._tell(code)
        what = f'process {process} of {self._num} ended with exit code {code}, and says why'
        self._end(f'{what}: {supervisor.newest(self._workdir)}this process ends as well', code)

    def _end(self, line: str, code: int) -> None:
        if self._has_left:  # it has its own end
            return
        self._lock.acquire()  # for good: only one thread speaks
        supervisor.say(line)
        sys.stdout.flush()
        os._exit(code)
