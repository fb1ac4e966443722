"""Configs and workdirs: what differs, what all have in common, where everything lies."""

import json
from collections.abc import Sequence

from experiments.report.groups import Group
from snjax.report.records import Cell, Section, Table, Text


def differences(groups: Sequence[Group]) -> list[Section]:
    """The keys whose values are not the same in all runs."""
    runs = [run for group in groups for run in group.runs]
    keys = [key for key in _keys(runs) if len({_value(run, key) for run in runs}) > 1]
    if not keys:
        return []
    rows = [
        [
            Cell(group.name, style=group.style),
            *(
                Cell(', '.join(dict.fromkeys(_value(run, key) for run in group.runs)))
                for key in keys
            ),
        ]
        for group in groups
    ]
    table = Table(['run', *keys], rows, 'Keys of the config that are not the same in all runs.')
    return [Section('Differences of the configs', [table])]


def common(groups: Sequence[Group]) -> Section:
    """The keys that all runs have the same value of, folded."""
    runs = [run for group in groups for run in group.runs]
    keys = [key for key in _keys(runs) if len({_value(run, key) for run in runs}) == 1]
    lines = '\n'.join(f'{key}: {_value(runs[0], key)}' for key in keys)
    return Section('Config common to all runs', [Text(lines, is_code=True)], is_folded=True)


def _keys(runs):
    return sorted({key for run in runs for key in run.flat})


def _value(run, key):
    """As it is written in a flag, so that 1 and true differ; 1 and 1.0 do not."""
    if key not in run.flat:
        return '(absent)'
    value = run.flat[key]
    if isinstance(value, str) and value:
        return value
    is_whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if is_whole else value, ensure_ascii=False)


def workdirs(groups: Sequence[Group]) -> Section:
    """Every run, folded."""
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
