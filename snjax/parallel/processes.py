"""Processes of one run: how they find each other, which of them writes, and when all of them stop."""

import signal
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def initialize(mode: str, **where: Any) -> None:
    """Joins the processes of a run; call before anything else touches JAX.

    Args:
        mode: 'off' (one process), 'auto' (the cluster's environment says, as SLURM and TPU pods do) or 'explicit'.
        **where: `coordinator_address`, `num_processes`, `process_id` for 'explicit'.

    Raises:
        ValueError: for another mode, or 'explicit' with an address, count or number missing.
    """
    if mode == 'off':
        return
    if mode not in ('auto', 'explicit'):
        raise ValueError(f'--distributed={mode}: accepted are off, auto, explicit')
    names = ('coordinator_address', 'num_processes', 'process_id')
    missing = [name for name in names if where.get(name) in (None, '')]
    if mode == 'explicit' and missing:
        raise ValueError(
            f'--distributed=explicit needs --{" --".join(missing)}: '
            'the address host:port of process 0, the number of processes, and the number of this one'
        )
    # Gloo is what lets CPU processes talk; other backends ignore the setting.
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    jax.distributed.initialize(**(where if mode == 'explicit' else {}))


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def main_says(flag: bool) -> bool:
    """What process 0 holds to be true; every process has to ask."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.broadcast_one_to_all(np.int32(flag)))


def any_says(flag: bool) -> bool:
    """Whether it holds in any process; every process has to ask."""
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
