"""Fakes whose classes are as frequent as those of the training set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import snjax
from configs import sngan_digits
from experiments import build
from experiments.modes import train
from helpers import contract
from snjax import parallel
from snjax.models import resnet


@pytest.fixture(scope='module', autouse=True)
def tiny_layout():
    resnet.LAYOUTS |= contract.TINY_LAYOUT
    yield
    for size in contract.TINY_LAYOUT:
        del resnet.LAYOUTS[size]


@pytest.fixture(scope='module')
def gan(tiny_layout):
    config = contract.small('cgan_cifar', '')
    config.model.fake_classes = 'set'
    return build.method(config)


LABELS = np.array([3] * 30 + [5] * 90)


def classes_of_fakes(gan, num=4000):
    keys = jax.random.split(jax.random.key(0))
    return np.asarray(gan._noise(jnp.arange(num), *keys, jnp.int32(0)).label)


def test_classes_of_fakes_are_as_often_as_in_the_set(gan):
    found = classes_of_fakes(gan.with_images(None, LABELS))
    assert set(found) == {3, 5}
    # Within four standard deviations, sqrt(.25 * .75 / 4000).
    assert abs(np.mean(found == 5) - 0.75) < 4 * 0.0068


def test_by_default_they_are_uniform_whatever_the_set_has():
    gan = build.method(contract.small('cgan_cifar', ''))
    found = classes_of_fakes(gan.with_images(None, LABELS))
    shares = np.bincount(found, minlength=10) / len(found)
    np.testing.assert_allclose(shares, 0.1, atol=4 * 0.0047)


def test_without_the_labels_of_the_set_it_is_refused(gan):
    with pytest.raises(ValueError, match='give the labels of the set to `with_images`'):
        classes_of_fakes(gan)


@pytest.mark.parametrize(('kind', 'waits'), [('set', True), ('uniform', False)])
def test_a_step_with_the_shares_of_a_set_is_compiled_once_they_are_known(
    tmp_path, monkeypatch, kind, waits
):
    compiled = []
    monkeypatch.setattr(train, 'compile_ahead', lambda *given: compiled.append(given))
    config = contract.small('cgan_cifar', '')
    config.model.fake_classes = kind
    train.AheadOfTime(build.plan(config.lock()), tmp_path, print).announce(100)
    assert bool(compiled) != waits


@pytest.mark.slow
def test_a_run_on_a_folder_takes_the_shares_of_its_classes(tmp_path):
    rng = np.random.default_rng(0)
    for name, num in (('ant', 3), ('bee', 9)):
        (tmp_path / 'photos' / name).mkdir(parents=True)
        for i in range(num):
            picture = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
            picture.save(tmp_path / 'photos' / name / f'{i}.png')
    c = sngan_digits.get_config()
    c.method, c.model.head, c.model.num_classes = 'cgan', 'projection', 2
    c.model.fake_classes = 'set'
    c.model.gen_width = c.model.dis_width = 4
    c.data.name, c.data.path, c.data.channels = 'folder', str(tmp_path / 'photos'), 3
    c.num_steps = c.checkpoint.every = c.sampling.every = c.log.every = 2
    c.batch_size = c.gen_batch_size = 4
    c.eval.extractor, c.eval.every = '', 0
    train.run_train(c.lock(), tmp_path / 'run')
    assert snjax.load(tmp_path / 'run').step == 2


@pytest.mark.slow
def test_a_training_step_takes_them(gan):
    """With one class in the set, both players see fakes of that class alone: the class embeddings
    of others get no gradient from G's update."""
    gan = gan.with_images(None, np.full(8, 2))
    rng = np.random.default_rng(0)
    shape = gan.batches_per_step, gan.batch_size
    batch = {
        'image': rng.uniform(-1, 1, (*shape, *gan.image_shape)).astype(np.float32),
        'label': np.full(shape, 2, np.int32),
    }
    state = jax.jit(gan.init)(jax.random.key(0))
    step = jax.jit(jax.vmap(gan.train_step, in_axes=None, axis_name=parallel.AXIS, axis_size=1))
    after, _ = step(state, batch, jax.random.key(1))
    before, after = (x.gen.params['block1']['norm1']['gamma'] for x in (state, after))
    moved = np.any(np.asarray(after[0]) != np.asarray(before), axis=-1)
    np.testing.assert_array_equal(moved, np.arange(10) == 2)
