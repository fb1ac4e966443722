"""`launch.py --mode=sweep`: from a config file and a sweep's definition to runs in slots. Imports no JAX."""

import importlib.util
import json
import os
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from snjax.runs.lock import WorkdirLock
from snjax.runs.workdir import CONFIG_NAME
from snjax.sweeps import definition, journal, local, runs, slots, slurm
from snjax.sweeps.board import BAD_INPUT, JOURNAL, SUMMARY, SweepState, jobs_of
from snjax.sweeps.definition import CONFIG, Item
from snjax.sweeps.journal import State
from snjax.sweeps.runs import Run
from snjax.sweeps.table import Display, print_table

FAILED, STOPPED = 1, 75
_GET_SWEEP = 'get_sweep'


def plan(
    config_file: str, sweep_file: str | None, given: Mapping[str, Any], folder: pathlib.Path
) -> list[Run]:
    """The runs of a sweep, all of their configs resolved, so that a typo is found before anything starts.

    Args:
        config_file: as --config has it, with its argument.
        sweep_file: with `get_sweep`, and :argument where it takes one; None: the config file itself.
        given: overrides from the command line, for all runs.
        folder: where the sweep lives.

    Raises:
        ValueError, KeyError, AttributeError, TypeError, flags.Error: with a message of one line for people.
    """
    if (folder / CONFIG_NAME).exists():
        raise ValueError(f'{folder} holds a run: give the sweep another --workdir')
    items = items_of(config_file, sweep_file, given)
    made = runs.make(items, [resolve(item) for item in items], folder)
    if len(made) < len(items):
        print(f'{len(items) - len(made)} of {len(items)} items are equal to others and left out')
    return made


def run_sweep(
    made: Sequence[Run],
    folder: pathlib.Path,
    *,
    engine: str = 'local',
    num_slots: int = 0,
    slurm_options: str = '',
    retries: int = 2,
) -> int:
    """Runs what `plan` made to its end.

    Args:
        made: the runs.
        folder: where the sweep lives.
        engine: 'local' or 'slurm'.
        num_slots: of 'local', see `snjax.sweeps.slots.find`.
        slurm_options: of 'slurm', see `snjax.sweeps.slurm.parse`.
        retries: see `snjax.sweeps.board.SweepState`.

    Returns:
        The exit code: 0 if every run finished or diverged, 1 if some failed, 75 if the sweep was stopped.

    Raises:
        ValueError: of one line: a run would be refused, the slots do not fit the machine, SLURM is not as asked for, or
            another sweep works in the folder. Then nothing has been started.
    """
    if retries < 0:
        raise ValueError(f'--retries={retries}: 0 or more is accepted')
    options = slurm.parse(slurm_options)
    places = slots.find(num_slots) if engine == 'local' else []
    where = f'{len(places)} at once: {"; ".join(s.name for s in places)}' if places else 'SLURM'
    _check(
        [job.run for job in jobs_of(made, folder, journal.read(folder / JOURNAL)) if job.is_open]
    )
    about = {'command': shlex.join(['python', *sys.argv]), 'engine': engine}
    about |= {'slots': [slot.name for slot in places], 'slurm': options}
    with WorkdirLock(folder), Display() as display:
        board = SweepState(made, folder, retries=retries, about=about, say=display.say)
        board.say(f'{len(made)} runs, {board.count(State.PENDING)} to do, {where}')
        try:
            if engine == 'slurm':
                worker = slurm.SlurmEngine(board, _launcher(), options, display)
            else:
                worker = local.LocalEngine(board, places, _launcher(), display)
            ended = worker.run()
        finally:
            board.close()
    print_table(board)
    return _conclude(board, ended)


def show_commands(made: Sequence[Run], folder: pathlib.Path, *, num_slots: int = 0) -> None:
    """Each run as a command that repeats it bit for bit, and what an earlier sweep made of it; writes nothing."""
    slot, *others = slots.find(num_slots)
    # Sums over more cores have other last bits.
    cores = ['taskset', '-c', ','.join(map(str, slot.cores))] if slot.cores and others else []
    for job in jobs_of(made, folder, journal.read(folder / JOURNAL)):
        state = '' if job.state == State.PENDING else f'    # {job.state}'
        command = [*cores, 'python', sys.argv[0], *job.run.arguments(folder)]
        print(f'{shlex.join(command)}{state}')
    print(f'{len(made)} runs; nothing was started')


def items_of(config_file: str, sweep_file: str | None, given: Mapping[str, Any]) -> list[Item]:
    """The items of a sweep, each with its config file and the command line's overrides, which go before its own.

    Raises:
        ValueError: there is no `get_sweep`, it returns no items, or the command line sets what the sweep varies.
    """
    path, _, argument = (sweep_file or config_file).partition(':')
    flag = 'sweep' if sweep_file else 'config'
    if not pathlib.Path(path).is_file():
        raise ValueError(f'--{flag}={path}: there is no such file')
    get_sweep = getattr(_module(path), _GET_SWEEP, None)
    if get_sweep is None:
        raise ValueError(
            f'{path} has no {_GET_SWEEP}(h): write one, or give a file that has, as --sweep=configs/sweeps/...'
        )
    try:
        # An argument of a config is for its get_config.
        found = get_sweep(definition, *([argument] if sweep_file and argument else []))
    except TypeError as error:
        raise ValueError(f'{sweep_file or path}: {error}') from error
    items = [{CONFIG: config_file, **item} for item in definition.checked(found)]
    varied = sorted(set(definition.varying(items)) & set(given))
    if varied:
        raise ValueError(
            f'--config.{varied[0]}={given[varied[0]]}: the sweep varies {varied[0]} itself; leave the flag out'
        )
    return [item | dict(given) for item in items]


def resolve(item: Item) -> dict[str, Any]:
    """The config that `launch.py` will make of an item's flags, by the same parser.

    Raises:
        ValueError: a key or value is not accepted; the message names the nearest key.
    """
    path = str(item[CONFIG]).partition(':')[0]
    if not pathlib.Path(path).is_file():
        raise ValueError(f'{CONFIG} {path}: there is no such file')
    argv = ['sweep', f'--config={item[CONFIG]}', *definition.flags(item)]
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file(
        'config', None, '', flag_values=values, lock_config=True, sys_argv=argv
    )
    values(argv)
    return config.value.to_dict()


def _check(made: Sequence[Run]) -> None:
    """Raises a ValueError of one line for the first run whose config no method takes."""
    if not made:
        return
    done = subprocess.run(
        [sys.executable, '-m', 'experiments.check'],
        input=json.dumps({run.name: run.config for run in made}),
        cwd=_launcher().parent,
        env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
        capture_output=True,
        text=True,
    )
    if done.returncode == BAD_INPUT:
        raise ValueError(done.stderr.strip().splitlines()[-1])


def _module(path: str):
    """A file as a module, as `config_flags` loads its own."""
    spec = importlib.util.spec_from_file_location('sweep_definition', path)
    if spec is None or spec.loader is None:
        raise ValueError(f'{path} is no Python file')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _launcher() -> pathlib.Path:
    return pathlib.Path(__file__).parents[2] / 'launch.py'


def _conclude(board: SweepState, ended: bool) -> int:
    """Says where everything lies and what went wrong, and returns the exit code."""
    finished, total = board.count(State.FINISHED), len(board.jobs)
    print(f'{finished} of {total} runs finished; all of them in {board.folder / SUMMARY}')
    print(f'to compare   tensorboard --logdir {board.folder}')
    if not ended:
        _say(f'stopped, with {finished} of {total} runs finished; start it again to go on')
        return STOPPED
    diverged = board.count(State.DIVERGED)
    if diverged:
        _say(f'{diverged} of {total} runs diverged')
    failed = total - finished - diverged
    if failed:
        _say(f'{failed} of {total} runs failed; start it again to try them again')
    return FAILED if failed else 0


def _say(line: str) -> None:
    print(f'launch.py: {line}', file=sys.stderr, flush=True)
