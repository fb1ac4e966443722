"""Tests of snjax.training.feed: a streamed run equals a resident one, bit for bit."""

import dataclasses
import functools
import json
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny_gan
from snjax import data, parallel
from snjax.data import sampler
from snjax.data.host_order import HostOrder, permute
from snjax.training import feed
from snjax.training.feed import open_feed
from snjax.training.loop import Trainer
from snjax.training.step import Options, device_data, make_step

pytest.importorskip('grain', reason='Grain (extra stream) is not installed')

RNG = jax.random.key(5)
OPTIONS = Options(
    num_steps=12,
    steps_per_call=1,
    log_every=2,
    histogram_every=0,
    sample_every=0,
    num_samples=0,
    checkpoint_every=4,
    keep=3,
    keep_every=0,
    flip=True,
    dequantize=True,
    seed=3,
)
STREAMED = {'stream': True, 'workers': 2}


@functools.cache
def digits():
    return data.load('digits', image_size=8, channels=1)


@functools.cache
def few():
    """Five batches of six images an epoch, which ends in the middle of a step of two batches."""
    return digits().images[:33], digits().labels[:33]


def trainer(workdir, images=None, **changes):
    pixels, labels = few()
    options = dataclasses.replace(OPTIONS, **changes)
    images = pixels if images is None else images
    gan = tiny_gan.make_gan(n_dis=2)
    return Trainer(gan, options, images, labels, workdir, {}, say=lambda line: None)


def bits(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(parallel.first_replica(state))]


def lines(workdir):
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


# ---- the order


@pytest.mark.parametrize('num', [1, 2, 5, 256, 257, 4097])
def test_the_hosts_permutation_is_the_devices(num):
    keys = jax.random.bits(jax.random.key(num), (6,))
    expected = jax.jit(sampler.permute, static_argnums=1)(jnp.arange(num), num, keys)
    np.testing.assert_array_equal(permute(np.arange(num), num, np.asarray(keys)), expected)


def test_the_hosts_permutation_of_the_largest_set_is_the_devices():
    num = 2**30
    index = np.concatenate([np.arange(1000), np.arange(num - 1000, num)])
    keys = jax.random.bits(jax.random.key(1), (6,))
    expected = sampler.permute(jnp.asarray(index), num, keys)
    np.testing.assert_array_equal(permute(index, num, np.asarray(keys)), expected)
    with pytest.raises(ValueError, match=r'2\*\*30 items, not'):
        permute(index, num + 1, np.asarray(keys))


def test_the_hosts_batches_are_the_devices_in_every_epoch():
    order = HostOrder(RNG, 6, 33)
    order_rng, _ = jax.random.split(RNG)
    ids = np.array([4, 0, 5])
    batch_indices = jax.jit(sampler.batch_indices, static_argnums=(2, 3))
    for batch in (0, 1, 4, 5, 6, 12_345, 3, 2**31 - 1):  # the last that the device can count
        expected = batch_indices(order_rng, jnp.int32(batch), 6, 33, jnp.asarray(ids))
        np.testing.assert_array_equal(order.indices(batch, ids), expected)


# ---- the feed


def streamed(images, *, workers=2, start=0, steps_per_call=2, stop=12):
    return feed.Streamed(
        images,
        HostOrder(RNG, 6, len(images)),
        batch_size=6,
        num_batches=2,
        steps_per_call=steps_per_call,
        steps=range(start, stop),
        workers=workers,
    )


@pytest.mark.parametrize('workers', [1, 3])
@pytest.mark.parametrize('start', [0, 4])
def test_calls_are_what_the_sampler_draws(workers, start):
    """The pixels equal those of a resident set, from any step and for any number of workers."""
    images, labels = few()
    on_device = {'image': jnp.asarray(images), 'label': jnp.asarray(labels)}
    draw = jax.jit(
        lambda step, pixels, resident: sampler.draw(
            {k: v for k, v in on_device.items() if resident or k == 'label'},
            RNG,
            step,
            jnp.arange(6),
            num_batches=2,
            batch_size=6,
            flip=True,
            dequantize=True,
            pixels=pixels,
        ),
        static_argnums=2,
    )
    with streamed(images, workers=workers, start=start) as running:
        (like,) = running.example()
        for call in range(start, 12, 2):
            (found,) = running.next(lambda: False)
            assert (found.shape, found.dtype, found.sharding) == (
                like.shape,
                like.dtype,
                like.sharding,
            )
            assert found.shape == (1, 2, 2, 6, 8, 8, 1)
            for i in (0, 1):
                expected = draw(call + i, None, True)
                drawn = draw(call + i, found[0, i], False)
                for name, leaf in expected.items():
                    assert leaf.tobytes() == drawn[name].tobytes(), name


class Slow:
    """Images that are slow to read; `broken` of them cannot be read."""

    def __init__(self, seconds, broken=None):
        self.images, self.seconds, self.broken = few()[0], seconds, broken
        self.shape, self.dtype = self.images.shape, self.images.dtype

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        time.sleep(self.seconds)
        if self.broken in index:
            raise ValueError(f'image {self.broken} is broken')
        return self.images[index]


def test_waiting_is_of_idle_devices_alone():
    with streamed(Slow(0.05), workers=1, steps_per_call=1) as running:
        for _ in range(3):
            running.next(lambda: True)
        starved = running.measured()['perf/data_wait']
        for _ in range(3):
            running.next(lambda: False)
        assert starved > 0.8
        assert running.measured() == {'perf/data_wait': 0.0}


def test_what_is_ready_is_not_waited_for():
    with streamed(few()[0]) as running:
        time.sleep(1.0)
        for _ in range(2):  # that lay on the device
            running.next(lambda: True)
        assert running.measured()['perf/data_wait'] < 0.1


def test_a_broken_image_ends_the_run_and_the_threads(tmp_path):
    run = trainer(tmp_path, Slow(0.0, broken=7), **STREAMED)
    with pytest.raises(ValueError) as error:
        run.run()
    assert str(error.value) == 'image 7 is broken'
    assert 'snjax-feed' not in {thread.name for thread in threading.enumerate()}


def test_a_feed_that_is_not_used_up_is_closed():
    with streamed(Slow(0.01), stop=10_000) as running:
        running.next(lambda: True)
    assert 'snjax-feed' not in {thread.name for thread in threading.enumerate()}


def test_without_grain_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'grain', None)
    with pytest.raises(ValueError, match=r'^data.stream=on streams.*pip install grain') as error:
        feed.check_installed('data.stream=on streams the set')
    assert '\n' not in str(error.value)


# ---- whole runs


@pytest.fixture(scope='module')
def resident(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('resident')
    return workdir, bits(trainer(workdir).run())


def test_a_streamed_run_is_the_resident_one_bit_for_bit(resident, tmp_path):
    before, expected = resident
    assert bits(trainer(tmp_path, **STREAMED).run()) == expected
    plain, with_waits = lines(before), lines(tmp_path)
    assert all(
        0 <= line['perf/data_wait'] <= 1 for line in with_waits if 'perf/steps_per_s' in line
    )
    assert sum('perf/data_wait' in line for line in with_waits) == 6
    assert not any('perf/data_wait' in line for line in plain)
    for a, b in zip(plain, with_waits, strict=True):
        assert {k: v for k, v in a.items() if k.startswith('train/')} == {
            k: v for k, v in b.items() if k.startswith('train/')
        }


@pytest.mark.slow
def test_it_goes_on_from_the_middle_of_an_epoch_with_other_workers(resident, tmp_path):
    trainer(tmp_path, num_steps=4, **STREAMED).run()
    run = trainer(tmp_path, stream=True, workers=5)
    assert run.start == 4
    assert bits(run.run()) == resident[1]


def test_resident_and_streamed_calls_of_several_steps_are_equal():
    method = tiny_gan.make_gan(n_dis=1)  # written out, a call has two steps of it
    pixels, labels = few()
    found = []
    for changes in ({}, STREAMED):
        options = dataclasses.replace(OPTIONS, steps_per_call=2, **changes)
        on_devices = device_data(None if options.stream else pixels, labels, options.seed)
        assert ('image' in on_devices) != options.stream
        state = parallel.shard(tiny_gan.filled(method), method.state_axes)
        step = parallel.DataParallel(make_step(method, options), method.state_axes)
        with open_feed(method, options, pixels, 0) as running:
            program = step.compile(state, on_devices, *running.example(), quickly=True)
            for _ in range(3):
                state, metrics = program(state, on_devices, *running.next(lambda: True))
        found.append(bits((state, metrics)))
    assert found[0] == found[1]
