"""Shows a sweep: a live table in a terminal, or a line every half minute elsewhere."""

import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from snjax.sweeps.journal import RunState
from snjax.sweeps.sweep_state import Job, SweepState

_LINE_EVERY_S = 30.0
_STYLES = {
    RunState.RUNNING: 'bold',
    RunState.FINISHED: 'green',
    RunState.DIVERGED: 'yellow',
    RunState.CRASHED: 'red',
    RunState.REFUSED: 'red',
    RunState.PENDING: 'dim',
    RunState.QUEUED: 'dim',
    RunState.WAITING: 'dim',
}
_BAD = (RunState.DIVERGED, RunState.CRASHED, RunState.REFUSED, RunState.INTERRUPTED)
# Lines of the screen that the table's rows cannot use.
_FRAME = 8
_NAME_WIDTH, _NOTE_WIDTH = 40, 40


class Display:
    """Shows a sweep while it runs; a context manager."""

    def __init__(self):
        self._console = Console(stderr=True)
        self._live = None
        self._printed_at = time.monotonic()

    def __enter__(self) -> 'Display':
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str) -> None:
        """Prints a line that stays: above the live table, or on stdout."""
        if self._live:
            self._live.console.print(Text(line))
        else:
            print(line, flush=True)

    def show(self, sweep: SweepState, slots: int) -> None:
        """Updates the table; without a terminal prints a line if the last is old enough."""
        if self._live:
            rows = max(1, self._console.height - _FRAME)
            jobs = _most_relevant(sweep.jobs, rows)
            hidden = len(sweep.jobs) - len(jobs)
            parts = [table(jobs, one_line=True), Text(status_line(sweep, slots))]
            if hidden:
                parts.insert(1, Text(f'and {hidden} more', style='dim'))
            self._live.update(Group(*parts), refresh=True)
        elif time.monotonic() - self._printed_at >= _LINE_EVERY_S:
            self._printed_at = time.monotonic()
            running = [
                f'{j.run.label} {_steps(j)}' for j in sweep.jobs if j.state == RunState.RUNNING
            ]
            print('; '.join([status_line(sweep, slots), *running]), flush=True)


def print_table(sweep: SweepState) -> None:
    """Prints the whole table on stdout; 200 characters wide if stdout is no terminal."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=200)
    console.print(table(sweep.jobs))


def table(jobs: list[Job], *, one_line: bool = False) -> Table:
    """One row per job; `one_line` cuts long texts, so that the height is known."""
    rows = Table(box=None, pad_edge=False)
    score = next((named[0] for job in jobs if (named := job.progress.score())), 'score')
    width = min(_NAME_WIDTH, max(len(job.run.label) for job in jobs))
    overflow = 'ellipsis' if one_line else 'fold'
    rows.add_column('run', overflow=overflow, no_wrap=one_line, min_width=width)
    rows.add_column('state')
    for name in ('step', 'it/s', score.replace('_', ' '), 'ETA'):
        rows.add_column(name, justify='right')
    rows.add_column('', overflow='ellipsis', no_wrap=True, max_width=_NOTE_WIDTH)
    for job in jobs:
        value = job.progress.score()
        rows.add_row(
            job.run.label,
            str(job.state),
            _steps(job),
            f'{job.progress.rate:.1f}' if job.progress.rate else '',
            f'{float(value[1]):.4g}' if value else '',
            clock(_seconds_left(job)) if job.state == RunState.RUNNING else '',
            job.slot if job.state == RunState.RUNNING else job.note,
            style=_STYLES.get(job.state, ''),
        )
    return rows


def status_line(sweep: SweepState, slots: int) -> str:
    """One line: the number of runs in each state, and the time left."""
    counts = [
        f'{n} {state}'
        for state in RunState
        if (n := sweep.count(state)) and state != RunState.FINISHED
    ]
    head = f'{sweep.count(RunState.FINISHED)} of {len(sweep.jobs)} finished'
    eta = clock(time_left(sweep, slots))
    return ', '.join([head, *counts, *([f'ETA {eta}'] if eta else [])])


def time_left(sweep: SweepState, slots: int) -> float | None:
    """Estimated seconds until all runs end, from the mean rate of the runs so far.

    None if no rate is known or nothing is left to run.
    """
    jobs = sweep.jobs
    rates = [job.progress.rate for job in jobs if job.progress.rate]
    unfinished = [j for j in jobs if j.is_open or j.state in (RunState.QUEUED, RunState.RUNNING)]
    if not rates or not unfinished:
        return None
    steps = sum(job.run.num_steps - job.progress.step for job in unfinished)
    total = steps * len(rates) / sum(rates) / max(1, min(slots, len(unfinished)))
    return max([total, *(left for job in unfinished if (left := _seconds_left(job)) is not None)])


def clock(seconds: float | None) -> str:
    """Formats seconds as 1:02:03; '' for None."""
    if seconds is None:
        return ''
    minutes, seconds = divmod(round(seconds), 60)
    return f'{minutes // 60}:{minutes % 60:02d}:{seconds:02d}'


def _seconds_left(job: Job) -> float | None:
    """Seconds until a job ends at its latest rate; None if the rate is unknown."""
    rate = job.progress.rate
    return (job.run.num_steps - job.progress.step) / rate if rate else None


def _steps(job: Job) -> str:
    return f'{job.progress.step}/{job.run.num_steps}'


def _most_relevant(jobs: list[Job], rows: int) -> list[Job]:
    """Selects `rows` jobs: running, then failed, then recently finished, then pending ones.

    The selected jobs stay in the order of `jobs`.
    """

    def rank(job):
        if job.state == RunState.RUNNING:
            return 0, 0.0
        if job.state in _BAD:
            return 1, 0.0
        return (2, -job.start_time) if job.state == RunState.FINISHED else (3, 0.0)

    kept = {id(job) for job in sorted(jobs, key=rank)[:rows]}
    return [job for job in jobs if id(job) in kept]
