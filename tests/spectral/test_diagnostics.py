"""Norms of layers against the singular values of their maps written out as matrices in NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snjax.nn import layers
from snjax.spectral import SNConv, SNDense, SNEmbed, diagnostics

SIZE = (4, 6)


def padded(x, strides, padding, taps):
    """An image (h, w, c) with the pixels around it that a convolution sees."""
    if padding == 'CIRCULAR':
        return np.pad(x, [*(((k - 1) // 2, k // 2) for k in taps), (0, 0)], mode='wrap')
    if padding == 'SAME':
        more = [
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, s, k in zip(x.shape[:2], strides, taps, strict=True)
        ]
        padding = [(m // 2, m - m // 2) for m in more]
    padding = [(0, 0)] * 2 if padding == 'VALID' else padding
    return np.pad(x, [*padding, (0, 0)])


def convolved(x, kernel, strides=(1, 1), padding='SAME'):
    x = padded(x, strides, padding, kernel.shape[:2])
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(0, 1))
    return np.einsum('hwiab,abio->hwo', windows[:: strides[0], :: strides[1]], kernel)


def transposed(x, kernel, strides, padding):
    """Zeros between the pixels, then a convolution (jax.lax.conv_transpose)."""
    height, width, channels = x.shape
    spread = np.zeros((height * strides[0], width * strides[1], channels))
    spread[:: strides[0], :: strides[1]] = x
    if padding == 'CIRCULAR':
        return convolved(spread, kernel, padding=padding)
    spread = spread[: (height - 1) * strides[0] + 1, : (width - 1) * strides[1] + 1]
    pads = []
    for k, s in zip(kernel.shape[:2], strides, strict=True):
        total = k + s - 2 + (max(k - s, 0) if padding == 'VALID' else 0)
        first = k - 1 if padding == 'VALID' or s > k - 1 else -(-total // 2)
        pads.append((first, total - first))
    return convolved(spread, kernel, padding=pads)


def unrolled(kernel, size, strides=(1, 1), padding='SAME', transpose=False, resample=None):
    """The matrix of a layer: its outputs for every image with a single 1."""

    def layer(x):
        if resample == 'up':
            return convolved(x.repeat(2, 0).repeat(2, 1), kernel)
        if resample == 'down':
            y = convolved(x, kernel)
            return y.reshape(y.shape[0] // 2, 2, y.shape[1] // 2, 2, -1).mean((1, 3))
        form = transposed if transpose else convolved
        return form(x, kernel, strides, padding)

    shape = (*size, kernel.shape[2])
    return np.stack([layer(e.reshape(shape)).ravel() for e in np.eye(np.prod(shape))])


def largest(matrix):
    return np.linalg.svd(matrix, compute_uv=False)[0]


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


CASES = {
    'same': ((3, 3), {}),
    'same, stride 2': ((4, 4), {'strides': (2, 2)}),
    'valid, stride 2': ((3, 3), {'strides': (2, 2), 'padding': 'VALID'}),
    'explicit': ((3, 2), {'padding': ((2, 0), (1, 1))}),
    'circular': ((3, 3), {'padding': 'CIRCULAR'}),
    'circular, stride 2': ((4, 4), {'padding': 'CIRCULAR', 'strides': (2, 2)}),
    'transposed': ((4, 4), {'transpose': True, 'strides': (2, 2)}),
    'transposed, valid': ((3, 3), {'transpose': True, 'strides': (1, 2), 'padding': 'VALID'}),
    'transposed, circular': (
        (4, 4),
        {'transpose': True, 'strides': (2, 2), 'padding': 'CIRCULAR'},
    ),
    'upsampled': ((3, 3), {'resample': 'up'}),
    'pooled': ((3, 3), {'resample': 'down'}),
    'pooled, 1x1': ((1, 1), {'resample': 'down'}),
}


@pytest.mark.parametrize('name', CASES)
def test_norms_and_bounds_of_convolutions_are_those_of_their_matrices(name):
    taps, options = CASES[name]
    kernel = drawn(*taps, 2, 3)
    expected = largest(unrolled(kernel, SIZE, **options))
    norm = diagnostics.operator_norm(kernel, SIZE, **options)
    assert norm == pytest.approx(expected, rel=1e-4)
    bound = diagnostics.gram_bound(kernel, SIZE, **options)
    assert bound >= expected * (1 - 1e-6)
    # Zeros around a small image cost: elsewhere than on a torus its bound is not close.
    assert bound <= (1.05 if options.get('padding') == 'CIRCULAR' else 2) * expected


@pytest.mark.parametrize('strides', [(1, 1), (2, 2), (1, 3)])
def test_the_fourier_form_has_every_singular_value_of_a_circular_convolution(strides):
    kernel = drawn(3, 2, 2, 3)
    matrix = unrolled(kernel, SIZE, strides, 'CIRCULAR')
    expected = np.linalg.svd(matrix, compute_uv=False)
    found = diagnostics.spectrum(kernel, SIZE, strides=strides)
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-4 * expected[0])
    assert np.all(expected[len(found) :] < 1e-10 * expected[0])


def test_zero_padding_is_bounded_closely_where_the_image_is_larger_than_the_kernel():
    kernel = drawn(3, 3, 2, 2)
    norm = diagnostics.operator_norm(kernel, (20, 20))
    assert norm < diagnostics.gram_bound(kernel, (20, 20)) < 1.05 * norm


@settings(max_examples=20, deadline=None)
@given(
    shape=st.sampled_from([(1, 3), (6, 4), (5, 5)]),
    scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e20]),
    rank=st.integers(0, 4),
    seed=st.integers(0, 2**16),
)
def test_gram_bounds_bound_and_close_in(shape, scale, rank, seed):
    left, right = drawn(shape[0], rank, seed=seed), drawn(rank, shape[1], seed=seed + 1)
    matrix = left @ right * scale
    norm = diagnostics.reshaped_norm(matrix)
    bound = diagnostics.gram_bound(matrix)
    assert norm * (1 - 1e-5) <= bound <= 1.05 * norm
    assert diagnostics.gram_bound(matrix, n_iterations=1) >= bound * (1 - 1e-5)


def test_closed_forms():
    assert diagnostics.reshaped_norm(np.ones((3, 4))) == pytest.approx(12**0.5)
    assert diagnostics.stable_rank(np.ones((3, 4))) == pytest.approx(1)
    assert diagnostics.effective_rank(np.ones((3, 4))) == pytest.approx(1)
    assert diagnostics.stable_rank(np.eye(5) * 7) == pytest.approx(5)
    assert diagnostics.effective_rank(np.eye(5) * 7) == pytest.approx(5)
    kernel = np.zeros((1, 2, 2, 3))
    kernel[0, 0, 0, 0], kernel[0, 1, 1, 2] = 3.0, 4.0
    assert diagnostics.spectrum(kernel).tolist() == [4.0, 3.0, 0.0]
    assert diagnostics.stable_rank(kernel) == pytest.approx(25 / 16)
    zero = np.zeros((3, 3, 2, 2))
    assert diagnostics.operator_norm(zero, SIZE) == diagnostics.gram_bound(zero, SIZE) == 0
    assert diagnostics.stable_rank(zero) == diagnostics.effective_rank(zero) == 0
    # The mean of 2x2 pixels halves, and copying a pixel to 2x2 doubles.
    one = np.ones((1, 1, 1, 1))
    assert diagnostics.operator_norm(one, SIZE, resample='down') == pytest.approx(0.5)
    assert diagnostics.gram_bound(one, SIZE, resample='up') == pytest.approx(2)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda k: diagnostics.operator_norm(k[0], SIZE), 'not .height, width, inputs, outputs'),
        (lambda k: diagnostics.spectrum(k[0, 0, 0]), 'inputs, outputs. is needed'),
        (lambda k: diagnostics.spectrum(k, (5, 4), strides=2), 'do not divide an image of'),
        (lambda k: diagnostics.operator_norm(k, SIZE, resample='left'), "'up', 'down' and None"),
        (lambda k: diagnostics.gram_bound(k, SIZE, resample='up', strides=2), 'with strides 1'),
    ],
)
def test_what_is_not_accepted_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(drawn(3, 3, 2, 3))


class Network(nn.Module):
    """A layer of each kind and of each library."""

    @nn.compact
    def __call__(self, x, labels, *, train):
        x = SNConv(3, 4, strides=2, lipschitz=2.0, name='down')(x)
        x = nn.BatchNorm(use_running_average=not train, name='norm')(x)
        x = nn.Conv(2, (3, 3), padding='CIRCULAR', name='circular')(x)
        x = layers.Conv(2, 3, resample='up', name='up')(x)
        x = layers.ConvTranspose(2, 3, strides=2, name='transposed')(x)
        x = nn.Conv(2, (3, 3), feature_group_count=2, name='grouped')(x)
        x = SNDense(3, name='dense')(x.reshape(len(x), -1))
        return x + SNEmbed(5, 3, name='embed')(labels)


def test_a_report_has_every_layer_as_it_is_applied():
    labels = jnp.zeros(1, jnp.int32)
    module, image = Network(), jnp.zeros((1, *SIZE, 1))
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), image, labels, train=False))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: jnp.asarray(rng.uniform(0.5, 2, s.shape), s.dtype), shapes)
    report = diagnostics.layer_report(module, variables, (*SIZE, 1), labels, train=False)
    names = ['down', 'norm', 'circular', 'up', 'transposed', 'grouped', 'dense', 'embed']
    assert list(report) == names
    params, kept = variables['params'], variables['spectral']

    def raw(name):
        return np.asarray(params[name]['kernel'], np.float64)

    # sigma is v^T W u of the vectors that the layer keeps, whatever they are.
    matrix = raw('down').reshape(-1, 3)
    sigma = np.asarray(kept['down']['v']) @ matrix @ np.asarray(kept['down']['u'])
    assert report['down'].sigma == pytest.approx(sigma, rel=1e-5)
    assert report['down'].exact == pytest.approx(largest(matrix), rel=1e-5)
    deviation = np.sqrt(np.asarray(variables['batch_stats']['norm']['var']) + 1e-5)
    expected = {
        'down': largest(unrolled(2 / sigma * raw('down'), SIZE, (2, 2))),
        'circular': largest(unrolled(raw('circular'), (2, 3), padding='CIRCULAR')),
        'up': largest(unrolled(raw('up'), (2, 3), resample='up')),
        'transposed': largest(unrolled(raw('transposed'), (4, 6), (2, 2), transpose=True)),
        'norm': np.max(np.asarray(params['norm']['scale']) / deviation),
    }
    for name, value in expected.items():
        assert report[name].operator == pytest.approx(value, rel=1e-4), name
    one_group = [largest(unrolled(raw('grouped')[..., i : i + 1], (8, 12))) for i in range(2)]
    assert report['grouped'].operator == pytest.approx(max(one_group), rel=1e-4)
    assert report['grouped'].bound is None and report['norm'].bound is None
    for name in ('down', 'circular', 'up', 'transposed', 'dense'):
        assert report[name].bound >= report[name].operator * (1 - 1e-5)
    embedded = np.asarray(params['embed']['embedding']) / report['embed'].sigma
    longest = np.max(np.linalg.norm(embedded, axis=1))
    assert report['embed'].operator == pytest.approx(longest, rel=1e-5)
    assert report['dense'].spectrum[0] == pytest.approx(report['dense'].operator, rel=1e-5)
    assert report['up'].sigma is None and report['up'].shape == (3, 3, 2, 2)
