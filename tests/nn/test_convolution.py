"""The fast forms of `snjax.nn.convolution` against the plain ones: values and derivatives."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from snjax.nn import convolution, strided

NHWC = ('NHWC', 'HWIO', 'NHWC')


def plain_conv(x, kernel, strides=(1, 1), padding='SAME', **kwargs):
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=NHWC, **kwargs)


def plain_upsample(x):
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def plain_pool(x):
    return lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), 'VALID') / 4


def plain_transpose(x, kernel):
    return lax.conv_transpose(x, kernel, (2, 2), 'SAME')


def plain_up(y, kernel):
    """The adjoint of a strided convolution, whose kernel is (k, k, out, in), by differentiation."""
    x = jax.ShapeDtypeStruct((len(y), 2 * y.shape[1], 2 * y.shape[2], kernel.shape[3]), y.dtype)
    turned = jnp.swapaxes(kernel, 2, 3)
    return jax.linear_transpose(lambda x: plain_conv(x, turned, (2, 2)), x)(y)[0]


# name: (fast form, plain form, kernel heights and widths)
FORMS = {
    'down': (strided.down, lambda x, k: plain_conv(x, k, (2, 2)), [(4, 4), (5, 5)]),
    'up': (
        lambda y, k: strided.up(y, jnp.swapaxes(k, 2, 3)),
        plain_up,
        [(4, 4), (5, 5)],
    ),
    'upsample_conv': (
        convolution.upsample_conv,
        lambda x, k: plain_conv(plain_upsample(x), k),
        [(1, 1), (3, 3), (5, 5)],
    ),
    'conv_pool': (
        convolution.conv_pool,
        lambda x, k: plain_pool(plain_conv(x, k)),
        [(1, 1), (3, 3), (5, 5)],
    ),
    'conv': (
        lambda x, k: convolution.conv(x, k, strides=(2, 2)),
        lambda x, k: plain_conv(x, k, (2, 2)),
        [(4, 4), (5, 5), (3, 3)],
    ),
    'conv_transpose': (
        lambda x, k: convolution.conv_transpose(x, k, strides=(2, 2)),
        plain_transpose,
        [(4, 4), (5, 5), (3, 3)],
    ),
}
# The other forms need 4x4 kernels.
RESAMPLED = {
    'upsample_conv': (3, 3),
    'conv_pool': (3, 3),
}
CASES = [(name, size) for name, (_, _, sizes) in FORMS.items() for size in sizes]


def draw(seed, *shapes, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def close(actual, expected, tolerance):
    """Equal within `tolerance` of the largest entry, and in dtype."""
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype and a.shape == e.shape
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * float(np.abs(e).max()))


def value_and_gradients(form, x, kernel):
    """The output, and both gradients of a curved function of it."""

    def loss(x, kernel):
        y = form(x, kernel)
        return jnp.sum(jnp.sin(y)), y

    gradients, y = jax.grad(loss, argnums=(0, 1), has_aux=True)(x, kernel)
    return y, *gradients


def both(fast, plain):
    """Both forms as one program: operation by operation, each of them is compiled alone."""
    return jax.jit(lambda x, kernel: (fast(x, kernel), plain(x, kernel)))


@pytest.mark.parametrize(
    ('name', 'size', 'dtype', 'tolerance'),
    [(*case, np.float64, 1e-12) for case in CASES]
    + [(name, RESAMPLED.get(name, (4, 4)), np.float32, 1e-5) for name in FORMS],
)
@pytest.mark.parametrize('image', [(6, 4), (8, 10)])  # where `up` is four convolutions, and one
def test_values_and_gradients_equal_the_plain_form(name, size, dtype, tolerance, image):
    fast, plain, _ = FORMS[name]
    with jax.enable_x64(True):
        x, kernel = draw(0, (2, *image, 3), (*size, 3, 5), dtype=dtype)
        actual, expected = jax.jit(
            lambda x, k: (value_and_gradients(fast, x, k), value_and_gradients(plain, x, k))
        )(x, kernel)
    close(actual, expected, tolerance)


@pytest.mark.parametrize('image', [(4, 2), (8, 8)])
@pytest.mark.parametrize(
    ('name', 'size'), [case for case in CASES if case[0] != 'upsample_conv' or case[1] == (3, 3)]
)
def test_second_derivative_equals_the_plain_form(name, size, image):
    fast, plain, _ = FORMS[name]

    def penalty(form):
        def squared_norm(x, kernel):
            return jnp.sum(jnp.square(jax.grad(lambda x: jnp.sum(jnp.sin(form(x, kernel))))(x)))

        return jax.grad(squared_norm, argnums=(0, 1))

    with jax.enable_x64(True):
        x, kernel = draw(1, (1, *image, 2), (*size, 2, 3), dtype=np.float64)
        actual, expected = jax.jit(lambda x, k: (penalty(fast)(x, k), penalty(plain)(x, k)))(
            x, kernel
        )
    close(actual, expected, 1e-12)


def test_third_derivative_equals_the_plain_form():
    def third(form):
        def first(x, kernel):
            return jnp.sum(jnp.square(jax.grad(lambda k: jnp.sum(jnp.sin(form(x, k))))(kernel)))

        def second(x, kernel):
            return jnp.sum(jnp.square(jax.grad(first)(x, kernel)))

        return jax.grad(second, argnums=(0, 1))

    fast, plain, _ = FORMS['down']
    with jax.enable_x64(True):
        x, kernel = draw(11, (1, 4, 4, 2), (4, 4, 2, 1), dtype=np.float64)
        actual, expected = jax.jit(lambda x, k: (third(fast)(x, k), third(plain)(x, k)))(x, kernel)
    close(actual, expected, 1e-11)


@pytest.mark.parametrize('size', [4, 5])
def test_the_three_maps_are_adjoint(size):
    with jax.enable_x64(True):
        x, y, kernel = draw(12, (2, 6, 8, 3), (2, 3, 4, 5), (size, size, 3, 5), dtype=np.float64)
        form = jnp.vdot(y, strided.down(x, kernel))
        close(jnp.vdot(x, strided.up(y, kernel)), form, 1e-12)
        close(jnp.vdot(kernel, strided.kernel_gradient(x, y, size)), form, 1e-12)


def test_gradients_keep_the_precision_of_the_convolution():
    """The precision set at the call holds for derivatives, which are traced after it is reset."""

    def form(x, kernel):
        with jax.default_matmul_precision('highest'):
            return convolution.conv(x, kernel, strides=(2, 2)).sum()

    x, kernel = draw(13, (1, 4, 4, 2), (4, 4, 2, 2))
    jaxpr = str(jax.make_jaxpr(jax.grad(form, argnums=(0, 1)))(x, kernel))
    precisions = re.findall(r'precision=(.*)', jaxpr)
    assert len(precisions) >= 3
    assert all('HIGHEST' in p for p in precisions)


@pytest.mark.parametrize('shape', [(1, 2, 2, 1), (1, 2, 8, 3), (3, 8, 2, 1)])
@pytest.mark.parametrize('size', [4, 5])
@pytest.mark.parametrize('name', ['conv', 'conv_transpose'])
def test_smallest_and_oblong_images(name, size, shape):
    fast, plain, _ = FORMS[name]
    x, kernel = draw(2, shape, (size, size, shape[-1], 2))
    close(*both(fast, plain)(x, kernel), 1e-5)


@pytest.mark.parametrize('shape', [(2, 1, 1, 3), (2, 5, 3, 3), (1, 5, 4, 3), (1, 9, 7, 2)])
@pytest.mark.parametrize(
    ('name', 'size'), [('upsample_conv', 3), ('conv_transpose', 4), ('conv_transpose', 5)]
)
def test_odd_sizes_are_upsampled_in_the_fast_form(name, size, shape):
    fast, plain, _ = FORMS[name]
    x, kernel = draw(3, shape, (size, size, shape[-1], 2))
    close(*both(fast, plain)(x, kernel), 1e-5)


THIN = [(1, 3, 5), (1, 6, 1), (3, 3, 27), (3, 10, 1), (3, 2, 20), (5, 1, 26), (5, 25, 1)]


@pytest.mark.parametrize(('size', 'before', 'after'), THIN)
def test_thin_images_are_products_of_matrices_to_every_order(size, before, after):
    """Values, first, second and third derivatives beside those of the plain convolution."""

    def orders(form, x, kernel):
        def squared_norm(x, kernel):
            return jnp.sum(jnp.square(jax.grad(lambda x: jnp.sum(jnp.sin(form(x, kernel))))(x)))

        second = jax.grad(squared_norm, argnums=(0, 1))
        third = jax.grad(
            lambda x, k: sum(jnp.sum(jnp.sin(g)) for g in second(x, k)), argnums=(0, 1)
        )
        return *value_and_gradients(form, x, kernel), *second(x, kernel), *third(x, kernel)

    with jax.enable_x64(True):
        x, kernel = draw(16, (2, 5, 4, before), (size, size, before, after), dtype=np.float64)
        kernel *= 0.1  # sines of large numbers magnify rounding
        assert 'conv_general' not in str(
            jax.make_jaxpr(lambda x, k: orders(convolution.conv, x, k))(x, kernel)
        )
        actual, expected = jax.jit(
            lambda x, k: (orders(convolution.conv, x, k), orders(plain_conv, x, k))
        )(x, kernel)
    close(actual, expected, 1e-11)


@pytest.mark.parametrize(
    ('size', 'channels', 'kwargs', 'is_thin'),
    [
        ((3, 3), (3, 27), {}, True),
        ((3, 3), (3, 27), {'padding': [(1, 1), (1, 1)]}, True),
        ((3, 3), (3, 27), {'padding': [(1, 1), (0, 2)]}, False),
        ((3, 3), (3, 27), {'padding': 'VALID'}, False),
        ((3, 3), (3, 27), {'kernel_dilation': (2, 2)}, False),
        ((3, 3), (3, 27), {'strides': (1, 2)}, False),
        ((3, 3), (4, 36), {'feature_group_count': 2}, True),  # each group by itself
        ((3, 5), (3, 27), {}, False),
        ((4, 4), (3, 27), {}, False),
        ((3, 3), (8, 6), {}, False),
        ((3, 3), (3, 4), {}, False),
        ((3, 3), (3, 26), {}, False),
    ],
)
def test_thin_images_take_the_product_only_where_it_is_equal(size, channels, kwargs, is_thin):
    before, after = channels
    groups = kwargs.get('feature_group_count', 1)
    x, kernel = draw(17, (2, 6, 5, before), (*size, before // groups, after))
    form = lambda x, k: convolution.conv(x, k, **kwargs)  # noqa: E731
    plain = dict(kwargs, rhs_dilation=kwargs.get('kernel_dilation', (1, 1)))
    plain.pop('kernel_dilation', None)
    close(*both(form, lambda x, k: plain_conv(x, k, **plain))(x, kernel), 1e-5)
    assert ('dot_general' in str(jax.make_jaxpr(form)(x, kernel))) == is_thin


@pytest.mark.parametrize(('groups', 'is_split'), [(2, True), (16, True), (17, False)])
def test_few_groups_are_convolved_one_by_one(groups, is_split):
    x, kernel = draw(19, (2, 4, 3, 5 * groups), (3, 3, 5, 6 * groups))

    def of_slopes(form):
        def squared_slopes(kernel, x):
            slopes = jax.grad(lambda x: jnp.sum(jnp.square(form(x, kernel))))(x)
            return jnp.sum(jnp.square(slopes))

        return squared_slopes

    grouped = {'feature_group_count': groups}
    form = lambda x, k: convolution.conv(x, k, **grouped)  # noqa: E731
    plain = lambda x, k: plain_conv(x, k, **grouped)  # noqa: E731
    close(form(x, kernel), plain(x, kernel), 1e-6)
    assert (f'feature_group_count={groups}' not in str(jax.make_jaxpr(form)(x, kernel))) == is_split
    if groups == 2:
        close(*(jax.jit(jax.grad(of_slopes(f)))(kernel, x) for f in (form, plain)), 1e-5)


@pytest.mark.parametrize(('before', 'after'), [(3, 64), (64, 3)])
def test_thin_images_in_bfloat16_are_added_up_in_float32(before, after):
    x, kernel = draw(18, (1, 8, 8, before), (3, 3, before, after), dtype=jnp.bfloat16)
    y, *gradients = value_and_gradients(convolution.conv, x, kernel)
    assert {a.dtype for a in (y, *gradients)} == {jnp.dtype(jnp.bfloat16)}
    exact = plain_conv(x.astype(jnp.float32), kernel.astype(jnp.float32))
    close(y.astype(jnp.float32), exact, 0.003)  # rounded once, by half of 2**-8 of its size


# kernel size, arguments, image size, whether the fast form is used
DISPATCH = [
    ((4, 4), {'strides': (2, 2)}, (6, 4), True),
    ((4, 4), {'strides': (2, 2), 'padding': [(1, 1), (1, 1)]}, (6, 4), True),
    ((4, 4), {'strides': (2, 2), 'padding': ((1, 1), (1, 1))}, (6, 4), True),
    ((4, 4), {'strides': (2, 2)}, (5, 4), False),
    ((4, 4), {'strides': (2, 2)}, (4, 7), False),
    ((4, 4), {'strides': (2, 2)}, (5, 5), False),
    ((4, 4), {'strides': (2, 2), 'padding': [(1, 1), (1, 1)]}, (5, 5), False),
    ((4, 4), {'strides': (2, 2), 'padding': 'VALID'}, (6, 4), False),
    ((4, 4), {'strides': (2, 2), 'padding': [(1, 2), (0, 1)]}, (6, 4), False),
    ((4, 4), {'strides': (2, 2), 'kernel_dilation': (1, 2)}, (6, 8), False),
    ((4, 4), {'strides': (2, 2), 'feature_group_count': 2}, (6, 4), True),
    ((4, 4), {'strides': (2, 1)}, (6, 4), False),
    ((3, 3), {'strides': (2, 2)}, (6, 4), False),
    ((5, 5), {'strides': (2, 2)}, (6, 4), True),
    ((5, 5), {'strides': (2, 2), 'padding': ((1, 2), (1, 2))}, (6, 4), True),
    ((5, 5), {'strides': (2, 2)}, (5, 4), False),
    ((5, 5), {'strides': (2, 2), 'padding': [(2, 2), (2, 2)]}, (6, 4), False),
    ((5, 4), {'strides': (2, 2)}, (6, 4), False),
]


@pytest.mark.parametrize(('size', 'kwargs', 'image', 'is_fast'), DISPATCH)
def test_conv_takes_the_fast_form_only_where_it_is_equal(size, kwargs, image, is_fast):
    groups = kwargs.get('feature_group_count', 1)
    x, kernel = draw(4, (2, *image, 4), (*size, 4 // groups, 6))

    def form(x, kernel):
        return convolution.conv(x, kernel, **kwargs)

    plain = dict(kwargs, rhs_dilation=kwargs.get('kernel_dilation', (1, 1)))
    plain.pop('kernel_dilation', None)
    close(*both(form, lambda x, k: plain_conv(x, k, **plain))(x, kernel), 1e-5)
    assert ('custom_vjp' in str(jax.make_jaxpr(form)(x, kernel))) == is_fast


@pytest.mark.parametrize(
    ('size', 'strides', 'padding', 'is_fast'),
    [
        ((4, 4), (2, 2), 'SAME', True),
        ((4, 4), (2, 2), 'VALID', False),
        ((4, 4), (2, 2), [(1, 1), (2, 1)], False),
        ((4, 4), (2, 1), 'SAME', False),
        ((3, 3), (2, 2), 'SAME', False),
        ((5, 5), (2, 2), 'SAME', True),
        ((5, 5), (2, 2), 'VALID', False),
        ((5, 4), (2, 2), 'SAME', False),
    ],
)
def test_conv_transpose_takes_the_fast_form_only_where_it_is_equal(size, strides, padding, is_fast):
    x, kernel = draw(5, (2, 3, 4, 2), (*size, 2, 5))

    def form(x, kernel):
        return convolution.conv_transpose(x, kernel, strides=strides, padding=padding)

    plain = lambda x, k: lax.conv_transpose(x, k, strides, padding)  # noqa: E731
    close(*both(form, plain)(x, kernel), 1e-5)
    dilated = f'lhs_dilation={strides}' in str(jax.make_jaxpr(form)(x, kernel))
    assert dilated != is_fast


@pytest.mark.parametrize(
    ('shape', 'size', 'letters'), [((2, 7, 3), (4,), 'W'), ((1, 4, 5, 6, 2), (2, 3, 4), 'DHW')]
)
def test_conv_in_one_and_three_dimensions(shape, size, letters):
    x, kernel = draw(6, shape, (*size, shape[-1], 4))
    strides = (2,) * len(size)
    numbers = (f'N{letters}C', f'{letters}IO', f'N{letters}C')
    expected = lax.conv_general_dilated(x, kernel, strides, 'SAME', dimension_numbers=numbers)
    close(convolution.conv(x, kernel, strides=strides), expected, 1e-6)
    transposed = lax.conv_transpose(x, kernel, strides, 'SAME')
    close(convolution.conv_transpose(x, kernel, strides=strides), transposed, 1e-6)


def test_upsample_and_average_pool_by_hand():
    x = jnp.array([[1.0, 2.0, 3.0, 4.0], [5.0, 7.0, -1.0, 0.0]])[None, :, :, None]
    np.testing.assert_array_equal(convolution.average_pool(x)[0, ..., 0], [[3.75, 1.5]])
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [5, 5, 7, 7], [5, 5, 7, 7]]
    np.testing.assert_array_equal(convolution.upsample(x[:, :, :2])[0, ..., 0], expected)
    np.testing.assert_array_equal(convolution.average_pool(convolution.upsample(x)), x)


def test_box_spreads_each_tap_over_two_by_two():
    kernel = jnp.zeros((3, 3, 1, 1)).at[0, 2].set(1.0).at[1, 1].set(10.0)
    expected = [[0, 0, 1, 1], [0, 10, 11, 1], [0, 10, 10, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(convolution.box(kernel)[..., 0, 0], expected)


@pytest.mark.parametrize('name', ['upsample_conv', 'conv_pool', 'conv', 'conv_transpose'])
def test_bfloat16_stays_bfloat16(name):
    fast, plain, _ = FORMS[name]
    x, kernel = draw(7, (2, 4, 4, 3), (*RESAMPLED.get(name, (4, 4)), 3, 2), dtype=jnp.bfloat16)
    y = fast(x, kernel)
    assert y.dtype == jnp.bfloat16
    expected = plain(x.astype(jnp.float32), kernel.astype(jnp.float32))
    close(y.astype(jnp.float32), expected, 0.02)


def test_taps_are_added_before_the_kernel_is_cast():
    x, kernel = draw(8, (1, 4, 4, 2), (3, 3, 2, 2))
    x = x.astype(jnp.bfloat16)
    taps = convolution.box(kernel)
    up = convolution.conv_transpose(x, taps.astype(jnp.bfloat16), strides=(2, 2))
    np.testing.assert_array_equal(convolution.upsample_conv(x, kernel), up)
    down = strided.down(x, (taps / 4).astype(jnp.bfloat16))
    np.testing.assert_array_equal(convolution.conv_pool(x, kernel), down)


@pytest.mark.parametrize(
    'name', ['down', 'up', 'conv_transpose', 'upsample_conv', 'conv_pool', 'thin']
)
def test_the_forms_of_other_backends_are_equal_too(name, monkeypatch):
    """Other backends get the plain adjoint of a strided convolution and no `in_memory`."""
    fast, plain, sizes = FORMS.get(name, (convolution.conv, plain_conv, [(3, 3)]))
    size = RESAMPLED.get(name, sizes[0])
    after = 27 if name == 'thin' else 5
    x, kernel = draw(14, (2, 8, 10, 3), (*size, 3, after))
    expected = jax.jit(lambda x, k: value_and_gradients(plain, x, k))(x, kernel)
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    traced = jax.jit(lambda x, k: value_and_gradients(fast, x, k)).trace(x, kernel)
    jaxpr = str(traced.jaxpr)
    lowered = traced.lower()
    monkeypatch.undo()
    close(lowered.compile()(x, kernel), expected, 1e-5)
    assert 'dynamic_update_slice' not in jaxpr and 'dot_general' not in jaxpr


def test_many_at_once_are_put_into_memory_in_one_piece():
    """`vmap` of `in_memory` writes one slice; a slice per image would be a scatter."""
    xs, kernel = draw(15, (3, 2, 6, 4, 3), (3, 3, 3, 5))
    many = jax.vmap(lambda x: convolution.conv(x, kernel))
    jaxpr = str(jax.make_jaxpr(jax.grad(lambda xs: many(xs).sum()))(xs))
    assert 'scatter' not in jaxpr
    expected = jnp.stack([plain_conv(x, kernel) for x in xs])
    close(many(xs), expected, 1e-5)
