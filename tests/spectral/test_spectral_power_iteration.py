"""The power iteration against numpy's SVD, closed forms and the same algorithm in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.spectral_layers import assert_unit, numpy_iteration, power_iterations
from snjax import spectral
from snjax.spectral import power_iteration


def test_sigma_rises_to_the_singular_value_of_the_two_by_four_example():
    w = jnp.array([[1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]])
    start = jnp.array([8.0, 2.0, -1.0, -5.0])  # nearly orthogonal to the singular vector
    curve = [float(power_iteration(w, start, n_steps=n)[0]) for n in range(1, 6)]
    np.testing.assert_allclose(
        curve, [7.69815163, 10.73788734, 10.73807222, 10.73807223, 10.73807223], rtol=3e-7
    )
    assert all(b >= a - 2e-6 for a, b in itertools.pairwise(curve))
    with jax.enable_x64(True):
        exact = power_iteration(w.astype(jnp.float64), start.astype(jnp.float64), n_steps=20)[0]
    assert float(exact) == pytest.approx(10.738072225850, abs=1e-10)


def test_one_step_by_hand():
    w = jnp.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    sigma, u, v = power_iteration(w, jnp.array([4.0, 3.0]))
    np.testing.assert_allclose(v, [0.5**0.5, 0.5**0.5, 0], rtol=1e-6)  # (12, 12, 0) normalized
    np.testing.assert_allclose(u, [0.6, 0.8], rtol=1e-6)
    assert float(sigma) == pytest.approx(5 * 0.5**0.5, rel=1e-6)


def test_multiple_of_the_identity_and_rank_one():
    sigma, u, _ = power_iteration(4 * jnp.eye(3), jnp.array([0.0, 3.0, 4.0]))
    assert float(sigma) == pytest.approx(4, rel=1e-6)
    np.testing.assert_allclose(u, [0, 0.6, 0.8], rtol=1e-6)
    w = jnp.outer(jnp.array([1.0, -2.0, 2.0]), jnp.array([0.0, 5.0]))
    sigma, u, v = power_iteration(w, jnp.array([7.0, 0.1]))  # one step is enough
    assert float(sigma) == pytest.approx(15, rel=1e-6)
    np.testing.assert_allclose(u, [0, 1], atol=1e-6)
    np.testing.assert_allclose(v, [1 / 3, -2 / 3, 2 / 3], rtol=1e-6)


def test_start_in_the_kernel_of_w_gives_zero_and_is_given_back():
    sigma, u, _ = power_iteration(jnp.array([[1.0, -1.0], [2.0, -2.0]]), jnp.array([3.0, 3.0]))
    assert float(sigma) == 0
    np.testing.assert_array_equal(u, [3, 3])


@pytest.mark.parametrize('scale', [1e-36, 1e-30, 1e-10, 1e10, 1e30, 1e36])
def test_vectors_do_not_depend_on_the_scale(scale):
    rng = np.random.default_rng(0)
    w, u = (jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in ((5, 4), 4))
    expected = power_iterations(w, u, n_steps=2)
    sigma, *vectors = power_iterations(w * scale, u, n_steps=2)
    assert float(sigma) / scale == pytest.approx(float(expected[0]), rel=1e-6)
    np.testing.assert_allclose(vectors[0], expected[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(vectors[1], expected[2], rtol=1e-5, atol=1e-6)


def test_gradient_of_sigma_is_the_outer_product():
    w = jnp.asarray(np.random.default_rng(3).standard_normal((5, 3)), jnp.float32)
    w = w.at[2, 1].set(4.0)  # the scale is a power of two: no rounding
    rayleigh_gradient = jax.jit(jax.grad(spectral.rayleigh))
    start = jnp.array([1.0, 2.0, -1.0])
    _, u, v = power_iterations(w, start, n_steps=2)
    gradient = jax.grad(lambda w: power_iterations(w, start, n_steps=2)[0])(w)
    np.testing.assert_array_equal(gradient, jnp.outer(v, u))
    np.testing.assert_array_equal(rayleigh_gradient(w, u, v), jnp.outer(v, u))
    for scale in (0.3, 1e-30, 1e30):
        gradient = rayleigh_gradient(w * scale, u, v)
        np.testing.assert_allclose(gradient, np.outer(v, u), rtol=1e-6)
    of_u = jax.grad(lambda w, u: jnp.sum(power_iterations(w, u)[1]), argnums=(0, 1))
    blocked = of_u(w, start)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(blocked))  # u and v are constants


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    shape=st.sampled_from([(1, 5), (2, 6), (7, 4)]),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16, jnp.float16]),
    exponent=st.integers(-3, 3),
    zeroed=st.integers(0, 3),
    seed=st.integers(0, 2**31),
)
def test_bounds_hold_for_any_matrix(shape, dtype, exponent, zeroed, seed):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(shape) * 10.0**exponent
    w[:, :zeroed] = 0  # columns: rank deficient, or zero
    w = jnp.asarray(w.astype(dtype))
    start = jnp.asarray(rng.standard_normal(shape[1]), jnp.float32)
    sigma, u, v = power_iterations(w, start, n_steps=2)
    assert sigma.dtype == u.dtype == v.dtype == jnp.float32
    if not np.any(w):
        assert float(sigma) == 0
        np.testing.assert_array_equal(u, start)
        return
    exact = np.asarray(w).astype(np.float64)
    assert_unit(u)
    assert_unit(v)
    first = np.linalg.norm(exact @ np.asarray(start)) / np.linalg.norm(start)
    largest = np.linalg.svd(exact, compute_uv=False)[0]
    assert first * (1 - 1e-5) <= float(sigma) <= largest * (1 + 1e-5)
    assert largest <= np.linalg.norm(exact) * (1 + 1e-12)
    assert float(sigma) == pytest.approx(numpy_iteration(exact, start, 2)[0], rel=1e-5)


@pytest.mark.parametrize(
    ('w', 'u', 'n_steps', 'message'),
    [
        ((3, 4), (3,), 1, r'not \(3, 4\) and \(3,\)'),
        ((3, 4), (1, 4), 1, r'not \(3, 4\) and \(1, 4\)'),
        ((3, 3, 2, 4), (4,), 1, r'reshape a kernel to \(-1, outputs\)'),
        ((4,), (4,), 1, r'not \(4,\) and \(4,\)'),
        ((3, 4), (4,), 0, 'n_steps is 0'),
        ((3, 4), (4,), -2, 'n_steps is -2'),
    ],
)
def test_power_iteration_refuses(own_errors, w, u, n_steps, message):
    with pytest.raises(ValueError, match=message):
        power_iteration(jnp.ones(w), jnp.ones(u), n_steps=n_steps)
