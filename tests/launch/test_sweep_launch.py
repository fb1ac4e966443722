"""launch.py --mode=sweep: started as users start it, killed, and compared bit for bit."""

import json
import os
import re
import shlex
import signal
from pathlib import Path

import pytest

from helpers import launching
from helpers.launching import (
    DIGITS,
    NUM_STEPS,
    ROOT,
    SLOTS,
    SWEEP,
    TINY,
    assert_same_run,
    bytes_under,
    logged_step,
    wait,
)
from helpers.sweeps import write_sweep
from helpers.tensorboard_server import ask, hparams_rows, serve, wait_for
from helpers.waiting import wait_until
from snjax.runs import tags
from snjax.runs.lock import WorkdirLock
from snjax.sweeps import journal
from snjax.sweeps.journal import RunState


def runs_of(folder: Path) -> list[dict]:
    return json.loads((folder / 'sweep.json').read_text())['runs']


# ---- what is run


def test_a_dry_run_prints_commands_that_launch_reads_and_writes_nothing(launcher, tmp_path):
    flag = write_sweep(tmp_path, "return h.product({'optimizer.lr': [1e-4, 2e-3]}, {'seed': [0]})")
    before = bytes_under(tmp_path)
    folder = tmp_path / 'x'
    outcome = launcher.run(
        *SWEEP, DIGITS, flag, '--config.n_dis=3', f'--workdir={folder}', '--dry_run'
    )
    assert outcome.code == 0 and outcome.stderr == ''
    *commands, last = outcome.stdout.splitlines()
    assert last == '2 runs; nothing was started'
    assert bytes_under(tmp_path) == before
    for command, lr in zip(commands, ('0.0001', '0.002'), strict=True):
        *cores, python, program, config, a, b, c, workdir = shlex.split(command)
        assert cores[:2] == ([] if SLOTS == 1 else ['taskset', '-c'])
        assert (python, program, config) == ('python', str(ROOT / 'launch.py'), DIGITS)
        overrides = [f'--config.{x}' for x in (f'optimizer.lr={lr}', 'seed=0', 'n_dis=3')]
        assert [a, b, c] == overrides
        assert re.fullmatch(rf'--workdir={folder}/runs/lr={lr}-\w{{10}}', workdir)


# ---- runs


def last_running(folder: Path, name: str) -> dict | None:
    """The journal's last line of a run, if the run is running; None otherwise."""
    (id_,) = (run['id'] for run in runs_of(folder) if run['name'].startswith(name))
    lines = [line for line in journal.read(folder / 'journal.jsonl') if line['run'] == id_]
    return lines[-1] if lines and lines[-1]['state'] == RunState.RUNNING else None


def workdir_of(folder: Path, name: str) -> Path:
    (run,) = (run for run in runs_of(folder) if run['name'].startswith(name))
    return folder / run['workdir']


def trained(folder: Path, name: str, step: int) -> bool:
    """Whether the run whose name starts with `name` is running and has logged `step`."""
    if not (folder / 'sweep.json').exists() or not last_running(folder, name):
        return False
    return logged_step(workdir_of(folder, name)) >= step


def kill_the_sweep(launcher, flags, folder, name, step):
    """Starts a sweep, and kills its own process when run `name` has logged `step`."""
    process = launcher.start(*flags)
    came = wait_until(lambda: trained(folder, name, step), process)
    process.send_signal(signal.SIGKILL)
    assert came, wait(process)
    wait(process)


def kill_a_run(launcher, flags, folder, name, step):
    """Starts a sweep, kills run `name` when it has logged `step`, and waits for the sweep."""
    process = launcher.start(*flags)
    came = wait_until(lambda: trained(folder, name, step), process)
    line = last_running(folder, name)
    assert came and line, wait(process)
    os.kill(line['pid'], signal.SIGKILL)
    return wait(process)


@pytest.fixture(scope='module')
def killed_sweep(launcher, tmp_path_factory):
    """A sweep of two runs: the sweep was killed, and after a restart one of its runs."""
    where = tmp_path_factory.mktemp('sweep')
    folder = where / 'x'
    sweep = write_sweep(where, "return h.product({'seed': [1, 0]})")
    flags = [*SWEEP, *TINY, sweep, f'--workdir={folder}']
    kill_the_sweep(launcher, flags, folder, 'seed=1', 12)
    outcome = kill_a_run(launcher, flags, folder, 'seed=1', 35)
    return folder, outcome, flags


@pytest.mark.slow
def test_a_killed_sweep_ends_as_if_nothing_had_been(killed_sweep, other_seed):
    folder, outcome, _ = killed_sweep
    assert outcome.code == 0 and outcome.stderr == '', outcome
    assert_same_run(workdir_of(folder, 'seed=1'), other_seed)
    assert re.search(r'^seed=1-\w+: resumes from step \d+ on CPU \d', outcome.stdout, re.MULTILINE)
    assert re.search(r'^seed=1-\w+: interrupted: ended by SIGKILL$', outcome.stdout, re.MULTILINE)
    assert '2 of 2 runs finished' in outcome.stdout


def test_the_summary_says_what_each_run_came_to(killed_sweep, other_seed):
    folder, _, flags = killed_sweep
    found = json.loads((folder / 'sweep.json').read_text())
    assert found['engine'] == 'local' and shlex.split(found['command'])[2:] == flags
    first, second = found['runs']
    assert [run['state'] for run in found['runs']] == ['finished', 'finished']
    assert [run['overrides']['seed'] for run in found['runs']] == [1, 0]
    assert first['attempts'] >= 3 and first['step'] == first['num_steps'] == NUM_STEPS
    last = launching.metrics(other_seed)[-1]
    expected = {name: v for k, v in last.items() if (name := tags.score_name(k))}
    assert 'precision' in expected
    assert expected.items() <= first['scores'].items()
    assert first['scores']['frechet_distance'] != second['scores']['frechet_distance']


def test_started_again_a_finished_sweep_starts_nothing(killed_sweep, launcher):
    folder, _, flags = killed_sweep
    runs = bytes_under(folder / 'runs')
    outcome = launcher.run(*flags)
    assert outcome.code == 0
    assert '2 runs, 0 to do' in outcome.stdout and ': starts' not in outcome.stdout
    assert bytes_under(folder / 'runs') == runs
    dry = launcher.run(*flags, '--dry_run')
    assert dry.stdout.count('    # finished\n') == 2


def test_the_sweeps_own_process_imports_neither_jax_nor_tensorflow(killed_sweep, launcher):
    """Checked by modules of these names that raise when they are imported."""
    folder, _, flags = killed_sweep
    poison = folder.parent / 'poison'
    poison.mkdir()
    for name in ('jax', 'jaxlib', 'flax', 'orbax', 'tensorflow', 'torch'):
        (poison / f'{name}.py').write_text(f'raise ImportError("{name} was imported")\n')
    for more in ([], ['--dry_run']):
        assert launcher.run(*flags, *more, PYTHONPATH=str(poison)).code == 0
    # A run does import them.
    failed = launcher.run(*TINY, f'--workdir={folder.parent / "y"}', PYTHONPATH=str(poison))
    assert 'jax was imported' in failed.stderr


def test_tensorboard_shows_the_sweep_as_one_table_of_what_differs(killed_sweep):
    folder, _, _ = killed_sweep
    with serve(folder) as url:
        rows = wait_for(lambda: hparams_rows(url), lambda rows: len(rows) == 2)
        names = [run['workdir'] for run in runs_of(folder)]
        assert sorted(rows) == sorted(names)
        assert [rows[name]['seed'] for name in names] == [1, 0]
        for name, run in zip(names, runs_of(folder), strict=True):
            score = run['scores']['frechet_distance']
            assert rows[name]['eval/digits/train-all-200/frechet_distance'] == pytest.approx(
                score, rel=1e-6
            )
        infos = ask(url, 'plugin/hparams/experiment', body={})['hparamInfos']
        assert [info['name'] for info in infos if info.get('differs')] == ['seed']


def test_only_one_sweep_works_in_a_folder(killed_sweep, launcher):
    folder, _, flags = killed_sweep
    with WorkdirLock(folder):
        outcome = launcher.run(*flags)
    assert outcome.code == 2
    assert f'{folder} is in use by process {os.getpid()}' in outcome.error_line()


@pytest.mark.slow
def test_a_dozen_runs_killed_twice_end_as_if_nothing_had_been(launcher, tmp_path):
    """The sweep of the digits config, with narrower networks."""
    folders = tmp_path / 'undisturbed', tmp_path / 'killed'
    undisturbed, killed = ([*SWEEP, *TINY, f'--workdir={folder}'] for folder in folders)
    assert launcher.run(*undisturbed).code == 0
    names = [run['name'] for run in runs_of(folders[0])]
    kill_the_sweep(launcher, killed, folders[1], names[3], 30)
    outcome = kill_a_run(launcher, killed, folders[1], names[7], 50)
    assert outcome.code == 0, outcome
    found, expected = (runs_of(folder) for folder in folders)
    assert [run['state'] for run in found] == ['finished'] * 12
    assert [run['scores'] for run in found] == [run['scores'] for run in expected]
    for run in expected:
        assert_same_run(folders[1] / run['workdir'], folders[0] / run['workdir'])
