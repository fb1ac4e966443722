"""Runs of one kind, whatever their seed, and what can be asked of them together."""

import dataclasses
from collections.abc import Sequence
from statistics import fmean

from experiments.report.paper import Place
from experiments.report.runs import Run
from snjax.report.spreads import Point, curve


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one kind.

    Attributes:
        name: unique on the page.
        style: number of the series, which gives colour, dash and mark.
        runs: by seed.
        place: in the paper's comparison, or None.
    """

    name: str
    style: int
    runs: tuple[Run, ...]
    place: Place | None = None

    def curve(self, name: str) -> list[Point]:
        """The mean curve of a scalar over the seeds; runs of the same seed count once, by their mean at each step."""
        by_seed: dict[int, dict[int, list[float]]] = {}
        for run in self.runs:
            found = by_seed.setdefault(run.seed, {})
            for step, value in run.scalars.get(name, {}).items():
                found.setdefault(step, []).append(value)
        return curve([{k: fmean(v) for k, v in seed.items()} for seed in by_seed.values()])

    @property
    def at(self) -> Place:
        """The place of a group that has one."""
        assert self.place, self.name
        return self.place

    @property
    def data(self) -> str:
        return self.runs[0].flat['data.name']

    def steps(self) -> str:
        """'400 of 1000', or '200-400 of 1000'."""
        return f'{span(run.step for run in self.runs)} of {self.runs[0].num_steps}'


def span(numbers) -> str:
    """'400', or '200-400'."""
    numbers = list(numbers)
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f'{low}-{high}'


def names_of_scalars(groups: Sequence[Group]) -> set[str]:
    """Every scalar that any run has logged."""
    return {name for group in groups for run in group.runs for name in run.scalars}
