"""Shows the progress of a run: a bar on a terminal, in a notebook one line that is replaced, and a
line every 15 seconds elsewhere.
"""

import importlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import SupportsFloat

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from snjax.training.method import Method

_LINE_EVERY_S, _NOTEBOOK_EVERY_S = 15.0, 1.0
_LONG_S = 2 * 3600.0  # an estimate from which on `shorter` is printed
_SHOWN = ('dis_loss', 'gen_loss', 'rec_loss')


class Progress:
    """Prints steps done, it/s, time left and losses to stderr; a context manager.

    The speed that is shown is the average since the start.

    Args:
        step: generator updates done at the start.
        total: length of the run.
        enabled: False prints nothing.
        shorter: printed once beside the first estimate of hours: what makes the run shorter.
    """

    def __init__(self, step: int, total: int, *, enabled: bool = True, shorter: str = ''):
        self._total, self._step, self._enabled = total, step, enabled
        self._shorter = shorter
        self._mark = (step, time.perf_counter())
        self._begun = self._mark
        self._spoke = time.perf_counter()
        self._losses = ''
        self._bar = None
        self._notebook = _notebook_line() if enabled else None
        console = Console(stderr=True)
        if enabled and console.is_terminal:
            self._bar = Bar(
                TextColumn('training'),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn('{task.fields[speed]}'),
                TimeElapsedColumn(),
                TextColumn('ETA'),
                TimeRemainingColumn(),
                TextColumn('{task.fields[losses]}'),
                console=console,
            )
            self._task = self._bar.add_task('', total=total, completed=step, speed='', losses='')

    def __enter__(self) -> 'Progress':
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, step: int) -> None:
        """Shows that `step` generator updates are done."""
        self._step = step
        if not self._enabled:
            return
        self._advise()
        if self._bar:
            self._bar.update(
                self._task, completed=step, speed=f'{self._overall():.1f} it/s', losses=self._losses
            )
        elif time.perf_counter() - self._spoke >= self._every or step >= self._total:
            self._spoke = time.perf_counter()
            rate = self._overall()
            minutes, seconds = divmod(round(self._left()), 60)
            eta = f'ETA {minutes // 60}:{minutes % 60:02d}:{seconds:02d}'
            line = f'step {step}/{self._total}  {rate:.2f} it/s  {eta}  {self._losses}'.rstrip()
            if self._notebook:
                self._notebook(line)
            else:
                print(line, file=sys.stderr, flush=True)

    def show(self, metrics: Mapping[str, SupportsFloat]) -> None:
        """Keeps the losses that the next line shows."""
        self._losses = '  '.join(f'{k} {float(metrics[k]):.3f}' for k in _SHOWN if k in metrics)

    def _advise(self) -> None:
        """Prints `shorter` once, when the first estimate is shown and is of hours."""
        begun = self._begun[1]
        if not self._shorter or time.perf_counter() - begun < _LINE_EVERY_S:
            return
        if self._left() >= _LONG_S:
            line = f'{self._left() / 3600:.0f} hours to go; {self._shorter}'
            if self._bar:
                self._bar.console.print(line, highlight=False)
            else:
                print(line, file=sys.stderr, flush=True)
        self._shorter = ''

    def _left(self) -> float:
        """Seconds to the end, at the average speed."""
        rate = self._overall()
        return (self._total - self._step) / rate if rate else 0.0

    @property
    def _every(self) -> float:
        return _NOTEBOOK_EVERY_S if self._notebook else _LINE_EVERY_S

    def _overall(self) -> float:
        step, at = self._begun
        elapsed = time.perf_counter() - at
        return (self._step - step) / elapsed if elapsed > 0 else 0.0

    def rate(self) -> float:
        """Steps per second since the last call."""
        step, at = self._mark
        self._mark = (self._step, time.perf_counter())
        return (self._step - step) / max(1e-9, self._mark[1] - at)

    def speed(self, step: int, method: Method, num_images: int) -> dict[str, float]:
        """Scalars by tag: the epoch, and steps and images per second since the last call."""
        per_step = method.batches_per_step
        values = {'train/epoch': step * per_step / (num_images // method.batch_size)}
        if rate := self.rate():
            images_per_s = rate * method.batch_size * per_step
            values |= {'perf/steps_per_s': rate, 'perf/images_per_s': images_per_s}
        return values


def _notebook_line() -> Callable[[str], None] | None:
    """A function that replaces a line of a notebook's cell; None outside of notebooks."""
    ipython = sys.modules.get('IPython')
    shell = ipython.get_ipython() if ipython else None
    if shell is None or type(shell).__name__ != 'ZMQInteractiveShell':
        return None
    display = importlib.import_module('IPython.display').display
    handle = display({'text/plain': ''}, raw=True, display_id=True)
    return lambda line: handle.update({'text/plain': line}, raw=True)
