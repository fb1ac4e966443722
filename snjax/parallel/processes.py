"""Processes of one run: how they find each other, which of them writes, and when all of them stop."""

import atexit
import contextlib
import os
import pathlib
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from snjax.host import supervisor
from snjax.host.gpus import own_gpus
from snjax.parallel.watch import Watch

_watch: Watch | None = None  # of a run of several processes


def initialize(
    mode: str,
    *,
    join_timeout: int = 300,
    peer_timeout: int = 100,
    workdir: pathlib.Path | None = None,
    **where: Any,
) -> None:
    """Joins the processes of a run; call before anything else touches JAX.

    From then on this process ends, with one line and exit code 75, when another is gone (`snjax.parallel.watch`).

    Args:
        mode: 'off' (one process), 'auto' (the cluster's environment says, as SLURM and TPU pods do) or 'explicit'.
        join_timeout: seconds until all processes have to be there.
        peer_timeout: seconds without a sign after which a process is taken for gone.
        workdir: of the run, for that line.
        **where: `coordinator_address`, `num_processes`, `process_id` for 'explicit'.

    Raises:
        ValueError: for another mode, 'explicit' with an address, count or number missing or wrong, 'auto' where no
            cluster says them, processes that do not come, or if JAX finds no device.
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
            'the address host:port of process 0, the number of processes, and the number of this one'
        )
    if mode == 'explicit':
        _check_address(where['coordinator_address'], is_own=where['process_id'] == 0)
    # Gloo is what lets CPU processes talk; other backends ignore the setting.
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    jax.config.update('jax_enable_recoverability', True)
    _join(where if mode == 'explicit' else {}, join_timeout, peer_timeout)
    _start_watch(peer_timeout, workdir)
    _check_devices()


def _check_devices():
    """Before anything else asks for them, whose errors would be taken for those of a checkpoint or a program."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter, without words, for cuda
        exit_if_peer_lost(error)
        asked, why = os.environ.get('JAX_PLATFORMS', ''), ' '.join(str(error).split())
        raise ValueError(
            f'JAX finds no device with JAX_PLATFORMS={asked!r} ({why or "no such backend"}): leave it unset, set it to '
            'cpu, or install what it needs, as jax[cuda13] for cuda'
        ) from None


def _check_address(address, *, is_own):
    """Before JAX finds out: it answers with an IndexError, and a port in use with a segmentation fault."""
    _, colon, port = address.rpartition(':')
    if not colon or not port.isdecimal():
        raise ValueError(f'--coordinator_address={address}: accepted is host:port, as host0:1234')
    if is_own:
        try:
            socket.create_server(('', int(port))).close()
        except OSError as error:
            raise ValueError(
                f'--coordinator_address={address}: process 0 cannot listen there ({error.strerror}): use another port'
            ) from None


def _join(where, join_timeout, peer_timeout):
    others = f'all {where["num_processes"]} processes' if where else 'all processes'
    at = f' at {where["coordinator_address"]}' if where else ''
    late = (
        f'not {others} met{at} within {join_timeout} s: start each of them with a --process_id of its own, from 0, or '
        'wait longer by --join_timeout'
    )
    # JAX aborts the process then.
    supervisor.explain(late, 2)
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
            f'--distributed=auto finds no cluster ({error}): it knows SLURM, TPU pods, Open MPI, Kubernetes by their '
            'environment; use off for one process, or explicit with --coordinator_address, --num_processes and '
            '--process_id'
        ) from None
    except RuntimeError as error:
        if 'DEADLINE_EXCEEDED' not in str(error):
            raise
        raise ValueError(late) from None


def _start_watch(peer_timeout, workdir):
    global _watch
    from jax._src import distributed  # JAX has no public way to its coordination service

    state = distributed.global_state
    if state.process_id:
        at = str(state.coordinator_address)
        what = f'process 0 of {state.num_processes} is gone (nobody answers at {at})'
        supervisor.explain(what, supervisor.GOES_ON, unless_answers=at)
    else:
        supervisor.explain('', 0)
    if state.num_processes > 1:
        # Ctrl-C goes through `report_exit`, so that the others hear of it, unless it is ignored.
        if callable(signal.getsignal(signal.SIGINT)):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _watch = Watch(state.client, state.process_id, state.num_processes, peer_timeout, workdir)
        # Where nobody asks for `report_exit`: Python keeps the error that nobody caught.
        atexit.register(lambda watch: watch.leave(int(hasattr(sys, 'last_value'))), _watch)


def exit_if_peer_lost(error: BaseException) -> None:
    """Call it before blaming the user for an error: if it came of a process that is gone, this one ends here."""
    if _watch is not None:
        _watch.exit_if_peer_lost(error)


@contextlib.contextmanager
def report_exit() -> Iterator[None]:
    """Around all that a process does: the others hear how it ended, and it does not wait for them after a failure."""
    try:
        yield
    except BaseException as error:
        if _watch is None:
            raise
        exit_if_peer_lost(error)
        code = error.code if isinstance(error, SystemExit) else 1
        if isinstance(error, KeyboardInterrupt):
            supervisor.say('interrupted')
            code = 130
        elif not isinstance(error, SystemExit):
            traceback.print_exception(error)
        code = code if isinstance(code, int) else int(code is not None)
        _watch.leave(code)
        sys.stdout.flush()
        sys.stderr.flush()
        # Threads may be waiting for processes that have ended, and Python would wait for its threads.
        os._exit(code)
    if _watch is not None:
        _watch.leave(0)


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def process_index() -> int:
    """Number of this process among the processes of the run, from 0."""
    return jax.process_index()


def process_count() -> int:
    """Number of processes of the run."""
    return jax.process_count()


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
    """SIGTERM, as schedulers send it before they take a machine away, agreed on by all processes.

    One process keeps the signal itself, and takes the first Ctrl-C for one; a second ends it at once. A second SIGTERM
    does not: SLURM sends two in a row, and waits. Several processes, which the signal may reach at different steps or
    not all, let JAX's coordination service agree on the step to stop at.
    """

    def __init__(self):
        self._asked = False
        if jax.process_count() == 1:
            self._previous = {
                number: signal.signal(number, self._ask)
                for number in (signal.SIGTERM, signal.SIGINT)
            }

    def _ask(self, number, _):
        self._asked = True
        if number == signal.SIGINT:
            signal.signal(number, self._previous[number])

    def at(self, step: int) -> bool:
        """Whether to save and stop after `step`; every process must ask at every step."""
        if jax.process_count() == 1:
            return self._asked
        return multihost_utils.reached_preemption_sync_point(step)

    def close(self) -> None:
        """Gives the signal back to whoever had it."""
        if jax.process_count() == 1:
            for number, handler in self._previous.items():
                signal.signal(number, handler)
