"""Traces a few calls of the training step for TensorBoard's Profile tab, XProf and Perfetto."""

import pathlib
from collections.abc import Callable

import jax

# The first calls fill caches and are slower than the others.
_SKIPPED = 2


class Profile:
    """Traces `num_calls` calls of a program, from the third on; a context manager.

    Args:
        folder: a TensorBoard log folder; the trace goes to `plugins/profile` in it.
        num_calls: number of calls to trace; 0 for no trace.
        wait: blocks until the devices have computed everything in their queue.
        say: prints a line.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        num_calls: int,
        wait: Callable[[], None],
        say: Callable[[str], None],
    ):
        self._folder, self._num_calls, self._wait, self._say = folder, num_calls, wait, say
        self._calls, self._is_tracing = 0, False

    def __enter__(self) -> 'Profile':
        return self

    def __exit__(self, kind, *_) -> None:
        self._stop()
        if self._num_calls and self._calls <= _SKIPPED and not kind:
            self._say(f'no trace: the run ended before call {_SKIPPED + 1}')

    def before_call(self) -> None:
        """Starts or stops the trace if it is time; call it before each call of the program."""
        if self._calls == _SKIPPED and self._num_calls:
            self._wait()
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # Python's own calls would be most of the file
            jax.profiler.start_trace(
                self._folder, create_perfetto_trace=True, profiler_options=options
            )
            self._is_tracing = True
        if self._calls == _SKIPPED + self._num_calls:
            self._stop()
        self._calls += 1

    def _stop(self):
        if self._is_tracing:
            self._is_tracing = False
            self._wait()
            jax.profiler.stop_trace()
            traces = sorted((self._folder / 'plugins' / 'profile').iterdir())
            self._say(f'trace        {traces[-1]} (xprof, or perfetto_trace.json.gz in Perfetto)')
