"""Many launches that end in their first second, for the price of one start of Python.

A process imports what `launch.py` imports and then forks for each launch, before JAX has started a
thread. As a program it reads a list of launches from stdin and writes their outcomes, both in JSON.
"""

import dataclasses
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence

ROOT = pathlib.Path(__file__).parents[2]
# Imported before the forks, so that each child only reads its input.
_MODULES = ('build', 'modes.train', 'modes.sample', 'modes.invert', 'modes.evaluate', 'modes.start')
_SECONDS = 20


@dataclasses.dataclass(frozen=True)
class Launch:
    """A launch of `launch.py` in a new folder.

    Attributes:
        flags: of the command line.
        files: texts by path, written into the folder before; a path ending in / is a folder.
        env: environment variables to set; only such as are read when `launch.py` runs.
    """

    flags: Sequence[str]
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a launch ended.

    Attributes:
        code: exit code; -N after signal N.
        out, err: what it wrote to stdout and stderr.
        made: paths of the files that it made, changed or removed, relative to its folder.
    """

    code: int
    out: str
    err: str
    made: list[str]


def run(launches: Mapping[str, Launch], within: pathlib.Path) -> dict[str, Ended]:
    """Runs launches by name, each in a folder of its own below `within`."""
    within.mkdir(parents=True, exist_ok=True)
    asked = {name: dataclasses.asdict(launch) for name, launch in launches.items()}
    env = os.environ | {'PYTHONPATH': f'{ROOT}:{ROOT / "tests"}', 'JAX_PLATFORMS': 'cpu'}
    done = subprocess.run(
        [sys.executable, __file__, str(within)],
        input=json.dumps(asked),
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {name: Ended(**ended) for name, ended in json.loads(done.stdout).items()}


def _main(within: pathlib.Path) -> None:
    # launch.py defines its flags as a program would.
    sys.argv = ['launch.py']
    launch = importlib.import_module('launch')
    for module in _MODULES:
        importlib.import_module(f'experiments.{module}')
    ended = {}
    for number, (name, asked) in enumerate(json.load(sys.stdin).items()):
        ended[name] = _fork(launch, Launch(**asked), within / str(number))
    json.dump(ended, sys.stdout)


def _fork(launch, asked: Launch, folder: pathlib.Path) -> dict:
    folder.mkdir()
    for name, text in asked.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith('/'):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(text)
    before = _contents(folder)
    with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
        child = os.fork()
        if not child:
            _child(launch, asked, folder, out.fileno(), err.fileno())
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        texts = {'out': out.read(), 'err': err.read()}
    after = _contents(folder)
    made = sorted(p for p in before.keys() | after.keys() if before.get(p) != after.get(p))
    return {'code': os.waitstatus_to_exitcode(status), 'made': made} | texts


def _child(launch, asked: Launch, folder: pathlib.Path, out: int, err: int) -> None:
    """Ends the process as `launch.py` would end."""
    from absl import app

    from experiments.modes import command_line

    code = 1
    try:
        signal.alarm(_SECONDS)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = open(1, 'w', closefd=False), open(2, 'w', closefd=False)
        os.chdir(folder)
        os.environ.update(asked.env)
        sys.argv = ['launch.py', *asked.flags]
        app.run(launch._main, flags_parser=command_line.parse)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _contents(folder: pathlib.Path) -> dict[str, bytes]:
    """The files below a folder; folders count as files without content."""
    found = {}
    for path in folder.rglob('*'):
        if '__pycache__' not in path.parts:
            found[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() else b''
    return found


if __name__ == '__main__':
    _main(pathlib.Path(sys.argv[1]))
