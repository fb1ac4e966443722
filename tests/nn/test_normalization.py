"""Conditional batch norm and the norms of a discriminator's activations, against their definitions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax.nn import normalization
from snjax.nn.normalization import ConditionalBatchNorm

# Small programs run once: compiling them costs far more than running them.
jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})
LABELS = jnp.asarray([2, 0, 2, 1], jnp.int32)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def variables(num_classes=3, features=5):
    """Tables with different rows, and the initial running statistics."""
    tables = {'gamma': 1 + draw(num_classes, features, seed=1), 'beta': draw(num_classes, features)}
    statistics = {'mean': np.zeros(features, np.float32), 'var': np.ones(features, np.float32)}
    return {'params': tables, 'batch_stats': {'batch_norm': statistics}}


@functools.cache
def program(train=True, num_classes=3, dtype=None):
    layer = ConditionalBatchNorm(num_classes, train, dtype=dtype)
    return jit(functools.partial(layer.apply, mutable=['batch_stats']))


def definition(x, tables, labels, mean, variance):
    """(x - mean) / sqrt(var + eps) * gamma[y] + beta[y] in float64."""
    x, mean, variance = (np.asarray(a, np.float64) for a in (x, mean, variance))
    spread = (slice(None),) + (None,) * (x.ndim - 2)
    gamma, beta = tables['gamma'][labels][spread], tables['beta'][labels][spread]
    return (x - mean) / np.sqrt(variance + 2e-5) * gamma + beta


# --- conditional batch norm


@pytest.mark.parametrize('shape', [(4, 6, 2, 5), (4, 5)])
def test_conditional_batch_norm_against_its_definition(shape):
    x, v = 3 * draw(*shape, seed=2) + 1, variables()
    y, updated = program()(v, x, LABELS)
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.astype(np.float64).mean(axes), x.astype(np.float64).var(axes)
    expected = definition(x, v['params'], np.asarray(LABELS), mean, variance)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    # The statistics are over the whole batch, not per class, and are updated as without classes.
    after = updated['batch_stats']['batch_norm']
    np.testing.assert_allclose(after['mean'], 0.1 * mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after['var'], 0.9 + 0.1 * variance, rtol=1e-4)


def test_evaluation_uses_the_running_statistics():
    x, v = draw(4, 6, 2, 5, seed=2), variables()
    v['batch_stats']['batch_norm'] = {'mean': draw(5, seed=3), 'var': 1 + draw(5, seed=4) ** 2}
    y, updated = program(train=False)(v, x, LABELS)
    statistics = v['batch_stats']['batch_norm']
    expected = definition(x, v['params'], np.asarray(LABELS), statistics['mean'], statistics['var'])
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(updated['batch_stats']['batch_norm']['mean'], statistics['mean'])


def test_equal_rows_are_plain_batch_norm():
    x, v = draw(4, 6, 2, 5, seed=2), variables()
    for name, table in v['params'].items():
        v['params'][name] = np.broadcast_to(table[0], table.shape)
    conditional, statistics = program()(v, x, LABELS)
    plain = normalization.batch_norm(train=True, axis_name=None, dtype=jnp.float32)()
    params = {'scale': v['params']['gamma'][0], 'bias': v['params']['beta'][0]}
    run = jit(functools.partial(plain.apply, mutable=['batch_stats']))
    expected, updated = run({'params': params, 'batch_stats': v['batch_stats']['batch_norm']}, x)
    np.testing.assert_allclose(conditional, expected, rtol=1e-5, atol=1e-5)
    for name in ('mean', 'var'):
        np.testing.assert_allclose(
            statistics['batch_stats']['batch_norm'][name], updated['batch_stats'][name], rtol=1e-6
        )


def test_tables_start_at_one_and_zero():
    layer = ConditionalBatchNorm(3, train=True)
    params = jit(layer.init)(jax.random.key(0), draw(4, 2, 2, 5), LABELS)['params']
    np.testing.assert_array_equal(params['gamma'], np.ones((3, 5)))
    np.testing.assert_array_equal(params['beta'], np.zeros((3, 5)))


def test_weights_mix_the_rows():
    x, v = draw(4, 6, 2, 5, seed=2), variables()
    onehot = np.eye(3, dtype=np.float32)[np.asarray(LABELS)]
    classes, _ = program()(v, x, LABELS)
    weighted, _ = program()(v, x, onehot)
    np.testing.assert_allclose(weighted, classes, rtol=1e-5, atol=1e-5)
    # Half of class 2 and half of class 1 is the mean of the two outputs: the layer is affine in its
    # tables.
    half = np.broadcast_to(np.float32([0, 0.5, 0.5]), (4, 3))
    mixed, _ = program()(v, x, half)
    ends = [program()(v, x, jnp.full(4, k, jnp.int32))[0] for k in (1, 2)]
    np.testing.assert_allclose(mixed, (ends[0] + ends[1]) / 2, rtol=1e-4, atol=1e-5)
    assert float(jnp.abs(ends[0] - ends[1]).max()) > 1


def test_an_image_moves_only_the_rows_of_its_class():
    x, v = jnp.asarray(draw(2, 4, 2, 5, seed=2)), variables()

    def loss(params):
        y, _ = ConditionalBatchNorm(3, train=True).apply(
            {**v, 'params': params}, x, jnp.asarray([2, 2]), mutable=['batch_stats']
        )
        return jnp.sum(y * draw(2, 4, 2, 5, seed=6))

    gradient = jit(jax.grad(loss))(v['params'])
    for table in gradient.values():
        np.testing.assert_array_equal(table[:2], 0)
        assert float(jnp.abs(table[2]).min()) > 0


def test_statistics_are_float32_when_the_output_is_not():
    x, v = 3 * draw(4, 6, 2, 5, seed=2) + 1, variables()
    full, _ = program()(v, x, LABELS)
    half, updated = program(dtype=jnp.bfloat16)(v, jnp.asarray(x, jnp.bfloat16), LABELS)
    assert half.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(updated)} == {jnp.dtype('float32')}
    error = np.linalg.norm(np.float32(half) - full) / np.linalg.norm(full)
    assert 1e-5 < error < 0.02


def test_axis_name_shares_the_statistics():
    x, v = (
        draw(4, 6, 2, 5, seed=2) + np.arange(4, dtype=np.float32)[:, None, None, None],
        variables(),
    )
    whole, _ = program()(v, x, LABELS)
    layer = ConditionalBatchNorm(3, True, axis_name='batch')
    apply = functools.partial(layer.apply, v, mutable=['batch_stats'])
    halves, _ = jit(jax.vmap(apply, axis_name='batch'))(
        x.reshape(2, 2, 6, 2, 5), LABELS.reshape(2, 2)
    )
    np.testing.assert_allclose(halves.reshape(x.shape), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('shape', [(4, 3, 2, 5), (4, 5)])
def test_unbiased_running_variance_is_that_of_ioffe_and_szegedy(shape):
    """Algorithm 2: the mean over batches of m / (m - 1) times the variance; over devices, m is all
    their values."""
    x, start = (
        jnp.asarray(3 * draw(*shape, seed=2) + 1),
        {'mean': draw(5, seed=3), 'var': 1 + draw(5, seed=4)},
    )
    options = {'train': True, 'dtype': jnp.float32, 'running_variance': 'unbiased'}
    found = {}
    for axis_name, parts in ((None, x), ('batch', x.reshape(2, 2, *shape[1:]))):
        layer = normalization.batch_norm(axis_name=axis_name, use_scale=False, **options)()
        variables = {'params': {'bias': np.zeros(5, np.float32)}, 'batch_stats': start}
        apply = functools.partial(layer.apply, variables, mutable=['batch_stats'])
        apply = jax.vmap(apply, axis_name=axis_name) if axis_name else apply
        found[axis_name] = jit(apply)(parts)[1]['batch_stats']
    variance = np.float64(x).reshape(-1, 5).var(axis=0, ddof=1)
    np.testing.assert_allclose(
        found[None]['var'], 0.9 * start['var'] + 0.1 * variance, rtol=1e-5, atol=1e-6
    )
    for shared in np.asarray(found['batch']['var']):
        np.testing.assert_allclose(shared, found[None]['var'], rtol=1e-5, atol=1e-6)
    still = normalization.batch_norm(axis_name=None, **options | {'train': False})()
    _, kept = still.apply(
        {'params': {'scale': np.ones(5), 'bias': np.zeros(5)}, 'batch_stats': start},
        x,
        mutable=['batch_stats'],
    )
    np.testing.assert_array_equal(kept['batch_stats']['var'], start['var'])


# --- a discriminator's activations


@pytest.mark.parametrize('use_scale', [False, True])
def test_layer_norm_against_its_definition(use_scale):
    layer = normalization.activation_layer_norm(
        train=True, name='norm', dtype=jnp.float32, use_scale=use_scale
    )
    x = 2 * draw(3, 4, 2, 5, seed=2) + draw(3, 1, 1, 1)
    params = {'bias': draw(5, seed=3)} | ({'scale': draw(5, seed=4)} if use_scale else {})
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)['params']
    assert jax.tree.map(np.shape, shapes) == jax.tree.map(np.shape, params)
    y = jit(layer.apply)({'params': params}, x)
    wide = x.astype(np.float64)
    mean, variance = wide.mean((1, 2, 3), keepdims=True), wide.var((1, 2, 3), keepdims=True)
    expected = (wide - mean) / np.sqrt(variance + 1e-5) * params.get('scale', 1) + params['bias']
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    # Images do not influence each other: one alone gives the same.
    np.testing.assert_allclose(jit(layer.apply)({'params': params}, x[:1]), y[:1], atol=1e-5)


@pytest.mark.parametrize('use_scale', [False, True])
def test_batch_norm_of_activations_against_its_definition(use_scale):
    layer = normalization.activation_batch_norm(
        train=True, name='norm', dtype=jnp.float32, use_scale=use_scale
    )
    x = 2 * draw(3, 4, 2, 5, seed=2) + 1
    params = {'bias': draw(5, seed=3)} | ({'scale': draw(5, seed=4)} if use_scale else {})
    statistics = variables()['batch_stats']['batch_norm']
    run = jit(functools.partial(layer.apply, mutable=['batch_stats']))
    y, updated = run({'params': params, 'batch_stats': statistics}, x)
    assert set(jax.eval_shape(layer.init, jax.random.key(0), x)['params']) == set(params)
    wide = x.astype(np.float64)
    mean, variance = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
    expected = (wide - mean) / np.sqrt(variance + 2e-5) * params.get('scale', 1) + params['bias']
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(updated['batch_stats']['mean'], 0.1 * mean, rtol=1e-4, atol=1e-5)


# --- labels


def factories(labels, num_classes):
    return normalization.generator_norms(
        labels, num_classes, train=True, axis_name=None, dtype=jnp.float32
    )


def test_without_classes_both_factories_are_the_plain_one():
    plain, conditional = factories(None, 0)
    assert plain is conditional
    assert plain.keywords['epsilon'] == 2e-5 and plain.keywords['momentum'] == 0.9


@pytest.mark.parametrize(
    ('labels', 'num_classes', 'message'),
    [
        (None, 10, r'generator of 10 classes was given no labels.*--config.model.num_classes=0'),
        (LABELS, 0, r'labels were given to an unconditional generator.*--config.model.num_classes'),
        (jnp.zeros((4, 9)), 10, r'10 classes was given float32 labels \(4, 9\)'),
        (jnp.zeros(4), 10, r'given float32 labels \(4,\)'),
        (jnp.zeros((4, 10), jnp.int32), 10, r'given int32 labels \(4, 10\)'),
    ],
)
def test_labels_that_do_not_fit_are_named_in_one_line(own_errors, labels, num_classes, message):
    with pytest.raises(ValueError, match=message) as error:
        factories(labels, num_classes)
    assert '\n' not in str(error.value)
