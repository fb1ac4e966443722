"""Options of the spectrally normalized layers: two sigmas, a Lipschitz constant, a learnt scale, no
division.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.spectral_layers import (
    LAYERS,
    advance,
    advanced,
    apply,
    as_matrix,
    assert_unit,
    drawn,
    each_layer,
    example,
    largest_singular_value,
    with_weight,
)
from snjax.spectral import SNDense, SNEmbed


@each_layer
def test_bidirectional_divides_by_the_mean_of_two_sigmas(name):
    layer, variables, x, weight = example(name)
    layer = layer.copy(operator='bidirectional')
    kernel = np.asarray(variables['params'][weight], np.float64)
    state = {**variables['spectral']}
    if kernel.ndim > 2:
        rng = np.random.default_rng(4)
        state['u_in'] = jnp.asarray(rng.standard_normal(kernel.shape[-2]), jnp.float32)
        state['v_in'] = jnp.zeros(kernel.size // kernel.shape[-2])
    assert set(drawn(layer, x)['spectral']) == set(state)
    variables = advanced(layer, {**variables, 'spectral': state}, x, 150)
    sigmas = [largest_singular_value(k) for k in (kernel, np.swapaxes(kernel, -1, -2))]
    if kernel.ndim > 2:
        assert abs(sigmas[0] / sigmas[1] - 1) > 0.01
        assert_unit(variables['spectral']['u_in'])
        state = {k: np.asarray(v, np.float64) for k, v in variables['spectral'].items()}
        swapped = as_matrix(np.swapaxes(kernel, -1, -2))
        pairs = state['v'] @ as_matrix(kernel) @ state['u'], state['v_in'] @ swapped @ state['u_in']
        np.testing.assert_allclose(pairs, sigmas, rtol=2e-6)
    assert float(variables['spectral']['sigma']) == pytest.approx(np.mean(sigmas), rel=2e-6)
    plain = with_weight(variables, weight, kernel / np.mean(sigmas))['params']
    y = apply(LAYERS[name][1], {'params': plain}, x)
    np.testing.assert_allclose(apply(layer, variables, x), y, rtol=1e-4, atol=2e-6)


@each_layer
def test_lipschitz_and_gamma_multiply_the_normalized_weight(name):
    layer, variables, x, weight = example(name)
    variables = advanced(layer, variables, x, 150)
    scaled = layer.copy(lipschitz=0.5, learnable_scale=True)
    kernel = np.asarray(variables['params'][weight], np.float64)
    for gamma in (1.0, -3.0):
        params = {**variables['params'], 'gamma': jnp.float32(gamma)}
        y, updated = apply(scaled, {**variables, 'params': params}, x, ('spectral',))
        sigma = largest_singular_value(kernel)
        assert float(updated['spectral']['sigma']) == pytest.approx(sigma, rel=2e-6)
        # The applied matrix has the norm |0.5 gamma|.
        plain = with_weight(variables, weight, kernel * 0.5 * gamma / sigma)['params']
        assert largest_singular_value(plain[weight]) == pytest.approx(0.5 * abs(gamma), rel=1e-6)
        expected = apply(LAYERS[name][1], {'params': plain}, x)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_u_over_rows_is_the_iteration_of_the_transposed_table():
    """The official code's embedding: u over classes, one iteration u W, then W v."""
    _, variables, ids, _ = example('embed')
    layer = SNEmbed(6, 4, u_over='rows')
    table = np.asarray(variables['params']['embedding'], np.float64)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), ids)['spectral']
    assert (shapes['u'].shape, shapes['v'].shape) == ((6,), (4,))
    u = np.arange(1.0, 7.0)
    state = {'u': jnp.asarray(u, jnp.float32), 'v': jnp.zeros(4), 'sigma': jnp.zeros(())}
    y, updated = apply(layer, {**variables, 'spectral': state}, ids, ('spectral',))
    v = u @ table / np.linalg.norm(u @ table)
    sigma = np.linalg.norm(table @ v)
    found = updated['spectral']
    np.testing.assert_allclose(found['v'], v, rtol=1e-5)
    np.testing.assert_allclose(found['u'], table @ v / sigma, rtol=1e-5)
    np.testing.assert_allclose(y, (table / sigma)[np.asarray(ids)], rtol=1e-5)
    frozen = apply(layer, {**variables, **updated}, ids)
    np.testing.assert_allclose(frozen, y, rtol=1e-6)


def test_another_side_of_the_table_is_refused(own_errors):
    with pytest.raises(ValueError, match=r"SNEmbed '\(top\)' u_over='row': accepted are"):
        SNEmbed(6, 4, u_over='row').init(jax.random.key(0), jnp.arange(2))


@pytest.mark.parametrize('name', ['dense_wide', 'embed'])
def test_gamma_starts_at_one_and_feels_the_whole_gradient(name):
    layer, variables, x, _ = example(name)
    scaled = layer.copy(learnable_scale=True)
    shapes = jax.eval_shape(scaled.init, jax.random.key(0), x)['params']
    assert (shapes['gamma'].shape, shapes['gamma'].dtype) == ((), jnp.float32)
    assert set(shapes) == {*variables['params'], 'gamma'}
    params = {**variables['params'], 'gamma': jnp.ones(())}
    y = apply(scaled, {**variables, 'params': params}, x)
    np.testing.assert_allclose(y, apply(layer, variables, x), rtol=1e-6, atol=1e-7)

    @jax.jit
    @jax.grad
    def gradient(params):
        return jnp.sum(jnp.sin(scaled.apply({**variables, 'params': params}, x)))

    # y = gamma y_0 + bias: d / d gamma = <cos y, y_0>.
    bias = np.asarray(params.get('bias', 0), np.float64)
    y = np.asarray(y, np.float64)
    expected = np.sum(np.cos(y) * (y - bias))
    assert abs(expected) > 1e-2
    assert float(gradient(params)['gamma']) == pytest.approx(expected, rel=1e-4)


def test_gamma_is_one_at_init_and_leaves_the_other_draws():
    key, x = jax.random.key(3), jnp.ones((1, 4))
    expected = SNDense(6).init(key, x)
    variables = SNDense(6, learnable_scale=True).init(key, x)
    assert float(variables['params'].pop('gamma')) == 1
    jax.tree.map(np.testing.assert_array_equal, variables, expected)


@each_layer
def test_without_dividing_the_layer_is_plain_and_sigma_is_kept(name):
    layer, variables, x, weight = example(name)
    watched = layer.copy(divide=False)
    assert jax.eval_shape(watched.init, jax.random.key(0), x) == jax.eval_shape(
        layer.init, jax.random.key(0), x
    )
    expected = apply(LAYERS[name][1], {'params': variables['params']}, x)
    y, nothing = apply(watched, variables, x, ('batch_stats',))  # frozen
    assert not nothing
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    y, updated = apply(watched, variables, x, ('spectral',))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    advancing = advance(layer, variables, x)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
        updated['spectral'],
        advancing,
    )
    assert not np.array_equal(updated['spectral']['u'], variables['spectral']['u'])
    converged = advanced(watched, variables, x, 150)['spectral']['sigma']
    sigma = largest_singular_value(variables['params'][weight])
    assert float(converged) == pytest.approx(sigma, rel=2e-6)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'operator': 'exact'}, "operator='exact': accepted are 'reshaped', 'bidirectional'"),
        ({'lipschitz': 0.0}, r'lipschitz=0.0: a number above 0'),
        ({'lipschitz': float('nan')}, r'lipschitz=nan: a number above 0'),
        ({'divide': False, 'lipschitz': 2.0}, r'divide=False .*lipschitz=2.0'),
        ({'divide': False, 'learnable_scale': True}, r'divide=False .*learnable_scale=True'),
    ],
)
def test_options_are_checked(own_errors, options, message):
    with pytest.raises(ValueError, match=rf"SNDense '\(top\)' {message}"):
        jax.eval_shape(SNDense(3, **options).init, jax.random.key(0), jnp.ones((1, 2)))


def test_vectors_of_another_operator_are_refused():
    layer, variables, x, _ = example('conv')
    with pytest.raises(ValueError, match=r"without its collection .*operator='bidirectional'"):
        layer.copy(operator='bidirectional').apply(variables, x)
    with pytest.raises(ValueError, match=r'keeps u and v of \(4,\) and \(27,\)'):
        layer.copy(operator='convolution').apply(variables, x)
