"""Trains, goes on training, samples, inverts and scores: `python launch.py --config=configs/sngan_cifar.py`.

Exit codes: 0 done, 2 bad config, flag or file, 3 diverged, 75 stopped by SIGTERM and saved (start again to go on).
"""

import glob
import pathlib
import re
import sys
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'a file in configs/, with :argument where it takes one', lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    'workdir', None, 'the run lives here; left out: runs/<config>[-argument]'
)
_MODE = flags.DEFINE_enum(
    'mode', 'train', ['train', 'sample', 'invert', 'evaluate', 'report'], 'what to do'
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

_UNUSABLE_PATH = (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError)
BAD_INPUT, DIVERGED, PREEMPTED = 2, 3, 75


def main(argv: list[str]) -> None:
    del argv
    if not flags.FLAGS['verbosity'].present:  # libraries report every save at level INFO
        logging.set_verbosity(logging.WARNING)
    if _MODE.value == 'report':
        return _report()
    # Imported after the flags are read, so that a typo is answered at once.
    from experiments import modes
    from snjax import parallel
    from snjax.train import Diverged, Preempted

    try:
        parallel.initialize(
            _DISTRIBUTED.value,
            coordinator_address=_COORDINATOR.value,
            num_processes=_NUM_PROCESSES.value,
            process_id=_PROCESS_ID.value,
        )
        modes.MODES[_MODE.value](_CONFIG.value, _workdir())
    except (ValueError, *_UNUSABLE_PATH) as error:
        _end(error, BAD_INPUT)
    except Diverged as error:
        _end(error, DIVERGED)
    except Preempted as error:
        _end(error, PREEMPTED)


def _report() -> None:
    """Compares runs: without jax, which would take longer to come than the page does."""
    from experiments.report import run_report

    try:
        if not _WORKDIR.value:
            raise ValueError("--workdir is missing: give a sweep, a run, or a pattern as 'runs/*'")
        run_report(pathlib.Path(_WORKDIR.value), _LAYOUT.value)
    except (ValueError, *_UNUSABLE_PATH) as error:
        _end(error, BAD_INPUT)


def _workdir() -> pathlib.Path:
    """--workdir, or a folder named after the config and its argument."""
    if _WORKDIR.value:
        return pathlib.Path(_WORKDIR.value)
    path, _, argument = config_flags.get_config_filename(flags.FLAGS['config']).partition(':')
    argument = argument.strip('/').replace('/', '_')
    return pathlib.Path('runs') / '-'.join(filter(None, [pathlib.Path(path).stem, argument]))


def _end(error: Exception, code: int) -> NoReturn:
    """One line on stderr, and the exit code."""
    message = error
    while isinstance(
        message, AttributeError | KeyError
    ):  # a KeyError's str() is its message, quoted
        message = message.args[0]
    message = str(message)
    before, parsing, trace = message.partition('Error whilst parsing config file:')
    if (
        parsing
    ):  # ml_collections puts the whole traceback into the message; its last line is the error
        message = before + trace.strip().splitlines()[-1].partition(': ')[2]
    print(f'launch.py: {" ".join(message.split())}', file=sys.stderr, flush=True)
    sys.exit(code)


def _parse(argv: list[str]) -> list[str]:
    """Reads the flags; whatever is wrong with them or with the config file is one line and exit 2."""
    try:
        rest = flags.FLAGS(_with_config(argv))
        if len(rest) > 1:
            raise ValueError(f'{rest[1]!r} is no flag: write --config=... --workdir=... --mode=...')
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
    except (flags.Error, ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        _end(error, BAD_INPUT)


def _with_config(argv: list[str]) -> list[str]:
    """Without --config, the config of the run that --workdir holds."""
    if any(re.match(r'--?config(=|$)', a) for a in argv):
        return argv
    if re.search(r'\s--?mode[= ]report(\s|$)', ' '.join(argv)):
        return argv
    for i, a in enumerate(argv):
        found = re.match(r'--?workdir(?:=(.*))?$', a)
        if found:
            workdir = found[1] if found[1] is not None else ''.join(argv[i + 1 : i + 2])
            # Of a pattern (--mode=evaluate) the first run's config says what may be asked; each keeps its own.
            matches = sorted(glob.glob(f'{workdir}/config.json'))
            workdir = str(pathlib.Path(matches[0]).parent) if matches else workdir
            config = pathlib.Path(__file__).parent / 'configs' / 'from_workdir.py'
            return [argv[0], f'--config={config}:{workdir}', *argv[1:]]
    return argv


if __name__ == '__main__':
    app.run(main, flags_parser=_parse)
