"""A small life of a workdir, without networks: what a training writes, in the order it does.

Scalars, grids, checkpoints, the best one, scores; `live` goes on from whatever it finds. It runs in
forks of a process that has imported everything and started nothing, which takes a tenth of a second
each, so that hundreds of kills fit into minutes.
"""

import hashlib
import json
import os
import pathlib
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

import numpy as np  # noqa: E402

from snjax.runs import log_cut, scores_file, workdir  # noqa: E402, F401
from snjax.runs.best import best_scores  # noqa: E402
from snjax.runs.checkpoint import Checkpointer, load_tree  # noqa: E402
from snjax.runs.config_file import check_config  # noqa: E402
from snjax.runs.lock import WorkdirLock  # noqa: E402
from snjax.runs.run_logger import RunLogger  # noqa: E402
from snjax.runs.scores_file import Row  # noqa: E402

NUM_STEPS, EVERY = 6, 2
CONFIG = {'method': 'sngan', 'seed': 0, 'num_steps': NUM_STEPS, 'data': {'name': 'digits'}}
# Audit events of Python that change files: before each, a process may be killed.
CHANGES = ('open', 'os.rename', 'os.remove', 'os.mkdir', 'os.rmdir', 'os.link', 'os.truncate')


class Live:
    """Scores a checkpoint by its step; the best are those of steps 4 and then 6."""

    every, key = EVERY, 'distance'

    def __init__(self):
        self._pending = None

    def submit(self, step: int, state: Any) -> None:
        self._pending = step

    def collect(self) -> tuple[int, dict[str, float]] | None:
        step, self._pending = self._pending, None
        return step and (step, {'distance': abs(7.0 - step)})

    def close(self) -> None:
        self._pending = None


def state_of(step: int) -> dict[str, np.ndarray]:
    """The state at a step: a function of the step alone."""
    values = np.random.default_rng(step).normal(size=(64, 16)).astype(np.float32)
    return {'weights': values, 'step': np.int32(step)}


def live(folder: pathlib.Path, say: Callable[[str], None] = lambda line: None) -> None:
    """Goes on in `folder` from its newest good checkpoint to the end."""
    with WorkdirLock(folder):
        workdir.check_kinds(folder)
        check_config(folder, CONFIG)
        checkpoints = Checkpointer(folder / workdir.CHECKPOINTS, keep=2)
        found = checkpoints.restore_latest(state_of(0))
        start = 0
        if found is not None:
            start, state = found
            expected = state_of(start)
            assert all(np.array_equal(state[k], expected[k]) for k in expected), 'another state'
        with RunLogger(folder, start, checkpoints, CONFIG, Live(), say) as log:
            log.score_again(start, lambda: state_of(start))
            for step in range(start + 1, NUM_STEPS + 1):
                log.scalars(step, {'train/loss': 1 / step})
                if step % EVERY == 0:
                    log.grid(step, np.full((1, 4, 4, 1), 1 / step, np.float32), None)
                    log.save(step, state_of(step))
            log.finish()
        scores_file.add(folder / workdir.SCORES_NAME, [Row({'x': 1.0}, {'checkpoint': 'last'})])


def result(folder: pathlib.Path) -> str:
    """A digest of all that a finished life has left, without times."""
    step, state = load_tree(folder / workdir.CHECKPOINTS)
    lines = [json.loads(x) for x in (folder / workdir.METRICS_NAME).read_text().splitlines()]
    points = sorted((k, x['step'], v) for x in lines for k, v in x.items() if k != 'wall_time')
    files = {p.name: p.read_bytes() for p in sorted((folder / workdir.SAMPLES).iterdir())}
    files[workdir.SCORES_NAME] = (folder / workdir.SCORES_NAME).read_bytes()
    hashed = hashlib.sha256(state['weights'].tobytes())
    best = best_scores(folder / workdir.BEST)
    for part in (step, points, sorted(files.items()), sorted(best.items())):
        hashed.update(repr(part).encode())
    return hashed.hexdigest()


def leftovers(folder: pathlib.Path) -> list[str]:
    """Names in a workdir that only an unfinished operation has."""
    marks = ('.tmp', '.deleted', '.new', 'orbax-checkpoint-tmp')
    found = (path.relative_to(folder) for path in folder.rglob('*'))
    return sorted(str(path) for path in found if any(mark in path.name for mark in marks))


def kill_at(number: int) -> list[int]:
    """Kills this process before its file operation of this number; counts them in a list of one."""
    count = [0]

    def hook(event: str, arguments: tuple) -> None:
        if event not in CHANGES or (event == 'open' and not _writes(arguments)):
            return
        count[0] += 1
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count


def _writes(arguments: tuple) -> bool:
    _, mode, flags = arguments
    return bool(set(mode or '') & set('wxa+')) or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))


def fork(function: Callable[[], Any]) -> tuple[int, str]:
    """Runs a function in a fork; returns its exit code (negative for a signal) and its output."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        os.dup2(write, 1)
        os.dup2(write, 2)
        try:
            print(function() or '', flush=True)
            os._exit(0)
        except (ValueError, OSError) as error:  # what launch.py prints as one line
            os.write(1, f'refused: {error}\n'.encode())
            os._exit(2)
        except BaseException:
            os.write(1, traceback.format_exc().encode())
            os._exit(1)
    os.close(write)
    with os.fdopen(read, errors='replace') as pipe:
        output = pipe.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), output.strip()
