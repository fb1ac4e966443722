"""Trains, goes on training, samples, inverts, scores, sweeps, compares: `launch.py --config=configs/sngan_cifar.py`.

Exit codes: 0 done, 2 bad config, flag or file, 3 diverged, 75 stopped by SIGTERM and saved, or another process of the
run is gone (start again to go on), 130 ended at once by Ctrl-C; 1 if runs of a sweep failed.
"""

import glob
import pathlib
import re
import signal
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from experiments.modes.errors import (
    BAD_INPUT,
    DIVERGED,
    PREEMPTED,
    end,
    end_at_fault,
    input_error,
    interrupt,
    reader_may_leave,
)

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'a file in configs/, with :argument where it takes one', lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    'workdir', None, 'the run lives here; left out: runs/<config>[-argument], sweeps/... of a sweep'
)
_MODE = flags.DEFINE_enum(
    'mode',
    'train',
    ['train', 'sample', 'invert', 'evaluate', 'sweep', 'report'],
    'what to do',
)
_LAYOUT = flags.DEFINE_enum(
    'layout', 'auto', ['auto', 'runs', 'settings', 'table2'], 'what --mode=report shows first'
)
_DISTRIBUTED = flags.DEFINE_enum(
    'distributed', 'off', ['off', 'auto', 'explicit'], 'one process, or one of several'
)
_COORDINATOR = flags.DEFINE_string('coordinator_address', None, 'host:port of process 0 (explicit)')
_NUM_PROCESSES = flags.DEFINE_integer('num_processes', None, 'processes of the run (explicit)')
_PROCESS_ID = flags.DEFINE_integer('process_id', None, "this process's number, from 0 (explicit)")
_JOIN_TIMEOUT = flags.DEFINE_integer(
    'join_timeout', 300, 'seconds until all processes are there, or it is an error', lower_bound=1
)
_PEER_TIMEOUT = flags.DEFINE_integer(
    'peer_timeout', 100, 'seconds without a sign until a process is taken for gone', lower_bound=4
)
_CACHE = flags.DEFINE_string(
    'compilation_cache', 'auto', 'folder of compiled programs; auto: ~/.cache/snjax/xla; off: none'
)
_PROFILE = flags.DEFINE_integer(
    'profile', 0, 'of --mode=train: calls of the training step to trace', lower_bound=0
)
_SWEEP = flags.DEFINE_string(
    'sweep', None, 'of --mode=sweep: a file with get_sweep; left out: the config'
)
_SLOTS = flags.DEFINE_integer(
    'slots', 0, 'of --mode=sweep: runs at once, on equal parts of the machine; 0: one per GPU'
)
_ENGINE = flags.DEFINE_enum(
    'engine', 'local', ['local', 'slurm'], 'of --mode=sweep: runs on this machine, or as SLURM jobs'
)
_SLURM = flags.DEFINE_string(
    'slurm', '', "of --engine=slurm: sbatch's options, as partition=gpu,gpus_per_node=1,time=600"
)
_RETRIES = flags.DEFINE_integer(
    'retries', 2, 'of --mode=sweep: starts more of a run that fails and comes no further'
)
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'of --mode=sweep: print the commands, start nothing')

# What only one mode reads would otherwise be given to another for nothing, and `--dry_run` would train.
_FLAGS_OF_MODES = {
    'sweep': ('sweep', 'slots', 'engine', 'slurm', 'retries', 'dry_run'),
    'report': ('layout',),
}
_CONFIGS = pathlib.Path(__file__).parent / 'configs'
_BAD_FLAGS = (flags.Error, ValueError, TypeError, KeyError, AttributeError, OSError)


def main(argv: list[str]) -> None:
    del argv
    if not flags.FLAGS['verbosity'].present:  # libraries report every save at level INFO
        logging.set_verbosity(logging.WARNING)
    if _MODE.value == 'sweep':
        sys.exit(_sweep())
    if _MODE.value == 'report':
        return _report()
    # Imported after the flags are read, so that a typo is answered at once.
    from experiments.modes import train as modes
    from snjax import parallel
    from snjax.training import compilation_cache
    from snjax.training.loop import Diverged, Preempted

    try:
        parallel.initialize(
            _DISTRIBUTED.value,
            coordinator_address=_COORDINATOR.value,
            num_processes=_NUM_PROCESSES.value,
            process_id=_PROCESS_ID.value,
            join_timeout=_JOIN_TIMEOUT.value,
            peer_timeout=_PEER_TIMEOUT.value,
            workdir=_workdir(),
        )
        compilation_cache.use(_CACHE.value)
        if _PROFILE.value and _MODE.value != 'train':
            raise ValueError(f'--profile is of --mode=train, not of {_MODE.value}: leave it out')
        extra = {'profile': _PROFILE.value} if _MODE.value == 'train' else {}
        modes.MODES[_MODE.value](_CONFIG.value, _workdir(), **extra)
    except (ValueError, OSError) as error:
        error = input_error(error, _workdir())
        parallel.exit_if_peer_lost(error)
        end(error, BAD_INPUT)
    except Diverged as error:
        end(error, DIVERGED)
    except Preempted as error:
        end(error, PREEMPTED)


def _main(argv: list[str]) -> None:
    """`main`; as one of several processes with a guard, and so that the others hear of the end."""
    if _DISTRIBUTED.value == 'off' or _MODE.value in ('sweep', 'report'):
        return main(argv)
    from snjax.host import supervisor

    supervisor.supervise(_workdir())
    from snjax import parallel

    with parallel.report_exit():
        main(argv)


def _sweep() -> int:
    """Many runs, each a process of its own. This one never imports JAX, which would hold a device."""
    from experiments.modes import sweep

    for name in ('compilation_cache', 'profile', 'distributed'):
        if flags.FLAGS[name].present:
            end(
                ValueError(f'--{name} is of a single run, not of --mode=sweep: leave it out'),
                BAD_INPUT,
            )
    flag, folder = flags.FLAGS['config'], _workdir()
    files = config_flags.get_config_filename(flag), _SWEEP.value
    try:
        runs = sweep.plan(*files, config_flags.get_override_values(flag), folder)
    except _BAD_FLAGS as error:
        end(error, BAD_INPUT)
    except Exception as error:
        end_at_fault(error, _CONFIGS)
    try:
        if _DRY_RUN.value:
            with reader_may_leave():
                sweep.show_commands(runs, folder, num_slots=_SLOTS.value)
            return 0
        return sweep.run_sweep(
            runs,
            folder,
            engine=_ENGINE.value,
            num_slots=_SLOTS.value,
            slurm_options=_SLURM.value,
            retries=_RETRIES.value,
        )
    except (ValueError, OSError) as error:
        end(input_error(error, folder), BAD_INPUT)


def _report() -> None:
    """Compares runs: without jax, which would take longer to come than the page does."""
    from experiments.modes.report import run_report

    try:
        if not _WORKDIR.value:
            raise ValueError("--workdir is missing: give a sweep, a run, or a pattern as 'runs/*'")
        run_report(pathlib.Path(_WORKDIR.value), _LAYOUT.value)
    except (ValueError, OSError) as error:
        end(input_error(error, _WORKDIR.value), BAD_INPUT)


def _workdir() -> pathlib.Path:
    """--workdir, or a folder named after the config (of a sweep, the file that defines it) and its argument."""
    if _WORKDIR.value:
        return pathlib.Path(_WORKDIR.value)
    above, named = 'runs', config_flags.get_config_filename(flags.FLAGS['config'])
    if _MODE.value == 'sweep':
        above, named = 'sweeps', _SWEEP.value or named
    path, _, argument = named.partition(':')
    argument = argument.strip('/').replace('/', '_')
    return pathlib.Path(above) / '-'.join(filter(None, [pathlib.Path(path).stem, argument]))


def _parse(argv: list[str]) -> list[str]:
    """Reads the flags; whatever is wrong with them or with the config file is one line and exit 2."""
    try:
        rest = flags.FLAGS(_with_config(argv))
        if len(rest) > 1:
            raise ValueError(f'{rest[1]!r} is no flag: write --config=... --workdir=... --mode=...')
        _check_flags_of_modes()
        if _MODE.value == 'report':  # of runs, each with its own
            return rest
        if _CONFIG.value is None:
            raise ValueError(
                '--config is missing: give a file, as --config=configs/sngan_digits.py'
            )
        path = config_flags.get_config_filename(flags.FLAGS['config']).partition(':')[0]
        if not pathlib.Path(path).is_file():
            raise ValueError(f'--config={path}: there is no such file')
        return rest
    except _BAD_FLAGS as error:
        end(error, BAD_INPUT)
    except Exception as error:
        end_at_fault(error, _CONFIGS)


def _check_flags_of_modes() -> None:
    """Raises a ValueError of one line for a flag that nothing would read."""
    for mode, names in _FLAGS_OF_MODES.items():
        for name in names:
            if mode != _MODE.value and flags.FLAGS[name].present:
                raise ValueError(
                    f'--{name} is of --mode={mode}, not of {_MODE.value}: add --mode={mode}, or leave it out'
                )
    other, engine = {'local': ('slurm', 'slurm'), 'slurm': ('slots', 'local')}[_ENGINE.value]
    if flags.FLAGS[other].present:
        raise ValueError(
            f'--{other} is of --engine={engine}, not of {_ENGINE.value}: add --engine={engine}, or leave it out'
        )


def _with_config(argv: list[str]) -> list[str]:
    """Without --config, the config of the run that --workdir holds; a sweep by --sweep starts from the defaults."""
    if any(re.match(r'--?config(=|$)', a) for a in argv):
        return argv
    words = ' '.join(argv)
    if re.search(r'\s--?mode[= ]report(\s|$)', words):
        return argv
    if re.search(r'\s--?mode[= ]sweep(\s|$)', words):
        if not any(re.match(r'--?sweep(=|$)', a) for a in argv):
            return argv
        return [argv[0], f'--config={_CONFIGS}/base.py', *argv[1:]]
    for i, a in enumerate(argv):
        found = re.match(r'--?workdir(?:=(.*))?$', a)
        if found:
            workdir = found[1] if found[1] is not None else ''.join(argv[i + 1 : i + 2])
            # Of a pattern (--mode=evaluate) the first run's config says what may be asked; each keeps its own.
            matches = sorted(glob.glob(f'{workdir}/config.json'))
            workdir = str(pathlib.Path(matches[0]).parent) if matches else workdir
            return [argv[0], f'--config={_CONFIGS}/from_workdir.py:{workdir}', *argv[1:]]
    return argv


if __name__ == '__main__':
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # unless it is ignored
        signal.signal(signal.SIGINT, interrupt)
    app.run(_main, flags_parser=_parse)
