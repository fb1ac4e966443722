"""The command `snjax`: `launch.py`, from any folder.

In a repository that is `python launch.py`. An installed snjax holds `launch.py`, `experiments/` and
`configs/` in a folder of its own, `snjax/_program/` (setup.py puts them there), because three names
so common do not belong among the packages of an environment.
"""

import importlib.util
import pathlib
import runpy
import sys

from snjax.host.exit_codes import BAD_INPUT

_NEEDED = ('absl', 'ml_collections', 'orbax', 'tensorflow_datasets')


def program() -> pathlib.Path:
    """The folder of `launch.py`, `experiments/` and `configs/`."""
    package = pathlib.Path(__file__).resolve().parents[1]
    installed = package / '_program'
    return installed if installed.is_dir() else package.parent


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
