"""The engine of this machine, with runs that end at once (`sweep_worker.py`)."""

import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from helpers import sweep_worker
from helpers.waiting import wait_until
from snjax.runs.lock import WorkdirLock, lock_holder

_processes: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def _kill_sweeps():
    yield
    while _processes:
        with _processes.pop() as process:
            process.kill()


def start(folder, *behaviours, retries=2, **env):
    """Starts a sweep of these behaviours in a process of its own."""
    worker = pathlib.Path(sweep_worker.__file__)
    process = subprocess.Popen(
        [sys.executable, str(worker), 'sweep', str(folder), ','.join(behaviours), str(retries)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | env,
    )
    _processes.append(process)
    return process


def sweep(folder, *behaviours, **options):
    """Exit code and output of a sweep of these behaviours."""
    process = start(folder, *behaviours, **options)
    out, err = process.communicate(timeout=60)
    assert err == ''
    return process.returncode, out


def summary(folder):
    """The runs in `sweep.json`, by behaviour."""
    found = json.loads((folder / 'sweep.json').read_text())
    return {run['overrides']['behaviour']: run for run in found['runs']}


def starts(folder, behaviour):
    path = folder / summary(folder)[behaviour]['workdir'] / 'started.jsonl'
    return [json.loads(line) for line in path.read_text().splitlines()]


ENDS = {  # behaviour: state, attempts
    'finish': ('finished', 1),
    'diverge': ('diverged', 1),
    'refuse': ('refused', 1),
    'crash': ('crashed', 3),
    'crash_once': ('finished', 2),
    'killed_but_gets_further': ('finished', 5),
    'preempted_once': ('finished', 2),
}


@pytest.fixture(scope='module')
def ended(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sweep')
    return folder, *sweep(folder, *ENDS, SLURM_JOB_ID='7')


def test_every_end_has_its_consequence_and_the_others_go_on(ended):
    folder, code, _ = ended
    assert code == 0
    found = summary(folder)
    assert {name: (r['state'], r['attempts']) for name, r in found.items()} == ENDS
    assert {name: len(starts(folder, name)) for name in ENDS} == {
        n: a for n, (_, a) in ENDS.items()
    }
    assert found['finish']['step'] == found['finish']['num_steps'] == sweep_worker.NUM_STEPS
    assert found['finish']['scores'] == {'frechet_distance': 0.01}
    assert found['diverge']['note'] == 'diverged by step 7: dis_loss = nan'
    assert found['refuse']['note'] == 'no such data'
    assert found['crash']['note'] == 'RuntimeError: attempt 3 failed'


def test_what_happens_is_said_and_the_last_lines_of_a_crash_are_shown(ended):
    _, _, out = ended
    assert re.search(r'^behaviour=finish-\w+: starts on first$', out, re.MULTILINE)
    assert re.search(r'^behaviour=diverge-\w+: diverged: diverged by step 7', out, re.MULTILINE)
    assert re.search(r'^behaviour=killed\w+-\w+: resumes from step 30 on ', out, re.MULTILINE)
    assert re.search(r'^behaviour=killed\w+-\w+: interrupted: ended by SIGKILL$', out, re.MULTILINE)
    assert re.search(
        r'^behaviour=crash-\w+: gave up after 3 attempts without progress past step 0',
        out,
        re.MULTILINE,
    )
    # The lines of each attempt are shown once.
    assert out.count('    RuntimeError: attempt 2 failed') == 1
    assert re.search(r'^behaviour=finish +finished +100/100 +5.0 +0.01', out, re.MULTILINE)


def test_runs_have_the_cores_and_the_environment_of_their_slot(ended):
    folder, _, _ = ended
    seen = set()
    for name in ENDS:
        for line in starts(folder, name):
            place = line['environment']['PLACE']
            seen.add(place)
            assert line['cores'] == ([0] if place == '1' else sorted(os.sched_getaffinity(0)))
            assert not [key for key in line['environment'] if key.startswith('SLURM_')]
    assert seen == {'1', '2'}


def test_started_again_only_what_failed_is_run(ended, tmp_path):
    folder, _, _ = ended
    before = {name: len(starts(folder, name)) for name in ENDS}
    journal_before = (folder / 'journal.jsonl').read_bytes()
    code, out = sweep(folder, *ENDS, retries=0)
    assert code == 0
    more = {name: len(starts(folder, name)) - before[name] for name in ENDS}
    assert more == dict.fromkeys(ENDS, 0) | {'refuse': 1, 'crash': 1}
    assert 'gave up after 1 attempt without progress past step' in out
    assert (folder / 'journal.jsonl').read_bytes().startswith(journal_before)
    # A finished run whose config.json is missing is started again.
    (config_file,) = folder.glob('runs/behaviour=finish-*/config.json')
    config_file.unlink()
    sweep(folder, *ENDS, retries=0)
    assert len(starts(folder, 'finish')) == before['finish'] + 1


def is_alive(pid):
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().split(')')[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def running(folder, behaviour):
    """Process id of a run, once it trains."""
    assert wait_until(lambda: list(folder.glob('runs/*/checkpoints/20')))
    return starts(folder, behaviour)[-1]['pid']


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_sweep_lets_its_runs_save_and_goes_on_when_started_again(tmp_path, number):
    process = start(tmp_path, 'stop_when_asked', 'crash_once')
    pid = running(tmp_path, 'stop_when_asked')
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (75, '')
    assert 'stopping: ' in out and not is_alive(pid)
    stopped = summary(tmp_path)['stop_when_asked']
    assert (stopped['state'], stopped['step'], stopped['attempts']) == ('interrupted', 50, 1)
    code, out = sweep(tmp_path, 'stop_when_asked', 'crash_once')
    assert code == 0
    assert 'resumes from step 50' in out
    assert {r['state'] for r in summary(tmp_path).values()} == {'finished'}


def test_a_second_ctrl_c_kills(tmp_path):
    process = start(tmp_path, 'deaf')
    pid = running(tmp_path, 'deaf')
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert is_alive(pid) and process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 75 and not is_alive(pid)
    assert 'killing 1 runs' in out
    assert summary(tmp_path)['deaf']['state'] == 'interrupted'


@pytest.mark.skipif(sys.platform != 'linux', reason='other kernels do not tell a run of it')
def test_runs_save_and_end_when_the_sweep_is_killed(tmp_path):
    process = start(tmp_path, 'stop_when_asked')
    pid = running(tmp_path, 'stop_when_asked')
    process.kill()
    process.communicate()
    assert wait_until(lambda: not is_alive(pid))
    code, out = sweep(tmp_path, 'stop_when_asked')
    assert code == 0 and 'resumes from step 50' in out


def test_a_workdir_in_use_is_waited_for(tmp_path):
    sweep(tmp_path, 'finish')
    (workdir,) = tmp_path.glob('runs/*')
    (workdir / 'config.json').unlink()
    with WorkdirLock(workdir):
        assert f'process {os.getpid()} on ' in (lock_holder(workdir) or '')
        process = start(tmp_path, 'finish', 'crash_once')
        assert wait_until(lambda: 'finished' in str(summary(tmp_path).get('crash_once')))
        assert len(starts(tmp_path, 'finish')) == 1
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out.count('waiting for process ') == 1 and len(starts(tmp_path, 'finish')) == 2
    assert lock_holder(workdir) is None


def test_looking_for_a_holder_does_not_disturb_one_that_comes(tmp_path):
    assert lock_holder(tmp_path / 'nowhere') is None and not (tmp_path / 'nowhere').exists()
    with WorkdirLock(tmp_path):
        pass
    assert lock_holder(tmp_path) is None
    with open(tmp_path / '.lock') as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
