"""Lower bounds of Lipschitz constants against functions whose constant is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax.objectives import lower_bounds

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(-0.5, 0.5, (4, 2, 3, 1)), jnp.float32)
WEIGHTS = jnp.asarray([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])[..., None]


def largest_ratios(score, images, n_steps):
    gradients = jax.grad(lambda x: jnp.sum(score(x)))(images)
    return lower_bounds.largest_ratios(score, images, gradients, n_steps=n_steps)


def test_a_linear_function_has_its_slope_everywhere():
    ratios = largest_ratios(lambda x: jnp.sum(WEIGHTS * x, (1, 2, 3)), IMAGES, n_steps=3)
    np.testing.assert_allclose(ratios, 5.0, rtol=1e-5)


def test_a_constant_function_has_none():
    ratios = largest_ratios(lambda x: jnp.zeros(len(x)), IMAGES, n_steps=2)
    assert ratios.tolist() == [0.0] * 4


def test_the_ascent_finds_a_steeper_place_and_stays_inside_the_images():
    # D = 5 (w x)^2 / 2 is steepest, with slope 5 |w x| |w|, at a corner of the box: |w x| = 7.
    def score(x):
        return 2.5 * jnp.square(jnp.sum(WEIGHTS * x, (1, 2, 3)))

    start = largest_ratios(score, IMAGES, n_steps=0)
    climbed = largest_ratios(score, IMAGES, n_steps=60)
    assert np.all(np.asarray(climbed) >= np.asarray(start))
    assert np.max(np.asarray(climbed)) == pytest.approx(5 * 7 * 5, rel=0.05)
    assert np.max(np.asarray(climbed)) <= 5 * 7 * 5
