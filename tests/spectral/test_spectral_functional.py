"""`init` and `normalize` on any pytree, and the warning of a training that never advances u."""

import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from helpers.spectral_layers import largest_singular_value
from snjax import spectral
from snjax.spectral import SNDense, frozen
from snjax.spectral.nnx import SNLinear

X = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5)), jnp.float32)


def begun(params, **options):
    """`spectral.init` as one program."""
    return jax.jit(lambda key: spectral.init(params, key, **options))(jax.random.key(0))


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.fixture
def tree():
    return {
        'dense': {'kernel': draw(5, 7), 'bias': draw(7)},
        'blocks': [{'kernel': draw(3, 3, 2, 4, seed=1), 'bias': draw(2, 4)}],
        'steps': jnp.arange(4).reshape(2, 2),
        'activation': jnp.tanh,
    }


def test_every_matrix_is_divided_by_its_largest_singular_value_and_nothing_else(tree):
    state = begun(tree, n_warmup_iterations=100)
    assert set(state) == {'dense/kernel', 'blocks/0/kernel'}
    weights, new = spectral.normalize(tree, state, train=True)
    for path, w in (
        ('dense/kernel', tree['dense']['kernel']),
        ('blocks/0/kernel', draw(3, 3, 2, 4, seed=1)),
    ):
        sigma = largest_singular_value(w)
        assert float(new[path]['sigma']) == pytest.approx(sigma, rel=1e-5)
        found = weights['dense']['kernel'] if 'dense' in path else weights['blocks'][0]['kernel']
        np.testing.assert_allclose(found, np.float64(w) / sigma, rtol=1e-4, atol=1e-6)
    assert weights['dense']['bias'] is tree['dense']['bias']
    assert weights['steps'] is tree['steps'] and weights['activation'] is tree['activation']


def test_train_advances_and_evaluation_changes_nothing(tree):
    state = spectral.init(tree, jax.random.key(0))
    weights, same = spectral.normalize(tree, state, train=False)
    jax.tree.map(np.testing.assert_array_equal, same, state)
    _, once = spectral.normalize(tree, state, train=True)
    w, vectors = tree['dense']['kernel'], state['dense/kernel']
    sigma, u, v = spectral.power_iteration(w, vectors['u'])
    np.testing.assert_array_equal(once['dense/kernel']['u'], u)
    np.testing.assert_array_equal(once['dense/kernel']['v'], v)
    np.testing.assert_array_equal(once['dense/kernel']['sigma'], sigma)
    np.testing.assert_allclose(
        weights['dense']['kernel'], w / spectral.rayleigh(w, vectors['u'], vectors['v']), rtol=1e-6
    )
    assert 'u' in state['dense/kernel'] and state['dense/kernel']['u'] is vectors['u']


def test_it_has_the_bits_of_the_linen_layer():
    layer = SNDense(7)
    variables = layer.init(jax.random.key(0), X)
    params, state = variables['params'], {'kernel': variables['spectral']}
    run = jax.jit(lambda p, s: spectral.normalize(p, s, train=True))
    apply = jax.jit(lambda v: layer.apply(v, X, mutable=['spectral']))
    for _ in range(3):
        weights, state = run(params, state)
        y, moved = apply(variables)
        variables |= moved
        jax.tree.map(np.testing.assert_array_equal, state['kernel'], moved['spectral'])
        np.testing.assert_allclose(X @ weights['kernel'] + params['bias'], y, rtol=1e-5, atol=1e-6)


def test_where_and_matrix_choose():
    params = {'heads': {'kernel': draw(6, 2, 4)}, 'out': {'kernel': draw(2, 4, 6)}, 'w': draw(3, 3)}

    def where(path, leaf):
        return path.endswith('kernel')

    def matrix(path, w):
        return w.reshape(6, 8) if path.startswith('heads') else w.reshape(8, 6)

    options = {'where': where, 'matrix': matrix}
    state = begun(params, **options, n_warmup_iterations=100)
    weights, new = spectral.normalize(params, state, train=True, **options)
    for name, shape in (('heads', (6, 8)), ('out', (8, 6))):
        w = np.float64(params[name]['kernel'])
        sigma = np.linalg.svd(w.reshape(shape), compute_uv=False)[0]
        assert float(new[f'{name}/kernel']['sigma']) == pytest.approx(sigma, rel=1e-5)
        np.testing.assert_allclose(weights[name]['kernel'], w / sigma, rtol=1e-4, atol=1e-6)
    assert weights['w'] is params['w']
    # Fewer than the state has: the others stay, and keep their u.
    fewer, kept = spectral.normalize(
        params, state, train=True, where=lambda path, _: path == 'out/kernel', matrix=matrix
    )
    assert fewer['heads']['kernel'] is params['heads']['kernel']
    jax.tree.map(np.testing.assert_array_equal, kept['heads/kernel'], state['heads/kernel'])


def test_outputs_first_is_the_matrix_of_torch():
    w = draw(4, 3, 2, 2)
    state = begun(w, matrix=spectral.outputs_first)
    assert (state['']['u'].shape, state['']['v'].shape) == ((4,), (12,))


def test_the_gradient_holds_u_and_v_and_reaches_sigma():
    w = draw(5, 7)
    _, state = jax.jit(lambda w, s: spectral.normalize(w, s, train=True))(w, begun(w))
    vectors = {name: np.float64(a) for name, a in state[''].items()}

    def loss(w):
        return jnp.sum(spectral.normalize(w, state, train=False)[0])

    w64, outer = np.float64(w), np.outer(vectors['v'], vectors['u'])
    sigma = vectors['v'] @ w64 @ vectors['u']
    expected = 1 / sigma - w64.sum() / sigma**2 * outer
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(w), expected, rtol=1e-4, atol=1e-5)


def test_mistakes_are_one_line(tree):
    state = spectral.init(tree, jax.random.key(0))
    lacking = {'dense': tree['dense']}
    for call, message in (
        (lambda: spectral.init({'b': draw(3)}, jax.random.key(0)), 'true for no leaf'),
        (lambda: spectral.normalize(lacking, state, train=True), '0/kernel is not in params'),
        (
            lambda: spectral.normalize(tree, state, train=True, where=lambda p, _: 'bias' in p),
            'bias is not in state',
        ),
        (
            lambda: spectral.normalize(tree, state, train=True, matrix=spectral.outputs_first),
            'pass the matrix= of init',
        ),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert '\n' not in str(caught.value)


# ---- a forgotten update


@pytest.fixture
def fresh_process():
    """As in a process where no u has advanced yet."""
    before = dict(frozen._known)
    frozen._known.update(advanced=False, warned=False)
    yield
    frozen._known.update(before)


def linen_loss():
    variables = SNDense(7).init(jax.random.key(0), X)

    def loss(params):
        return SNDense(7).apply({**variables, 'params': params}, X).sum()

    return loss, variables['params']


def nnx_loss():
    layer = SNLinear(5, 7, rngs=nnx.Rngs(0))
    layer.eval()
    graph, params, rest = nnx.split(layer, nnx.Param, ...)
    return lambda params: nnx.merge(graph, params, rest)(X).sum(), params


def functional_loss():
    w = draw(5, 7)
    state = spectral.init(w, jax.random.key(0))
    return lambda w: spectral.normalize(w, state, train=False)[0].sum(), w


LOSSES = {'linen': linen_loss, 'nnx': nnx_loss, 'functional': functional_loss}


@pytest.mark.parametrize('kind', LOSSES)
def test_training_with_u_frozen_from_the_start_warns_once(kind, fresh_process):
    loss, params = LOSSES[kind]()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        loss(params)  # evaluation
        jax.jit(loss)(params)
        assert caught == []
        jax.jit(jax.grad(loss))(params)
        jax.grad(loss)(params)
    assert [str(w.message) for w in caught] == [frozen.MESSAGE]


def test_the_gradient_of_the_input_through_a_frozen_layer_does_not_warn(fresh_process):
    """A generator's update differentiates through D, and trains none of it."""
    variables = SNDense(7).init(jax.random.key(0), X)
    apply = jax.jit(SNDense(7).apply)
    jax.grad(lambda x: apply(variables, x).sum())(X)
    jax.jit(jax.grad(lambda x, v: SNDense(7).apply(v, x).sum()))(X, variables)
    assert not frozen._known['warned']


@pytest.mark.parametrize('kind', ['linen', 'nnx', 'functional'])
def test_whoever_advances_first_is_not_warned(kind, fresh_process):
    """The trainings of this repository: u advances, then the layers are frozen for the update."""
    if kind == 'linen':
        spectral.advance(SNDense(7), SNDense(7).init(jax.random.key(0), X), X)
    elif kind == 'nnx':
        SNLinear(5, 7, rngs=nnx.Rngs(0))(X)
    else:
        w = draw(5, 7)
        spectral.normalize(w, spectral.init(w, jax.random.key(0)), train=True)
    loss, params = LOSSES[kind]()
    jax.grad(loss)(params)
    assert not frozen._known['warned']


def test_watching_adds_nothing_to_the_program_once_u_has_advanced(fresh_process):
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return SNDense(3)(SNDense(4)(x))

    variables = Two().init(jax.random.key(0), X)
    watched = jax.jit(Two().apply).lower(variables, X).as_text()
    frozen.note_advance()
    jax.clear_caches()
    assert jax.jit(Two().apply).lower(variables, X).as_text() == watched
