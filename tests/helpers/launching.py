"""Runs of `launch.py` as users start it: a tiny SNGAN on digits, and readers of its files."""

import contextlib
import dataclasses
import json
import os
import pickle
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from flax.traverse_util import flatten_dict
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from configs import sngan_digits
from helpers.compiling import QUICKLY
from helpers.preloaded import Forked, Preloaded
from snjax.runs.best import best_scores
from snjax.runs.checkpoint import load_tree

ROOT = Path(__file__).parents[2]
DIGITS = f'--config={ROOT}/configs/sngan_digits.py'
NUM_STEPS, CHECKPOINT_EVERY, LOG_EVERY, SAMPLE_EVERY, SCORE_EVERY = 60, 10, 1, 20, 20
TINY = (
    DIGITS,
    # Of the networks the one with the fewest layers: tracing and compiling is what costs.
    '--config.model.architecture=wgan_gp_cnn',
    '--config.model.gen_width=4',
    '--config.model.dis_width=4',
    '--config.model.dim_z=8',
    '--config.batch_size=8',
    '--config.gen_batch_size=8',
    f'--config.num_steps={NUM_STEPS}',
    f'--config.checkpoint.every={CHECKPOINT_EVERY}',
    f'--config.log.every={LOG_EVERY}',
    '--config.log.histograms_every=30',
    f'--config.sampling.every={SAMPLE_EVERY}',
    '--config.sampling.num=16',
    '--config.eval.num_samples=200',
    f'--config.eval.every={SCORE_EVERY}',
)
# A sweep of two runs at once, where there are two cores.
SLOTS = min(2, len(os.sched_getaffinity(0)))
SWEEP = ('--mode=sweep', f'--slots={SLOTS}')
# These import little, or start processes of their own.
_NOT_FORKED = (
    '--mode=sweep',
    '--mode=report',
    '--mode=doctor',
    '--distributed',
    '--help',
    '--list',
)


# Set by scikit-learn and libtpu when a test imports them. No launch could be forked from then on.
_OF_IMPORTS = (
    'KMP_INIT_AT_FORK',
    'KMP_DUPLICATE_LIB_OK',
    'ALLOW_MULTIPLE_LIBTPU_LOAD',
    'TPU_LIBRARY_PATH',
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Exit code and output of a launch."""

    code: int
    stdout: str
    stderr: str

    def error_line(self) -> str:
        """Returns the only line on stderr; fails if a traceback or a warning adds another."""
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        assert len(lines) == 1, self.stderr
        return lines[0]


@dataclasses.dataclass(frozen=True)
class Launcher:
    """Starts `launch.py` in processes that share a compilation cache.

    Attributes:
        cache: folder of the compiled programs.
        xla_flags: XLA_FLAGS of the processes; slow tests of the demo give '', as users compile.
        preloaded: a process that forks the launches that need no environment of their own; None
            starts an interpreter for each, as users do.
    """

    cache: Path
    xla_flags: str = QUICKLY
    preloaded: Preloaded | None = None

    def fresh(self) -> 'Launcher':
        """One that starts an interpreter for each launch, for tests of its first seconds."""
        return dataclasses.replace(self, preloaded=None)

    def environment(self) -> dict[str, str]:
        """The environment of a launch."""
        shared = {
            'JAX_COMPILATION_CACHE_DIR': str(self.cache),
            'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
            'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
            'XLA_FLAGS': self.xla_flags,
        }
        # launch.py must find snjax by itself, as it does for users; pytest names each test.
        ours = ('PYTHONPATH', 'XLA_FLAGS', 'PYTEST_CURRENT_TEST')
        ours += _OF_IMPORTS
        return {k: v for k, v in os.environ.items() if k not in ours} | shared

    def start(
        self, *flags: str, cwd: Path | None = None, before: Sequence[str] = (), **env: str
    ) -> subprocess.Popen | Forked:
        """Starts launch.py and returns at once; `wait` and `printed` read its output.

        Args:
            flags: command-line flags.
            cwd: folder the process starts in.
            before: command that runs launch.py, such as `('ip', 'netns', 'exec', name)`.
            env: environment variables to add.
        """
        flags = tuple(map(str, flags))
        env = self.environment() | env
        self.cache.mkdir(parents=True, exist_ok=True)
        output = self.cache.parent / f'output-{time.monotonic_ns()}'
        with open(f'{output}.out', 'xb') as out, open(f'{output}.err', 'xb') as err:
            plain = not before and not any(flag.startswith(_NOT_FORKED) for flag in flags)
            if self.preloaded and plain and env == self.preloaded.env:
                process = self.preloaded.start(flags, cwd, out.name, err.name)
            else:
                command = [*before, sys.executable, str(ROOT / 'launch.py'), *flags]
                process = subprocess.Popen(command, cwd=cwd, env=env, stdout=out, stderr=err)
        process.output = output
        return process

    def run(self, *flags: str, cwd: Path | None = None, **env: str) -> Outcome:
        """Runs launch.py and waits for its end."""
        return wait(self.start(*flags, cwd=cwd, **env))

    def train(self, workdir: Path, *flags: str, **env: str) -> Outcome:
        """Trains the tiny SNGAN in `workdir`; fails unless launch.py exits with 0."""
        outcome = self.run(*TINY, f'--workdir={workdir}', *flags, **env)
        assert outcome.code == 0, outcome.stderr
        return outcome


def wait(process: subprocess.Popen | Forked, seconds: float = 600) -> Outcome:
    """Waits for the end of a process of `Launcher.start`; kills it after `seconds`."""
    try:
        code = process.wait(seconds)
    finally:
        process.kill()
    out, err = (Path(f'{process.output}.{end}').read_text() for end in ('out', 'err'))
    return Outcome(code, out, err)


def printed(process: subprocess.Popen | Forked) -> str:
    """Returns what a process of `Launcher.start` has written to stdout so far."""
    return Path(f'{process.output}.out').read_text()


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A tiny run that many tests share.

    Attributes:
        workdir: its workdir; read or copy it, never change it.
        outcome: exit code and output of its launch.
        poison: folder of a fake `tensorflow` and a fake `torch`, first on the path of the run; they
            append their name to the file `imported` when they are imported.
    """

    workdir: Path
    outcome: Outcome
    poison: Path

    def copy(self, to: Path) -> Path:
        """Copies the workdir to `to`, for a test that changes it."""
        return Path(shutil.copytree(self.workdir, to))


def once(folder: Path, name: str, make: Callable[[], Any]) -> Any:
    """Returns what `make` returned in the first process of the session to ask for `name`."""
    folder.mkdir(exist_ok=True)
    pickled = folder / f'{name}.pickle'
    with filelock.FileLock(folder / f'{name}.lock'):
        if not pickled.exists():
            pickled.write_bytes(pickle.dumps(make()))
        return pickle.loads(pickled.read_bytes())


def finish_once(launcher: Launcher, folder: Path) -> FinishedRun:
    """Trains the shared run in `folder`, or returns the run that another process trained there."""
    return once(folder, 'finished_run', lambda: _finish(launcher, folder))


def _finish(launcher: Launcher, folder: Path) -> FinishedRun:
    poison = folder / 'poison'
    poison.mkdir()
    for name in ('tensorflow', 'torch'):
        note = f'open({str(poison / "imported")!r}, "a").write("{name}\\n")'
        (poison / f'{name}.py').write_text(f'{note}\nraise ImportError("{name} was imported")\n')
    workdir = folder / 'runs' / 'first'
    outcome = launcher.train(workdir, PYTHONPATH=str(poison))
    return FinishedRun(workdir, outcome, poison)


def other_seed_once(launcher: Launcher, folder: Path) -> Path:
    """Trains the shared run's twin of seed 1 beside it, once in the session; returns its workdir.

    It is started by the command that a sweep prints for it, on the cores that the sweep would give
    to it, so that the run of a sweep has to end in the same bits.
    """
    return once(folder, 'other_seed', lambda: _other_seed(launcher, folder))


def _other_seed(launcher: Launcher, folder: Path) -> Path:
    definition = folder / 'other_seed.py'
    definition.write_text("def get_sweep(h):\n    return h.product({'seed': [1, 0]})\n")
    sweep = (*SWEEP, *TINY, f'--sweep={definition}', f'--workdir={folder / "sweep"}')
    printed = launcher.run(*sweep, '--dry_run').stdout
    command = shlex.split(printed.splitlines()[0])
    cores = command[2].split(',') if command[0] == 'taskset' else os.sched_getaffinity(0)
    *flags, planned = command[command.index('python') + 2 :]
    assert planned.startswith(f'--workdir={folder / "sweep"}'), printed
    workdir = folder / 'runs' / 'second'
    with on_cores({int(core) for core in cores}):
        outcome = launcher.run(*flags, f'--workdir={workdir}')
    assert outcome.code == 0, outcome.stderr
    return workdir


@contextlib.contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Restricts processes that start inside to `cores`."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def metrics(workdir: Path) -> list[dict]:
    """Returns the lines of metrics.jsonl."""
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def scores(workdir: Path, protocol: str = 'train/all/200') -> dict:
    """Returns the row of scores.json for `protocol`; fails unless there is exactly one."""
    rows = json.loads((workdir / 'scores.json').read_text())['rows']
    (row,) = [row for row in rows if row['manifest']['protocol'] == protocol]
    return row


def logged_step(workdir: Path) -> int:
    """Returns the last step in metrics.jsonl, or 0; ignores a line that is still being written."""
    path = workdir / 'metrics.jsonl'
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    complete = [line for line in lines if line.endswith(b'\n')]
    return json.loads(complete[-1])['step'] if complete else 0


def tiny_config_of(workdir: Path):
    """Returns the config of a run of `Launcher.train`."""
    config = sngan_digits.get_config()
    config.update(json.loads((workdir / 'config.json').read_text()))
    return config


def checkpoints(workdir: Path) -> list[int]:
    """Returns the steps of the committed checkpoints, in order."""
    folder = workdir / 'checkpoints'
    return sorted(int(p.name) for p in folder.glob('*') if p.name.isdecimal())


def bytes_under(folder: Path) -> dict[str, bytes]:
    """Returns the content of every file below `folder`, by its relative path."""
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}


def state(workdir: Path, step: int | None = None) -> tuple[int, dict[str, np.ndarray]]:
    """Returns the step of a checkpoint, the last by default, and its leaves by path."""
    found, tree = load_tree(workdir / 'checkpoints', step)
    return found, flatten_dict(tree, sep='/')


def events(workdir: Path) -> Iterator[tuple[str, int, object]]:
    """Yields (tag, step, value) of every point in the event files; None unless a scalar."""
    for path in sorted(workdir.glob('*tfevents*')):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                plugin = value.metadata.plugin_data.plugin_name
                numbers = value.tensor.float_val if plugin == 'scalars' else ()
                yield value.tag, event.step, numbers[0] if numbers else None


def reproducible(line: dict) -> dict:
    """Returns a line of metrics.jsonl without its times and speeds."""
    return {k: v for k, v in line.items() if k != 'wall_time' and not k.startswith('perf/')}


def in_order(lines: list[dict]) -> list[dict]:
    """Sorts lines by step, without times and speeds: scores are written later than their step."""
    return sorted(map(reproducible, lines), key=lambda line: (line['step'], sorted(line)))


def assert_same_run(workdir: Path, undisturbed: Path) -> None:
    """Fails unless two runs left the same bits: states, metrics, sample images and scores.

    Also fails if `workdir` has a point of metrics.jsonl or TensorBoard twice.
    """
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
    # Each start logs its config; all other points are those of a single start.
    expected_points = {(tag, step) for tag, step, _ in events(undisturbed)}
    assert {(tag, step) for tag, step in points if tag != 'config' or step == 0} == expected_points
    for name in ('samples', 'scores.json'):
        kept, wanted = (w / name for w in (workdir, undisturbed))
        if wanted.is_dir():
            assert bytes_under(kept) == bytes_under(wanted)
        else:
            assert kept.read_bytes() == wanted.read_bytes()
