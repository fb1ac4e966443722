"""Runs as they lie on the disk, finished or not, for the report: read without jax and without disturbing them."""

import dataclasses
import glob
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report import leaderboard
from experiments.settings import keys
from snjax.runs import scores_file

FINISHED, RUNNING, INTERRUPTED, DIVERGED = 'finished', 'running', 'interrupted', 'diverged'
# What only a sweep knows of a run that is neither running nor finished.
_OF_THE_SWEEP = (DIVERGED, 'crashed', 'refused')


@dataclasses.dataclass(frozen=True)
class Run:
    """What a workdir holds.

    Attributes:
        folder: the workdir.
        config: as in its `config.json`.
        flat: the same by full key.
        step: generator updates done, as far as they are logged or saved.
        state: finished, running, interrupted, diverged; of a sweep also crashed or refused.
        note: more on the state; '' mostly.
        scalars: values by step, for every name in `metrics.jsonl`.
        rows: of `scores.json`.
        samples: grids by step.
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

    @property
    def seed(self) -> int:
        return self.flat['seed']

    @property
    def num_steps(self) -> int:
        return self.flat['num_steps']


def find(pattern: pathlib.Path) -> tuple[list[pathlib.Path], list[str]]:
    """The workdirs that a path or pattern means, a sweep's folder standing for its runs, and what is none, in lines.

    Raises:
        FileNotFoundError: there is no run at all.
    """
    folders: list[pathlib.Path] = []
    warnings = []
    for path in map(pathlib.Path, sorted(glob.glob(str(pattern)))):
        inside = sorted(p for p in (path / 'runs').glob('*') if p.is_dir())
        for folder in [path] if _is_run(path) or not inside else inside:
            if _is_run(folder):
                folders.append(folder)
            elif folder.is_dir():
                warnings.append(f'{folder} holds no run: there is no config.json')
    if not folders:
        raise FileNotFoundError(
            f'{pattern} holds no run: there is no config.json in it, nor in runs/*/ below it; give --workdir=SWEEP, a '
            "run, or a pattern in quotes, as 'runs/*'"
        )
    return folders, warnings


def _is_run(path):
    return (path / 'config.json').is_file()


def read(folders: Sequence[pathlib.Path]) -> tuple[list[Run], list[str]]:
    """The runs in these workdirs, and lines on what of them cannot be read."""
    sweeps = {folder: _sweep_of(folder) for folder in folders}
    journals = {sweep: _journal(sweep / 'journal.jsonl') for sweep in set(sweeps.values())}
    runs, warnings = [], []
    for folder in folders:
        run, lines = _read_one(folder, journals[sweeps[folder]])
        runs += [run] if run else []
        warnings += lines
    return runs, warnings


def _sweep_of(folder):
    above = folder.parent.parent
    return above if (above / 'journal.jsonl').is_file() else above.parent


def _read_one(folder, journal) -> tuple[Run | None, list[str]]:
    warnings = []
    try:
        config = config_file.read_config(folder / 'config.json')
        keys.upgraded(config)  # refuses several runs in one program, as version 0.1.0 made them
        flat = dict(leaderboard.leaves(config))
        missing = [key for key in ('method', 'seed', 'num_steps', 'data.name') if key not in flat]
        if missing:
            raise ValueError(f'{folder / "config.json"} is of no run: it lacks {missing[0]}')
    except (ValueError, OSError) as error:
        return None, [str(error)]
    rows: Sequence[scores_file.Row] = ()
    try:
        rows = scores_file.read(folder / 'scores.json')
    except ValueError as error:
        warnings.append(str(error))
    scalars, damaged = _scalars(folder / 'metrics.jsonl')
    if damaged:
        warnings.append(f'{folder / "metrics.jsonl"}: {damaged} lines cannot be read')
    saved = _steps(folder / 'checkpoints', '')
    logged = max((max(values) for values in scalars.values()), default=0)
    state, note = _state(folder, max(saved, default=0), flat['num_steps'], journal)
    run = Run(
        folder=folder,
        config=config,
        flat=flat,
        step=max(logged, *saved, 0),
        state=state,
        note=note,
        scalars=scalars,
        rows=rows,
        samples=_steps(folder / 'samples', '.png'),
    )
    return run, warnings


def _steps(folder: pathlib.Path, suffix: str) -> dict[int, pathlib.Path]:
    """Entries of a folder that are named after a step."""
    found = {p.name.removesuffix(suffix): p for p in folder.glob(f'*{suffix}')}
    return {int(name): path for name, path in sorted(found.items()) if name.isdecimal()}


def _scalars(path: pathlib.Path) -> tuple[dict[str, dict[int, float]], int]:
    """Values by name and step, and how many lines are damaged; a torn last one is being written, and no damage."""
    found: dict[str, dict[int, float]] = {}
    damaged = 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        try:
            point = json.loads(line)
            step = int(point.pop('step'))
            values = {name: float(value) for name, value in point.items() if name != 'wall_time'}
        except (ValueError, KeyError, TypeError, AttributeError):
            damaged += line.endswith(b'\n')
            continue
        for name, value in values.items():
            found.setdefault(name, {})[step] = value
    return found, damaged


def _state(folder, saved, num_steps, journal) -> tuple[str, str]:
    try:
        holder = lock.lock_holder(folder)
    except OSError:  # of somebody else: it cannot be asked
        holder = None
    if holder:
        return RUNNING, holder
    diverged = folder / workdir.DIVERGED_NAME
    if diverged.is_file():
        return DIVERGED, diverged.read_text().strip()
    if saved >= num_steps:
        return FINISHED, ''
    for run, (state, note) in journal.items():
        if run in (_id(folder.name), _id(folder.parent.name)) and state in _OF_THE_SWEEP:
            return state, note
    return INTERRUPTED, ''


def _id(name):
    return name.rpartition('-')[2]


def _journal(path: pathlib.Path) -> dict[str, tuple[str, str]]:
    """The last state that a sweep noted of each of its runs, and its remark."""
    last = {}
    for text in path.read_text().splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
            last[str(line['run'])] = str(line['state']), str(line.get('note', ''))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # torn, or of another version: the run's own files say most
    return last
