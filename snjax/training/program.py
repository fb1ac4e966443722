"""The training step as one compiled program, compiled while other work runs.

Compilation takes seconds to minutes and one thread of Python, so it runs while images are read, the
state is made or restored and the first grid is drawn. The shapes it is compiled for are a guess
until then; `StepProgram.fits` checks them.
"""

import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from snjax import parallel

# A program of the compilation cache is there sooner, and needs no word of patience.
_SILENCE_S = 2.0


class StepProgram:
    """Compiles a step in a thread that starts at once.

    Args:
        step: the step over all devices.
        state, data, streamed: arguments of the step; shapes suffice in a run of one process.
        updates_per_call: generator updates in one call.
        say: prints a line.
        traced: kept as long as the program: the function that gave the shapes of `state`. JAX
            forgets what it has traced with the function, and the trainer needs it once more.
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
        traced: Callable | None = None,
    ):
        self._step, self._updates_per_call, self._say = step, updates_per_call, say
        self._traced = traced
        self._shapes = _shapes(state), _shapes(data), _shapes(streamed)
        self._is_cancelled = threading.Event()
        executor = concurrent.futures.ThreadPoolExecutor(1)
        self._compiled = executor.submit(self._compile, state, data, streamed)
        executor.shutdown(wait=False)

    def fits(self, state: Any, data: Any, streamed: tuple = ()) -> bool:
        """Whether the program was compiled for arguments of these shapes and types."""
        return self._shapes == (_shapes(state), _shapes(data), _shapes(streamed))

    def result(self) -> Callable:
        """Waits for the program, `(state, data, *streamed) -> (state, metrics)`.

        Raises:
            concurrent.futures.CancelledError: `cancel` was called before XLA began to compile.
        """
        return self._compiled.result()

    def cancel(self) -> None:
        """Skips the compilation if it has not begun, and prints nothing from now on."""
        self._is_cancelled.set()

    def _compile(self, state, data, streamed):
        start = time.perf_counter()
        with self._word_of_patience():
            lowered = self._step.lower(state, data, streamed=streamed)
            if self._is_cancelled.is_set():
                raise concurrent.futures.CancelledError
            program = parallel.Program(parallel.compile(lowered), self._step.device_ids)
        costs = '; '.join(['', *self._costs(program)])
        self._print(f'compiled the training step in {time.perf_counter() - start:.1f} s{costs}')
        if options := parallel.compiler_options():
            self._print(f'compiler options: {options}')
        return program

    @contextlib.contextmanager
    def _word_of_patience(self) -> Iterator[None]:
        """Says after a moment of silence that the program is being compiled."""
        line = 'compiling the training step: about a minute, or seconds where the cache has it'
        timer = threading.Timer(_SILENCE_S, self._print, [line])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _costs(self, program: parallel.Program) -> list[str]:
        """XLA's counts of the program's operations and memory, as text."""
        costs = []
        if program.flops is not None:
            # On the CPU the updates of a call are written out and all counted. Elsewhere they are
            # one loop (`parallel.scan_or_unroll`), of which XLA counts the body, one update.
            # Operations that XLA gives to a library may be missing.
            updates = self._updates_per_call if parallel.backend() == 'cpu' else 1
            costs.append(f"{program.flops / updates / 1e9:,.2f} GFLOP an update by XLA's count")
        if program.argument_bytes is not None and program.temporary_bytes is not None:
            costs.append(
                f'memory of a device: state and images {_mb(program.argument_bytes)}, '
                f'step {_mb(program.temporary_bytes)}'
            )
        return costs

    def _print(self, line: str) -> None:
        if not self._is_cancelled.is_set():
            self._say(line)


def _shapes(tree: Any) -> list[tuple]:
    return [
        (jax.tree_util.keystr(path), leaf.shape, jax.numpy.dtype(leaf.dtype))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _mb(num_bytes: int) -> str:
    return f'{num_bytes / 1e6:,.0f} MB'
