"""Losses at logits whose loss is computed by hand, and their gradients."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax.objectives.losses import LOSSES, Loss

LOG2 = math.log(2)


def softplus(x):
    return math.log1p(math.exp(x))


def as_logits(*values):
    return jnp.array(values, jnp.float32)


@pytest.mark.parametrize(
    ('loss', 'real', 'fake', 'expected'),
    [
        # max(0, 1 - real) + max(0, 1 + fake)
        ('hinge', 0, 0, 2),
        ('hinge', 1, -1, 0),
        ('hinge', 2, -2, 0),
        ('hinge', -1, -1, 2),
        ('hinge', 1, 1, 2),
        ('hinge', -1, 1, 4),
        ('hinge', -2, 2, 6),
        ('hinge', 0.25, -0.5, 1.25),
        # log(1 + exp(-real)) + log(1 + exp(fake))
        ('non_saturating', 0, 0, 2 * LOG2),
        ('non_saturating', 1, -1, 2 * 0.31326169),
        ('non_saturating', -1, 1, 2 * 1.31326169),
        ('non_saturating', 2, 0, 0.12692801 + LOG2),
        ('non_saturating', 0, 2, LOG2 + 2.12692801),
        ('non_saturating', -200, 300, 500),  # where exp overflows
        ('non_saturating', 200, -300, 0),
        # the same game as non_saturating's for the discriminator
        ('minimax', 0, 0, 2 * LOG2),
        ('minimax', -1, 2, 1.31326169 + 2.12692801),
        # ((real - 1)^2 + fake^2) / 2
        ('least_squares', 1, 0, 0),
        ('least_squares', 0, 0, 0.5),
        ('least_squares', 1, 1, 0.5),
        ('least_squares', -1, 2, 4),
        ('least_squares', 4, -3, 9),
        # fake - real
        ('wasserstein', 0, 0, 0),
        ('wasserstein', 5, -2, -7),
        ('wasserstein', -1.5, 2, 3.5),
        # a batch of one is its own average: twice log(1 + exp(fake - real))
        ('relativistic_average', 3, 3, 2 * LOG2),
        ('relativistic_average', 2, 1, 2 * 0.31326169),
        ('relativistic_average', -1, 1, 2 * 2.12692801),
        ('relativistic_average', -200, 300, 1000),
        # log(1 + exp(fake - real))
        ('relativistic_pairing', 3, 3, LOG2),
        ('relativistic_pairing', 2, 1, 0.31326169),
        ('relativistic_pairing', -1, 1, 2.12692801),
        ('relativistic_pairing', -200, 300, 500),
        ('relativistic_pairing', 300, -200, 0),
    ],
)
def test_dis_at_known_logits(loss, real, fake, expected):
    got = LOSSES[loss].dis(as_logits(real), as_logits(fake))
    assert got.shape == () and float(got) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ('loss', 'fake', 'expected'),
    [
        ('hinge', 0, 0),
        ('hinge', 1, -1),
        ('hinge', -1, 1),
        ('hinge', 2, -2),
        ('hinge', -30, 30),  # unlike the discriminator's, never clipped
        ('non_saturating', 0, LOG2),
        ('non_saturating', 1, 0.31326169),
        ('non_saturating', -1, 1.31326169),
        ('non_saturating', 2, 0.12692801),
        ('non_saturating', -300, 300),
        ('non_saturating', 300, 0),
        # log(1 - sigmoid(fake))
        ('minimax', 0, -LOG2),
        ('minimax', 1, -1.31326169),
        ('minimax', -1, -0.31326169),
        ('minimax', 300, -300),
        ('minimax', -300, 0),
        ('least_squares', 1, 0),
        ('least_squares', 0, 0.5),
        ('least_squares', -2, 4.5),
        ('least_squares', 4, 4.5),
        ('wasserstein', 0, 0),
        ('wasserstein', 2.5, -2.5),
        ('wasserstein', -7, 7),
    ],
)
def test_gen_at_known_logits(loss, fake, expected):
    got = LOSSES[loss].gen(as_logits(fake))
    assert got.shape == () and float(got) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ('loss', 'fake', 'real', 'expected'),
    [
        ('relativistic_average', 3, 3, 2 * LOG2),
        ('relativistic_average', 2, 1, 2 * 0.31326169),
        ('relativistic_average', 0, 2, 2 * 2.12692801),
        ('relativistic_pairing', 3, 3, LOG2),
        ('relativistic_pairing', 2, 1, 0.31326169),
        ('relativistic_pairing', 0, 2, 2.12692801),
        ('relativistic_pairing', -200, 300, 500),
        ('relativistic_pairing', 300, -200, 0),
    ],
)
def test_relativistic_gen_at_known_logits(loss, fake, real, expected):
    got = LOSSES[loss].gen(as_logits(fake), as_logits(real))
    assert got.shape == () and float(got) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_every_loss_is_tested_here():
    def named(test):
        return {case[0] for case in test.pytestmark[0].args[1]}

    assert named(test_dis_at_known_logits) == set(LOSSES)
    gen = named(test_gen_at_known_logits) | named(test_relativistic_gen_at_known_logits)
    assert gen == set(LOSSES)


def test_what_the_losses_ask_for():
    assert [name for name, loss in LOSSES.items() if loss.relativistic] == [
        'relativistic_average',
        'relativistic_pairing',
    ]
    assert [name for name, loss in LOSSES.items() if loss.batch_wide] == ['relativistic_average']
    plain = Loss(LOSSES['hinge'].dis, LOSSES['hinge'].gen)
    assert not plain.relativistic and not plain.batch_wide


@pytest.mark.parametrize('loss', LOSSES)
def test_the_players_pull_apart(loss):
    """D raises reals and lowers fakes; G raises fakes (logits where no loss is flat)."""
    real, fake = as_logits(-0.5, 0.25), as_logits(0.75, 0.25)
    loss = LOSSES[loss]
    up, down = jax.grad(loss.dis, argnums=(0, 1))(real, fake)
    assert (up < -0.01).all() and (down > 0.01).all()
    assert (jax.grad(loss.gen)(fake, *([real] if loss.relativistic else [])) < -0.01).all()


@pytest.mark.parametrize('loss', ['minimax', 'wasserstein'])
def test_zero_sum(loss):
    """The generator's loss is the negative of the discriminator's, up to terms of the reals."""
    real, fake = as_logits(-1, 0, 3), as_logits(-3, 1, 0.5)
    loss = LOSSES[loss]
    of_dis = jax.grad(loss.dis, argnums=1)(real, fake)
    np.testing.assert_allclose(jax.grad(loss.gen)(fake), -of_dis, rtol=1e-6)


@pytest.mark.parametrize('loss', ['relativistic_average', 'relativistic_pairing'])
def test_relativistic_losses_exchange_the_players(loss):
    real, fake = as_logits(-1, 0, 3), as_logits(-3, 1, 0.5)
    loss = LOSSES[loss]
    assert float(loss.gen(fake, real)) == pytest.approx(float(loss.dis(fake, real)), rel=1e-6)
    # Only differences count: a constant added to all logits changes nothing.
    shifted = loss.dis(real + 7, fake + 7)
    assert float(shifted) == pytest.approx(float(loss.dis(real, fake)), rel=1e-5)


def test_pairing_refuses_unequal_numbers():
    for call in (LOSSES['relativistic_pairing'].dis, LOSSES['relativistic_pairing'].gen):
        with pytest.raises(ValueError, match=r'pairs . reals with . fakes.*gen_batch_size'):
            call(as_logits(1, 2), as_logits(1, 2, 3))


def test_batches_are_averaged():
    real, fake = as_logits(-1, 0, 3), as_logits(-3, 1, 0.5)
    assert float(LOSSES['hinge'].dis(real, fake)) == pytest.approx((2 + 1 + 0) / 3 + (2 + 1.5) / 3)
    expected = sum(map(softplus, [1, 0, -3, -3, 1, 0.5])) / 3
    assert float(LOSSES['non_saturating'].dis(real, fake)) == pytest.approx(expected)
    assert float(LOSSES['hinge'].gen(fake)) == pytest.approx(0.5)
    expected = sum(map(softplus, [3, -1, -0.5])) / 3
    assert float(LOSSES['non_saturating'].gen(fake)) == pytest.approx(expected)
    expected = -sum(map(softplus, [-3, 1, 0.5])) / 3
    assert float(LOSSES['minimax'].gen(fake)) == pytest.approx(expected)
    expected = (4 + 1 + 4 + 9 + 1 + 0.25) / 6
    assert float(LOSSES['least_squares'].dis(real, fake)) == pytest.approx(expected)
    assert float(LOSSES['least_squares'].gen(fake)) == pytest.approx((16 + 0 + 0.25) / 6)
    assert float(LOSSES['wasserstein'].dis(real, fake)) == pytest.approx((-1.5 - 2) / 3)
    expected = sum(map(softplus, [-2, 1, -2.5])) / 3  # fake - real, pair by pair
    assert float(LOSSES['relativistic_pairing'].dis(real, fake)) == pytest.approx(expected)


def test_relativistic_average_of_unequal_numbers():
    real, fake = as_logits(1, 3), as_logits(-1, 0, 4)  # averages 2 and 1
    of_reals, of_fakes = sum(map(softplus, [0, -2])) / 2, sum(map(softplus, [-3, -2, 2])) / 3
    got = LOSSES['relativistic_average'].dis(real, fake)
    assert float(got) == pytest.approx(of_reals + of_fakes, rel=1e-6)
    of_reals, of_fakes = sum(map(softplus, [0, 2])) / 2, sum(map(softplus, [3, 2, -2])) / 3
    got = LOSSES['relativistic_average'].gen(fake, real)
    assert float(got) == pytest.approx(of_reals + of_fakes, rel=1e-6)


def test_relativistic_average_takes_the_mean_it_is_given():
    got = LOSSES['relativistic_average'].dis(
        as_logits(1, 3), as_logits(-1, 0), mean=lambda x: jnp.max(x)
    )
    expected = sum(map(softplus, [-1, -3])) / 2 + sum(map(softplus, [-4, -3])) / 2
    assert float(got) == pytest.approx(expected, rel=1e-6)


def test_relativistic_average_does_not_depend_on_the_sharding():
    """Two halves with a common mean, then averaged: the loss and the gradient of the whole batch."""
    loss = LOSSES['relativistic_average']
    real, fake = as_logits(-1, 0, 3, 2), as_logits(-3, 1, 0.5, 4)

    def judged(weight, real, fake, **kwargs):
        return loss.dis(weight * real, jnp.sin(weight * fake), **kwargs)

    def half(real, fake):
        common = {'mean': lambda x: jax.lax.pmean(jnp.mean(x), 'batch')}
        value, grad = jax.value_and_grad(judged)(jnp.float32(0.7), real, fake, **common)
        return jax.lax.pmean((value, grad), 'batch')

    halves = jax.vmap(half, axis_name='batch')(real.reshape(2, 2), fake.reshape(2, 2))
    whole = jax.value_and_grad(judged)(jnp.float32(0.7), real, fake)
    apart = judged(jnp.float32(0.7), real[:2], fake[:2]) + judged(
        jnp.float32(0.7), real[2:], fake[2:]
    )
    assert abs(float(apart) / 2 - float(whole[0])) > 0.01  # the common mean is what matters
    for got, expected in zip(halves, whole, strict=True):
        np.testing.assert_allclose(got, [float(expected)] * 2, rtol=1e-5)


def test_gradients_of_dis():
    """Hinge pushes only inside the margin; cross-entropy pushes by the probability of being wrong."""
    real, fake = as_logits(-2, 0.5, 2, 3), as_logits(-3, -2, -0.5, 2)
    grads = jax.grad(LOSSES['hinge'].dis, argnums=(0, 1))(real, fake)
    np.testing.assert_allclose(grads[0], [-0.25, -0.25, 0, 0], atol=1e-7)
    np.testing.assert_allclose(grads[1], [0, 0, 0.25, 0.25], atol=1e-7)
    grads = jax.grad(LOSSES['non_saturating'].dis, argnums=(0, 1))(real, fake)
    np.testing.assert_allclose(grads[0], -1 / (1 + np.exp([-2, 0.5, 2, 3])) / 4, rtol=1e-6)
    np.testing.assert_allclose(grads[1], 1 / (1 + np.exp([3, 2, 0.5, -2])) / 4, rtol=1e-6)


def test_gradients_of_gen():
    fake = as_logits(-5, 0)
    np.testing.assert_allclose(jax.grad(LOSSES['hinge'].gen)(fake), [-0.5, -0.5], atol=1e-7)
    got = jax.grad(LOSSES['non_saturating'].gen)(fake)
    np.testing.assert_allclose(got, -1 / (1 + np.exp([-5, 0])) / 2, rtol=1e-6)
    # The generator still learns where the discriminator is certain: "non-saturating".
    assert abs(got[0]) > 0.49
    saturating = jax.grad(LOSSES['minimax'].gen)(fake)
    np.testing.assert_allclose(saturating, -1 / (1 + np.exp([5, 0])) / 2, rtol=1e-6)
    assert abs(saturating[0]) < 0.01
    np.testing.assert_allclose(jax.grad(LOSSES['least_squares'].gen)(fake), [-3, -0.5], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(LOSSES['wasserstein'].gen)(fake), [-0.5, -0.5], rtol=1e-6)
    pairing = jax.grad(LOSSES['relativistic_pairing'].gen)(fake, as_logits(1, -2))
    np.testing.assert_allclose(pairing, -1 / (1 + np.exp([-6, 2])) / 2, rtol=1e-6)
