"""Sweeps on SLURM itself: preemption, lost nodes and time limits.

Tests that stand-ins can run as well are in test_sweeps_slurm.py. All tests here are skipped where
SLURM is not installed.
"""

import json
import re
import signal

import pytest
from test_sweeps_slurm import runs_of, starts, trains

from helpers import launching
from helpers.launching import TINY, assert_same_run, checkpoints, logged_step
from helpers.waiting import wait_until

pytest.importorskip('submitit')
pytestmark = pytest.mark.slow


def numbers(out):
    return re.findall(r'queued as (\S+)', out)


def test_a_sweep_survives_what_happens_on_a_cluster(launcher, slurm_itself, finished_run, tmp_path):
    """Its jobs are preempted, its own process is killed, and then stopped by Ctrl-C."""
    sweep, folder = tmp_path / 's.py', tmp_path / 'x'
    sweep.write_text("def get_sweep(h):\n    return h.product({'seed': range(4)})\n")
    flags = ['--mode=sweep', *TINY, f'--sweep={sweep}', '--engine=slurm', f'--workdir={folder}']
    flags += ['--slurm=array_parallelism=2']

    def start():
        process = launcher.start(*flags, **slurm_itself.environment)
        slurm_itself.processes.append(process)
        return process

    def until(process, condition):
        assert wait_until(condition, process), launching.wait(process)

    def run(seed):
        return next(iter(folder.glob(f'runs/seed={seed}-*')), folder)

    def states():
        found = json.loads((folder / 'sweep.json').read_text())['runs']
        return {run['overrides']['seed']: run['state'] for run in found}

    def said(seed, what):
        return (run(seed) / 'output.log').read_text().count(what)

    process = start()
    until(process, lambda: logged_step(run(0)) >= 20)
    urgent = ['--partition=urgent', '--nodes=2', '--exclusive', '--output=/dev/null', '--wrap=true']
    slurm_itself.call('sbatch', *urgent)
    until(process, lambda: said(0, 'saved at step') and states()[0] == 'queued')
    saved = checkpoints(run(0))[-1]
    assert 20 <= saved < launching.NUM_STEPS
    process.kill()
    assert numbers(launching.wait(process).stdout)[:4] == ['1_0', '1_1', '1_2', '1_3']

    process = start()
    until(process, lambda: logged_step(run(0)) > saved + 10)
    process.send_signal(signal.SIGINT)
    outcome = launching.wait(process)
    assert outcome.code == 75, outcome
    assert set(numbers(outcome.stdout)) <= {'1_0', '1_1', '1_2', '1_3'}
    assert states()[0] == 'interrupted'
    assert set(states().values()) <= {'interrupted', 'pending', 'finished'}
    assert slurm_itself.call('squeue', '--noheader') == ''
    assert saved < checkpoints(run(0))[-1] < launching.NUM_STEPS

    outcome = launching.wait(start())
    assert outcome.code == 0, outcome
    assert states() == dict.fromkeys(range(4), 'finished')
    assert '1_0' not in numbers(outcome.stdout)
    assert said(0, 'saved at step') == said(0, 'resuming from step') == 2
    assert_same_run(run(0), finished_run.workdir)


def test_a_run_goes_on_another_node_when_its_own_is_lost(slurm_itself, tmp_path):
    process = slurm_itself.start(tmp_path, 'stop_when_asked')
    assert wait_until(lambda: trains(tmp_path))
    slurm_itself.lose(slurm_itself.nodes[0])
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert set(numbers(out)) == {'1'}  # SLURM itself requeued the job
    nodes = [line['environment']['SLURMD_NODENAME'] for line in starts(tmp_path, 'stop_when_asked')]
    assert nodes == list(slurm_itself.nodes)
    run = runs_of(tmp_path)['stop_when_asked']
    assert (run['state'], run['step']) == (
        'finished',
        20,
    )  # nothing was saved at the end of the first


def test_a_run_saves_before_its_time_is_up(slurm_itself, tmp_path):
    """SLURM's clock is coarse: the signal may come up to a minute early."""
    code, out = slurm_itself.sweep(tmp_path, 'stop_when_asked', 'time=1,signal_delay_s=30')
    assert code == 0, out
    assert set(numbers(out)) == {'1'}
    assert len(starts(tmp_path, 'stop_when_asked')) == 2
    run = runs_of(tmp_path)['stop_when_asked']
    assert (run['state'], run['step']) == ('finished', 50)
