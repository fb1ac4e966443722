"""The plain layers against their `flax.linen` namesakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from snjax.nn import convolution, layers

LINE, IMAGE, VOLUME = (2, 7, 4), (2, 6, 5, 4), (1, 4, 5, 3, 4)
CONV = [  # input shape, arguments
    (LINE, {'kernel_size': (3,)}),
    (LINE, {'kernel_size': (4,), 'strides': (2,), 'padding': 'VALID'}),
    (IMAGE, {'kernel_size': (3, 3)}),
    (IMAGE, {'kernel_size': (3, 2), 'strides': 2, 'padding': 'VALID'}),
    (IMAGE, {'kernel_size': (1, 1), 'strides': (2, 1), 'use_bias': False}),
    (IMAGE, {'kernel_size': (3, 3), 'padding': ((0, 2), (1, 3))}),
    (IMAGE, {'kernel_size': (3, 3), 'kernel_dilation': 2}),
    (IMAGE, {'kernel_size': (2, 3), 'kernel_dilation': (1, 2), 'padding': 'VALID'}),
    (IMAGE, {'kernel_size': (3, 3), 'feature_group_count': 2}),
    (IMAGE, {'kernel_size': (3, 3), 'feature_group_count': 4, 'strides': 2}),
    (IMAGE, {'kernel_size': (4, 4), 'strides': (2, 2)}),  # an odd width: the plain form
    ((2, 6, 4, 3), {'kernel_size': (4, 4), 'strides': (2, 2)}),  # the fast forms
    ((2, 6, 4, 3), {'kernel_size': (4, 4), 'strides': 2, 'padding': [(1, 1), (1, 1)]}),
    (VOLUME, {'kernel_size': (2, 3, 1), 'strides': (1, 2, 1)}),
]
TRANSPOSE = [
    (LINE, {'kernel_size': (4,), 'strides': (2,)}),
    (IMAGE, {'kernel_size': (4, 4), 'strides': (2, 2)}),  # the fast form
    (IMAGE, {'kernel_size': (4, 4), 'strides': (2, 2), 'padding': 'VALID'}),
    (IMAGE, {'kernel_size': (3, 2), 'strides': (2, 1), 'use_bias': False}),
    (IMAGE, {'kernel_size': (3, 3), 'strides': (1, 1), 'padding': ((1, 2), (2, 0))}),
    (VOLUME, {'kernel_size': (2, 2, 2), 'strides': (2, 1, 2)}),
]


def draw(seed, shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def drawn(module, x):
    """Parameters of `module` filled by numpy: compiling its `init` would take seconds."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    return jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape), s.dtype), shapes)


def assert_same(ours, theirs, x, tolerance=1e-5):
    """The same parameters (names, shapes, dtypes) and, with them, the same output and dtype."""
    key = jax.random.key(0)
    assert jax.eval_shape(ours.init, key, x) == jax.eval_shape(theirs.init, key, x)
    params = drawn(theirs, x)
    y, expected = jax.jit(lambda p, x: (ours.apply(p, x), theirs.apply(p, x)))(params, x)
    assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
    y, expected = (np.asarray(a).astype(np.float64) for a in (y, expected))
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(('shape', 'kwargs'), CONV)
def test_conv_equals_flax(shape, kwargs):
    assert_same(layers.Conv(8, **kwargs), nn.Conv(8, **kwargs), draw(1, shape))


@pytest.mark.parametrize(('shape', 'kwargs'), TRANSPOSE)
def test_conv_transpose_equals_flax(shape, kwargs):
    assert_same(layers.ConvTranspose(5, **kwargs), nn.ConvTranspose(5, **kwargs), draw(2, shape))


@pytest.mark.parametrize('use_bias', [True, False])
@pytest.mark.parametrize('shape', [(4,), (3, 4), (2, 3, 4)])
def test_dense_equals_flax(shape, use_bias):
    x = draw(3, shape)
    assert_same(layers.Dense(6, use_bias=use_bias), nn.Dense(6, use_bias=use_bias), x)


@pytest.mark.parametrize('ids', [2, [0, 4, 4, 1], [[3, 2], [1, 0]]])
def test_embed_equals_flax(ids):
    assert_same(layers.Embed(5, 3), nn.Embed(5, 3), jnp.asarray(ids), tolerance=0)


def test_embed_by_hand():
    table = jnp.arange(6.0).reshape(3, 2)
    y = layers.Embed(3, 2).apply({'params': {'embedding': table}}, jnp.array([2, 0, 2]))
    np.testing.assert_array_equal(y, [[4, 5], [0, 1], [4, 5]])


def same_layers(**kwargs):
    """Each layer with its namesake and an input."""
    image = draw(4, (2, 4, 4, 3))
    for name, args, x in [
        ('Dense', (5,), draw(5, (2, 3))),
        ('Conv', (5, (3, 3)), image),
        ('Conv', (5, (4, 4), (2, 2)), image),
        ('ConvTranspose', (5, (4, 4), (2, 2)), image),
        ('Embed', (5, 3), jnp.arange(5)),
    ]:
        yield getattr(layers, name)(*args, **kwargs), getattr(nn, name)(*args, **kwargs), x


@pytest.mark.parametrize(
    ('dtype', 'param_dtype'),
    [
        (jnp.bfloat16, jnp.float32),
        (None, jnp.bfloat16),
    ],
)
def test_dtypes_are_those_of_flax(dtype, param_dtype):
    for ours, theirs, x in same_layers(dtype=dtype, param_dtype=param_dtype):
        assert_same(ours, theirs, x, tolerance=0.02)


def test_low_precision_inputs_promote_as_in_flax():
    for ours, theirs, x in same_layers():
        if jnp.issubdtype(x.dtype, jnp.floating):
            assert_same(ours, theirs, x.astype(jnp.bfloat16))


@pytest.mark.parametrize(
    ('ours', 'theirs', 'x'),
    [
        (layers.Conv(6, (3,)), nn.Conv(6, (3,)), (1, 4, 2)),
        (layers.ConvTranspose(6, (3,)), nn.ConvTranspose(6, (3,)), (1, 4, 2)),
        (layers.Embed(6, 4), nn.Embed(6, 4), None),
    ],
)
def test_the_same_key_draws_the_same_parameters(ours, theirs, x):
    key, x = jax.random.key(0), jnp.arange(2) if x is None else jnp.ones(x)
    jax.tree.map(np.testing.assert_array_equal, ours.init(key, x), theirs.init(key, x))


def test_initial_scale_is_that_of_lecun():
    x = jnp.ones((1, 64))
    kernel = layers.Dense(256).init(jax.random.key(1), x)['params']['kernel']
    assert float(jnp.std(kernel)) == pytest.approx(1 / 8, rel=0.02)
    assert float(jnp.mean(kernel)) == pytest.approx(0, abs=0.004)


@pytest.mark.parametrize('size', [(1, 1), (3, 3), (5, 5), (3, 5)])
@pytest.mark.parametrize('resample', ['up', 'down'])
def test_resample_equals_the_two_steps(own_errors, resample, size):
    x = draw(6, (2, 4, 6, 3))
    plain = layers.Conv(4, size, bias_init=nn.initializers.normal())
    params = drawn(plain, x)

    def two_steps(params, x):
        if resample == 'up':
            return plain.apply(params, convolution.upsample(x))
        return convolution.average_pool(plain.apply(params, x))

    form = plain.copy(resample=resample).apply
    y, expected = jax.jit(lambda p, x: (form(p, x), two_steps(p, x)))(params, x)
    assert y.shape == expected.shape == ((2, 8, 12, 4) if resample == 'up' else (2, 2, 3, 4))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


class Doubled(layers.Dense):
    def normalize(self, weight):
        return 2 * weight


def test_normalize_sees_the_kernel_and_leaves_the_bias():
    x = draw(7, (2, 3))
    layer = Doubled(4)
    params = drawn(layer, x)
    kernel, bias = params['params']['kernel'], params['params']['bias']
    np.testing.assert_allclose(layer.apply(params, x), 2 * x @ kernel + bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ('kwargs', 'shape'),
    [
        ({'strides': 2}, (1, 4, 4, 2)),
        ({'padding': 'VALID'}, (1, 4, 4, 2)),
        ({'kernel_dilation': 2}, (1, 4, 4, 2)),
        ({'feature_group_count': 2}, (1, 4, 4, 2)),
        ({'kernel_size': 3}, (1, 4, 2)),
    ],
)
@pytest.mark.parametrize('resample', ['up', 'down'])
def test_resample_refuses_what_it_cannot_do(resample, kwargs, shape):
    layer = layers.Conv(4, **{'kernel_size': (3, 3), **kwargs}, resample=resample)
    with pytest.raises(ValueError, match=rf"resample='{resample}'.* accepted are 'up' and 'down'"):
        jax.eval_shape(layer.init, jax.random.key(0), jnp.ones(shape))


def test_unknown_resample_is_named(own_errors):
    layer = layers.Conv(4, (3, 3), resample='side')
    with pytest.raises(ValueError, match=r"resample='side'.* accepted are 'up' and 'down'"):
        jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((1, 4, 4, 2)))


@pytest.mark.parametrize('shape', [(1, 5, 4, 2), (1, 4, 7, 2)])
@pytest.mark.parametrize('size', [1, 3, 5])
def test_pooling_an_odd_size_is_refused(own_errors, shape, size):
    layer = layers.Conv(4, (size, size), resample='down')
    with pytest.raises(ValueError, match='even'):
        jax.eval_shape(layer.init, jax.random.key(0), jnp.ones(shape))


@pytest.mark.parametrize('layer', [layers.Conv(4, (3, 3)), layers.ConvTranspose(4, (3, 3))])
def test_kernel_size_must_fit_the_input(own_errors, layer):
    with pytest.raises(ValueError, match=r'kernel_size \(3, 3\) has 2 dimensions'):
        jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((1, 4, 4, 4, 2)))


@pytest.mark.parametrize(('channels', 'features'), [(4, 6), (6, 4)])
def test_groups_must_divide_the_channels(own_errors, channels, features):
    layer = layers.Conv(features, (3, 3), feature_group_count=3)
    with pytest.raises(ValueError, match='feature_group_count'):
        jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((1, 4, 4, channels)))


def test_embed_mixes_its_rows_by_weights():
    table = jnp.arange(6.0).reshape(3, 2)
    y = layers.Embed(3, 2).apply({'params': {'embedding': table}}, jnp.array([[0.5, 0.25, 0.25]]))
    np.testing.assert_array_equal(y, [[1.5, 2.5]])  # [0, .5] + [.5, .75] + [1, 1.25]


def test_embed_refuses_weights_of_another_length(own_errors):
    with pytest.raises(ValueError, match=r'float32 weights \(3,\): .* weights \(..., 5\)'):
        jax.eval_shape(layers.Embed(5, 3).init, jax.random.key(0), jnp.ones(3))


def test_causal_padding_is_of_one_dimension(own_errors):
    with pytest.raises(ValueError, match=r"padding='CAUSAL' with kernel_size \(3, 3\): one dim"):
        layers.Conv(2, (3, 3), padding='CAUSAL').init(jax.random.key(0), jnp.ones((1, 4, 4, 2)))
