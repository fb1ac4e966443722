"""The processes of one run: joining, which of them writes, agreeing on values, and stopping."""

import atexit
import contextlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from snjax.host import exit_codes, supervisor
from snjax.host.gpus import own_gpus
from snjax.parallel import agreement
from snjax.parallel.peer_monitor import PeerMonitor

_monitor: PeerMonitor | None = None  # only where a run has several processes


def initialize(
    mode: str,
    *,
    join_timeout: int = 300,
    peer_timeout: int = 100,
    newest: Callable[[], str] = str,
    alike: Mapping[str, Any] | None = None,
    **where: Any,
) -> None:
    """Joins the processes of a run; must be called before anything else uses JAX.

    Afterwards this process ends with one line and exit code 75 as soon as another process is lost
    (`snjax.parallel.peer_monitor`).

    Args:
        mode: 'off' for one process, 'auto' to read SLURM's, a TPU pod's or another cluster's
            environment, or 'explicit' for the values in `where`.
        join_timeout: seconds within which all processes must have joined.
        peer_timeout: seconds without a heartbeat after which a process is taken for lost.
        newest: returns a clause on the newest checkpoint, for the last line; empty for none.
        alike: JSON values by name that must be the same in all processes; None to compare nothing.
        **where: `coordinator_address`, `num_processes` and `process_id` for 'explicit'.

    Raises:
        ValueError: for an unknown mode; for 'explicit' if an address, count or number is missing or
            wrong; for 'auto' outside a known cluster; if not all processes join in time, or they
            differ in `alike`; if JAX finds no device.
    """
    if mode == 'off':
        return _check_devices()
    if mode not in ('auto', 'explicit'):
        raise ValueError(f'--distributed={mode}: accepted are off, auto, explicit')
    names = ('coordinator_address', 'num_processes', 'process_id')
    missing = [name for name in names if where.get(name) in (None, '')]
    if mode == 'explicit' and missing:
        raise ValueError(
            f'--distributed=explicit needs --{" --".join(missing)}: '
            'the address host:port of process 0, the number of processes, '
            'and the number of this process'
        )
    if mode == 'explicit':
        _check_address(where['coordinator_address'], is_own=where['process_id'] == 0)
    # CPU processes communicate by Gloo; other backends ignore the setting.
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    # Without it JAX aborts every process when one is lost; `PeerMonitor` ends them in order.
    jax.config.update('jax_enable_recoverability', True)
    _join(where if mode == 'explicit' else {}, join_timeout, peer_timeout)
    _start_monitor(peer_timeout, newest)
    state = _coordination()
    if alike is not None and (state.num_processes or 1) > 1:
        own = state.client, state.process_id, state.num_processes
        agreement.check_same(*own, alike, timeout=join_timeout)
    _check_devices()


def _check_devices():
    """Asks for the devices first, so that a missing backend is not reported as a bad checkpoint."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # cuda raises an AssertionError without text
        exit_if_peer_lost(error)
        platforms, reason = os.environ.get('JAX_PLATFORMS', ''), ' '.join(str(error).split())
        raise ValueError(
            f'JAX finds no device with JAX_PLATFORMS={platforms!r} '
            f'({reason or "no such backend"}): leave it unset, set it to cpu, '
            'or install what it needs, e.g. jax[cuda13] for cuda'
        ) from None


def _check_address(address, *, is_own):
    """Refuses a bad address or a port in use: JAX answers with an IndexError or crashes there."""
    _, colon, port = address.rpartition(':')
    if not colon or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f'--coordinator_address={address}: accepted is host:port, e.g. host0:1234')
    if is_own:
        try:
            socket.create_server(('', int(port))).close()
        except OSError as error:
            raise ValueError(
                f'--coordinator_address={address}: process 0 cannot listen there '
                f'({error.strerror}): use another port'
            ) from None


def _join(where, join_timeout, peer_timeout):
    everyone = f'all {where["num_processes"]} processes' if where else 'all processes'
    at = f' at {where["coordinator_address"]}' if where else ''
    too_late = (
        f'not {everyone} met{at} within {join_timeout} s: start each of them with its own '
        '--process_id, counted from 0, or wait longer with --join_timeout'
    )
    # After a timeout JAX may abort the process, and then only the supervisor can print this.
    supervisor.explain(too_late, 2)
    try:
        jax.distributed.initialize(
            **where,
            local_device_ids=own_gpus(),
            initialization_timeout=join_timeout,
            heartbeat_timeout_seconds=peer_timeout,
        )
    except ValueError as error:
        if where:
            raise
        raise ValueError(
            f'--distributed=auto finds no cluster ({error}): it recognizes SLURM, TPU pods, '
            'Open MPI and Kubernetes by their environment; use off for one process, or explicit '
            'with --coordinator_address, --num_processes and --process_id'
        ) from None
    except RuntimeError as error:
        if 'DEADLINE_EXCEEDED' not in str(error):
            raise
        raise ValueError(too_late) from None


def _coordination():
    """The state of `jax.distributed`: process number and count, address and client.

    The one private import of snjax.parallel. jax.distributed offers no key-value store and no list
    of live processes (neither in jax 0.10.2 nor in 0.11.2); only the client here has them.
    """
    from jax._src import distributed

    return distributed.global_state


def _start_monitor(peer_timeout, newest):
    global _monitor
    state = _coordination()
    if state.process_id:
        address = str(state.coordinator_address)
        what = f'process 0 of {state.num_processes} is gone (nobody answers at {address})'
        supervisor.explain(what, exit_codes.RESUMABLE, unless_answers=address)
    else:
        supervisor.explain('', 0)
    if state.num_processes > 1:
        # Ctrl-C becomes a KeyboardInterrupt, which `report_exit` reports, unless it is ignored.
        if callable(signal.getsignal(signal.SIGINT)):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _monitor = PeerMonitor(
            state.client, state.process_id, state.num_processes, peer_timeout, newest
        )
        # For programs without `report_exit`: Python keeps an uncaught error in sys.last_value.
        atexit.register(
            lambda monitor: monitor.report_exit(int(hasattr(sys, 'last_value'))), _monitor
        )


def exit_if_peer_lost(error: BaseException) -> None:
    """Exits if `error` was caused by a lost peer; call it before reporting bad input."""
    if _monitor is not None:
        _monitor.exit_if_peer_lost(error)


@contextlib.contextmanager
def report_exit() -> Iterator[None]:
    """Context around everything a process does: reports its exit code to the other processes.

    After a failure this process exits at once and does not wait for the others.
    """
    try:
        yield
    except BaseException as error:
        if _monitor is None:
            raise
        exit_if_peer_lost(error)
        code = error.code if isinstance(error, SystemExit) else 1
        if isinstance(error, KeyboardInterrupt):
            supervisor.say('interrupted')
            code = 130
        elif not isinstance(error, SystemExit):
            traceback.print_exception(error)
        code = code if isinstance(code, int) else int(code is not None)
        _monitor.report_exit(code)
        sys.stdout.flush()
        sys.stderr.flush()
        # A normal exit joins all threads, and some may wait for processes that have ended.
        os._exit(code)
    if _monitor is not None:
        _monitor.report_exit(0)


def process_index() -> int:
    """Number of this process among the processes of the run, from 0."""
    return jax.process_index()


def process_count() -> int:
    """Number of processes of the run."""
    return jax.process_count()


def is_main() -> bool:
    """Whether this is process 0, the only one that writes files and prints."""
    return jax.process_index() == 0


def from_main(value: int) -> int:
    """Returns the `value` of process 0 in every process; every process must call it."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def any_process(flag: bool) -> bool:
    """Returns whether `flag` is true in any process; every process must call it."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.int32(flag))))


class StopSignal:
    """Tells at which step all processes save and stop after a SIGTERM, or SIGHUP.

    Schedulers send SIGTERM before they take a machine away, and a terminal that is closed sends
    SIGHUP. With one process this object handles the signals itself, and treats the first Ctrl-C
    like them; a second Ctrl-C ends the process at once. A second SIGTERM does nothing, because
    SLURM sends two in a row. With several processes, which may receive the signal at different
    steps or not at all, JAX's coordination service makes them agree on one step. Signals that the
    process ignores stay ignored.

    Attributes:
        is_requested: whether this process itself has received a signal; False with several.
    """

    def __init__(self):
        self.is_requested = False
        several = jax.process_count() > 1
        # The coordination service hears SIGTERM only.
        handle = _as_sigterm if several else self._handle
        numbers = [signal.SIGHUP] if several else [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
        self._previous = {
            number: signal.signal(number, handle)
            for number in numbers
            if signal.getsignal(number) is not signal.SIG_IGN
        }

    def _handle(self, number, _):
        self.is_requested = True
        if number == signal.SIGINT:
            signal.signal(number, self._previous[number])

    def at(self, step: int) -> bool:
        """Whether to save and stop after `step`; every process must ask at every step."""
        if jax.process_count() == 1:
            return self.is_requested
        return multihost_utils.reached_preemption_sync_point(step)

    def close(self) -> None:
        """Restores the previous signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if jax.process_count() > 1:
            # Python's own handler again, in the place of the coordination service's, which nobody
            # asks any more.
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def _as_sigterm(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
