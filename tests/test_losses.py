"""Losses at logits where they are known by hand, and their gradients."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax.losses import LOSSES

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
    ],
)
def test_gen_at_known_logits(loss, fake, expected):
    got = LOSSES[loss].gen(as_logits(fake))
    assert got.shape == () and float(got) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_every_loss_is_tested_here():
    assert set(LOSSES) == {'hinge', 'non_saturating'}


def test_batches_are_averaged():
    real, fake = as_logits(-1, 0, 3), as_logits(-3, 1, 0.5)
    assert float(LOSSES['hinge'].dis(real, fake)) == pytest.approx((2 + 1 + 0) / 3 + (2 + 1.5) / 3)
    expected = sum(map(softplus, [1, 0, -3, -3, 1, 0.5])) / 3
    assert float(LOSSES['non_saturating'].dis(real, fake)) == pytest.approx(expected)
    assert float(LOSSES['hinge'].gen(fake)) == pytest.approx(0.5)
    expected = sum(map(softplus, [3, -1, -0.5])) / 3
    assert float(LOSSES['non_saturating'].gen(fake)) == pytest.approx(expected)


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
    # Where the discriminator is sure of a fake, the generator still learns (what "non-saturating" says).
    assert abs(got[0]) > 0.49
