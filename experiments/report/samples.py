"""Grids of samples side by side, at equal steps."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report.curves import MOST_LINES
from experiments.report.groups import Group, span
from experiments.report.runs import Run
from snjax.report import thumbnails
from snjax.report.records import Section, Sheet

_SAMPLE_STEPS = 4
_BYTES = 8_000_000  # of pictures in a page, about


def samples(groups: Sequence[Group]) -> list[Section]:
    """Grids of one run of each kind, at equal steps."""
    first = [(group, sampled(group)) for group in groups]
    first = [(group, run) for group, run in first if run][:MOST_LINES]
    if not first:
        return []
    steps = equal_steps([run.samples for _, run in first], _SAMPLE_STEPS)
    cut = thumbnails.Budget(_BYTES // (len(first) * len(steps)))
    rows = [
        (group.name, group.style, [picture(run, step, cut) for step in steps])
        for group, run in first
    ]
    seeds = span(run.seed for _, run in first)
    caption = f'From fixed z, seed {seeds}.{cut.remark()}'
    sheet = Sheet([f'step {step}' for step in steps], rows, caption)
    return [Section('Samples', [sheet])]


def sampled(group: Group) -> Run | None:
    """The run of a group whose pictures stand for it: the lowest seed that has any."""
    return next((run for run in group.runs if run.samples), None)


def equal_steps(found: Sequence[Mapping[int, Any]], most: int) -> list[int]:
    """At most `most` steps, evenly over those after 0 that all have, or else the most have."""
    counts = Counter(step for steps in found for step in steps)
    later = {step: n for step, n in counts.items() if step} or counts
    common = sorted(step for step, n in later.items() if n == max(later.values()))
    if len(common) <= most:
        return common
    return [common[round((i + 1) * len(common) / most) - 1] for i in range(most)]


def picture(run: Run, step: int, cut: thumbnails.Budget) -> bytes | None:
    """The grid of a run at a step, small enough; None where there is none."""
    path = run.samples.get(step)
    if path is None:
        return None
    return cut.take(path.read_bytes(), run.flat.get('data.image_size', 0))
