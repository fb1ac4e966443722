"""Ends this process when another process of its run is gone, instead of waiting for it forever.

A process can be lost in three ways:

* A process dies, or its machine vanishes. JAX's coordination service, which runs in process 0, then
  hears no heartbeat for `timeout` seconds. C++ threads send the heartbeats, so a process that
  compiles, evaluates or sleeps still counts as alive.
* Process 0 vanishes. It is taken for lost after two fifths of `timeout` without an answer, because
  JAX may abort this process after half of it. If process 0 dies and its connections are closed, JAX
  aborts this process before Python learns of it; then `snjax.host.supervisor` prints the reason.
* A process ends by itself. It leaves its exit code in the coordination service.

`jax_enable_recoverability` keeps JAX from aborting the remaining processes in the first case.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import jax

from snjax.host import supervisor
from snjax.host.exit_codes import DIVERGED, RESUMABLE

# Keys in the coordination service.
_EXIT_CODES = 'snjax/left'  # a folder: process number -> exit code
_MAIN_IS_HERE = 'snjax/here'  # set by process 0

_POLL_S = 1.0
_MAIN_SHARE = 0.4  # of `timeout`, until process 0 is taken for lost
_OWN_MESSAGE_S = 10.0  # for a process to print its own error after another has failed
_DISCONNECT_S = 5.0  # for processes that have reported their exit code to disconnect
_OTHERS_FINISH_S = 300.0  # that process 0 waits for the others after it has finished well
# Every process reaches these exit codes by itself: all diverge or are preempted at the same step,
# and save before they end.
_SHARED_CODES = (DIVERGED, RESUMABLE)
# How messages of failed collectives begin, whatever Python type they have (ValueError for UNKNOWN).
# RESOURCE_EXHAUSTED is left out: running out of memory is this process's own fault.
_STATUS = re.compile(
    '(ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION|INTERNAL|UNAVAILABLE|UNKNOWN):'
)


class PeerMonitor:
    """Threads that watch the other processes of a run and end this one when a peer is lost.

    Args:
        client: client of JAX's coordination service.
        process_id: number of this process.
        num_processes: number of processes of the run.
        timeout: seconds without a heartbeat after which a process is taken for lost.
        newest: returns a clause on the newest checkpoint, for the last message.
    """

    def __init__(
        self,
        client: Any,
        process_id: int,
        num_processes: int,
        timeout: float,
        newest: Callable[[], str],
    ):
        self._client, self._newest = client, newest
        self._id, self._num, self._timeout = process_id, num_processes, timeout
        self._codes: dict[int, int] = {}  # exit codes that processes have reported
        self._alive: set[int] = set(range(num_processes))
        self._has_reported = False
        self._lock, self._done = threading.Lock(), threading.Event()
        if process_id == 0:
            client.key_value_set(_MAIN_IS_HERE, 'yes')
        loops = self._watch_heartbeats, self._watch_exit_codes
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in loops]
        for thread in self._threads:
            thread.start()

    def report_exit(self, code: int) -> None:
        """Reports this process's exit code to the others; only the first call counts.

        Process 0 returns when the others have ended, because the coordination service ends with it.
        """
        if self._has_reported:
            return
        self._has_reported = True
        try:
            self._report_and_disconnect(code)
        except Exception as error:
            print(f'could not report the exit status to the coordinator: {error}', file=sys.stderr)

    def _report_and_disconnect(self, code):
        self._set_exit_code(code)
        if self._id == 0:
            deadline = time.monotonic() + (self._timeout if code else _OTHERS_FINISH_S)
            while len(self._read_exit_codes()) < self._num and time.monotonic() < deadline:
                time.sleep(0.1)
            deadline = min(deadline, time.monotonic() + _DISCONNECT_S)
            while len(self._alive) > 1 and time.monotonic() < deadline:
                time.sleep(0.1)
        self._done.set()
        for thread in self._threads:  # Python aborts if a thread returns from C++ during its exit
            thread.join(_DISCONNECT_S)
        if self._id and not code:  # JAX aborts a process that is connected when the service ends
            jax.distributed.shutdown()

    def _set_exit_code(self, code):
        self._client.key_value_set(f'{_EXIT_CODES}/{self._id}', str(code), allow_overwrite=True)

    def _read_exit_codes(self):
        entries = self._client.key_value_dir_get(_EXIT_CODES)
        return {int(key.rpartition('/')[2]): int(code) for key, code in entries}

    def exit_if_peer_lost(self, error: BaseException) -> None:
        """Ends this process if `error` was caused by a lost peer; returns if it was not.

        An error that may come from a collective waits until the threads have had time to find out
        which process is lost, and they end this process.
        """
        if not _STATUS.match(str(error)):
            return
        deadline = time.monotonic() + 1.5 * self._timeout
        while time.monotonic() < deadline:
            for process, code in self._codes.items():
                if code and process != self._id:
                    self._end_like_peer(process, code)
            time.sleep(0.1)

    def _watch_heartbeats(self):
        """Polls for live processes; the call returns once every live process has made it."""
        everyone = range(self._num)
        while not self._done.wait(_POLL_S):
            try:
                self._alive = set(self._client.get_live_nodes(list(everyone)))
                silent = set(everyone) - self._alive
                lost = sorted(silent - self._read_exit_codes().keys()) if silent else []
            except Exception:  # process 0 is lost, which the other thread notices
                lost = []
            if lost:
                names = ' and '.join(map(str, lost))
                verb = 'are' if len(lost) > 1 else 'is'
                self._end_as_lost(f'process {names} of {self._num} {verb} gone', self._timeout)

    def _watch_exit_codes(self):
        """Polls process 0 for the exit codes of all; no answer means that process 0 is lost."""
        silent_for, limit = 0.0, _MAIN_SHARE * self._timeout
        failed_at: dict[int, float] = {}
        while silent_for < limit:
            if self._done.wait(0 if silent_for else _POLL_S):
                return
            began = time.monotonic()
            try:
                self._client.blocking_key_value_get(_MAIN_IS_HERE, int(1000 * _POLL_S))
                self._codes = self._read_exit_codes()
                silent_for = 0.0
            except Exception:
                time.sleep(0.1)
                # Capped, because this thread may itself have been kept from running for longer.
                silent_for += min(time.monotonic() - began, 2 * _POLL_S)
                continue
            for process, code in self._codes.items():
                since = failed_at.setdefault(process, time.monotonic())
                grace = self._timeout if code in _SHARED_CODES else _OWN_MESSAGE_S
                if code and process != self._id and time.monotonic() > since + grace:
                    self._end_like_peer(process, code)
        self._end_as_lost(f'process 0 of {self._num} is gone', limit)

    def _end_as_lost(self, what, seconds):
        line = supervisor.last_words(f'{what} (no sign for {seconds:g} s)', self._newest())
        self._end(line, RESUMABLE)

    def _end_like_peer(self, process, code):
        self._set_exit_code(code)
        what = f'process {process} of {self._num} ended with exit code {code}'
        newest = self._newest()
        where = f'{newest}; ' if newest else ''
        self._end(f'{what} (its own output says why): {where}this process ends too', code)

    def _end(self, line: str, code: int) -> None:
        if self._has_reported:  # it is already on its way out
            return
        self._lock.acquire()  # never released: only one thread prints and exits
        supervisor.say(line)
        sys.stdout.flush()
        os._exit(code)
