"""Real runs of `launch.py` for the tests: a tiny SNGAN on the digits, trained once and looked at by many."""

import dataclasses
import functools
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import filelock
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from configs import sngan_digits
from helpers.compiling import QUICKLY
from snjax.runs.checkpoint import best_scores, load_tree

ROOT = Path(__file__).parents[2]
DIGITS = f'--config={ROOT}/configs/sngan_digits.py'
NUM_STEPS, CHECKPOINT_EVERY, LOG_EVERY, SAMPLE_EVERY, SCORE_EVERY = 120, 10, 1, 40, 40
TINY = (
    DIGITS,
    '--config.model.gen_width=4',
    '--config.model.dis_width=4',
    '--config.model.dim_z=8',
    '--config.batch_size=8',
    '--config.gen_batch_size=8',
    f'--config.num_steps={NUM_STEPS}',
    f'--config.checkpoint.every={CHECKPOINT_EVERY}',
    f'--config.log.every={LOG_EVERY}',
    '--config.log.histograms_every=60',
    f'--config.sampling.every={SAMPLE_EVERY}',
    '--config.sampling.num=16',
    '--config.eval.num_samples=200',
    f'--config.eval.every={SCORE_EVERY}',
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int
    stdout: str
    stderr: str

    def error_line(self) -> str:
        """The one line on stderr; fails if there is another, so a traceback or a warning fails too."""
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        assert len(lines) == 1, self.stderr
        return lines[0]


@dataclasses.dataclass(frozen=True)
class Launcher:
    """Starts `launch.py` in processes that share a compilation cache, so that only the first is slow.

    Attributes:
        cache: folder of the compiled programs.
        xla_flags: how they are compiled.
    """

    cache: Path
    xla_flags: str = QUICKLY  # the slow tests of the demo compile it as users do

    def start(
        self, *flags: str, cwd: Path | None = None, before: Sequence[str] = (), **env: str
    ) -> subprocess.Popen:
        """A running launch.py, whose output goes to files; `before` is a command that starts it."""
        shared = {
            'JAX_COMPILATION_CACHE_DIR': str(self.cache),
            'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
            'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
            'XLA_FLAGS': self.xla_flags,
        }
        # What makes `import snjax` work for the tests must not be what makes it work for launch.py.
        inherited = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'XLA_FLAGS')}
        self.cache.mkdir(parents=True, exist_ok=True)
        output = self.cache.parent / f'output-{time.monotonic_ns()}'
        with open(f'{output}.out', 'xb') as out, open(f'{output}.err', 'xb') as err:
            process = subprocess.Popen(
                [*before, sys.executable, str(ROOT / 'launch.py'), *map(str, flags)],
                cwd=cwd,
                env=inherited | shared | env,
                stdout=out,
                stderr=err,
            )
        process.output = output
        return process

    def run(self, *flags: str, cwd: Path | None = None, **env: str) -> Outcome:
        """Runs launch.py to its end."""
        return wait(self.start(*flags, cwd=cwd, **env))

    def train(self, workdir: Path, *flags: str, **env: str) -> Outcome:
        """Runs the tiny run in `workdir` to its end, which must be a good one."""
        outcome = self.run(*TINY, f'--workdir={workdir}', *flags, **env)
        assert outcome.code == 0, outcome.stderr
        return outcome


def wait(process: subprocess.Popen, seconds: float = 600) -> Outcome:
    """Waits for the end of a process of `Launcher.start`."""
    try:
        code = process.wait(seconds)
    finally:
        process.kill()
    read = [Path(f'{process.output}.{end}').read_text() for end in ('out', 'err')]
    return Outcome(code, *read)


def printed(process: subprocess.Popen) -> str:
    """What a process of `Launcher.start` has written to its stdout so far."""
    return Path(f'{process.output}.out').read_text()


def wait_until(process: subprocess.Popen, condition: Callable[[], object], seconds=600) -> bool:
    """Polls until `condition()` or the end of the process; returns whether the condition came."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """The shared run.

    Attributes:
        workdir: read it, copy it, but leave it as it is.
        outcome: what it printed.
        poison: a folder with a `tensorflow` and a `torch` that note each import of them in `imported`.
    """

    workdir: Path
    outcome: Outcome
    poison: Path

    def copy(self, to: Path) -> Path:
        """A workdir of one's own."""
        return Path(shutil.copytree(self.workdir, to))


# The fixtures below are imported by several test files, and each would get its own: the cache makes them one. Where
# several processes share the tests, what lies in the folder above theirs is made by the first that asks for it.
def _base(factory: pytest.TempPathFactory) -> Path:
    base = factory.getbasetemp()
    return base.parent / 'shared' if 'PYTEST_XDIST_WORKER' in os.environ else base


@functools.cache
def _launcher(base: Path) -> Launcher:
    return Launcher(base / 'launches' / 'cache')


@functools.cache
def _finished_run(base: Path) -> FinishedRun:
    base.mkdir(exist_ok=True)
    made = base / 'finished_run.pickle'
    with filelock.FileLock(base / 'lock'):
        if not made.exists():
            run = _train_once(base)
            made.write_bytes(pickle.dumps(run))
        return pickle.loads(made.read_bytes())


def _train_once(base: Path) -> FinishedRun:
    poison = base / 'poison'
    poison.mkdir()
    for name in ('tensorflow', 'torch'):
        note = f'open({str(poison / "imported")!r}, "a").write("{name}\\n")'
        (poison / f'{name}.py').write_text(f'{note}\nraise ImportError("{name} was imported")\n')
    workdir = base / 'runs' / 'first'
    outcome = _launcher(base).train(workdir, PYTHONPATH=str(poison))
    return FinishedRun(workdir, outcome, poison)


@pytest.fixture(scope='session')
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    return _launcher(_base(tmp_path_factory))


@pytest.fixture(scope='session')
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return _finished_run(_base(tmp_path_factory))


def metrics(workdir: Path) -> list[dict]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def scores(workdir: Path, protocol: str = 'train/all/200') -> dict:
    """The row of scores.json by a protocol, which must be there once."""
    rows = json.loads((workdir / 'scores.json').read_text())['rows']
    (row,) = [row for row in rows if row['manifest']['protocol'] == protocol]
    return row


def logged_step(workdir: Path) -> int:
    """The last step in metrics.jsonl, 0 without any; a line being written does not count."""
    path = workdir / 'metrics.jsonl'
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith(b'\n')]
    return json.loads(whole[-1])['step'] if whole else 0


def tiny_config_of(workdir: Path):
    """The config of a run of `Launcher.train`."""
    config = sngan_digits.get_config()
    config.update(json.loads((workdir / 'config.json').read_text()))
    return config


def checkpoints(workdir: Path) -> list[int]:
    """The steps of the committed checkpoints."""
    folder = workdir / 'checkpoints'
    return sorted(int(p.name) for p in folder.glob('*') if p.name.isdecimal())


def bytes_under(folder: Path) -> dict[str, bytes]:
    """Every file's content by its path."""
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}


def state(workdir: Path, step: int | None = None) -> tuple[int, dict[str, np.ndarray]]:
    """A checkpoint's step and its leaves by path."""
    found, tree = load_tree(workdir / 'checkpoints', step)
    return found, flatten_dict(tree, sep='/')


def events(workdir: Path) -> Iterator[tuple[str, int, object]]:
    """(tag, step, value) of everything in the event files; a value is a number for scalars, else None."""
    for path in sorted((workdir / 'tensorboard').glob('*tfevents*')):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                plugin = value.metadata.plugin_data.plugin_name
                numbers = value.tensor.float_val if plugin == 'scalars' else ()
                yield value.tag, event.step, numbers[0] if numbers else None


def reproducible(line: dict) -> dict:
    """A line of metrics.jsonl without what a clock measured."""
    return {k: v for k, v in line.items() if k != 'wall_time' and not k.startswith('perf/')}


def in_order(lines: list[dict]) -> list[dict]:
    """Lines by step, without what a clock measured; scores come some steps after what they are of."""
    return sorted(map(reproducible, lines), key=lambda line: (line['step'], sorted(line)))


def assert_same_run(workdir: Path, undisturbed: Path) -> None:
    """What two runs leave is the same bit for bit: states, values, pictures, scores; and no point is there twice."""
    step, leaves = state(workdir)
    expected_step, expected = state(undisturbed)
    assert step == expected_step
    assert leaves.keys() == expected.keys()
    different = [
        name
        for name, leaf in leaves.items()
        if (leaf.dtype, leaf.tobytes()) != (expected[name].dtype, expected[name].tobytes())
    ]
    assert different == []

    lines = metrics(workdir)
    assert in_order(lines) == in_order(metrics(undisturbed))
    assert best_scores(workdir / 'best') == best_scores(undisturbed / 'best')
    steps = [line['step'] for line in lines if 'train/dis_loss' in line]
    assert len(steps) == len(set(steps))
    points = [(tag, step) for tag, step, _ in events(workdir)]
    assert sorted(points) == sorted(set(points))
    # Every start shows its config; all else is there as if there had been one.
    expected_points = {(tag, step) for tag, step, _ in events(undisturbed)}
    assert {(tag, step) for tag, step in points if tag != 'config' or step == 0} == expected_points
    for name in ('samples', 'scores.json'):
        kept, wanted = (w / name for w in (workdir, undisturbed))
        if wanted.is_dir():
            assert bytes_under(kept) == bytes_under(wanted)
        else:
            assert kept.read_bytes() == wanted.read_bytes()
