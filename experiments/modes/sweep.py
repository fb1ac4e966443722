"""`launch.py --mode=sweep`: plans the runs of a sweep and runs them. Imports no JAX."""

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

from experiments.modes import config_paths, key_errors
from experiments.modes.lines import complain
from experiments.settings import keys, ranges
from snjax.host.exit_codes import BAD_INPUT, FAILED, FINISHED, RESUMABLE
from snjax.runs.lock import WorkdirLock
from snjax.runs.workdir import CONFIG_NAME
from snjax.sweeps import definition, journal, local, runs, slots, slurm
from snjax.sweeps.definition import CONFIG, Item
from snjax.sweeps.journal import RunState
from snjax.sweeps.runs import Run
from snjax.sweeps.sweep_state import JOURNAL, SUMMARY, SweepState, restore_jobs
from snjax.sweeps.table import Display, print_table

_GET_SWEEP = 'get_sweep'
# Reads {name: config} as JSON; exit code 2 and one line on stderr at the first bad config.
_CHECK = 'experiments.build'


def plan(
    config_file: str, sweep_file: str | None, given: Mapping[str, Any], folder: pathlib.Path
) -> list[Run]:
    """Resolves the configs of all runs of a sweep, and so finds typos before anything starts.

    Args:
        config_file: value of --config, with its argument.
        sweep_file: value of --sweep: a file with `get_sweep`, and :argument if it takes one; None
            if the config file has `get_sweep`.
        given: overrides of the command line, for all runs.
        folder: folder of the sweep.

    Raises:
        ValueError, KeyError, AttributeError, TypeError, flags.Error: with a message of one line.
    """
    if (folder / CONFIG_NAME).exists():
        raise ValueError(f'{folder} holds a run: give the sweep another --workdir')
    items = items_of(config_file, sweep_file, given)
    configs = [resolve(item) for item in items]
    num_steps = [config['num_steps'] for config in configs]
    planned = runs.make(items, configs, folder, identifier(configs), num_steps=num_steps)
    if len(planned) < len(items):
        left_out = len(items) - len(planned)
        print(f'left out {left_out} of {len(items)} items: they compute the same as others')
    return planned


def identifier(configs: Sequence[Mapping[str, Any]]) -> runs.Identify:
    """Returns the function that identifies a run of this sweep by its config.

    A run is identified by the keys that its updates depend on, by its length, and by all other keys
    that the sweep varies, e.g. eval.num_samples. Keys of the places and the reading of data
    (data.workers, data.cache_dir, ...) never count, because no result depends on them.
    """
    flat = [keys.upgraded(config) for config in configs]
    names = dict.fromkeys(key for config in flat for key in config)
    varied = [key for key in names if len({json.dumps(config.get(key)) for config in flat}) > 1]
    extra = ['num_steps', *(key for key in varied if not key.startswith('data.'))]

    def identify(config):
        values = keys.upgraded(config)
        return keys.computed(config) | {key: values.get(key) for key in extra}

    return identify


def run_sweep(
    planned: Sequence[Run],
    folder: pathlib.Path,
    *,
    engine: str = 'local',
    num_slots: int = 0,
    slurm_options: str = '',
    retries: int = 2,
) -> int:
    """Runs all runs of `plan` that are not finished.

    Args:
        planned: the runs.
        folder: folder of the sweep.
        engine: 'local' or 'slurm'.
        num_slots: slots of the local engine, see `snjax.sweeps.slots.find`.
        slurm_options: options of the SLURM engine, see `snjax.sweeps.slurm.parse`.
        retries: see `snjax.sweeps.sweep_state.SweepState`.

    Returns:
        The exit code: 0 if every run finished or diverged, 1 if some failed, 75 if the sweep was
        stopped.

    Raises:
        ValueError: before anything starts and with a message of one line, if a run would be
            refused, the slots do not fit the machine, SLURM is missing or refuses the options, or
            another sweep uses the folder.
    """
    if retries < 0:
        raise ValueError(f'--retries={retries}: 0 or more is accepted')
    options = slurm.parse(slurm_options)
    places = slots.find(num_slots) if engine == 'local' else []
    where = f'{len(places)} at once: {"; ".join(s.name for s in places)}' if places else 'SLURM'
    jobs = restore_jobs(planned, folder, journal.read(folder / JOURNAL))
    _check([job.run for job in jobs if job.is_open])
    about = {'command': shlex.join(['python', *sys.argv]), 'engine': engine}
    about |= {'slots': [slot.name for slot in places], 'slurm': options}
    with WorkdirLock(folder), Display() as display:
        sweep = SweepState(planned, folder, retries=retries, about=about, say=display.say)
        sweep.say(f'{len(planned)} runs, {sweep.count(RunState.PENDING)} to do, {where}')
        try:
            if engine == 'slurm':
                worker = slurm.SlurmEngine(sweep, _launcher(), options, display)
            else:
                worker = local.LocalEngine(sweep, places, _launcher(), display)
            is_complete = worker.run()
        finally:
            sweep.close()
    print_table(sweep)
    return _conclude(sweep, is_complete)


def show_commands(planned: Sequence[Run], folder: pathlib.Path, *, num_slots: int = 0) -> None:
    """Prints the state of each run and a command that repeats it bit for bit; writes nothing."""
    slot, *others = slots.find(num_slots)
    # With more cores sums have other last bits.
    cores = ['taskset', '-c', ','.join(map(str, slot.cores))] if slot.cores and others else []
    for job in restore_jobs(planned, folder, journal.read(folder / JOURNAL)):
        state = '' if job.state == RunState.PENDING else f'    # {job.state}'
        command = [*cores, 'python', sys.argv[0], *job.run.arguments(folder)]
        print(f'{shlex.join(command)}{state}')
    print(f'{len(planned)} runs; nothing was started')


def items_of(config_file: str, sweep_file: str | None, given: Mapping[str, Any]) -> list[Item]:
    """The items of a sweep, each with its config file and the overrides of the command line.

    Raises:
        ValueError: `get_sweep` is missing or returns no items, or the command line sets a key that
            the sweep varies.
    """
    path, _, argument = (sweep_file or config_file).partition(':')
    flag = 'sweep' if sweep_file else 'config'
    if not pathlib.Path(path).is_file():
        near = config_paths.hint(path, 'sweeps' if sweep_file else '')
        raise ValueError(f'--{flag}={path}: there is no such file{near}')
    get_sweep = getattr(_module(path), _GET_SWEEP, None)
    if get_sweep is None:
        raise ValueError(
            f'{path} has no {_GET_SWEEP}(h): write one, '
            'or name a file that has one, e.g. --sweep=configs/sweeps/...'
        )
    try:
        # The argument of a config file is for its get_config.
        returned = get_sweep(definition, *([argument] if sweep_file and argument else []))
    except TypeError as error:
        raise ValueError(f'{sweep_file or path}: {error}') from error
    items = [{CONFIG: config_file, **item} for item in definition.checked(returned)]
    varied = sorted(set(definition.varying(items)) & set(given))
    if varied:
        raise ValueError(
            f'--config.{varied[0]}={given[varied[0]]}: '
            f'the sweep varies {varied[0]} itself; leave the flag out'
        )
    return [item | dict(given) for item in items]


def resolve(item: Item) -> dict[str, Any]:
    """The config that `launch.py` makes of an item's flags, by the same parser.

    Raises:
        ValueError: a key or value is not accepted, or the file lacks a key; the message names the
            nearest key.
    """
    file = config_paths.located(str(item[CONFIG]))
    path = file.partition(':')[0]
    if not pathlib.Path(path).is_file():
        raise ValueError(f'{CONFIG} {path}: there is no such file{config_paths.hint(path)}')
    argv = ['sweep', f'--config={file}', *definition.flags(item)]
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file(
        'config', None, '', flag_values=values, lock_config=True, sys_argv=argv
    )
    values(argv)
    key_errors.check_keys(CONFIG, config.value, file)
    ranges.check(CONFIG, config.value)
    return config.value.to_dict()


def _check(planned: Sequence[Run]) -> None:
    """Raises a ValueError of one line for the first run whose config would be refused.

    It runs in another process, because methods import JAX.
    """
    if not planned:
        return
    done = subprocess.run(
        [sys.executable, '-m', _CHECK],
        input=json.dumps({run.name: run.config for run in planned}),
        cwd=_launcher().parent,
        env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
        capture_output=True,
        text=True,
    )
    *_, last = ['', *done.stderr.strip().splitlines()]
    if done.returncode == BAD_INPUT:
        raise ValueError(last)
    if done.returncode:
        raise ValueError(
            f'the configs of the sweep could not be checked: python -m {_CHECK} ended with '
            f'{done.returncode}: {last or "it said nothing"}'
        )


def _module(path: str):
    """Imports a file as a module, as `config_flags` imports config files."""
    spec = importlib.util.spec_from_file_location('sweep_definition', path)
    if spec is None or spec.loader is None:
        raise ValueError(f'{path} is not a Python file')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _launcher() -> pathlib.Path:
    return pathlib.Path(__file__).parents[2] / 'launch.py'


def _conclude(sweep: SweepState, is_complete: bool) -> int:
    """Prints the place of the results and the number of failed runs; returns the exit code."""
    finished, total = sweep.count(RunState.FINISHED), len(sweep.jobs)
    print(f'{finished} of {total} runs finished; summary in {sweep.folder / SUMMARY}')
    print(f'compare with   tensorboard --logdir {sweep.folder}')
    if not is_complete:
        complain(f'stopped, with {finished} of {total} runs finished; run it again to continue')
        return RESUMABLE
    diverged = sweep.count(RunState.DIVERGED)
    if diverged:
        complain(f'{diverged} of {total} runs diverged')
    failed = total - finished - diverged
    if failed:
        complain(f'{failed} of {total} runs failed; run it again to retry them')
    return FAILED if failed else FINISHED
