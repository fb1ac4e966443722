"""snjax/sweeps/slurm.py with submitit and stand-ins for SLURM's programs; the runs end at once.

The slow ones are the same on SLURM itself, and real runs on both.
"""

import json
import os
import pathlib
import re
import signal

import pytest

from helpers import launching
from helpers.launching import DIGITS, TINY, assert_same_run, logged_step
from helpers.waiting import wait_until
from snjax.sweeps import slurm
from snjax.sweeps.slurm_task import environment

pytest.importorskip('submitit')


def runs_of(folder):
    found = json.loads((folder / 'sweep.json').read_text())['runs']
    return {run['overrides']['behaviour']: run for run in found}


def starts(folder, behaviour):
    path = folder / runs_of(folder)[behaviour]['workdir'] / 'started.jsonl'
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def trains(folder):
    return list(folder.glob('runs/*/checkpoints/20'))


def test_every_end_has_its_consequence(cluster, tmp_path):
    code, out = cluster.sweep(tmp_path, 'finish,diverge,crash_once')
    assert code == 0, out
    found = {name: (run['state'], run['attempts']) for name, run in runs_of(tmp_path).items()}
    assert found == {
        'finish': ('finished', 1),
        'diverge': ('diverged', 1),
        'crash_once': ('finished', 2),
    }
    # One array, and a separate job for the second attempt.
    numbers = re.findall(r'queued as (\S+)', out)
    assert numbers[:3] == ['1_0', '1_1', '1_2'] and len(numbers) == 4 and '_' not in numbers[3]
    for name in found:
        for line in starts(tmp_path, name):
            strangers = ('SLURM_', 'SUBMITIT_')
            own = {k for k in line['environment'] if k.startswith(strangers)}
            assert own <= {'SLURM_STANDIN'}


@pytest.mark.parametrize('asked', ['scancel --signal=USR2 1_0', 'scontrol requeue 1_0'])
@pytest.mark.parametrize('watched', [True, False])
def test_a_run_whose_node_is_wanted_saves_and_goes_back_to_the_queue(
    cluster, tmp_path, watched, asked
):
    """With the sweep running, or killed and started again: it then finds the job in the queue.

    With a signal ahead, after which the job requeues itself, or requeued by SLURM at once.
    """
    process = cluster.start(tmp_path, 'stop_when_asked,crash_once')
    assert wait_until(lambda: trains(tmp_path))
    if not watched:
        process.kill()
        process.communicate()
    cluster.call(*asked.split())
    assert wait_until(lambda: len(starts(tmp_path, 'stop_when_asked')) == 2)
    if watched:
        out, _ = process.communicate(timeout=120)
        code, attempts = process.returncode, 1
    else:
        code, out = cluster.sweep(tmp_path, 'stop_when_asked,crash_once')
        assert 'queued as 1_0' in out  # found, not submitted again
        attempts = 2
    assert code == 0, out
    run = runs_of(tmp_path)['stop_when_asked']
    assert (run['state'], run['step']) == ('finished', 50), out
    assert run['attempts'] <= attempts, out
    assert len(starts(tmp_path, 'stop_when_asked')) == 2


def test_a_stopped_sweep_cancels_its_jobs_and_goes_on_when_started_again(cluster, tmp_path):
    process = cluster.start(tmp_path, 'stop_when_asked,finish')
    assert wait_until(
        lambda: trains(tmp_path) and runs_of(tmp_path)['finish']['state'] == 'finished'
    )
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 75, out
    assert runs_of(tmp_path)['stop_when_asked']['step'] == 50
    code, out = cluster.sweep(tmp_path, 'stop_when_asked,finish')
    assert code == 0, out
    (number,) = re.findall(r'queued as (\S+)', out)
    assert number not in ('1_0', '1_1')
    assert {run['state'] for run in runs_of(tmp_path).values()} == {'finished'}


@pytest.mark.slow  # submitit waits for a result that never comes
def test_a_job_that_slurm_loses_is_a_run_that_was_killed(cluster, tmp_path):
    process = cluster.start(tmp_path, 'stop_when_asked')
    assert wait_until(lambda: trains(tmp_path))
    for line in starts(tmp_path, 'stop_when_asked'):
        parents = pathlib.Path(f'/proc/{line["pid"]}/stat').read_text().rpartition(')')[2].split()
        os.kill(int(parents[1]), signal.SIGKILL)  # submitit's process: no result is written
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert 'interrupted: SLURM: FAILED' in out
    assert runs_of(tmp_path)['stop_when_asked']['state'] == 'finished'


def test_several_tasks_keep_what_they_find_each_other_by(cluster, tmp_path):
    code, out = cluster.sweep(tmp_path, 'finish', 'nodes=2')
    assert code == 0, out
    found = sorted(
        (line['environment']['SLURM_PROCID'], line['environment']['SLURM_NTASKS'])
        for line in starts(tmp_path, 'finish')
    )
    assert found == [('0', '2'), ('1', '2')]
    workdir = tmp_path / runs_of(tmp_path)['finish']['workdir']
    assert {path.name for path in workdir.glob('output*')} == {'output.log', 'output.1.log'}


def test_one_process_does_not_look_for_others():
    given = {'SLURM_JOB_ID': '7', 'SUBMITIT_EXECUTOR': 'slurm', 'HOME': '/h'}
    assert environment(given, is_single=True) == {'HOME': '/h'}
    assert environment(given, is_single=False) == {'HOME': '/h', 'SLURM_JOB_ID': '7'}


def test_options_are_slurms():
    parsed = slurm.parse('partition=gpu,gpus-per-node=1,time=600')
    assert parsed == {'partition': 'gpu', 'gpus_per_node': 1, 'time': 600}
    with pytest.raises(ValueError, match="'gpu' is not KEY=VALUE"):
        slurm.parse('gpu')


def test_what_slurm_does_not_take_is_one_line(launcher, cluster, tmp_path):
    sweep = tmp_path / 's.py'
    sweep.write_text('def get_sweep(h):\n    return [{}]\n')
    flags = ['--mode=sweep', DIGITS, f'--sweep={sweep}', '--engine=slurm']
    flags += [f'--workdir={tmp_path / "x"}']
    outcome = launcher.run(*flags, '--slurm=partitoin=gpu', **cluster.environment)
    line = outcome.error_line()
    assert outcome.code == 2 and 'partitoin' in line and 'partition, ' in line
    outcome = launcher.run(*flags, '--slurm=partition=nope', **cluster.environment)
    assert outcome.code == 2 and 'sbatch: invalid partition specified: nope' in outcome.error_line()
    outcome = launcher.run(*flags, PATH=str(tmp_path))
    assert outcome.code == 2 and 'srun' in outcome.error_line()


def test_a_controller_that_does_not_answer_is_one_line(launcher, stand_ins, tmp_path):
    sweep = tmp_path / 's.py'
    sweep.write_text('def get_sweep(h):\n    return [{}]\n')
    flags = ['--mode=sweep', DIGITS, f'--sweep={sweep}', '--engine=slurm']
    stand_ins.down.touch()
    outcome = launcher.run(*flags, f'--workdir={tmp_path / "x"}', **stand_ins.environment)
    assert outcome.code == 2 and 'Unable to contact slurm controller' in outcome.error_line()


@pytest.mark.slow  # waits ten seconds before it submits again
def test_a_job_that_is_not_taken_now_is_submitted_later(stand_ins, tmp_path):
    stand_ins.limit.write_text('1')
    process = stand_ins.start(tmp_path, 'crash_once,finish')
    said = []
    for line in process.stdout:
        said.append(line)
        if 'trying again' in line:
            stand_ins.limit.unlink()
    assert process.wait() == 0, said
    assert 'sbatch: Job violates accounting/QOS policy; trying again in 10 s\n' in said
    assert {run['state'] for run in runs_of(tmp_path).values()} == {'finished'}


@pytest.mark.slow
def test_tasks_of_a_job_are_one_run(launcher, cluster, tmp_path):
    sweep = tmp_path / 's.py'
    sweep.write_text("def get_sweep(h):\n    return [{'num_steps': 20, 'eval.every': 0}]\n")
    tiny = [flag for flag in TINY if not re.match(r'--config\.(num_steps|eval\.every)=', flag)]
    flags = ['--mode=sweep', *tiny, f'--sweep={sweep}', f'--workdir={tmp_path / "x"}']
    tasks = ['--engine=slurm', '--slurm=ntasks_per_node=2']
    outcome = launcher.run(*flags, *tasks, **cluster.environment)
    assert outcome.code == 0, outcome
    (log,) = tmp_path.glob('x/runs/*/output.log')
    assert 'sngan on 2 cpu devices in 2 processes (cpu)' in log.read_text()
    assert 'trained to step 20' in log.read_text()


@pytest.mark.slow
def test_a_preempted_run_ends_as_if_nothing_had_been(launcher, stand_ins, finished_run, tmp_path):
    sweep = tmp_path / 's.py'
    sweep.write_text("def get_sweep(h):\n    return h.product({'seed': [0]})\n")
    folder = tmp_path / 'x'
    flags = ['--mode=sweep', *TINY, f'--sweep={sweep}', '--engine=slurm', f'--workdir={folder}']
    process = launcher.start(*flags, **stand_ins.environment)
    at_20 = wait_until(lambda: any(logged_step(w) >= 20 for w in folder.glob('runs/*')), process)
    assert at_20, launching.wait(process)
    stand_ins.call('scancel', '--signal=USR2', '1')
    outcome = launching.wait(process)
    assert outcome.code == 0, outcome
    (workdir,) = folder.glob('runs/*')
    assert 'resuming from step' in (workdir / 'output.log').read_text()
    assert_same_run(workdir, finished_run.workdir)
