"""The training step as one compiled program: made beside other work, and what it will need.

Compilation takes seconds to minutes and one thread of Python, so it runs while images are read, the state is made or
restored and the first grid is drawn. What it was compiled for is a guess until then; `StepProgram.fits` checks it.
"""

import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import Any

import jax

from snjax import parallel
from snjax.training import cost


class StepProgram:
    """Compiles `step` in a thread of its own from the moment it is made.

    Args:
        step: the step over all devices.
        state, data, streamed: what it will be called with, or the shapes of it (one process alone takes shapes).
        updates_per_call: generator updates in one call, for the report.
        say: prints a line for people.
    """

    def __init__(
        self,
        step: parallel.DataParallel,
        state: Any,
        data: Any,
        streamed: tuple = (),
        *,
        updates_per_call: int = 1,
        say: Callable[[str], None] = print,
    ):
        self._step, self._updates, self._say = step, updates_per_call, say
        self._shapes = _shapes(state), _shapes(data), _shapes(streamed)
        self._is_cancelled = threading.Event()
        executor = concurrent.futures.ThreadPoolExecutor(1)
        self._compiled = executor.submit(self._compile, state, data, streamed)
        executor.shutdown(wait=False)

    def fits(self, state: Any, data: Any, streamed: tuple = ()) -> bool:
        """Whether it takes these arguments, or others of their shapes and types."""
        return self._shapes == (_shapes(state), _shapes(data), _shapes(streamed))

    def result(self) -> Callable:
        """The program, `(state, data, *streamed) -> (state, metrics)`; waits for it.

        Raises:
            concurrent.futures.CancelledError: it was given up.
        """
        return self._compiled.result()

    def cancel(self) -> None:
        """Gives it up, before it is compiled if that has not begun, and without a further word."""
        self._is_cancelled.set()

    def _compile(self, state, data, streamed):
        began = time.perf_counter()
        self._tell(self._costs(state, data, streamed))
        if self._is_cancelled.is_set():
            raise concurrent.futures.CancelledError
        program = self._step.compile(state, data, *streamed)
        found = program.temporary_bytes
        counted = f"; by XLA's count it takes {_mb(found)}" if found else ''
        seconds = time.perf_counter() - began
        self._tell(f'compiled the training step in {seconds:.1f} s{counted}')
        if options := parallel.compiler_options():
            self._tell(f'compiler options: {options}')
        return program

    def _costs(self, state, data, streamed):
        """A line about operations and memory."""
        jaxpr = self._step.trace(state, data, streamed)
        try:
            operations = cost.flops(jaxpr) / self._updates
            step = _mb(cost.temporary_bytes(jaxpr))
        except Exception as error:  # a run does not end for what is only told
            return f'what an update costs could not be counted: {error!r:.200}'
        images = cost.bytes_of(data) + cost.bytes_of(streamed) // parallel.device_count()
        return (
            f'one update takes {operations / 1e9:,.0f} GFLOP; memory of a device, estimated: '
            f'state {_mb(cost.bytes_of(self._step.per_device(state)))}, images {_mb(images)}, step {step}'
        )

    def _tell(self, line):
        if not self._is_cancelled.is_set():
            self._say(line)


def _shapes(tree: Any) -> list[tuple]:
    return [
        (jax.tree_util.keystr(path), leaf.shape, jax.numpy.dtype(leaf.dtype))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _mb(num_bytes: int) -> str:
    return f'{num_bytes / 1e6:,.0f} MB'
