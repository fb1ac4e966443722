"""Adaptive augmentation: the rule against the official loop, and in a training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import sngan_cifar
from experiments import build
from helpers import tiny_gan
from snjax.training.adaptive import INTERVAL, Adaptive


def official(signs, target, images, batch_size, interval=4):
    """The probability after each update, as stylegan2-ada-pytorch's training loop adjusts it."""
    p, seen, out = 0.0, [], []
    for i, sign in enumerate(signs, start=1):
        seen.append(sign)
        if i % interval == 0:
            p = max(p + np.sign(np.mean(seen) - target) * batch_size * interval / images, 0)
            seen = []
        out.append(p)
    return out


def test_the_probability_moves_as_in_the_official_loop():
    signs = np.random.default_rng(0).uniform(0.2, 1, 60).astype(np.float32)
    rule = Adaptive(target=0.6, images=2000, most=10.0)
    chance, found = rule.start(), []
    for sign in signs:
        chance = rule.observed(chance, jnp.asarray(sign), batch_size=32)
        found.append(float(chance.value))
    expected = official(signs, 0.6, 2000, 32)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert max(expected) > min(expected[INTERVAL:])  # it went up and down


def test_it_stays_between_0_and_the_most():
    rule = Adaptive(target=0.6, images=100, most=0.7)
    chance = rule.start()
    for sign, bound in ((-1.0, 0.0), (1.0, 0.7)):
        for _ in range(5 * INTERVAL):
            chance = rule.observed(chance, jnp.asarray(sign), batch_size=10)
        assert float(chance.value) == pytest.approx(bound)


def overfitting(**changes):
    """A GAN whose discriminator calls every image real: the sign of all logits is 1."""
    rule = Adaptive(target=0.6, images=24)  # one adjustment moves by 4 * 6 / 24 = 1
    gan = tiny_gan.make_gan(augment=('cutout',), n_dis=2, adaptive=rule, **changes)
    state = jax.jit(gan.init)(jax.random.key(0))
    score = {**state.dis.params['score'], 'bias': jnp.full(1, 50.0)}
    return gan, state.replace(dis=state.dis.replace(params={**state.dis.params, 'score': score}))


def test_a_training_augments_more_where_the_discriminator_overfits():
    gan, state = overfitting()
    step = tiny_gan.step_of(gan)
    keys = [np.asarray(jax.random.key_data(jax.random.key(i))) for i in range(2)]
    images = tiny_gan.images(2)
    one, metrics = step(state, images, keys[0])
    assert metrics['real_signs'] == 1 and one.chance.value == 0
    two, metrics = step(one, images, keys[1])  # two discriminator updates a step
    assert two.chance.value == 1
    assert (two.chance.signs, two.chance.updates) == (0, 0)
    # The chance is what the next update augments with.
    always = tiny_gan.make_gan(augment=('cutout',), n_dis=2)
    plain = two.replace(chance=None)
    expected, _ = tiny_gan.step_of(always)(plain, images, keys[0])
    actual, _ = step(two, images, keys[0])
    for a, b in zip(
        jax.tree.leaves(actual.gen.params), jax.tree.leaves(expected.gen.params), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'data.augment': ''}, 'data.augment is empty: say which augmentations'),
        ({'loss': 'relativistic_pairing', 'gen_batch_size': 64}, 'sign of a logit means nothing'),
        ({'loss': 'least_squares'}, 'least_squares: .* or loss hinge, non_saturating, minimax'),
        ({'loss': 'wasserstein'}, 'sign of a logit means nothing in loss wasserstein'),
        ({'burn_in.augment': True, 'burn_in.steps': 5.0}, 'one of them can set the probability'),
        ({'data.augment_target': 1.5}, 'data.augment_target is 1.5'),
    ],
)
def test_what_cannot_adapt_is_one_line(changes, message):
    config = sngan_cifar.get_config()
    config.update_from_flattened_dict({'data.augment': 'color', 'data.augment_target': 0.6})
    assert build.method(config).adaptive == Adaptive(0.6, 500_000, 1.0)
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        build.plan(config)
