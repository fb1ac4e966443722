"""The command `snjax`: `launch.py`, from any folder.

In a repository that is `python launch.py`. An installed snjax holds `launch.py`, `experiments/` and
`configs/` in a folder of its own, `snjax/_program/` (setup.py puts them there), because three names
so common do not belong among the packages of an environment.
"""

import importlib
import importlib.util
import os
import pathlib
import runpy
import sys
from collections.abc import Mapping
from typing import Any

from snjax.host.exit_codes import BAD_INPUT

_NEEDED = ('absl', 'ml_collections', 'orbax', 'tensorflow_datasets')


def program() -> pathlib.Path:
    """The folder of `launch.py`, `experiments/` and `configs/`."""
    package = pathlib.Path(__file__).resolve().parents[1]
    installed = package / '_program'
    return installed if installed.is_dir() else package.parent


def train(
    config: Any,
    workdir: str | os.PathLike,
    changes: Mapping[str, Any] | None = None,
    *,
    init_from: str = '',
) -> Any:
    """Trains a run, or goes on with the one in `workdir`, in this process: `launch.py` from Python.

    The loop, the files and the resumed bits are those of `launch.py`. Errors are exceptions, and
    Ctrl-C (a notebook's interrupt) saves and raises `snjax.training.loop.Preempted`.

    Args:
        config: a config by name ('sngan_digits'), its path, either with ':argument', or a
            `ConfigDict` made by `get_config()`.
        workdir: the folder of the run.
        changes: values by full key, as `{'optimizer.lr': 1e-4}`.
        init_from: WORKDIR[@STEP], whose checkpoint begins a new run; or with
            {'transfer.take': 'weights'} a file of `run.export` or hf://owner/name.

    Returns:
        The run's newest checkpoint, as from `snjax.load(workdir)`.

    Raises:
        ValueError: a key, a value or a file is not accepted, or the workdir is another run's; of
            one line.
        snjax.runs.run_logger.Diverged: a value is not finite.
        snjax.training.loop.Preempted: it was interrupted, and has saved.
    """
    return _module('experiments.modes.from_python').train(
        config, workdir, changes or {}, init_from=init_from
    )


def _module(name: str) -> Any:
    """Imports a module of the program, whose folder is on the path only meanwhile."""
    folder = str(program())
    sys.path.insert(0, folder)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"snjax.train needs {error.name}: pip install 'snjax[train]', and no package of your "
            'own called experiments or configs',
            name=error.name,
        ) from error
    finally:
        sys.path.remove(folder)
    return module


def main() -> None:
    """Runs `launch.py` with the flags of the command line."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f'snjax: trainings need {", ".join(missing)}, which the layers of '
            "snjax.spectral do without: pip install 'snjax[train]'",
            file=sys.stderr,
        )
        sys.exit(BAD_INPUT)
    launcher = str(program() / 'launch.py')
    sys.argv[0] = launcher
    sys.path.insert(0, str(program()))  # as `python launch.py` does
    runpy.run_path(launcher, run_name='__main__')
