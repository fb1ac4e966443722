"""The section of sample grids, side by side at equal steps."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report import thumbnails
from experiments.report.curves import MOST_LINES
from experiments.report.groups import Group, span
from experiments.report.records import ImageTable, Section
from experiments.report.runs import Run

_MOST_STEPS = 4
PAGE_BYTES = 8_000_000  # of all grids of a page, about


def samples(groups: Sequence[Group]) -> list[Section]:
    """Grids of one run of each kind, at equal steps; no section if no run has any."""
    first = [(group, sampled(group)) for group in groups]
    first = [(group, run) for group, run in first if run][:MOST_LINES]
    if not first:
        return []
    steps = equal_steps([run.samples for _, run in first], _MOST_STEPS)
    budget = thumbnails.Budget(PAGE_BYTES // (len(first) * len(steps)))
    rows = [
        (group.name, group.style, [grid_at(run, step, budget) for step in steps])
        for group, run in first
    ]
    seeds = span(run.seed for _, run in first)
    caption = f'From fixed z, seed {seeds}.{budget.remark()}{columns_of([r for _, r in first])}'
    return [Section('Samples', [ImageTable([f'step {step}' for step in steps], rows, caption)])]


def columns_of(runs: Sequence[Run]) -> str:
    """A sentence for the caption that names the classes of the columns, if all runs have the same."""
    named = {run.classes for run in runs}
    if len(named) != 1 or named == {''}:
        return ''
    line = named.pop()
    return f' {line[0].upper()}{line[1:]}.'


def sampled(group: Group) -> Run | None:
    """The run that shows the samples of a group: the lowest seed with samples."""
    return next((run for run in group.runs if run.samples), None)


def equal_steps(found: Sequence[Mapping[int, Any]], most: int) -> list[int]:
    """At most `most` steps, evenly spaced over the most common steps.

    Step 0 is left out unless there is no other.

    Args:
        found: for each run its samples by step.
        most: the largest number of steps.
    """
    counts = Counter(step for steps in found for step in steps)
    later = {step: n for step, n in counts.items() if step} or counts
    common = sorted(step for step, n in later.items() if n == max(later.values()))
    if len(common) <= most:
        return common
    return [common[round((i + 1) * len(common) / most) - 1] for i in range(most)]


def grid_at(run: Run, step: int, budget: thumbnails.Budget) -> bytes | None:
    """The PNG of a run's samples at a step, cut to the budget; None if there are none."""
    path = run.samples.get(step)
    if path is None:
        return None
    return budget.take(path.read_bytes(), run.flat.get('data.image_size', 0))
