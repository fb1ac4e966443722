"""Reads the workdirs of runs, finished or running, for the report. It writes nothing; no JAX."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.settings import keys
from snjax.host import paths
from snjax.runs import config_file, lock, scores_file, set_file, tags
from snjax.runs.files import read_lines, whole
from snjax.runs.workdir import (
    CONFIG_NAME,
    DIVERGED_NAME,
    JOURNAL_NAME,
    METRICS_NAME,
    SAMPLES,
    SCORES_NAME,
    newest_step,
)

FINISHED, RUNNING, INTERRUPTED, DIVERGED = 'finished', 'running', 'interrupted', 'diverged'
# Only a sweep's journal can tell these states from `INTERRUPTED`.
_OF_THE_SWEEP = (DIVERGED, 'crashed', 'refused')
_REQUIRED = ('method', 'seed', 'num_steps', 'data.name')


@dataclasses.dataclass(frozen=True)
class Run:
    """The contents of a workdir.

    Attributes:
        folder: the workdir.
        config: nested, as in its `config.json`.
        flat: by today's full keys, with the default where an older run lacks a key.
        step: generator updates that are logged or saved.
        state: finished, running, interrupted or diverged; in a sweep also crashed or refused.
        note: more about the state, or ''.
        scalars: the values by step of each name in `metrics.jsonl`.
        rows: of `scores.json`.
        samples: grids by step.
        classes: what the columns of the grids are, e.g. 'columns: ant, bee, cow'; '' if that is not
            known.
    """

    folder: pathlib.Path
    config: Mapping[str, Any]
    flat: Mapping[str, Any]
    step: int
    state: str
    note: str
    scalars: Mapping[str, Mapping[int, float]]
    rows: Sequence[scores_file.Row]
    samples: Mapping[int, pathlib.Path]
    classes: str = ''

    @property
    def seed(self) -> int:
        return self.flat['seed']

    @property
    def num_steps(self) -> int:
        return self.flat['num_steps']


def find(pattern: pathlib.Path) -> tuple[list[pathlib.Path], list[str]]:
    """The workdirs that a path or pattern matches; a sweep's folder stands for its runs.

    Returns:
        The workdirs, and a line for each folder that holds no run.

    Raises:
        FileNotFoundError: nothing that matches holds a run.
    """
    folders: list[pathlib.Path] = []
    warnings = []
    for path in paths.matches(pattern):
        inside = sorted(p for p in (path / 'runs').glob('*') if p.is_dir())
        for folder in [path] if _is_run(path) or not inside else inside:
            if _is_run(folder):
                folders.append(folder)
            elif folder.is_dir():
                warnings.append(f'{folder} holds no run: there is no config.json')
    if not folders:
        raise FileNotFoundError(
            f'{pattern} holds no run: there is no config.json in it, nor in runs/*/ below it; give '
            "--workdir=SWEEP, a run, or a pattern in quotes, as 'runs/*'"
        )
    return folders, warnings


def _is_run(path):
    return (path / CONFIG_NAME).is_file()


def read(folders: Sequence[pathlib.Path]) -> tuple[list[Run], list[str]]:
    """The runs in these workdirs, and a line for each file that cannot be read."""
    sweeps = {folder: _sweep_of(folder) for folder in folders}
    journals = {sweep: _journal(sweep / JOURNAL_NAME) for sweep in set(sweeps.values())}
    runs, warnings = [], []
    for folder in folders:
        run, lines = _read_one(folder, journals[sweeps[folder]])
        runs += [run] if run else []
        warnings += lines
    return runs, warnings


def _sweep_of(folder: pathlib.Path) -> pathlib.Path:
    above = folder.parent.parent
    return above if (above / JOURNAL_NAME).is_file() else above.parent


def _read_one(folder: pathlib.Path, journal) -> tuple[Run | None, list[str]]:
    try:
        config, flat = _config(folder / CONFIG_NAME)
    except (ValueError, OSError) as error:
        return None, [str(error)]
    warnings = []
    rows: Sequence[scores_file.Row] = ()
    try:
        rows = scores_file.read(folder / SCORES_NAME)
    except (ValueError, OSError) as error:
        warnings.append(str(error))
    scalars: dict[str, dict[int, float]] = {}
    try:
        scalars, damaged = _scalars(folder / METRICS_NAME)
        if damaged:
            warnings.append(f'{folder / METRICS_NAME}: {damaged} lines cannot be read')
    except (ValueError, OSError) as error:
        warnings.append(str(error))
    try:
        saved = newest_step(folder)
    except OSError as error:
        saved = 0
        warnings.append(str(error))
    logged = max((max(values) for values in scalars.values()), default=0)
    state, note = _state(folder, saved, flat['num_steps'], journal)
    run = Run(
        folder=folder,
        config=config,
        flat=flat,
        step=max(logged, saved),
        state=state,
        note=note,
        scalars=scalars,
        rows=rows,
        samples=_grids(folder / SAMPLES),
        classes=set_file.columns_line(folder, flat['model.num_classes']),
    )
    return run, warnings


def _config(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run's config nested and flat."""
    config = config_file.read_config(path)
    missing = [key for key in _REQUIRED if key not in config_file.flatten(config)]
    if missing:
        raise ValueError(f'{path} is not the config of a run: it lacks {missing[0]}')
    try:
        flat = keys.upgraded(config)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    if wrong := keys.mistyped(flat):
        raise ValueError(f'{path} is damaged ({wrong})')
    return config, flat


def _grids(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """The grids in a folder by step, from the first on."""
    found = sorted(folder.glob('*.png'))
    return {int(path.stem): path for path in found if path.stem.isdecimal()}


def _scalars(path: pathlib.Path) -> tuple[dict[str, dict[int, float]], int]:
    """The values by name and step, and the number of damaged lines.

    An incomplete last line is not counted: a running process may be writing it.
    """
    found: dict[str, dict[int, float]] = {}
    lines = read_lines(path)
    damaged = len(lines.bad)
    for _, point in lines.good:
        try:
            step = whole(point.pop('step'))
            values = {_short(name): float(x) for name, x in point.items() if name != 'wall_time'}
        except (ValueError, KeyError, TypeError, OverflowError):
            damaged += 1
            continue
        for name, value in values.items():
            found.setdefault(name, {})[step] = value
    return found, damaged


def _short(tag: str) -> str:
    """The tag; of a score that was taken while training without extractor and protocol, which the
    run's config tells."""
    name = tags.score_name(tag)
    return f'{tags.EVAL}/{name}' if name else tag


def _state(folder: pathlib.Path, saved: int, num_steps: int, journal) -> tuple[str, str]:
    """The state of a run whose newest checkpoint is `saved`, and a note on it."""
    try:
        holder = lock.lock_holder(folder)
    except OSError:  # another user's lock may not be readable
        holder = None
    if holder:
        return RUNNING, holder
    diverged = folder / DIVERGED_NAME
    if diverged.is_file():
        return DIVERGED, diverged.read_text(errors='replace').strip()
    if saved >= num_steps:
        return FINISHED, ''
    for run, (state, note) in journal.items():
        if run in (_id(folder.name), _id(folder.parent.name)) and state in _OF_THE_SWEEP:
            return state, note
    return INTERRUPTED, ''


def _id(name):
    return name.rpartition('-')[2]


def _journal(path: pathlib.Path) -> dict[str, tuple[str, str]]:
    """The last state of each run in a sweep's journal, and a note on it."""
    last = {}
    try:
        lines = read_lines(path).good
    except (ValueError, OSError):  # the runs have files of their own
        return {}
    for _, line in lines:
        if 'run' in line and 'state' in line:  # otherwise of another version
            last[str(line['run'])] = str(line['state']), str(line.get('note', ''))
    return last
