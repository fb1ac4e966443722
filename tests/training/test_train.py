"""Tests of snjax.training.loop with a method that is no GAN: only the contract of a method counts."""

import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snjax import parallel
from snjax.data import sampler
from snjax.latents.sampling import seed_key
from snjax.runs.checkpoint import Checkpointer, load_tree
from snjax.runs.run_logger import Diverged
from snjax.runs.workdir import DIVERGED_NAME
from snjax.training import loop
from snjax.training.loop import Preempted, Trainer
from snjax.training.step import Options, device_data

SIZE, NUM_IMAGES = 4, 19
OPTIONS = {
    'num_steps': 20,
    'steps_per_call': 1,
    'log_every': 1,
    'histogram_every': 10,
    'sample_every': 5,
    'num_samples': 4,
    'checkpoint_every': 5,
    'keep': 3,
    'keep_every': 0,
    'flip': False,
    'dequantize': False,
    'seed': 3,
}


@flax.struct.dataclass
class WalkState:
    step: jax.Array
    mean: jax.Array  # (h, w, c): moves towards the images that it sees
    ballast: Any = None


class Walk:
    """A running mean of the images plus noise: a minimal method with state, data, noise and
    samples.
    """

    batch_size, batches_per_step, num_classes, state_axes = 4, 2, 0, None
    num_conditions = 0

    def __init__(self, nan_from=None, ballast=0, lost_from=None):
        self.nan_from, self.lost_from, self.ballast = nan_from, lost_from, ballast

    def with_images(self, images):
        return self

    def init(self, rng):
        mean = random.normal(rng, (SIZE, SIZE, 1))
        return WalkState(jnp.zeros((), jnp.int32), mean, jnp.zeros((self.ballast,)))

    def train_step(self, state, batch, rng):
        assert batch['image'].shape[:2] == (2, 4)
        noise = random.normal(random.fold_in(rng, state.step), state.mean.shape)
        target = parallel.mean(batch['image'].mean((0, 1)))
        distance = jnp.mean((state.mean - target) ** 2)
        step = state.step + 1
        mean = 0.9 * state.mean + 0.1 * target + 0.01 * noise
        if self.nan_from is not None:
            distance = jnp.where(step >= self.nan_from, jnp.nan, distance)
        if self.lost_from is not None:
            mean = jnp.where(step >= self.lost_from, jnp.nan, mean)
        metrics = {'rec_loss': distance, 'step_seen': step.astype(jnp.float32)}
        return state.replace(step=step, mean=mean), metrics

    def sample(self, state, rng, num, labels=None):
        return jnp.clip(state.mean + 0.1 * random.normal(rng, (num, SIZE, SIZE, 1)), -1, 1)

    def histogram_arrays(self, state):
        return {'mean': state.mean}


@pytest.fixture(scope='module')
def pixels():
    return np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, SIZE, SIZE, 1), np.uint8)


@pytest.fixture(scope='module')
def whole(pixels, tmp_path_factory):
    """A finished run with one update a call, and its final state."""
    workdir = tmp_path_factory.mktemp('whole')
    return workdir, parallel.first_replica(trainer(workdir, pixels).run())


@pytest.fixture(scope='module')
def by_fives(pixels, tmp_path_factory):
    """The same run with five updates a call."""
    workdir = tmp_path_factory.mktemp('fives')
    run = trainer(workdir, pixels, steps_per_call=5, log_every=5)
    return workdir, parallel.first_replica(run.run())


def trainer(workdir, pixels, method=None, say=lambda line: None, **changes):
    options = Options(**(OPTIONS | changes))
    labels = np.zeros(len(pixels), np.int32)
    config = {'a': {'b': 1}}
    return Trainer(method or Walk(), options, pixels, labels, workdir, config, say=say)


def lines(workdir):
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def values(workdir):
    return [
        {k: v for k, v in line.items() if k != 'wall_time' and not k.startswith('perf/')}
        for line in lines(workdir)
    ]


def grids(workdir):
    return {p.name: p.read_bytes() for p in sorted((workdir / 'samples').iterdir())}


def checkpoints(workdir):
    return sorted(int(p.name) for p in (workdir / 'checkpoints').iterdir())


# ---- options


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'num_steps': 0}, 'num_steps 0'),
        ({'steps_per_call': 0}, 'steps_per_call 0'),
        ({'steps_per_call': -2}, 'steps_per_call -2'),
        ({'log_every': 0}, 'log.every 0'),
        ({'steps_per_call': 3}, 'num_steps 20 is not a multiple of steps_per_call 3: change one, as '
         '--config.num_steps=21'),
        ({'steps_per_call': 5, 'log_every': 2}, 'log.every 2 is not a multiple of steps_per_call 5: change one, as '
         '--config.log.every=5'),
        ({'steps_per_call': 2, 'log_every': 2, 'sample_every': 7}, '--config.sampling.every=8'),
        ({'steps_per_call': 2, 'log_every': 2, 'sample_every': 8}, '--config.checkpoint.every=6'),
        ({'steps_per_call': 2, 'log_every': 2, 'histogram_every': 1}, '--config.log.histograms_every=2'),
        ({'histogram_every': -1}, 'log.histograms_every -1'),
        ({'sample_every': -1}, 'sampling.every -1'),
        ({'num_samples': -1}, 'sampling.num -1'),
        ({'checkpoint_every': -1}, 'checkpoint.every -1'),
        ({'keep_every': 7}, 'keep_every 7 is not a multiple of checkpoint.every 5'),
        ({'keep': 0}, 'checkpoint.keep 0'),
        ({'seed': 2**32}, 'seed 4294967296'),
    ],
)  # fmt: skip
def test_impossible_options_are_named(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        Options(**(OPTIONS | changes))
    assert '\n' not in str(error.value)


def test_a_checkpoint_between_the_calls_of_another_machine_is_refused(tmp_path, pixels):
    few = {'log_every': 1, 'histogram_every': 0, 'sample_every': 0, 'checkpoint_every': 5}
    trainer(tmp_path, pixels, num_steps=5, **few).run()
    calls = {'steps_per_call': 2, 'log_every': 2, 'checkpoint_every': 2, 'histogram_every': 0}
    with pytest.raises(ValueError, match=r'step 5, no multiple of steps_per_call 2: .*_call=1$'):
        trainer(tmp_path, pixels, num_steps=10, sample_every=0, **calls)


def test_zero_is_never(tmp_path, pixels):
    never = {k: 0 for k in ('histogram_every', 'sample_every', 'checkpoint_every', 'num_samples')}
    trainer(tmp_path, pixels, **never).run()
    assert checkpoints(tmp_path) == [20]  # but the end is always kept
    assert not (tmp_path / 'samples').exists()
    assert EventAccumulator(str(tmp_path)).Reload().Tags()['images'] == []


# ---- keys and data


def test_keys_differ_by_seed_and_role():
    roles = ('init', 'data', 'train', 'grid')
    keys = [seed_key(seed, role) for seed in (0, 1) for role in roles]
    assert len({jax.random.key_data(k).tobytes() for k in keys}) == 8
    assert (seed_key(1, 'data') == keys[5]).all()


def test_the_set_and_the_keys_lie_on_every_device(pixels):
    labels = np.arange(NUM_IMAGES, dtype=np.int32)
    data = device_data(pixels, labels, seed=5)
    assert set(data) == {'image', 'label', 'data_rng', 'train_rng'}
    assert data['image'].shape == pixels.shape[1:]
    rows = pixels.reshape(NUM_IMAGES, -1)
    for array, expected in ((data['image'].pixels, rows), (data['label'], labels)):
        shards = array.addressable_shards
        assert len(shards) == jax.device_count()
        for shard in shards:
            np.testing.assert_array_equal(np.asarray(shard.data), expected)
    for role in ('data', 'train'):
        key = random.wrap_key_data(np.asarray(data[f'{role}_rng']))
        assert key == seed_key(5, role)


def test_a_batch_larger_than_the_set_is_refused(tmp_path, pixels):
    with pytest.raises(
        ValueError, match=r'batch_size 4 is more than the 3 images of the set: .*=3'
    ):
        trainer(tmp_path, pixels[:3])


# ---- what is written when


def test_everything_is_written_when_it_is_due(whole):
    workdir, state = whole
    assert int(state.step) == 20
    assert [line['step'] for line in lines(workdir)] == list(range(1, 21))
    assert list(grids(workdir)) == [f'{s:08d}.png' for s in (0, 5, 10, 15, 20)]
    assert checkpoints(workdir) == [10, 15, 20]
    assert found_events(workdir) == {'histograms': [10, 20], 'images': [0, 5, 10, 15, 20]}


def test_everything_is_written_when_it_is_due_with_many_updates_a_call(by_fives):
    workdir, state = by_fives
    assert int(state.step) == 20
    assert [line['step'] for line in lines(workdir)] == [5, 10, 15, 20]
    assert list(grids(workdir)) == [f'{s:08d}.png' for s in (0, 5, 10, 15, 20)]
    assert checkpoints(workdir) == [10, 15, 20]
    assert found_events(workdir) == {'histograms': [10, 20], 'images': [0, 5, 10, 15, 20]}


def found_events(workdir):
    folder = str(workdir)
    found = EventAccumulator(folder, size_guidance={'images': 0, 'tensors': 0}).Reload()
    kinds = {'histograms': found.Tensors('mean'), 'images': found.Images('samples')}
    return {name: [event.step for event in events] for name, events in kinds.items()}


def test_scalars_are_means_over_the_last_call(whole, by_fives):
    single, five = lines(whole[0]), lines(by_fives[0])
    assert [line['train/step_seen'] for line in single] == list(range(1, 21))
    assert [line['train/step_seen'] for line in five] == [3, 8, 13, 18]
    means = np.reshape([line['train/rec_loss'] for line in single], (4, 5)).mean(1)
    np.testing.assert_allclose([line['train/rec_loss'] for line in five], means, rtol=1e-5)


def test_the_number_of_updates_a_call_changes_no_update(whole, by_fives):
    np.testing.assert_allclose(by_fives[1].mean, whole[1].mean, rtol=1e-5, atol=1e-6)


def test_epochs_count_whole_batches(whole):
    for line in lines(whole[0]):
        # 2 batches a step, and 19 images are 4 whole batches of 4.
        assert line['train/epoch'] == line['step'] * 2 / 4
        assert line['perf/images_per_s'] == pytest.approx(8 * line['perf/steps_per_s'])


def test_the_state_is_a_function_of_seed_step_and_data(whole, pixels):
    """The run is computed by hand: data drawn at the step counter, the run's keys, every update."""
    data = {'image': pixels, 'label': np.zeros(NUM_IMAGES, np.int32)}

    @jax.jit
    def draw(step):
        key, ids = seed_key(3, 'data'), jnp.arange(4)
        how = {'num_batches': 2, 'batch_size': 4, 'flip': False, 'dequantize': False}
        return sampler.draw(jax.tree.map(jnp.asarray, data), key, step, ids, **how)

    mean = np.asarray(Walk().init(seed_key(3, 'init')).mean)
    for step in range(20):
        batch = draw(jnp.int32(step))
        noise = random.normal(random.fold_in(seed_key(3, 'train'), step), mean.shape)
        target = np.asarray(batch['image']).mean((0, 1))
        expected_loss = np.mean((mean - target) ** 2)
        assert lines(whole[0])[step]['train/rec_loss'] == pytest.approx(expected_loss, rel=1e-4)
        mean = 0.9 * mean + 0.1 * target + 0.01 * np.asarray(noise)
    np.testing.assert_allclose(whole[1].mean, mean, rtol=1e-4, atol=1e-5)


def test_grids_are_the_samples_of_the_fixed_key(whole):
    workdir, state = whole
    samples = Walk().sample(state, seed_key(3, 'grid'), 4)
    shown = np.asarray(Image.open(workdir / 'samples' / '00000020.png'))
    for sample in np.asarray(samples)[..., 0]:
        wanted = np.clip(np.round(sample * 127.5 + 127.5), 0, 255)
        windows = [
            shown[y : y + SIZE, x : x + SIZE].astype(int)
            for y in range(shown.shape[0] - SIZE + 1)
            for x in range(shown.shape[1] - SIZE + 1)
        ]
        assert min(np.abs(w - wanted).max() for w in windows) <= 1


def test_the_first_grid_is_of_the_fresh_state(whole):
    first = grids(whole[0])['00000000.png']
    assert first not in [png for name, png in grids(whole[0]).items() if name != '00000000.png']


# ---- stopping and resuming


def test_longer_runs_go_on_where_shorter_ones_ended_bit_for_bit(tmp_path, pixels, whole):
    trainer(tmp_path, pixels, num_steps=10).run()
    said = []
    rest = trainer(tmp_path, pixels, say=said.append)
    assert 'resuming from step 10' in said
    assert rest.start == 10
    state = parallel.first_replica(rest.run())
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(whole[1]), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert values(tmp_path) == values(whole[0])
    assert grids(tmp_path) == grids(whole[0])


def test_another_seed_is_another_run(tmp_path, pixels, whole):
    trainer(tmp_path, pixels, seed=4, num_steps=5).run()
    one, other = (lines(w)[:5] for w in (tmp_path, whole[0]))
    assert all(a['train/rec_loss'] != b['train/rec_loss'] for a, b in zip(one, other, strict=True))


def test_a_finished_run_has_nothing_to_do(tmp_path, pixels, whole):
    workdir = Path(shutil.copytree(whole[0], tmp_path / 'run'))
    said = []
    run = trainer(workdir, pixels, say=said.append)
    assert int(parallel.first_replica(run.run()).step) == 20
    assert said == ['resuming from step 20']  # nothing was compiled
    for look in (lines, grids, checkpoints):
        assert look(workdir) == look(whole[0])


def test_scores_join_the_finished_run(tmp_path, pixels, whole):
    workdir = Path(shutil.copytree(whole[0], tmp_path / 'run'))
    run = trainer(workdir, pixels)
    for _ in range(2):
        run.write_scores({'eval/precision': 0.25})
    *trained, last = lines(workdir)
    assert (last['step'], last['eval/precision']) == (20, 0.25)
    assert trained == lines(whole[0])


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_is_given_back(tmp_path, pixels, whole, monkeypatch, number):
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(loop.Progress, 'advance', lambda *_: os.kill(os.getpid(), number))
        with pytest.raises(Preempted, match='saved at step 1 of 20'):
            trainer(tmp_path, pixels).run()
    assert signal.getsignal(number) is before
    assert checkpoints(tmp_path) == [1]
    assert int(load_tree(tmp_path / 'checkpoints')[1]['step']) == 1
    trainer(tmp_path, pixels).run()
    assert values(tmp_path) == values(whole[0])
    assert grids(tmp_path) == grids(whole[0])


def test_divergence_names_value_and_step_and_keeps_the_last_checkpoint(tmp_path, pixels):
    options = {'sample_every': 0, 'histogram_every': 0, 'checkpoint_every': 4, 'log_every': 4}
    with pytest.raises(Diverged) as error:
        trainer(tmp_path, pixels, Walk(nan_from=11), **options).run()
    assert str(error.value).startswith('diverged by step 11: rec_loss = nan')
    assert '; the last checkpoint is of step 8' in str(error.value)
    assert (tmp_path / DIVERGED_NAME).read_text() == f'{error.value}\n'  # for who was not there
    assert checkpoints(tmp_path) == [4, 8]
    assert [line['step'] for line in lines(tmp_path)] == [4, 8]
    assert np.isfinite(load_tree(tmp_path / 'checkpoints')[1]['mean']).all()
    trainer(tmp_path, pixels, Walk(), **options).run()
    assert not (tmp_path / DIVERGED_NAME).exists()


def test_divergence_before_the_first_checkpoint_says_so(tmp_path, pixels):
    with pytest.raises(Diverged, match=r'step 2: .*there is no checkpoint yet'):
        trainer(tmp_path, pixels, Walk(nan_from=2)).run()


def test_divergence_names_a_checkpoint_that_is_still_being_written(tmp_path, pixels):
    heavy = Walk(nan_from=6, ballast=2**24)  # 64 MB: not on disk yet when the next update is done
    with pytest.raises(Diverged, match=r'step 6: .*the last checkpoint is of step 5'):
        trainer(tmp_path, pixels, heavy, log_every=1, sample_every=0).run()
    assert checkpoints(tmp_path) == [5]


def test_a_state_that_is_not_finite_is_no_checkpoint(tmp_path, pixels):
    """Losses are of the state before the update, so they are finite when the new state is not."""
    lost = Walk(lost_from=10)
    with pytest.raises(Diverged):
        trainer(tmp_path, pixels, lost, sample_every=0, histogram_every=0).run()
    with Checkpointer(tmp_path / 'checkpoints') as kept:
        step, state = kept.restore_latest(jax.eval_shape(lost.init, jax.random.key(0)))
    assert step == 5
    assert np.isfinite(state.mean).all()


class Unlucky(Walk):
    """Not finite at one step, but only with the noise that a run without rollbacks draws there."""

    # Bits, because how a compiler fuses moves the last digit of a normal number.
    at, unlucky = 7, random.bits(random.fold_in(seed_key(OPTIONS['seed'], 'train'), 6))

    def train_step(self, state, batch, rng):
        noise = random.bits(random.fold_in(rng, state.step))
        state, metrics = super().train_step(state, batch, rng)
        is_lost = (state.step == self.at) & (noise == self.unlucky)
        return state, metrics | {'rec_loss': jnp.where(is_lost, jnp.nan, metrics['rec_loss'])}


def test_a_rollback_goes_on_with_other_noise_and_resumes_bit_for_bit(tmp_path, pixels, whole):
    with pytest.raises(Diverged):
        trainer(tmp_path / 'none', pixels, Unlucky()).run()
    said = []
    run = trainer(tmp_path / 'one', pixels, Unlucky(), rollbacks=1, say=said.append)
    state = parallel.first_replica(run.run())
    (line,) = [line for line in said if 'rollback 1 of 1' in line]
    assert line.startswith('diverged by step 7: rec_loss = nan; the last checkpoint is of step 5')
    assert line.endswith('to step 5, and on with other noise')
    assert not (tmp_path / 'one' / DIVERGED_NAME).exists()
    found = values(tmp_path / 'one')
    assert [line['step'] for line in found] == [line['step'] for line in values(whole[0])]
    assert found[:6] == values(tmp_path / 'none')  # the loss of step 6 is of the state before it
    # The noise of one update is about 0.01, of which 0.9 is left in each later one.
    assert np.abs(np.asarray(state.mean) - np.asarray(whole[1].mean)).max() > 0.005
    # Stopped after the rollback and started again; and with the newest checkpoint lost.
    trainer(tmp_path / 'two', pixels, Unlucky(), rollbacks=1, num_steps=10).run()
    shutil.rmtree(tmp_path / 'two' / 'checkpoints' / '10')
    resumed = parallel.first_replica(trainer(tmp_path / 'two', pixels, Unlucky()).run())
    assert (np.asarray(resumed.mean) == np.asarray(state.mean)).all()
    assert values(tmp_path / 'two') == found
