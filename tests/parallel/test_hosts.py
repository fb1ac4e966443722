"""Runs over several processes and hosts: the same results, and the end when one is lost."""

import re
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from helpers import hosts_worker, namespaces
from helpers.launching import (
    QUICKLY,
    ROOT,
    TINY,
    Launcher,
    assert_same_run,
    checkpoints,
    logged_step,
    metrics,
    reproducible,
    state,
    wait,
)
from helpers.waiting import wait_until

PEER_TIMEOUT = 12  # seconds
NUM_STEPS, EVERY = 60, 20
FLAGS = (
    *TINY,
    f'--config.num_steps={NUM_STEPS}',
    f'--config.checkpoint.every={EVERY}',
    '--config.steps_per_call=1',
    f'--config.sampling.every={NUM_STEPS}',
    '--config.log.histograms_every=0',
    f'--config.eval.every={EVERY}',
)
AGAIN = 'restart all processes to resume'


# ---- processes of one host


class Workers:
    """Processes of `hosts_worker.py`."""

    def __init__(self, folder, case, num=2):
        with socket.socket() as free:
            free.bind(('localhost', 0))
            address = f'localhost:{free.getsockname()[1]}'
        self._errors = [folder / f'{i}.err' for i in range(num)]
        self._outs = [folder / f'{i}.out' for i in range(num)]
        self.processes = []
        for i in range(num):
            with open(self._errors[i], 'w') as err, open(self._outs[i], 'w') as out:
                command = [sys.executable, hosts_worker.__file__, address, num, i, folder, case]
                self.processes.append(
                    subprocess.Popen(
                        [*map(str, command)],
                        stdout=out,
                        stderr=err,
                        env={'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', 'PATH': ''},
                    )
                )

    def wait_for(self, word, seconds=120):
        """Waits until all processes have printed `word`."""
        deadline = time.monotonic() + seconds
        while not all(word in path.read_text() for path in self._outs):
            assert time.monotonic() < deadline and None in [p.poll() for p in self.processes]
            time.sleep(0.05)

    def end(self, process, seconds=60):
        """The exit code of a process, and the last line of its stderr in a list."""
        code = self.processes[process].wait(seconds)
        return code, self._errors[process].read_text().strip().splitlines()[-1:]

    def out(self, process):
        return self._outs[process].read_text()

    def kill(self):
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def workers(tmp_path):
    started = []

    def start(*arguments):
        started.append(Workers(tmp_path, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.mark.parametrize(
    ('case', 'num', 'victim'),
    [
        ('checkpoint', 2, 1),
        *(
            pytest.param(*values, marks=pytest.mark.slow)
            for values in [('collective', 2, 1), ('collective', 2, 0), ('checkpoint', 4, 3)]
        ),
    ],
)
def test_the_processes_that_wait_for_a_killed_one_end(workers, tmp_path, case, num, victim):
    """In a collective, or in Orbax's barrier after a checkpoint."""
    run = workers(case, num)
    run.wait_for('saved')
    time.sleep(1)
    run.processes[victim].kill()
    began = time.monotonic()
    for i in range(num):
        if i == victim:
            continue
        code, line = run.end(i)
        assert code == 75
        who = (
            rf'hosts_worker.py: process {victim} of {num} is gone \((no sign|nobody answers).*\): '
        )
        where = f'the newest checkpoint is of step 10 in {tmp_path}; {AGAIN}'
        assert re.fullmatch(who + re.escape(where), line[0])
    assert time.monotonic() - began < hosts_worker.SECONDS + 10


def test_a_process_that_fails_ends_the_others_with_its_code(workers):
    run = workers('error')
    code, line = run.end(1)
    assert (code, line) == (1, ['OSError: the disk of this host is full'])
    code, line = run.end(0)
    assert (
        code == 1 and 'process 1 of 2 ended with exit code 1 (its own output says why): ' in line[0]
    )


def test_processes_that_were_started_in_different_ways_say_so_and_end_with_2(workers):
    run = workers('alike', 2)
    for i in (0, 1):
        code, line = run.end(i)
        assert code == 2
        expected = 'process 1 was started in another way than process 0 (lr: 0.0 != 0.1): start all'
        assert expected in line[-1]


@pytest.mark.slow
def test_a_busy_process_is_not_taken_for_lost(workers):
    """Not even if its Python code is blocked for twice the timeout."""
    run = workers('busy')
    for i in (0, 1):
        assert run.end(i)[0] == 0
        assert run.out(i).endswith('2 processes\n')


# ---- two hosts


@pytest.fixture(scope='module')
def hosts():
    if reason := namespaces.why_not():
        pytest.skip(reason)
    with namespaces.two_hosts() as both:
        yield both


@pytest.fixture(scope='module')
def start_both(launcher, hosts):
    """Starts a run of 2 processes of 2 devices, one on each host."""
    started = []

    def start(workdir, *flags, only=(0, 1), launcher=launcher):
        processes = []
        for i in only:
            where = (
                '--distributed=explicit',
                f'--coordinator_address={hosts[0].address}:4711',
                '--num_processes=2',
                f'--process_id={i}',
                f'--peer_timeout={PEER_TIMEOUT}',
                f'--workdir={workdir}',
            )
            processes.append(
                launcher.start(*FLAGS, *where, *flags, before=hosts[i].command, **devices(2))
            )
        started.extend(processes)
        return processes

    yield start
    for process in started:
        process.kill()


def devices(num):
    flags = f'{QUICKLY} --xla_force_host_platform_device_count={num}'
    return {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': flags}


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory, start_both):
    workdir = tmp_path_factory.mktemp('hosts') / 'undisturbed'
    for process in start_both(workdir):
        outcome = wait(process)
        assert outcome.code == 0, outcome.stderr
    return workdir


@pytest.mark.slow
def test_two_hosts_of_two_devices_are_one_of_four(launcher: Launcher, start_both, tmp_path):
    """Equal weights, statistics, spectral vectors, EMA and logs, up to the order of sums.

    With plain gradient descent, because Adam turns the rounding error of a zero gradient (a bias
    before batch norm) into a full step.
    """
    short = ('--config.num_steps=20', '--config.optimizer.name=sgd', '--config.optimizer.lr=0.05')
    short += ('--config.sampling.every=20', '--config.eval.every=0', '--config.eval.extractor=')
    one, two = tmp_path / 'one', tmp_path / 'two'
    outcomes = list(map(wait, start_both(two, *short)))
    outcomes.append(launcher.run(*FLAGS, *short, f'--workdir={one}', **devices(4)))
    assert [outcome.code for outcome in outcomes] == [0, 0, 0], outcomes
    (step, a), (other_step, b) = state(one), state(two)
    assert step == other_step == 20 and a.keys() == b.keys()
    for group in ('gen/params', 'dis/params', 'batch_stats', 'spectral', 'ema/params'):
        names = [name for name in a if group in name]
        assert names and difference(a, b, names) < 1e-4, group
    lines = [list(map(reproducible, metrics(workdir))) for workdir in (one, two)]
    assert len(lines[0]) == len(lines[1]) == 20
    for ours, theirs in zip(*lines, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)


def difference(a, b, names):
    """Relative L2 distance of all these leaves together."""
    away = sum(np.sum((a[name].astype(np.float64) - b[name]) ** 2) for name in names)
    return (away / sum(np.sum(a[name].astype(np.float64) ** 2) for name in names)) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize('how', ['kill 0', 'kill 1', 'unplug'])
def test_a_lost_host_ends_the_run_and_a_restart_resumes_it(
    start_both, hosts, undisturbed, tmp_path, how
):
    workdir = tmp_path / 'run'
    processes = start_both(workdir)
    # Between two checkpoints, so that steps have to be repeated.
    assert wait_until(lambda: logged_step(workdir) >= EVERY + 5, processes[0])
    began = time.monotonic()
    if how == 'unplug':
        hosts[1].unplug()
        left = {0: 1, 1: 0}
    else:
        victim = int(how[-1])
        processes[victim].kill()
        left = {1 - victim: victim}
    try:
        for i, gone in left.items():
            outcome = wait(processes[i], 60)
            assert outcome.code == 75, outcome.stderr
            last = outcome.stderr.strip().splitlines()[-1]
            who = (
                rf'launch.py: process {gone} of 2 is gone \((no sign for|nobody answers at) .*\): '
            )
            where = f'the newest checkpoint is of step {EVERY} in {workdir}; {AGAIN}'
            assert re.fullmatch(who + re.escape(where), last)
        assert time.monotonic() - began < PEER_TIMEOUT + 10
    finally:
        hosts[1].plug_in()
    assert checkpoints(workdir) == [EVERY]

    for process in start_both(workdir):
        outcome = wait(process)
        assert outcome.code == 0, outcome.stderr
    assert_same_run(workdir, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize('which', [0, 1])
def test_a_process_ends_if_its_peer_never_joins(start_both, tmp_path, which):
    (process,) = start_both(tmp_path / 'run', '--join_timeout=5', only=(which,))
    outcome = wait(process, 60)
    assert outcome.code == 2
    last = outcome.stderr.strip().splitlines()[-1]
    assert 'not all 2 processes met at 10.77.0.1:4711 within 5 s: start each of them' in last
