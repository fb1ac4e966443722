"""Classes that are brought in gradually: unconditional at the start, conditional at the end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import build
from experiments.modes import train
from helpers import contract
from helpers.networks import jit
from snjax import parallel
from snjax.models import resnet


@pytest.fixture(scope='module')
def gan():
    """A projection GAN of 10 classes that has none for one update and all of them after the next."""
    resnet.LAYOUTS |= contract.TINY_LAYOUT
    config = contract.small('cgan_cifar', '')
    config.n_dis = 1
    config.model.conditioning_start, config.model.conditioning_end = 1, 2
    yield build.method(config)
    for size in contract.TINY_LAYOUT:
        del resnet.LAYOUTS[size]


def compiled(gan):
    """The training step on one device."""
    step = jit(jax.vmap(gan.train_step, in_axes=None, axis_name=parallel.AXIS, axis_size=1))
    return lambda *args: jax.tree.map(lambda x: x[0], step(*args))


@pytest.fixture(scope='module')
def step(gan):
    return compiled(gan)


@pytest.fixture(scope='module')
def batch(gan):
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (1, gan.batch_size, *gan.image_shape)).astype(np.float32)
    return {'image': images, 'label': np.array([[1, 2, 3, 4]], np.int32)}


def test_classes_do_not_matter_at_the_start(gan, step, batch):
    state = jax.jit(gan.init)(jax.random.key(0))
    after, metrics = step(state, batch, jax.random.key(1))
    other, _ = step(state, batch | {'label': batch['label'] + 3}, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, after, other)
    assert metrics['class_share'] == 0
    table = after.gen.params['block1']['norm1']['gamma']
    np.testing.assert_allclose(table, np.broadcast_to(table[:1], table.shape), rtol=1e-6)
    assert np.ptp(table) > 0  # the gammas have moved


@pytest.mark.slow
def test_at_the_end_it_is_the_conditional_gan(gan, step, batch):
    state = jax.jit(gan.init)(jax.random.key(0)).replace(step=jnp.int32(2))
    after, metrics = step(state, batch, jax.random.key(1))
    conditional = compiled(dataclasses.replace(gan, class_share=None))
    expected, _ = conditional(state, batch, jax.random.key(1))
    assert metrics['class_share'] == 1
    for network in ('gen', 'dis'):
        ours, theirs = (getattr(s, network).params for s in (after, expected))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), ours, theirs)
    other, _ = step(state, batch | {'label': batch['label'] + 3}, jax.random.key(1))
    assert not np.allclose(
        other.dis.params['embed']['embedding'], after.dis.params['embed']['embedding']
    )


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'conditioning_start': 5, 'conditioning_end': 5}, 'conditioning_start 5 is not before'),
        ({'conditioning_end': 5, 'head': 'none', 'num_classes': 0}, "model.head is 'none'"),
    ],
)
def test_impossible_schedules_are_refused(changes, message):
    config = contract.small('cgan_cifar', '')
    config.method = 'gan'
    config.model.update(changes)
    with pytest.raises(ValueError, match=message):
        build.method(config)


@pytest.mark.parametrize(
    ('changes', 'images', 'warned'),
    [
        ({}, 499, True),
        ({}, 500, False),
        ({'gen_conditioning': 'concat'}, 499, False),
        ({'conditioning_start': 1, 'conditioning_end': 2}, 499, False),
        ({'num_classes': 0, 'head': 'none'}, 499, False),
    ],
)
def test_small_classes_are_warned_of(changes, images, warned):
    model = contract.small('cgan_cifar', '').model.to_dict() | changes
    said = []
    train._warn_of_few_images(model, np.repeat([0, 1], [images, 900]), said.append)
    assert [line.startswith(f'the smallest class has {images} images') for line in said] == (
        [True] if warned else []
    )
