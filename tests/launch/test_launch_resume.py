"""Runs that are prolonged, stopped, killed or of an older version resume bit for bit."""

import contextlib
import dataclasses
import json
import random
import re
import shutil
import signal
from pathlib import Path

import pytest

import snjax
from configs import from_workdir, sngan_digits
from experiments.modes import going_on
from experiments.settings import keys
from helpers.launching import (
    CHECKPOINT_EVERY,
    DIGITS,
    NUM_STEPS,
    TINY,
    Launcher,
    assert_same_run,
    checkpoints,
    events,
    logged_step,
    metrics,
    printed,
    scores,
    state,
    wait,
)
from helpers.tensorboard_server import hparams_rows, serve, wait_for
from helpers.waiting import wait_until
from snjax.runs.config_file import compare_config


@pytest.fixture(scope='module')
def prolonged(launcher, finished_run, tmp_path_factory):
    """Workdir and outcome of the shared run that went on for ten steps, started in its folder."""
    where = tmp_path_factory.mktemp('prolonged')
    workdir = finished_run.copy(where / 'runs' / 'sngan_digits')
    more = [f'--config.num_steps={NUM_STEPS + 10}', '--config.log.every=5', '--profile=2']
    # Its rate would fall from step 1600 on.
    more += ['--config.optimizer.decay_end=9000', '--config.optimizer.ema_decay=0.995']
    outcome = launcher.run(*TINY, *more, cwd=where)
    assert outcome.code == 0, outcome.stderr
    return workdir, outcome


def test_a_run_in_any_folder_finds_the_workdir_that_is_named_after_its_config(prolonged):
    _, outcome = prolonged
    assert 'workdir runs/sngan_digits\n' in outcome.stdout
    assert f'resuming from step {NUM_STEPS}\n' in outcome.stdout


def test_profile_leaves_a_trace_beside_the_logs(prolonged):
    workdir, outcome = prolonged
    [trace] = (workdir / 'plugins' / 'profile').iterdir()
    assert list(trace.glob('*.xplane.pb'))
    assert f'trace        {trace.relative_to(workdir.parents[1])} ' in outcome.stdout


def test_harmless_keys_may_change_and_the_run_goes_on(prolonged, finished_run):
    workdir, outcome = prolonged
    lines = metrics(finished_run.workdir)
    assert f'trained to step {NUM_STEPS + 10} in ' in outcome.stdout
    assert checkpoints(workdir)[-1] == NUM_STEPS + 10
    now = metrics(workdir)
    assert now[: len(lines)] == lines
    trained = [line['step'] for line in now[len(lines) :] if 'train/dis_loss' in line]
    assert trained == [NUM_STEPS + 5, NUM_STEPS + 10]
    assert json.loads((workdir / 'config.json').read_text())['num_steps'] == NUM_STEPS + 10
    assert scores(workdir)['manifest']['step'] == NUM_STEPS + 10
    with serve(workdir) as url:
        (row,) = wait_for(lambda: hparams_rows(url), bool).values()
    assert row['num_steps'] == NUM_STEPS + 10
    assert 'log.every' not in row and row['optimizer.decay_end'] == 9000
    assert f'optimizer.decay_end was 3200 and is 9000 from step {NUM_STEPS} on\n' in outcome.stdout


def test_a_new_run_begins_with_a_checkpoint_of_another_and_records_it(
    launcher, finished_run, tmp_path
):
    origin, workdir = finished_run.workdir, tmp_path / 'new'
    begin = NUM_STEPS - CHECKPOINT_EVERY
    flags = [f'--init_from={origin}@{begin}', f'--workdir={workdir}', '--config.optimizer.lr=1e-3']
    flags += ['--config.eval.extractor=', '--config.eval.every=0', '--config.log.every=10']
    wrong = launcher.run(*flags, '--config.model.gen_width=8')
    assert wrong.code == 2 and f'{begin} cannot be used: ' in wrong.stderr.splitlines()[-1]
    assert wrong.stderr.endswith('; --config.transfer.take=weights takes the weights that fit\n')
    assert not workdir.exists()
    outcome = launcher.run(*flags)
    assert outcome.code == 0, outcome.stderr
    assert f'beginning with step {begin} of {origin}\n' in outcome.stdout
    assert checkpoints(workdir) == [begin, NUM_STEPS]
    config = json.loads((workdir / 'config.json').read_text())
    assert config['init_from'] == f'{origin}@{begin}' and config['optimizer']['lr'] == 1e-3
    (before, first), (_, same) = state(workdir, begin), state(origin, begin)
    assert before == begin and all((first[k] == same[k]).all() for k in same)
    (_, last), (_, other) = state(workdir), state(origin)
    assert any((last[k] != other[k]).any() for k in other if 'params' in k)
    assert metrics(workdir)[-1]['step'] == NUM_STEPS
    assert {step for tag, step, _ in events(workdir) if tag == 'samples'} == {begin, NUM_STEPS}


def test_a_new_run_is_fine_tuned_from_the_weights_of_another(launcher, finished_run, tmp_path):
    origin, workdir = finished_run.workdir, tmp_path / 'tuned'
    flags = [f'--init_from={origin}', f'--workdir={workdir}', '--config.transfer.take=weights']
    flags += ['--config.transfer.frozen=1', f'--config.num_steps={CHECKPOINT_EVERY}']
    flags += ['--config.eval.extractor=', '--config.eval.every=0', '--config.log.every=10']
    outcome = launcher.run(*flags)
    assert outcome.code == 0, outcome.stderr
    assert f'beginning with weights of step {NUM_STEPS} of {origin}\n' in outcome.stdout
    assert 'arrays of weights and batch statistics taken, 0 fresh\n' in outcome.stdout
    assert checkpoints(workdir) == [0, CHECKPOINT_EVERY]
    (_, first), (_, last), (_, old) = state(workdir, 0), state(workdir), state(origin)
    for path in old:
        if path.startswith(('gen/params/', 'dis/params/')):
            assert (first[path] == old[path]).all(), path
            assert (last[path] == first[path]).all() == path.startswith('dis/params/conv1/'), path
    # A third run has its config of the second, but begins with all of its state unless told.
    third = launcher.run(f'--init_from={workdir}', f'--workdir={tmp_path / "third"}')
    assert third.code == 2, third.stdout
    assert 'frozen blocks need --config.transfer.take=weights' in third.stderr.splitlines()[-1]


def test_the_origin_of_a_new_run_is_a_checkpoint_that_is_there(finished_run, tmp_path):
    origin, last = finished_run.workdir, NUM_STEPS - 2 * CHECKPOINT_EVERY
    assert going_on.resolve(f'{origin}@{last}', tmp_path) == f'{origin}@{last}'
    assert going_on.resolve(str(origin), tmp_path) == f'{origin}@{NUM_STEPS}'
    # The origin has advanced since the new run began.
    (tmp_path / 'config.json').write_text(json.dumps({'init_from': f'{origin}@{last}'}))
    assert going_on.resolve(str(origin), tmp_path) == f'{origin}@{last}'
    for name, message in [
        (f'{origin}@7', 'its checkpoints are of steps'),
        (tmp_path / 'none', 'holds no run'),
        (tmp_path, 'is the --workdir itself'),
    ]:
        with pytest.raises(ValueError, match=message):
            going_on.resolve(str(name), tmp_path)


def test_a_run_whose_steps_are_done_or_do_nothing_says_so():
    config = {'num_steps': 100, 'optimizer': {'decay_end': 0}}
    assert going_on.notes(config, 40, Path('x')) == []
    (line,) = going_on.notes(config, 100, Path('x'))
    assert line == 'x has done all of its 100 steps: a larger --config.num_steps trains on'
    (line,) = going_on.notes(config | {'optimizer': {'decay_end': 90}}, 40, Path('x'))
    assert line.startswith('the learning rate is 0 from step 90 on (optimizer.decay_end), where')
    # More steps of the same run would change no weight, so the first line does not propose them.
    done, frozen = going_on.notes({'num_steps': 90, 'optimizer': {'decay_end': 90}}, 90, Path('x'))
    assert done == 'x has done all of its 90 steps'
    assert frozen == line


def test_what_shortens_a_run_can_be_smaller():
    config = {
        'method': 'gan',
        'num_steps': 100,
        'n_dis': 5,
        'model': {'gen_width': 16, 'dis_width': 32},
        'data': {'image_size': 48},
    }
    line = going_on.shorter(config)
    assert '--config.num_steps (now 100) and --config.n_dis (now 5), which count in' in line
    line = going_on.shorter(config | {'n_dis': 1})
    assert 'n_dis' not in line and '--config.num_steps (now 100), which counts in' in line


def as_version_0_1_0(workdir, num_seeds):
    """Gives a workdir the config.json of a version with other keys; returns its present config."""
    path = workdir / 'config.json'
    config = json.loads(path.read_text())
    older = json.loads(path.read_text()) | {'num_seeds': num_seeds, 'members': {'lr': ''}}
    del older['penalty']['r2'], older['data']['workers']
    path.write_text(json.dumps(older))
    return config


def test_a_run_of_an_older_version_resumes_with_other_keys_at_their_defaults(
    finished_run, tmp_path
):
    workdir = finished_run.copy(tmp_path / 'run')
    config = as_version_0_1_0(workdir, num_seeds=1)
    differences = {key: new for key, _, new in compare_config(workdir, config, keys.computed)}
    assert set(differences) == {'num_seeds', 'members.lr', 'penalty.r2', 'data.workers'}
    assert from_workdir.get_config(str(workdir)).penalty.r2 == 0
    config['penalty']['r2'] = 0.1
    with pytest.raises(ValueError, match=r'penalty\.r2: 0\.0 \(workdir\) != 0\.1 \(now\)'):
        compare_config(workdir, config, keys.computed)


def test_several_runs_in_one_program_of_an_older_version_are_refused_in_one_line(
    finished_run, tmp_path
):
    workdir = finished_run.copy(tmp_path / 'run')
    config = as_version_0_1_0(workdir, num_seeds=2)
    finished_run.copy(workdir / 'seed=0')  # each of its runs is an ordinary one
    shutil.rmtree(workdir / 'checkpoints')
    with pytest.raises(
        ValueError, match=r'cannot be resumed: num_seeds was removed in 0\.2, .* with 0\.1$'
    ):
        compare_config(workdir, config, keys.computed)
    with pytest.raises(FileNotFoundError, match=r'^no checkpoint in .*/run/checkpoints$'):
        snjax.load(workdir)
    assert snjax.load(workdir / 'seed=0').step == NUM_STEPS


def test_sigterm_saves_and_exits_75_and_the_next_start_ends_as_if_nothing_had_been(
    launcher,
    finished_run,
    tmp_path,
):
    workdir = tmp_path / 'run'
    process = launcher.start(*TINY, f'--workdir={workdir}')
    assert wait_until(lambda: logged_step(workdir) >= 13, process)
    process.send_signal(signal.SIGTERM)
    outcome = wait(process)
    assert outcome.code == 75
    assert 'Traceback' not in outcome.stderr
    found = re.fullmatch(
        rf'launch.py: .*saved at step (\d+) of {NUM_STEPS}; the same command goes on',
        outcome.stderr.splitlines()[-1],
    )
    assert found, outcome.stderr
    step = int(found[1])
    assert 13 <= step < NUM_STEPS
    assert checkpoints(workdir)[-1] == step
    assert state(workdir)[1]['step'] == step
    assert not (workdir / 'scores.json').exists()

    outcome = launcher.train(workdir)
    assert f'resuming from step {step}\n' in outcome.stdout
    assert_same_run(workdir, finished_run.workdir)


def unfinished_saves(workdir: Path) -> set[tuple[str, int]]:
    """Names and times of checkpoints that are being written or were left unfinished by a kill."""
    found = set()
    for path in (workdir / 'checkpoints').glob('*.orbax-checkpoint-tmp*'):
        with contextlib.suppress(FileNotFoundError):  # committed since
            found.add((path.name, path.stat().st_ctime_ns))
    return found


def kill(launcher: Launcher, flags, workdir: Path, moment) -> int:
    """Starts a run, kills it once it trains and `moment()` is true; returns the step it started
    from.
    """
    process = launcher.start(*flags, f'--workdir={workdir}')
    trains = wait_until(lambda: 'compiled the training step' in printed(process), process)
    came = wait_until(moment, process, interval=0.001)
    process.send_signal(signal.SIGKILL)
    outcome = wait(process)
    assert trains and came and outcome.code == -signal.SIGKILL, outcome
    return resumed_from(outcome)


def resumed_from(outcome) -> int:
    found = re.search(r'^resuming from step (\d+)$', outcome.stdout, re.MULTILINE)
    return int(found[1]) if found else 0


def kill_and_resume(launcher, flags, workdir, num_steps, second, num_random):
    """Kills a run at random moments after its checkpoint of step `second`, and once during a save.

    Returns:
        The steps that all starts but the first resumed from.
    """
    starts = []
    kills = [*['at a random moment'] * num_random, 'while it saves']
    random.shuffle(kills)
    for i, how in enumerate(kills):  # which grows below
        reached = max(second, logged_step(workdir))
        # Leaves room for those to come, so that each finds a run that is not over.
        target = random.randint(
            reached + 1, reached + (num_steps - reached) // (len(kills) - i + 1)
        )
        leftovers = unfinished_saves(workdir)

        def due(how=how, target=target, leftovers=leftovers):
            if second not in checkpoints(workdir) and not starts:
                return False
            if how == 'while it saves':
                return logged_step(workdir) > second and unfinished_saves(workdir) - leftovers
            return logged_step(workdir) >= target

        starts.append(kill(launcher, flags, workdir, due))
        print(f'kill {i} {how} ({target}): from {starts[-1]} to {logged_step(workdir)}')
        if how == 'while it saves' and not unfinished_saves(workdir) - leftovers:
            kills.append(how)  # the save was over before the kill came: again
    outcome = launcher.run(*flags, f'--workdir={workdir}')
    assert outcome.code == 0, outcome.stderr
    return [*starts[1:], resumed_from(outcome)]


def test_a_run_killed_at_any_moment_ends_as_if_nothing_had_been(launcher, finished_run, tmp_path):
    workdir, second = tmp_path / 'run', 2 * CHECKPOINT_EVERY
    starts = kill_and_resume(launcher, TINY, workdir, NUM_STEPS, second, num_random=1)
    assert min(starts) >= second, starts
    assert_same_run(workdir, finished_run.workdir)


@pytest.mark.slow
def test_the_demo_killed_five_times_ends_as_if_nothing_had_been(launcher, tmp_path):
    launcher = dataclasses.replace(launcher, xla_flags='')  # as users compile it
    undisturbed, workdir = tmp_path / 'undisturbed', tmp_path / 'killed'
    assert launcher.run(DIGITS, f'--workdir={undisturbed}').code == 0
    config = sngan_digits.get_config()
    second = 2 * config.checkpoint.every
    starts = kill_and_resume(launcher, [DIGITS], workdir, config.num_steps, second, num_random=4)
    assert min(starts) >= second, starts
    assert_same_run(workdir, undisturbed)
