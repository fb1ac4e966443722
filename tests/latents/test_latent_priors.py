"""Distributions fitted to latents, against NumPy, and their draws against their moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax.latents import priors
from snjax.latents.priors import Mixture, fit_classes, fit_gaussian, fit_mixture, project

RNG = np.random.default_rng(0)
KEY = jax.random.key(5)
# 50 latents in 4 dimensions, far inside the ball, correlated.
Z = (0.03 * RNG.standard_normal((50, 4)) @ RNG.standard_normal((4, 4)) + 0.1).astype(np.float32)
Z64 = Z.astype(np.float64)


def covariances(prior):
    factors = np.asarray(prior.factors, np.float64)
    return factors @ factors.swapaxes(1, 2)


draw = jax.jit(priors.draw)


# ---- the ball


def test_projection_leaves_the_ball_bit_for_bit():
    inside = RNG.standard_normal((100, 5)).astype(np.float32)
    inside *= RNG.random((100, 1), np.float32) / np.linalg.norm(inside, axis=1, keepdims=True)
    inside = np.concatenate([inside, np.eye(5, dtype=np.float32), -np.zeros((1, 5), np.float32)])
    assert np.asarray(project(jnp.asarray(inside))).tobytes() == inside.tobytes()


@pytest.mark.parametrize('shape', [(5,), (20, 5), (3, 4, 5)])
def test_projection_shortens_to_length_one(shape):
    z = RNG.standard_normal(shape).astype(np.float32)
    z *= (1.001 + 50 * RNG.random((*shape[:-1], 1))) / np.linalg.norm(z, axis=-1, keepdims=True)
    z = z.astype(np.float32)
    projected = project(jnp.asarray(z))
    expected = z / np.linalg.norm(z.astype(np.float64), axis=-1, keepdims=True)
    np.testing.assert_allclose(projected, expected, rtol=1e-6)
    # Projecting again changes nothing but rounding.
    np.testing.assert_allclose(project(projected), projected, rtol=3e-7)


def test_projection_has_a_gradient_everywhere():
    z = jnp.asarray([[0.0, 0.0], [0.3, -0.4], [3.0, 4.0], [1.0, 0.0]])
    jacobian = jax.jit(jax.vmap(jax.jacobian(project)))(z)
    np.testing.assert_array_equal(jacobian[:2], np.broadcast_to(np.eye(2), (2, 2, 2)))
    # (I - n n^T) / |z|: only along the sphere.
    n = np.array([0.6, 0.8])
    np.testing.assert_allclose(jacobian[2], (np.eye(2) - np.outer(n, n)) / 5, atol=1e-6)
    assert np.isfinite(jacobian).all()


# ---- one Gaussian


@pytest.mark.parametrize('d', [1, 4])
def test_full_gaussian_has_the_mean_and_the_covariance(d):
    prior = fit_gaussian(jnp.asarray(Z[:, :d]))
    assert prior.means.shape == (1, d) and prior.factors.shape == (1, d, d)
    np.testing.assert_array_equal(prior.weights, [1.0])
    np.testing.assert_allclose(prior.means[0], Z64[:, :d].mean(0), rtol=1e-5)
    expected = np.cov(Z64[:, :d], rowvar=False, ddof=1).reshape(d, d)
    np.testing.assert_allclose(covariances(prior)[0], expected, rtol=1e-4, atol=1e-7)


def test_diagonal_gaussian_leaves_out_correlations():
    prior = fit_gaussian(jnp.asarray(Z), 'diagonal')
    np.testing.assert_allclose(prior.means[0], Z64.mean(0), rtol=1e-5)
    np.testing.assert_allclose(covariances(prior)[0], np.diag(Z64.var(0, ddof=1)), rtol=1e-5)
    full = np.cov(Z64, rowvar=False)
    assert np.abs(full - np.diag(np.diag(full))).max() > 0.1 * full.max()  # there were some


@pytest.mark.parametrize('num', [2, 5])
def test_fewer_latents_than_dimensions_span_their_own_space(num):
    """The covariance equals NumPy's, and draws vary only in the span of the latents."""
    z = 0.02 * RNG.standard_normal((num, 12)).astype(np.float32)
    prior = fit_gaussian(jnp.asarray(z))
    np.testing.assert_allclose(
        covariances(prior)[0], np.cov(z.astype(np.float64), rowvar=False), rtol=1e-4, atol=1e-9
    )
    away = np.asarray(draw(prior, KEY, jnp.arange(10)) - prior.means[0], np.float64)
    basis = np.linalg.svd(z.astype(np.float64) - z.mean(0))[2][: num - 1]
    size = np.linalg.norm(away, axis=1)
    assert (np.linalg.norm(away - away @ basis.T @ basis, axis=1) < 0.03 * size).all()
    assert (size > 1e-4).all()


def test_equal_latents_are_drawn_as_they_are():
    z = jnp.broadcast_to(jnp.asarray([0.25, -0.5, 0.125]), (6, 3))
    np.testing.assert_array_equal(draw(fit_gaussian(z), KEY, jnp.arange(6)), z)


# ---- draws


@pytest.mark.parametrize('kind', ['full', 'diagonal'])
def test_draws_have_the_moments_of_the_prior(kind):
    prior = fit_gaussian(jnp.asarray(Z), kind)
    num = 20_000
    z = np.asarray(draw(prior, KEY, jnp.arange(num)), np.float64)
    assert np.linalg.norm(z, axis=1).max() < 1  # so that projection has done nothing
    expected = covariances(prior)[0]
    deviations = np.sqrt(np.diag(expected))
    # Standard errors: of a mean 1 / sqrt(num), of a covariance at most sqrt(2 / num), relative to
    # the deviations.
    off = (z.mean(0) - np.asarray(prior.means[0])) / deviations
    assert np.abs(off).max() < 5 / np.sqrt(num) and np.abs(off).max() > 0
    off = (np.cov(z, rowvar=False) - expected) / np.outer(deviations, deviations)
    assert np.abs(off).max() < 5 * np.sqrt(2 / num)
    # A Gaussian's fourth moment.
    kurtosis = (((z - z.mean(0)) / z.std(0)) ** 4).mean(0)
    np.testing.assert_allclose(kurtosis, 3, atol=5 * np.sqrt(96 / num))


def test_wide_draws_end_on_the_sphere_and_short_ones_do_not():
    prior = Mixture(jnp.ones(1), jnp.zeros((1, 3)), 0.7 * jnp.eye(3)[None])
    norms = np.linalg.norm(draw(prior, KEY, jnp.arange(20_000)), axis=1)
    assert norms.max() < 1 + 1e-6
    # A chi-squared variable of three degrees of freedom is below 1 / .49 with probability .4363.
    assert (norms < 1 - 1e-5).mean() == pytest.approx(0.436, abs=0.015)


def test_a_draw_is_of_its_own_number():
    """A draw does not depend on the number of draws or its place in the batch, only on its key."""
    prior = fit_mixture(Z, 2)
    ten = np.asarray(draw(prior, KEY, jnp.arange(10)))
    assert np.asarray(draw(prior, KEY, jnp.arange(3))).tobytes() == ten[:3].tobytes()
    some = np.array([7, 2, 7, 0, 1, 9, 8, 3, 3, 5])
    np.testing.assert_array_equal(draw(prior, KEY, jnp.asarray(some)), ten[some])
    assert len(np.unique(ten, axis=0)) == 10
    assert (np.asarray(draw(prior, jax.random.key(6), jnp.arange(10))) != ten).any(axis=1).all()


def three_corners():
    """Means far apart, hardly any spread."""
    return Mixture(
        jnp.asarray([0.2, 0.7, 0.1]),
        0.8 * jnp.eye(3),
        jnp.broadcast_to(1e-3 * jnp.eye(3), (3, 3, 3)),
    )


def test_components_are_drawn_by_weight_or_as_told():
    prior, num = three_corners(), 20_000
    shares = np.bincount(np.argmax(draw(prior, KEY, jnp.arange(num)), axis=1)) / num
    weights = np.array([0.2, 0.7, 0.1])
    assert (np.abs(shares - weights) < 5 * np.sqrt(weights * (1 - weights) / num)).all()
    labels = jnp.asarray([2, 0, 0, 1, 2])
    z = draw(prior, KEY, jnp.arange(5), labels)
    np.testing.assert_allclose(z, prior.means[labels], atol=6e-3)
    assert (np.asarray(z) != np.asarray(prior.means[labels])).all()


# ---- classes, mixtures


def test_component_i_is_class_i():
    labels = np.repeat([2, 0, 1, 2, 0], 10).astype(np.int32)
    prior = fit_classes(Z, labels, 3)
    np.testing.assert_allclose(prior.weights, [0.4, 0.2, 0.4], rtol=1e-6)
    for i in range(3):
        own = Z64[labels == i]
        np.testing.assert_allclose(prior.means[i], own.mean(0), rtol=1e-5)
        np.testing.assert_allclose(
            covariances(prior)[i], np.cov(own, rowvar=False), rtol=1e-4, atol=1e-7
        )


def test_a_mixture_finds_two_far_clusters():
    near = 0.01 * RNG.standard_normal((300, 3)) @ RNG.standard_normal((3, 3)) + 0.4
    far = 0.02 * RNG.standard_normal((100, 3)) - 0.4
    prior = fit_mixture(np.concatenate([near, far]).astype(np.float32), 2, seed=3)
    order = np.argsort(-np.asarray(prior.weights))
    np.testing.assert_allclose(prior.weights[order], [0.75, 0.25], rtol=1e-5)
    for i, own in zip(order, (near, far), strict=True):
        np.testing.assert_allclose(prior.means[i], own.mean(0), rtol=1e-4)
        np.testing.assert_allclose(
            covariances(prior)[i],
            np.cov(own, rowvar=False, ddof=0) + 1e-6 * np.eye(3),
            rtol=1e-2,
            atol=1e-7,
        )


def test_a_mixture_of_one_is_the_gaussian_of_all():
    """One component is the Gaussian with n in place of n - 1 and scikit-learn's 1e-6 on the
    diagonal.
    """
    prior = fit_mixture(Z, 1)
    np.testing.assert_allclose(prior.means[0], Z64.mean(0), rtol=1e-5)
    expected = np.cov(Z64, rowvar=False, ddof=0) + 1e-6 * np.eye(4)
    np.testing.assert_allclose(covariances(prior)[0], expected, rtol=1e-4, atol=1e-7)


def test_a_mixture_of_fewer_latents_than_dimensions():
    """Short latents, like N(0, I / d), in a plane: float32 is not enough for the decomposition."""
    z = np.zeros((60, 100), np.float32)
    z[:, :2] = RNG.standard_normal((60, 2))
    z = (z @ np.linalg.qr(RNG.standard_normal((100, 100)))[0]).astype(np.float32)
    prior = fit_mixture(z, 2)
    assert np.isfinite(prior.factors).all()
    drawn = draw(prior, KEY, jnp.arange(50))
    assert np.isfinite(drawn).all() and len(np.unique(drawn, axis=0)) == 50


def test_jax_and_numpy_latents_fit_alike():
    labels = np.repeat([0, 1], 25)
    pairs = [
        (fit_gaussian(Z), fit_gaussian(jnp.asarray(Z))),
        (fit_classes(Z, labels, 2), fit_classes(jnp.asarray(Z), jnp.asarray(labels), 2)),
        (fit_mixture(Z, 2), fit_mixture(jnp.asarray(Z), 2)),
    ]
    for ours, theirs in pairs:
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


# ---- errors


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (
            lambda: fit_gaussian(jnp.asarray(Z), 'class'),
            "prior 'class': accepted are full and diagonal",
        ),
        (lambda: fit_gaussian(jnp.asarray(Z[:1])), 'a Gaussian needs at least 2 latents, not 1'),
        (
            lambda: fit_classes(Z, np.array([0] * 49 + [2]), 3),
            'class 1 has 0 images: a Gaussian of its own needs at least 2; use --sample.prior=full',
        ),
        (lambda: fit_classes(Z, np.array([0] * 49 + [1]), 2), 'class 1 has 1 images'),
        (
            lambda: fit_classes(Z, np.repeat([0, 1], 25), 1),
            'a label is 1, and there are 1 classes: 0 to 0 are accepted',
        ),
        (
            lambda: fit_mixture(Z, 51),
            '51 components for 50 latents: 1 to 50 are accepted (--sample.components)',
        ),
        (lambda: fit_mixture(Z, 0), '0 components for 50 latents: 1 to 50 are accepted'),
    ],
)
def test_what_is_not_accepted_is_named_in_one_line(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value) and '\n' not in str(caught.value)


def test_priors_have_names():
    assert priors.PRIORS == ('full', 'diagonal', 'mixture', 'class')
