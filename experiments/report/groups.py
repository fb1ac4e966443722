"""Groups of runs that repeat one config with different seeds."""

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from experiments.report import names, paper
from experiments.report.paper import Place
from experiments.report.runs import Run
from experiments.report.spreads import Point, curve
from experiments.settings import keys


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one kind.

    Attributes:
        name: unique on the page.
        style: number of the series, which decides its colour, dashes and mark.
        runs: in the order of their seeds.
        place: in the comparison of SNGAN's paper, or None.
    """

    name: str
    style: int
    runs: tuple[Run, ...]
    place: Place | None = None

    def curve(self, name: str) -> list[Point]:
        """The mean curve of a scalar over the seeds.

        Runs of the same seed count once, by their mean at each step.
        """
        by_seed: dict[int, dict[int, list[float]]] = {}
        for run in self.runs:
            found = by_seed.setdefault(run.seed, {})
            for step, value in run.scalars.get(name, {}).items():
                found.setdefault(step, []).append(value)
        return curve([{k: fmean(v) for k, v in seed.items()} for seed in by_seed.values()])

    @property
    def at(self) -> Place:
        """The group's place in the paper's comparison; only for a group with such a place."""
        assert self.place, self.name
        return self.place

    @property
    def data(self) -> str:
        """The name of the data set."""
        return self.runs[0].flat['data.name']

    def steps(self) -> str:
        """'400 of 1000', or '200-400 of 1000'."""
        return f'{span(run.step for run in self.runs)} of {self.runs[0].num_steps}'


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """Puts runs of one kind into a group: they compute the same but for the seed.

    See `experiments.settings.keys.kind`. Keys that do not touch the arithmetic, such as intervals
    of logs, may differ inside a group.
    """
    by_kind: dict[str, list[Run]] = {}
    for run in runs:
        kind = json.dumps(keys.kind(run.config), sort_keys=True)
        by_kind.setdefault(kind, []).append(run)
    found = [sorted(group, key=lambda run: run.seed) for group in by_kind.values()]
    places = [paper.place_of(group[0].flat) for group in found]
    named = zip(_names(found, places), found, places, strict=True)
    groups = sorted((Group(n, 0, tuple(g), p) for n, g, p in named), key=_order)
    return [dataclasses.replace(group, style=i) for i, group in enumerate(groups)]


def _names(found: Sequence[Sequence[Run]], places: Sequence[Place | None]) -> list[str]:
    """Names groups by their places in the paper if these differ, otherwise by their folders."""
    known = [place for place in places if place]
    if len(known) == len(set(known)) == len(places):
        has_sets = len({place.data for place in known}) > 1
        return [
            f'{p.method}, setting {p.setting}' + (f', {p.data}' if has_sets else '') for p in known
        ]
    return names.names([[run.folder for run in group] for group in found])


def _order(group: Group) -> list[Any]:
    """Sorts by the place in the paper, then by the name with its numbers as numbers."""
    at = group.place
    first = (paper.METHODS.index(at.method), at.setting) if at else (len(paper.METHODS), '')
    parts = re.split(r'(\d+\.?\d*(?:e-?\d+)?)', group.name)
    return [*first, *((float(x), '') if i % 2 else (0.0, x) for i, x in enumerate(parts))]


def span(numbers: Iterable[int]) -> str:
    """'400', or '200-400'."""
    numbers = list(numbers)
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f'{low}-{high}'


def names_of_scalars(groups: Sequence[Group]) -> set[str]:
    """The names of all scalars that any run has logged."""
    return {name for group in groups for run in group.runs for name in run.scalars}
