"""A sweep on the terminal: a table that is kept up to date, or a line now and then where there is no terminal."""

import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from snjax.sweeps.board import Job, SweepState
from snjax.sweeps.journal import State

_LINE_EVERY_S = 30.0
_STYLES = {
    State.RUNNING: 'bold',
    State.FINISHED: 'green',
    State.DIVERGED: 'yellow',
    State.CRASHED: 'red',
    State.REFUSED: 'red',
    State.PENDING: 'dim',
    State.QUEUED: 'dim',
    State.WAITING: 'dim',
}
_BAD = (State.DIVERGED, State.CRASHED, State.REFUSED, State.INTERRUPTED)
# Lines around the rows of a table that has to fit on the screen.
_FRAME = 8
_NAME_WIDTH, _NOTE_WIDTH = 40, 40


class Display:
    """Shows a board while it changes; a context manager."""

    def __init__(self):
        self._console = Console(stderr=True)
        self._live = None
        self._spoke = time.monotonic()

    def __enter__(self) -> 'Display':
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str) -> None:
        """A line that stays: above the table, or on stdout."""
        if self._live:
            self._live.console.print(Text(line))
        else:
            print(line, flush=True)

    def show(self, board: SweepState, slots: int) -> None:
        """The table as it is now, or a line if the last was long ago."""
        if self._live:
            rows = max(1, self._console.height - _FRAME)
            jobs = _most_telling(board.jobs, rows)
            more = len(board.jobs) - len(jobs)
            parts = [table(jobs, one_line=True), Text(standing(board, slots))]
            if more:
                parts.insert(1, Text(f'and {more} more', style='dim'))
            self._live.update(Group(*parts), refresh=True)
        elif time.monotonic() - self._spoke >= _LINE_EVERY_S:
            self._spoke = time.monotonic()
            now = [f'{j.run.label} {_steps(j)}' for j in board.jobs if j.state == State.RUNNING]
            print('; '.join([standing(board, slots), *now]), flush=True)


def print_table(board: SweepState) -> None:
    """The whole table on stdout, as wide as it has to be where that is a file."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=200)
    console.print(table(board.jobs))


def table(jobs: list[Job], *, one_line: bool = False) -> Table:
    """A row per job, of one line each if the table has to be of a known height."""
    found = Table(box=None, pad_edge=False)
    score = next((named[0] for job in jobs if (named := job.watcher.score())), 'score')
    width = min(_NAME_WIDTH, max(len(job.run.label) for job in jobs))
    overflow = 'ellipsis' if one_line else 'fold'
    found.add_column('run', overflow=overflow, no_wrap=one_line, min_width=width)
    found.add_column('state')
    for name in ('step', 'it/s', score.replace('_', ' '), 'ETA'):
        found.add_column(name, justify='right')
    found.add_column('', overflow='ellipsis', no_wrap=True, max_width=_NOTE_WIDTH)
    for job in jobs:
        value = job.watcher.score()
        found.add_row(
            job.run.label,
            str(job.state),
            _steps(job),
            f'{job.watcher.rate:.1f}' if job.watcher.rate else '',
            f'{float(value[1]):.4g}' if value else '',
            clock(_left(job)) if job.state == State.RUNNING else '',
            job.slot if job.state == State.RUNNING else job.note,
            style=_STYLES.get(job.state, ''),
        )
    return found


def standing(board: SweepState, slots: int) -> str:
    """One line: how many runs are in which state, and when it will all be over."""
    counts = [
        f'{n} {state}' for state in State if (n := board.count(state)) and state != State.FINISHED
    ]
    head = f'{board.count(State.FINISHED)} of {len(board.jobs)} finished'
    eta = clock(time_left(board, slots))
    return ', '.join([head, *counts, *([f'ETA {eta}'] if eta else [])])


def time_left(board: SweepState, slots: int) -> float | None:
    """Seconds until all runs are over, if those to come are as fast as those that are known; None without any."""
    jobs = board.jobs
    rates = [job.watcher.rate for job in jobs if job.watcher.rate]
    unfinished = [j for j in jobs if j.is_open or j.state in (State.QUEUED, State.RUNNING)]
    if not rates or not unfinished:
        return None
    steps = sum(job.run.num_steps - job.watcher.step for job in unfinished)
    total = steps * len(rates) / sum(rates) / max(1, min(slots, len(unfinished)))
    return max([total, *(left for job in unfinished if (left := _left(job)) is not None)])


def clock(seconds: float | None) -> str:
    """1:02:03, or nothing for None."""
    if seconds is None:
        return ''
    minutes, seconds = divmod(round(seconds), 60)
    return f'{minutes // 60}:{minutes % 60:02d}:{seconds:02d}'


def _left(job: Job) -> float | None:
    """Seconds that a job still takes at its latest speed."""
    rate = job.watcher.rate
    return (job.run.num_steps - job.watcher.step) / rate if rate else None


def _steps(job: Job) -> str:
    return f'{job.watcher.step}/{job.run.num_steps}'


def _most_telling(jobs: list[Job], rows: int) -> list[Job]:
    """`rows` jobs in their order: those that run, then what went wrong, the latest ends, and what comes next."""

    def rank(job):
        if job.state == State.RUNNING:
            return 0, 0.0
        if job.state in _BAD:
            return 1, 0.0
        return (2, -job.started) if job.state == State.FINISHED else (3, 0.0)

    kept = {id(job) for job in sorted(jobs, key=rank)[:rows]}
    return [job for job in jobs if id(job) in kept]
