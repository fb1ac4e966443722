"""Penalties on gradients and on logits against closed forms, and their invariances.

Those on weights are in `test_weight_penalties.py`.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax.objectives import penalties
from snjax.objectives.penalties import PENALTIES, PenaltyInputs

SHAPE = (4, 4, 2)


def images(seed, num=4, shape=SHAPE):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (num, *shape)), jnp.float32)


# Compiled quickly rather than well: compiling is most of what these tests take.
QUICK = {'xla_backend_optimization_level': '0'} if jax.default_backend() == 'cpu' else None
quick = functools.partial(jax.jit, compiler_options=QUICK)

REAL, FAKE = images(0), images(1)
KEYS = jax.random.split(jax.random.key(3), 4)


def linear(w, bias=0.0):
    """D(x) = <w, x> + bias: the same slope everywhere."""
    return lambda x: jnp.sum(x * w, (1, 2, 3)) + bias


def quadratic(x):
    """D(x) = |x|^2 / 2: the slope at x is |x|, which shows where a penalty evaluates it."""
    return jnp.sum(jnp.square(x), (1, 2, 3)) / 2


def with_norm(norm):
    w = np.asarray(images(2, 1)[0])
    return jnp.asarray(w * (norm / np.linalg.norm(w)))


def critique(score, **changes):
    return PenaltyInputs(score, score, {}, {}, REAL, FAKE, KEYS)._replace(**changes)


def assert_uniform(sample):
    """Kolmogorov-Smirnov against U(0, 1), at a level of about 0.001."""
    sample = np.sort(np.asarray(sample, np.float64))
    num = len(sample)
    assert sample[0] >= -1e-5 and sample[-1] <= 1 + 1e-5
    steps = np.arange(num + 1) / num
    distance = max(np.max(steps[1:] - sample), np.max(sample - steps[:-1]))
    assert distance < 1.95 / np.sqrt(num)


# --- consistency


def test_consistency_is_the_squared_difference_of_logits():
    w = images(2, 1)[0]
    score = linear(w, bias=3.0)
    other = np.asarray(penalties.moved(REAL, KEYS))
    expected = np.mean([np.sum(w * (x - y)) ** 2 for x, y in zip(REAL, other, strict=True)])
    found = quick(lambda x: PENALTIES['consistency'](critique(score, real=x)))(REAL)
    assert found == pytest.approx(expected, rel=1e-5)
    fakes = PENALTIES['consistency_fake'](critique(score, score_fake=quadratic))
    other = np.asarray(penalties.moved(FAKE, KEYS))
    expected = np.mean((np.square(FAKE).sum((1, 2, 3)) - np.square(other).sum((1, 2, 3))) ** 2) / 4
    assert fakes == pytest.approx(expected, rel=1e-5)


def test_latent_consistency_is_the_squared_difference_of_logits_of_pairs():
    """By D as it sees the classes of fakes."""
    near, w = images(5), images(2, 1)[0]
    inputs = critique(quadratic, score_fake=linear(w, bias=1.0), near=near)
    expected = np.mean([np.sum(w * (x - y)) ** 2 for x, y in zip(FAKE, near, strict=True)])
    assert PENALTIES['latent_consistency'](inputs) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match='latent_consistency needs fakes of latents near z'):
        PENALTIES['latent_consistency'](critique(quadratic))


def test_images_are_mirrored_half_the_time_and_moved_by_up_to_an_eighth():
    num = 2000
    image = jnp.zeros((16, 16, 1)).at[5, 4].set(1).at[5, 6].set(2)  # 2 is to the right of 1
    keys = jax.random.split(jax.random.key(0), num)
    found = np.asarray(penalties.moved(jnp.broadcast_to(image, (num, 16, 16, 1)), keys))[..., 0]
    first, second = (np.argwhere(found == value)[:, 1:] for value in (1, 2))
    mirrored = second[:, 1] < first[:, 1]
    assert abs(mirrored.mean() - 0.5) < 3.3 * 0.5 / np.sqrt(num)
    by = first - np.where(mirrored[:, None], (5, 15 - 4), (5, 4))
    assert by.min() == -2 and by.max() == 2
    counts = np.bincount(by[:, 0] + 2, minlength=5)
    assert np.abs(counts - num / 5).max() < 5 * np.sqrt(num / 5)


# --- gradient penalties where the slope is known -------------------------------------------------

SLOPED = {
    'gradient': lambda s: (s - 1) ** 2,
    'gradient_one_sided': lambda s: max(0, s - 1) ** 2,
    'dragan': lambda s: (s - 1) ** 2,
    'r1': lambda s: s**2 / 2,
    'r2': lambda s: s**2 / 2,
}


def every(names, score, **changes):
    return {name: PENALTIES[name](critique(score, **changes)) for name in names}


def test_linear_discriminators():
    """The value, and the gradient along w: 2 (|w| - 1) w / |w| for the Lipschitz kind, w for the
    others.
    """

    @quick
    def penalty(w):
        def values(w):
            return every(SLOPED, linear(w))

        return values(w), jax.jacrev(values)(w)

    for norm in (0.5, 1.25, 3.0):
        w = with_norm(norm)
        values, gradients = penalty(w)
        for name, expected in SLOPED.items():
            assert values[name].shape == ()
            assert float(values[name]) == pytest.approx(expected(norm), rel=1e-5, abs=1e-6), name
            slope = norm if name in ('r1', 'r2') else 2 * (norm - 1)
            slope = 0 if name == 'gradient_one_sided' and norm < 1 else slope
            np.testing.assert_allclose(
                gradients[name], slope * w / norm, rtol=1e-4, atol=1e-6, err_msg=name
            )


def test_zero_gradients_are_finite():
    """A plain square root makes the gradient NaN, and one image with zero slope is enough."""

    def dead(w, scale):
        return every(SLOPED, lambda x: scale * nn.relu(linear(w, -1000.0)(x)))

    def half_dead(x):  # the quadratic's slope is 0 in one image alone
        return every(SLOPED, quadratic, real=x, fake=x, mean=lambda x: jnp.zeros((), x.dtype))

    @quick
    def run(w, scale, x):
        gradients = jax.jacrev(dead, argnums=(0, 1))(w, scale)
        return dead(w, scale), gradients, jax.jacrev(half_dead)(x)

    args = with_norm(1.0), jnp.float32(2.0), REAL.at[0].set(0)
    values, gradients, of_images = run(*args)
    for name, expected in SLOPED.items():
        assert float(values[name]) == pytest.approx(expected(0), abs=1e-7), name
        for gradient in gradients[name]:
            np.testing.assert_array_equal(gradient, jnp.zeros_like(gradient), name)
        assert np.isfinite(of_images[name]).all(), name
        assert float(jnp.abs(of_images[name][1:]).max()) > 1e-3, name
        np.testing.assert_array_equal(of_images[name][0], jnp.zeros(SHAPE), name)


def test_slopes_are_every_image_s_own():
    norms = np.linalg.norm(np.asarray(REAL).reshape(4, -1), axis=1)
    slopes = quick(functools.partial(penalties.slopes, quadratic))
    np.testing.assert_allclose(slopes(REAL), norms, rtol=1e-5)
    for name, at in (('r1', REAL), ('r2', FAKE)):
        expected = np.mean(np.sum(np.square(np.asarray(at, np.float64)), (1, 2, 3))) / 2
        assert float(PENALTIES[name](critique(quadratic))) == pytest.approx(expected, rel=1e-5)


def test_drift():
    w = with_norm(2.0)
    logits = np.asarray(linear(w, 0.5)(REAL), np.float64)
    value = PENALTIES['drift'](critique(linear(w, 0.5)))
    assert float(value) == pytest.approx(np.mean(logits**2), rel=1e-5)
    assert float(PENALTIES['drift'](critique(lambda x: jnp.full(len(x), -3.0)))) == 9


# --- where gradient penalties look ----------------------------------------------------------------


def test_interpolates_are_uniform_between_real_and_fake():
    """From 0 to an image of norm 0.8 the quadratic's slope is 0.8 alpha, and alpha one number per
    image.
    """
    end = with_norm(0.8)[None]
    keys = jax.random.split(jax.random.key(0), 2000)

    @quick
    @jax.vmap
    def penalty(key):
        return penalties.gradient_penalty(quadratic, jnp.zeros_like(end), end, key[None])

    assert_uniform((1 - np.sqrt(penalty(keys))) / 0.8)


def test_dragan_looks_beside_the_data():
    """One pixel at 0.3 with a deviation of 0.4 goes up by d = alpha 0.2 U: E[d] = 0.05, E[d^2] =
    0.04 / 9.
    """
    keys = jax.random.split(jax.random.key(0), 20_000)
    pixel = jnp.full((1, 1, 1, 1), 0.3)

    @quick
    @jax.vmap
    def penalty(key):
        return penalties.dragan(
            quadratic, pixel, key[None], mean=lambda x: jnp.asarray(0.16, x.dtype)
        )

    moved = 0.7 - np.sqrt(np.asarray(penalty(keys), np.float64))
    assert -1e-6 < moved.min() < 0.001 and 0.19 < moved.max() < 0.2 + 1e-6
    assert moved.mean() == pytest.approx(0.05, rel=0.03)
    assert np.mean(moved**2) == pytest.approx(0.04 / 9, rel=0.04)


def test_dragan_has_one_alpha_per_image_and_noise_per_pixel():
    """In a large black image the noise averages out, and the slope is alpha 0.5 s sqrt(n / 3)."""
    keys = jax.random.split(jax.random.key(1), 1000)
    black = jnp.zeros((1, 16, 16, 3))
    std = 1.6 / np.sqrt(black.size / 3)  # so that the slope is 0.8 alpha

    @quick
    @jax.vmap
    def penalty(key):
        return penalties.dragan(
            quadratic, black, key[None], mean=lambda x: jnp.asarray(std**2, x.dtype)
        )

    alpha = (1 - np.sqrt(penalty(keys))) / 0.8
    assert alpha.max() < 1.05
    assert_uniform(np.minimum(alpha, 1))


def test_dragan_against_numpy():
    """The deviation is over all values of the batch, divided by n."""

    @quick
    def draws():
        keys = jax.vmap(jax.random.split)(KEYS)
        alpha = [jax.random.uniform(keys[i, 0]) for i in range(4)]
        return alpha, [jax.random.uniform(keys[i, 1], SHAPE) for i in range(4)]

    alpha, noise = (np.asarray(x, np.float64) for x in draws())
    real = np.asarray(REAL, np.float64)
    spread = alpha.reshape(4, 1, 1, 1) * 0.5 * np.std(real) * noise
    slopes = np.sqrt(np.sum(np.square(real + spread), (1, 2, 3)))
    got = quick(lambda: PENALTIES['dragan'](critique(quadratic)))()
    assert float(got) == pytest.approx(np.mean((slopes - 1) ** 2), rel=1e-5)


def test_penalties_do_not_depend_on_the_sharding():
    """Two halves with their own keys and a common mean, then averaged: the whole batch's value and
    gradient.
    """
    names = ['gradient', 'dragan', 'r1', 'drift']

    def judged(scale, **changes):
        def score(x):
            return scale * quadratic(x) + jnp.sum(x, (1, 2, 3))

        values = every(names, score, **changes)
        return jnp.stack([values[name] for name in names])

    def both(scale, **changes):
        function = functools.partial(judged, **changes)
        return jnp.stack([function(scale), jax.jacrev(function)(scale)])

    def half(real, fake, keys):
        parts = {'real': real, 'fake': fake, 'keys': keys}
        parts['mean'] = lambda x: jax.lax.pmean(jnp.mean(x), 'batch')
        return jax.lax.pmean(both(jnp.float32(0.7), **parts), 'batch')

    # Brighter reals in one half, so that a half's deviation is not the batch's.
    real = REAL.at[2:].multiply(3)
    parts = [x.reshape(2, 2, *x.shape[1:]) for x in (real, FAKE, KEYS)]
    halves = quick(jax.vmap(half, axis_name='batch'))(*parts)
    whole = quick(functools.partial(both, real=real))(jnp.float32(0.7))
    assert (jnp.abs(whole) > 0.1).all()
    for got in halves:
        np.testing.assert_allclose(got, whole, rtol=1e-5)


def test_an_image_s_interpolate_follows_its_key():
    """Pairs in another order with their keys give the same penalty; other keys, or keys exchanged,
    another one.
    """

    def penalty(order, keys):
        return float(gradient_penalty(REAL[order], FAKE[order], keys))

    gradient_penalty = quick(functools.partial(penalties.gradient_penalty, quadratic))
    order = jnp.array([2, 0, 3, 1])
    plain = penalty(jnp.arange(4), KEYS)
    assert penalty(order, KEYS[order]) == pytest.approx(plain, rel=1e-5)
    assert abs(penalty(order, KEYS) - plain) > 1e-3
    assert abs(penalty(jnp.arange(4), jax.random.split(jax.random.key(4), 4)) - plain) > 1e-3


def test_unequal_shapes_are_refused(own_errors):
    with pytest.raises(ValueError, match=r'^gradient_penalty .*\(4, 4, 4, 2\) and fake \(3, 4'):
        penalties.gradient_penalty(quadratic, REAL, FAKE[:3], KEYS)


def test_every_penalty_is_tested_here():
    """Here or in `test_weight_penalties.py`."""
    weights = {'orthonormal', 'l2', 'spectral'}
    moved = {'consistency', 'consistency_fake', 'latent_consistency'}
    assert set(PENALTIES) == {*SLOPED, *weights, *moved, 'drift'}
