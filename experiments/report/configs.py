"""Sections about configs and workdirs: the keys that differ, the keys that agree, the workdirs."""

import json
from collections.abc import Sequence

from experiments.report.groups import Group
from experiments.report.records import Cell, Section, Table, Text
from experiments.report.runs import Run


def differences(groups: Sequence[Group]) -> list[Section]:
    """A section with the keys whose values differ between runs; none if no key differs."""
    runs = [run for group in groups for run in group.runs]
    keys = [key for key in _keys(runs) if len({_value(run, key) for run in runs}) > 1]
    if not keys:
        return []
    rows = []
    for group in groups:
        values = [', '.join(dict.fromkeys(_value(run, key) for run in group.runs)) for key in keys]
        rows.append([Cell(group.name, style=group.style), *map(Cell, values)])
    table = Table(['run', *keys], rows, 'Keys of the config that are not the same in all runs.')
    return [Section('Differences of the configs', [table])]


def common(groups: Sequence[Group]) -> Section:
    """A folded section with the keys that have the same value in all runs."""
    runs = [run for group in groups for run in group.runs]
    keys = [key for key in _keys(runs) if len({_value(run, key) for run in runs}) == 1]
    lines = '\n'.join(f'{key}: {_value(runs[0], key)}' for key in keys)
    return Section('Config common to all runs', [Text(lines, is_code=True)], is_folded=True)


def _keys(runs: Sequence[Run]) -> list[str]:
    return sorted({key for run in runs for key in run.flat})


def _value(run: Run, key: str) -> str:
    """The value as a flag writes it: 1 and true differ, 1 and 1.0 do not."""
    if key not in run.flat:
        return '(absent)'
    value = run.flat[key]
    if isinstance(value, str) and value:
        return value
    is_whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if is_whole else value, ensure_ascii=False)


def workdirs(groups: Sequence[Group]) -> Section:
    """A folded section with the workdir and the state of every run."""
    rows = [
        [
            Cell(str(run.folder)),
            Cell(group.name, style=group.style),
            Cell(str(run.seed), run.seed),
            Cell(run.state),
            Cell(f'{run.step} of {run.num_steps}', run.step),
            Cell(run.note),
        ]
        for group in groups
        for run in group.runs
    ]
    table = Table(['workdir', 'run', 'seed', 'state', 'step', 'remark'], rows)
    return Section('Workdirs', [table], is_folded=True)
