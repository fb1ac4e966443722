"""Several runs in one program: each is the run that it would be alone, whatever becomes of the others."""

import copy
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from test_gan_config import changed
from training.test_train import OPTIONS, Walk, checkpoints, grids, values

from experiments import members as configured
from experiments import settings
from helpers import launching, tiny_gan
from helpers.launching import TINY, assert_same_run, logged_step, wait, wait_until
from helpers.tiny_gan import images, step_of
from snjax import parallel
from snjax.objectives.losses import LOSSES
from snjax.runs.checkpoint import load_tree
from snjax.runs.resume import DIVERGED_NAME
from snjax.runs.run_logger import RunLogger
from snjax.training.loop import Diverged, Options, Trainer
from snjax.training.members import Members, stack, take

launcher = launching.launcher

SEEDS = (3, 4)


def assert_close(a, b, rtol, atol):
    a, b = map(jax.tree_util.tree_leaves_with_path, (a, b))
    for (path, x), (_, y) in zip(a, b, strict=True):
        np.testing.assert_allclose(y, x, rtol, atol, err_msg=jax.tree_util.keystr(path))


@pytest.fixture(scope='module')
def pixels():
    return np.random.default_rng(0).integers(0, 256, (19, 4, 4, 1), np.uint8)


def trainer(folders, pixels, method=None, seeds=SEEDS, say=lambda line: None, **changes):
    options = Options(**(OPTIONS | changes))
    records = [
        RunLogger(f, seed, {'seed': seed}, say) for f, seed in zip(folders, seeds, strict=True)
    ]
    method = method or Walk()
    method = method if len(folders) == 1 else Members(method, len(folders))
    return Trainer(method, options, pixels, np.zeros(len(pixels), np.int32), records, say)


@pytest.fixture(scope='module')
def alone(pixels, tmp_path_factory):
    """Finished runs of either seed."""
    folders = [tmp_path_factory.mktemp(f'alone{seed}') for seed in SEEDS]
    for folder, seed in zip(folders, SEEDS, strict=True):
        trainer([folder], pixels, seeds=[seed]).run()
    return folders


def assert_same_walks(folders, others):
    for a, b in zip(folders, others, strict=True):
        assert values(a) == values(b) and len(values(a)) == OPTIONS['num_steps']
        assert grids(a) == grids(b) and len(grids(a)) == 5
        assert checkpoints(a) == checkpoints(b)
        states = (jax.tree.leaves(load_tree(f / 'checkpoints')[1]) for f in (a, b))
        assert all(np.array_equal(x, y) for x, y in zip(*states, strict=True))


def test_members_are_runs_alone_bit_for_bit(alone, pixels, tmp_path):
    folders = [tmp_path / 'a', tmp_path / 'b']
    run = trainer(folders, pixels)
    run.run()
    assert_same_walks(folders, alone)
    assert values(folders[0]) != values(folders[1])
    assert int(run.state_of(1).step) == 20 and run.state_of(1).mean.shape == (4, 4, 1)


@pytest.mark.parametrize('more', ['checkpoint', 'damage'])
def test_they_go_on_from_the_newest_step_that_all_have(alone, pixels, tmp_path, more):
    """As a kill between two members' checkpoints leaves it, or one that cannot be read."""
    folders = [tmp_path / 'a', tmp_path / 'b']
    trainer(folders, pixels, num_steps=15).run()
    if more == 'checkpoint':
        shutil.rmtree(folders[1] / 'checkpoints' / '15')
    else:
        shutil.rmtree(folders[0] / 'checkpoints' / '15' / 'digest')
    said = []
    run = trainer(folders, pixels, say=said.append)
    assert run.start == 10 and 'resuming from step 10' in said
    run.run()
    if more == 'damage':
        shutil.rmtree(folders[0] / 'checkpoints' / '15.rejected')  # kept beside
    assert_same_walks(folders, alone)


def test_a_member_without_any_checkpoint_starts_all_anew(alone, pixels, tmp_path):
    folders = [tmp_path / 'a', tmp_path / 'b']
    trainer(folders, pixels, num_steps=5).run()
    shutil.rmtree(folders[1] / 'checkpoints')
    run = trainer(folders, pixels)
    assert run.start is None
    run.run()
    assert_same_walks(folders, alone)


def test_lost_checkpoints_of_a_member_are_told_and_the_others_stay(pixels, tmp_path):
    folders = [tmp_path / 'a', tmp_path / 'b']
    trainer(folders, pixels, num_steps=10).run()
    shutil.rmtree(folders[1] / 'checkpoints')
    with pytest.raises(ValueError, match=r'b has no checkpoint of a step that .*a has'):
        trainer(folders, pixels)
    assert checkpoints(folders[0]) == [5, 10]


def test_a_step_that_all_have_stays_until_all_have_the_next(pixels, tmp_path, monkeypatch):
    """Killed after one of them has saved, whatever `keep` says."""
    folders = [tmp_path / 'a', tmp_path / 'b']
    save = RunLogger.save

    def killed(self, step, state):
        if step == 15 and self.workdir == folders[1]:
            run.records[0].checkpoints.wait()
            raise KeyboardInterrupt
        save(self, step, state)

    run = trainer(folders, pixels, keep=1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunLogger, 'save', killed)
        run.run()
    assert checkpoints(folders[0])[-1] == 15 and checkpoints(folders[1])[-1] == 10
    assert trainer(folders, pixels, keep=1).start == 10


def test_keeping_no_checkpoint_is_refused_for_several_runs_too(pixels, tmp_path):
    with pytest.raises(ValueError, match=r'checkpoint\.keep is 0'):
        trainer([tmp_path / 'a', tmp_path / 'b'], pixels, keep=0)


def with_nan_from(method, numbers):
    method = copy.copy(method)
    method.nan_from = numbers['nan_from']
    return method


def test_one_that_diverges_leaves_the_others_alone(alone, pixels, tmp_path):
    folders = [tmp_path / 'a', tmp_path / 'b']
    method = Members(Walk(), 2, {'nan_from': np.array([12, 100])}, with_nan_from)
    said = []

    def start():
        records = [RunLogger(f, s, {}, said.append) for f, s in zip(folders, SEEDS, strict=True)]
        labels = np.zeros(len(pixels), np.int32)
        return Trainer(method, Options(**OPTIONS), pixels, labels, records, said.append)

    run = start()
    run.run()
    with pytest.raises(Diverged, match=r'a diverged by step 12: rec_loss = nan.*of step 10'):
        run.check_diverged()
    assert 'rec_loss = nan' in (folders[0] / DIVERGED_NAME).read_text()
    assert not (folders[1] / DIVERGED_NAME).exists()
    assert any(line.endswith('the others go on') for line in said)
    assert max(line['step'] for line in values(folders[0])) == 11
    assert checkpoints(folders[0])[-1] == 10
    assert_same_walks(folders[1:], alone[1:])
    again = start()  # the one is over, the other has nothing left to do
    assert again.start == 20 and list(again.over) == [0]
    again.run()
    assert_same_walks(folders[1:], alone[1:])


def test_one_that_diverged_is_tried_again_only_from_a_step_that_the_others_still_have(
    pixels, tmp_path
):
    folders = [tmp_path / 'a', tmp_path / 'b']
    trainer(folders, pixels, num_steps=5).run()
    shutil.copytree(folders[0] / 'checkpoints', tmp_path / 'early')
    trainer(folders, pixels, num_steps=20, keep=2).run()
    shutil.rmtree(folders[0] / 'checkpoints')
    (tmp_path / 'early').rename(folders[0] / 'checkpoints')
    with pytest.raises(ValueError, match=r'has no checkpoint of a step that .* has'):
        trainer(folders, pixels)
    assert checkpoints(folders[0]) == [5] and checkpoints(folders[1]) == [15, 20]


def test_when_all_diverge_it_ends(pixels, tmp_path):
    with pytest.raises(Diverged, match=r'a diverged by step 7.*b diverged by step 7'):
        trainer([tmp_path / 'a', tmp_path / 'b'], pixels, Walk(nan_from=7)).run()
    assert checkpoints(tmp_path / 'a') == [5]


# ---- of GANs, in both forms


GAMES = {
    'sngan': {'n_dis': 2, 'ema_decay': 0.5},
    'wgan_gp': {'loss': LOSSES['wasserstein'], 'penalties': {'gradient': 10.0}},
}


@pytest.mark.parametrize('form', ['written out', 'vmap'])
@pytest.mark.parametrize('game', GAMES)
def test_stacked_steps_are_steps(game, form, monkeypatch):
    """What accelerators run, `jax.vmap`, too."""
    if form == 'vmap':
        monkeypatch.setattr(parallel, 'each', lambda function, args, num: jax.vmap(function)(*args))
    gan = tiny_gan.make_gan(**GAMES[game])
    states = [tiny_gan.filled(gan, seed) for seed in (0, 1)]
    keys = [jax.random.key_data(jax.random.key(seed)) for seed in (5, 6)]
    image, step = images(gan.batches_per_step), step_of(gan)
    expected = [step(state, image, key) for state, key in zip(states, keys, strict=True)]

    def make_step(method):
        def run(state, data):
            key = jax.random.wrap_key_data(data['train_rng'])
            return method.train_step(state, {'image': data['image']}, key)

        return run

    run = Members(gan, 2).run(make_step)
    data = {'image': image, 'data_rng': np.stack(keys), 'train_rng': np.stack(keys)}
    found = tiny_gan.compiled(run)(stack(states), data)
    for i in (0, 1):
        got = jax.device_get(take(found, i, 2))
        if form == 'vmap':
            assert_close(expected[i], got, rtol=1e-4, atol=1e-5)
        else:
            assert_close(expected[i], got, rtol=0, atol=0)


def test_numbers_of_the_optimiser_are_those_of_configs():
    """Learning rate and betas, as arrays of the program, against runs that have them as constants."""
    config = changed(
        num_seeds=2, members__lr='1e-3,3e-4', members__beta1='0.5,0.0', optimizer__decay_start=1
    )
    runs = configured.members_of(config)
    assert [run.name for run in runs] == [
        'optimizer.lr=0.001,optimizer.beta1=0.5',
        'optimizer.lr=0.0003,optimizer.beta1=0.0',
    ]
    assert {run.config.seed for run in runs} == {config.seed}
    assert all(run.config.num_seeds == 1 and not run.config.members.lr for run in runs)
    method = configured.load(config, runs)
    grads = {'w': np.linspace(-1, 1, 5, dtype=np.float32)}

    def steps(method):
        opt_state, found = method.optimizer.init(grads), []
        for step in range(3):
            updates, opt_state = method.optimizer.update(grads, opt_state)
            found.append(method.learning_rate(np.int32(step)) * updates['w'])
        return found

    numbers = {name: np.asarray(x, np.float32) for name, x in method.numbers.items()}
    together = jax.jit(jax.vmap(lambda own: steps(method.with_numbers(method.method, own))))(
        numbers
    )
    for i, run in enumerate(runs):
        expected = steps(settings_of(run.config))
        assert_close(expected, [x[i] for x in together], rtol=1e-5, atol=1e-7)


def settings_of(config):
    return tiny_gan.make_gan(
        **{
            name: value
            for name, value in settings.players(config).items()
            if name in ('optimizer', 'learning_rate')
        }
    )


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'num_seeds': 0}, ['num_seeds is 0', '1 (one run)']),
        ({'num_seeds': 3, 'members__lr': '1e-4,2e-4'}, ['lists 2 numbers for 3', 'num_seeds=2']),
        (
            {'num_seeds': 2, 'members__beta1': '0.5;0.9'},
            ["members.beta1 is '0.5;0.9'", '1e-4,2e-4'],
        ),
        ({'num_seeds': 2, 'members__lr': '1e-4,1e-4'}, ['lr=0.0001 twice']),
        ({'num_seeds': 2, 'members__lr': '1e-4,-1'}, ['optimizer.lr is -1.0']),
        ({'members__lr': '1e-4'}, ['members.lr lists one number', 'optimizer.lr=0.0001']),
        (
            {'num_seeds': 2, 'members__beta1': '0,0.5', 'optimizer__name': 'rmsprop'},
            ['members.beta1', 'optimizer.name=rmsprop has no beta1'],
        ),
        ({'num_seeds': 2, 'seed': 2**32 - 1}, ['seed 4294967295', '2**32 - 1']),
        ({'num_seeds': 2, 'data__stream': 'on'}, ['num_seeds is 2', 'data.stream=off']),
    ],
)
def test_impossible_members_are_one_line(values, words):
    with pytest.raises(ValueError) as caught:
        config = changed(**values)
        configured.load(config, configured.members_of(config))
    message = str(caught.value)
    assert '\n' not in message
    for word in words:
        assert word in message, message


def test_glo_trains_one_at_a_time():
    from configs import glo_digits

    config = glo_digits.get_config()
    config.num_seeds = 2
    with pytest.raises(ValueError, match='glo trains one run at a time'):
        configured.load(config, configured.members_of(config))


# ---- as users start it


SHORT = (*TINY, '--config.num_steps=40')


@pytest.fixture(scope='module')
def two(launcher, tmp_path_factory):
    """Two seeds in one program, finished."""
    workdir = tmp_path_factory.mktemp('two')
    outcome = launcher.run(*SHORT, f'--workdir={workdir}', '--config.num_seeds=2')
    assert outcome.code == 0, outcome
    return workdir, outcome.stdout


def test_a_member_is_an_ordinary_workdir(two, launcher, tmp_path):
    """Bit for bit that of a run alone: checkpoints, logs, grids, scores."""
    workdir, said = two
    assert '2 runs in one program' in said
    assert sorted(p.name for p in workdir.iterdir() if p.is_dir()) == ['seed=0', 'seed=1']
    alone = tmp_path / 'alone'
    outcome = launcher.run(*SHORT, f'--workdir={alone}', '--config.seed=1')
    assert outcome.code == 0, outcome
    assert_same_run(workdir / 'seed=1', alone)


def test_other_modes_find_the_members(two, launcher):
    workdir, _ = two
    scored = launcher.run(
        '--mode=evaluate', f'--workdir={workdir}', '--config.eval.extractor=digits'
    )
    assert scored.code == 0 and f'{workdir}/seed=1' in scored.stdout
    report = launcher.run('--mode=report', f'--workdir={workdir}')
    assert '2 runs of 1 kind, 2 finished' in report.stdout
    refused = launcher.run('--mode=sample', f'--workdir={workdir}')
    assert refused.code == 2
    assert f'holds 2 runs of one program: give one of them, as --workdir={workdir}/seed=0' in (
        refused.error_line()
    )


@pytest.mark.slow
def test_killed_while_it_saves_it_ends_as_if_nothing_had_been(two, launcher, tmp_path):
    workdir = tmp_path / 'killed'
    flags = [*SHORT, f'--workdir={workdir}', '--config.num_seeds=2']
    for _ in range(3):
        process = launcher.start(*flags)
        first = workdir / 'seed=0'
        start = logged_step(first) if first.exists() else 0
        came = wait_until(process, lambda: first.exists() and logged_step(first) >= start + 10)  # noqa: B023
        os.kill(process.pid, signal.SIGKILL)
        wait(process)
        if not came:
            break
    outcome = launcher.run(*flags)
    assert outcome.code == 0, outcome
    for name in ('seed=0', 'seed=1'):
        assert_same_run(workdir / name, two[0] / name)
