"""Penalties on weights against closed forms, and the clipping of weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax.objectives import weight_penalties as penalties
from snjax.objectives.penalties import PENALTIES, PenaltyInputs

# Compiled quickly rather than well: compiling is most of what these tests take.
QUICK = {'xla_backend_optimization_level': '0'} if jax.default_backend() == 'cpu' else None
quick = functools.partial(jax.jit, compiler_options=QUICK)


def orthonormal_columns(rows, columns):
    return np.linalg.qr(np.random.default_rng(6).standard_normal((rows, columns)))[0]


def test_kernels_are_matrices_by_layer():
    kernel, table = np.arange(36.0).reshape(3, 3, 2, 2), np.arange(8.0).reshape(4, 2)
    params = {
        'block': {'conv': {'kernel': jnp.asarray(kernel), 'bias': jnp.ones(2)}},
        'embed': {'embedding': jnp.asarray(table)},
        'norm': {'scale': jnp.ones(2), 'bias': jnp.ones(2)},
        'gamma': jnp.ones(()),
    }
    found = penalties.kernels(params)
    assert set(found) == {('block', 'conv'), ('embed',)}
    np.testing.assert_array_equal(found['block', 'conv'], kernel.reshape(18, 2))
    np.testing.assert_array_equal(found['embed',], table)


@pytest.mark.parametrize(('rows', 'columns'), [(6, 3), (3, 6), (4, 4), (5, 1), (1, 5)])
def test_orthonormal_kernels_cost_nothing(rows, columns):
    tall = orthonormal_columns(max(rows, columns), min(rows, columns))
    kernel = jnp.asarray(tall if rows >= columns else tall.T, jnp.float32)
    params = {'kernel': kernel, 'bias': jnp.full(columns, 9.0)}
    penalty = quick(jax.value_and_grad(penalties.orthonormal))
    value, gradient = penalty(params)
    assert float(value) == pytest.approx(0, abs=1e-10)
    np.testing.assert_allclose(gradient['kernel'], 0, atol=1e-5)
    # At twice that, every singular value s = 2 gives (s^2 - 1)^2 = 9.
    value, _ = penalty(params | {'kernel': 2 * kernel})
    assert float(value) == pytest.approx(9 * min(rows, columns), rel=1e-5)


def test_orthonormal_is_a_sum_over_kernels_up_to_a_constant():
    """The paper's matrix is (outputs, everything else): its W^T W - I, whichever side is smaller,
    less a constant.
    """
    rng = np.random.default_rng(7)
    conv, dense = rng.standard_normal((3, 3, 2, 4)), rng.standard_normal((2, 5))
    params = {'a': {'kernel': jnp.asarray(conv, jnp.float32), 'bias': jnp.ones(4)}}
    params['b'] = {'kernel': jnp.asarray(dense, jnp.float32)}
    expected = 0
    for kernel in (conv, dense):
        w = kernel.reshape(-1, kernel.shape[-1]).T
        literal = np.sum(np.square(w.T @ w - np.eye(w.shape[1])))
        expected += literal - max(0, w.shape[1] - w.shape[0])
    assert float(quick(penalties.orthonormal)(params)) == pytest.approx(expected, rel=1e-5)


def test_orthogonal_is_the_products_of_different_columns():
    """Half of it has the gradient that BigGAN's code adds, 2 W (W^T W * (1 - I)) here; tables are
    left out."""
    w = np.random.default_rng(4).standard_normal((2, 3, 4))
    params = {'a': {'kernel': w, 'bias': w[0, 0]}, 'b': {'embedding': w[0]}}
    matrix = w.reshape(6, 4)
    off = matrix.T @ matrix * (1 - np.eye(4))
    run = quick(jax.value_and_grad(lambda p: penalties.orthogonal({'a': p, 'b': params['b']})))
    value, grads = run(jax.tree.map(jnp.float32, params['a']))
    assert float(value) == pytest.approx(np.sum(off**2), rel=1e-5)
    np.testing.assert_allclose(grads['kernel'].reshape(6, 4), 4 * matrix @ off, 1e-3, 1e-4)
    assert not np.any(grads['bias'])
    lengths = {'a': {'kernel': 7 * orthonormal_columns(5, 3)}}
    assert float(quick(penalties.orthogonal)(lengths)) < 1e-6


def test_l2_sums_squares_of_kernels_alone():
    params = {
        'a': {'kernel': jnp.array([[1.0, -2.0], [3.0, 0.0]]), 'bias': jnp.full(2, 100.0)},
        'b': {'embedding': jnp.array([[0.5]]), 'scale': jnp.full(3, 100.0)},
    }
    value, gradient = jax.value_and_grad(penalties.l2)(params)
    assert float(value) == 14.25
    np.testing.assert_array_equal(gradient['a']['kernel'], [[2, -4], [6, 0]])
    np.testing.assert_array_equal(gradient['a']['bias'], [0, 0])


def tracked(w):
    """A kernel's largest singular value and its vectors, as a layer keeps them."""
    left, sigma, right = np.linalg.svd(np.asarray(w, np.float64).reshape(-1, w.shape[-1]))
    vectors = {'u': jnp.asarray(right[0], jnp.float32), 'v': jnp.asarray(left[:, 0], jnp.float32)}
    return {**vectors, 'sigma': jnp.float32(0)}, sigma[0]


def test_spectral_norm_regularization_against_svd():
    rng = np.random.default_rng(8)
    conv, table = rng.standard_normal((3, 3, 2, 4)), rng.standard_normal((2, 5))
    of_conv, sigma = tracked(conv)
    of_table, other = tracked(table)
    params = {
        'block': {'conv': {'kernel': jnp.asarray(conv, jnp.float32), 'bias': jnp.ones(4)}},
        'table': {'embedding': jnp.asarray(table, jnp.float32)},
        'free': {'kernel': jnp.full((2, 2), 50.0)},  # keeps no vectors, so is not asked for
    }
    collection = {'block': {'conv': of_conv}, 'table': of_table}
    penalty = quick(jax.value_and_grad(penalties.spectral_norm_regularization))
    value, gradient = penalty(params, collection)
    assert float(value) == pytest.approx((sigma**2 + other**2) / 2, rel=1e-5)
    expected = sigma * np.outer(of_conv['v'], of_conv['u']).reshape(conv.shape)
    np.testing.assert_allclose(gradient['block']['conv']['kernel'], expected, atol=1e-5)
    np.testing.assert_array_equal(gradient['free']['kernel'], jnp.zeros((2, 2)))
    # The current weights count, not the stored sigma.
    doubled, _ = penalty(jax.tree.map(lambda p: 2 * p, params), collection)
    assert float(doubled) == pytest.approx(4 * float(value), rel=1e-5)


def test_spectral_norm_regularization_says_what_it_misses():
    params = {'dense': {'kernel': jnp.ones((3, 2))}}
    with pytest.raises(ValueError, match=r'^penalty spectral: no layer keeps u and v .*needed'):
        penalties.spectral_norm_regularization(params, {})
    wrong = {'dense': {'u': jnp.ones(3), 'v': jnp.ones(2)}}
    with pytest.raises(
        ValueError, match=r"^penalty spectral: v \(2,\) .*'dense' .*\(3, 2\).*accepted"
    ):
        penalties.spectral_norm_regularization(params, wrong)


# --- clipping, and the table
# ------------------------------------------------------------------------


def test_clipping_moves_only_what_is_outside():
    params = {
        'dense': {'kernel': jnp.array([[0.5, -0.5], [0.01, -0.01]]), 'bias': jnp.array([7.0, 0])},
        'scale': jnp.array([0.003, -0.0099, 0.010001, -3.0]),
    }
    clipped = penalties.clip_weights(params, 0.01)
    expected = {
        'dense': {'kernel': [[0.01, -0.01], [0.01, -0.01]], 'bias': [0.01, 0]},
        'scale': [0.003, -0.0099, 0.01, -0.01],
    }
    expected = jax.tree.map(np.float32, expected, is_leaf=lambda x: isinstance(x, list))
    jax.tree.map(np.testing.assert_array_equal, clipped, expected)


def test_table_of_penalties_on_weights():
    w = 2 * np.eye(3, dtype=np.float32)
    collection, _ = tracked(w)
    image, key = jnp.zeros((1, 4, 4, 2)), jax.random.split(jax.random.key(3), 1)
    score = lambda x: jnp.sum(x, (1, 2, 3))  # noqa: E731
    given = PenaltyInputs(score, score, {'kernel': jnp.asarray(w)}, collection, image, image, key)
    expected = {'orthonormal': 27, 'l2': 12, 'spectral': 2}
    values = quick(lambda: {name: PENALTIES[name](given) for name in expected})()
    assert {name: float(value) for name, value in values.items()} == pytest.approx(expected)
