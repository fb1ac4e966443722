"""R3GAN's objective: gradients through the augmentation, pairs of one class, the burn-in.

Against the authors' code: tests/oracles/test_official.py.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import r3gan_cifar, sngan_digits
from experiments import build, r3gan
from experiments.gan import Gan
from helpers import contract, tiny_gan
from helpers.networks import jit
from snjax.nn import layers
from snjax.objectives.augment import augment
from snjax.objectives.losses import LOSSES
from snjax.training.adversarial import Batch
from snjax.training.optimizers import (
    at,
    burn_in,
    linear_decay,
    rising_half_life,
    scale_by_scheduled_adam,
)
from snjax.training.player import Player, averaged

# ---- where gradients are taken


class Quadratic(nn.Module):
    """A D whose slopes differ from image to image, so that where they are taken shows."""

    @nn.compact
    def __call__(self, x, labels=None, *, train):
        return jnp.sum(jnp.square(layers.Dense(3, name='score')(x.reshape(len(x), -1))), 1)


def make(cls, **changes):
    return tiny_gan.make_gan(
        cls,
        dis=Quadratic(),
        loss=LOSSES['relativistic_pairing'],
        gen_batch_size=6,
        penalties={'r1': 0.5, 'r2': 0.5},
        **changes,
    )


def judged(gan, keys, dis, real, fake):
    run = functools.partial(gan.judged, all_real=real.image, step=jnp.int32(3))
    (real_out, fake_out), penalties, _ = jit(run)(dis, dis.params, real, fake, keys)
    return real_out, fake_out, penalties


@pytest.fixture(scope='module')
def game():
    gan = make(r3gan.R3Gan)
    state = tiny_gan.filled(gan)
    real, fake = (Batch(jnp.asarray(x), None) for x in tiny_gan.images())
    return state.dis, real, fake, jax.random.split(jax.random.key(5), 6)


def test_without_augmentation_it_is_the_plain_game_in_one_pass(game):
    dis, real, fake, keys = game
    found = judged(make(r3gan.R3Gan), keys, dis, real, fake._replace(near=real.image))  # of zCR
    expected = judged(make(Gan), keys, dis, real, fake)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_r1_and_r2_are_at_images_before_augmentation(game):
    """By the chain rule written out: half the squared gradient of D(T(x)) in x."""
    dis, real, fake, keys = game
    gan = make(r3gan.R3Gan, augment=('cutout',), augment_chance=0.7)
    real_out, fake_out, penalties = judged(gan, keys, dis, real, fake)
    score = lambda x: gan.dis.apply({'params': dis.params}, x, train=True)  # noqa: E731
    for i, (batch, out, name) in enumerate(((real, real_out, 'r1'), (fake, fake_out, 'r2'))):
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, i)
        seen, pull = jax.vjp(lambda x, k=own: augment(x, k, gan.augment, 0.7), batch.image)
        assert not np.array_equal(seen, batch.image)
        np.testing.assert_allclose(out, score(seen), rtol=1e-4)
        slopes = jax.grad(lambda x: jnp.sum(score(x)))(seen)
        at_seen, at_raw = (
            np.sum(np.square(s), (1, 2, 3)).mean() / 2 for s in (slopes, *pull(slopes))
        )
        np.testing.assert_allclose(penalties[name], at_raw, rtol=1e-4)
        assert abs(at_seen - at_raw) > 1e-2 * at_seen


def test_fakes_have_the_classes_of_the_real_images_they_are_paired_with():
    config = contract.small('r3gan_cifar', '').lock()
    gan = build.method(config)
    real = Batch(None, jnp.array([3, 1, 4, 1]))
    for use in (gan, build.method(r3gan_uniform(config).lock())):
        noise = use._noise(jnp.arange(4), *jax.random.split(jax.random.key(0)), 0, real)
        assert np.array_equal(noise.label, real.label) == (use.fake_classes == 'real')
    assert gan.fake_classes == 'real'


def r3gan_uniform(config):
    changed = config.copy_and_resolve_references().unlock()
    changed.model.fake_classes = 'uniform'
    return changed


# ---- the burn-in


def test_burn_in_is_half_a_cosine():
    value = burn_in(2e-4, 5e-5, 39_062.5)
    for step in (0, 1, 10_000, 39_062, 39_063, 10**6):
        decay = 0.5 * (1 + math.cos(math.pi * min(step / 39_062.5, 1)))
        expected = 2e-4 + (1 - decay) * (5e-5 - 2e-4)
        assert float(value(jnp.int32(step))) == pytest.approx(expected, rel=1e-5)
    assert value(jnp.int32(0)).dtype == jnp.float32
    assert (at(0.3, jnp.int32(5)), float(at(value, jnp.int32(0)))) == (0.3, np.float32(2e-4))


def test_the_half_life_rises_from_0():
    decay = rising_half_life(0.5 ** (512 / 5e6), 1000)
    for step in (0, 1, 500, 1000, 5000):
        half_life = 5e6 * (1 - math.cos(math.pi * min(step / 1000, 1))) / 2
        expected = 0.5 ** (512 / max(half_life, 1e-8))
        assert float(decay(jnp.int32(step))) == pytest.approx(expected, abs=1e-6)


def test_a_scheduled_average_has_no_other_warm_up():
    player = Player({'w': jnp.ones(2)}, {}, ())
    start = {'params': {'w': jnp.zeros(2)}}
    for step, kept in ((0, 0.0), (2, 0.5)):
        found = averaged(start, player, rising_half_life(0.5, 2), jnp.int32(step))
        np.testing.assert_allclose(found['params']['w'], 1 - kept, rtol=1e-6)


def test_a_moving_beta2_corrects_by_its_present_power():
    """PyTorch's loop over one weight, in float64, its beta2 changed between updates."""
    beta2 = burn_in(0.9, 0.99, 3)
    optimizer = scale_by_scheduled_adam(0.5, beta2, 1e-8)
    state, m, v = optimizer.init(jnp.zeros(2)), np.zeros(2), np.zeros(2)
    for step in range(4):
        grad, b = np.array([0.1, -0.3 * step - 0.2]), float(beta2(jnp.int32(step)))
        m, v = 0.5 * m + 0.5 * grad, b * v + (1 - b) * grad**2
        t = step + 1
        expected = m / (1 - 0.5**t) / (np.sqrt(v / (1 - b**t)) + 1e-8)
        found, state = optimizer.update(jnp.asarray(grad), state, step=jnp.int32(step))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert isinstance(state, optax.ScaleByAdamState)


def test_numbers_of_the_burn_in_arrive_where_they_belong():
    gan = build.method(r3gan_cifar.get_config().lock())
    start, end = jnp.int32(0), jnp.int32(39_063)
    expected = {
        'lr': (gan.learning_rate, 2e-4, 5e-5),
        'chance': (gan.augment_chance, 0, 0.55),
        'r1': (gan.penalties['r1'], 0.05, 0.005),
        'r2': (gan.penalties['r2'], 0.05, 0.005),
        'ema': (gan.ema_decay, 0, 0.5 ** (512 / 5e6)),
    }
    for name, (value, first, last) in expected.items():
        found = float(at(value, start)), float(at(value, end))
        assert found == pytest.approx((first, last), rel=1e-5), name
    assert isinstance(gan, r3gan.R3Gan) and gan.dis_learning_rate is None
    of_old = build.method(r3gan_cifar.get_config('resnet').lock())
    assert type(of_old) is not r3gan.R3Gan and of_old.penalties == {'r1': 0.05, 'r2': 0.05}
    assert (of_old.augment_chance, of_old.ema_decay) == (1.0, 0.999)
    rates = [gan.learning_rate(end + 1) for gan in (of_old,)]
    assert rates == [linear_decay(2e-4, 0, 100_000)(end + 1)]


# ---- what is refused

REFUSED = [
    ({'burn_in.lr': 5e-5}, ['burn_in.lr is 5e-05', 'burn_in.steps=10000']),
    ({'burn_in.steps': 9.0, 'burn_in.lr': 5e-5}, ['optimizer.decay_end is 3200', 'burn_in.lr=0']),
    (
        {'burn_in.steps': 9.0, 'burn_in.beta2': 0.99, 'optimizer.name': 'sgd'},
        ['burn_in.beta2', 'optimizer.name is sgd'],
    ),
    (
        {'burn_in.steps': 9.0, 'burn_in.ema': True, 'optimizer.ema_decay': 0.0},
        ['burn_in.ema', '--config.optimizer.ema_decay=0.999'],
    ),
    ({'burn_in.beta2': 1.0}, ['burn_in.beta2 is 1.0', 'below 1']),
    ({'data.augment_chance': 1.5}, ['data.augment_chance is 1.5', 'from 0 to 1']),
    ({'model.fake_classes': 'paired'}, ["fake_classes is 'paired'", 'uniform, set, real']),
    (
        {'model.fake_classes': 'real', 'gen_batch_size': 64},
        ['model.fake_classes=real', 'gen_batch_size is 64 and batch_size 32'],
    ),
    ({'penalty.through_augment': True}, ['method is sngan', 'through_augment=false']),
]


@pytest.mark.parametrize(('changes', 'words'), REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(changes, words):
    config = sngan_digits.get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError) as error:
        build.method(config.lock())
    line = str(error.value)
    assert '\n' not in line and [word for word in words if word not in line] == [], line


def test_both_penalties_are_needed_and_no_other_goes_through():
    for changes, words in (
        ({'penalty.r2': 0.0}, 'penalty.r2 is 0'),
        ({'penalty.l2': 1e-4}, 'R2 are l2'),
    ):
        config = r3gan_cifar.get_config()
        config.update_from_flattened_dict(changes)
        with pytest.raises(ValueError, match=words):
            build.method(config.lock())
