"""Spectral normalisation against numpy's SVD, torch, flax, finite differences and closed forms."""

import functools
import itertools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snjax import layers, spectral
from snjax.spectral import SNConv, SNConvTranspose, SNDense, SNEmbed, power_iteration

IMAGE = (2, 4, 4, 3)
# name: (layer, the plain flax layer, input shape, None for ids, name of the weight)
LAYERS = {
    'dense_wide': (SNDense(7), nn.Dense(7), (2, 3), 'kernel'),
    'dense_tall': (SNDense(3), nn.Dense(3), (2, 7), 'kernel'),
    'dense_square': (SNDense(5, use_bias=False), nn.Dense(5, use_bias=False), (2, 5), 'kernel'),
    'conv': (SNConv(4, (3, 3)), nn.Conv(4, (3, 3)), IMAGE, 'kernel'),
    'conv_1d': (SNConv(6, (3,), strides=2), nn.Conv(6, (3,), strides=2), (2, 5, 2), 'kernel'),
    'conv_transpose': (
        SNConvTranspose(4, (4, 4), strides=(2, 2)),
        nn.ConvTranspose(4, (4, 4), strides=(2, 2)),
        IMAGE,
        'kernel',
    ),
    'embed': (SNEmbed(6, 4), nn.Embed(6, 4), None, 'embedding'),
}
each_layer = pytest.mark.parametrize('name', ['dense_wide', 'conv', 'conv_transpose', 'embed'])


def drawn(module, *args):
    """Variables of `module` filled by numpy: compiling its `init` would take seconds."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *args)
    return jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape), s.dtype) / 2, shapes)


@functools.partial(jax.jit, static_argnums=(0, 3))
def apply(layer, variables, x, mutable=False):
    return layer.apply(variables, x, mutable=list(mutable) if mutable else False)


@functools.partial(jax.jit, static_argnums=0)
def advance(layer, variables, x):
    return spectral.advance(layer, variables, x)


power_iterations = jax.jit(power_iteration, static_argnames='n_steps')


def example_input(name):
    shape = LAYERS[name][2]
    rng = np.random.default_rng(1)
    return jnp.arange(5) if shape is None else jnp.asarray(rng.standard_normal(shape))


@functools.cache
def example(name):
    """A layer with its variables, an input, and the name of its weight."""
    layer, _, _, weight = LAYERS[name]
    x = example_input(name)
    return layer, advanced(layer, drawn(layer, x), x, 1), x, weight


def with_weight(variables, weight, value):
    params = {**variables['params'], weight: jnp.asarray(value, jnp.float32)}
    return {**variables, 'params': params}


def as_matrix(kernel):
    return np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])


def largest_singular_value(kernel):
    return np.linalg.svd(as_matrix(kernel), compute_uv=False)[0]


def numpy_iteration(kernel, u, n_steps):
    """The same algorithm in float64: sigma, u, v."""
    w, u = as_matrix(kernel), np.asarray(u, np.float64)
    for _ in range(n_steps):
        v = w @ u / np.linalg.norm(w @ u)
        u = v @ w / np.linalg.norm(v @ w)
    return v @ w @ u, u, v


def advanced(layer, variables, x, times):
    for _ in range(times):
        variables = {**variables, 'spectral': advance(layer, variables, x)}
    return variables


def assert_unit(x, tolerance=1e-6):
    assert np.linalg.norm(np.asarray(x, np.float64)) == pytest.approx(1, abs=tolerance)


# --- power_iteration ---------------------------------------------------------------------------


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
    np.testing.assert_allclose(v, [0.5**0.5, 0.5**0.5, 0], rtol=1e-6)  # (12, 12, 0) normalised
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


# --- the layers --------------------------------------------------------------------------------


def test_kernel_of_ones():
    x = jnp.ones((1, 3))
    plain = layers.Dense(4, kernel_init=nn.initializers.ones_init())
    np.testing.assert_array_equal(
        plain.init_with_output(jax.random.key(0), x)[0], np.full((1, 4), 3)
    )
    layer = SNDense(4, kernel_init=nn.initializers.ones_init())
    y, variables = layer.init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(y, np.full((1, 4), 0.8660254), rtol=1e-6)  # 3 / sqrt(12)
    assert float(variables['spectral']['sigma']) == pytest.approx(12**0.5, rel=1e-6)


@pytest.mark.parametrize('name', LAYERS)
def test_parameters_are_named_and_shaped_as_in_flax(name):
    layer, plain, _, _ = LAYERS[name]
    key, x = jax.random.key(0), example_input(name)
    variables, expected = (jax.eval_shape(m.init, key, x) for m in (layer, plain))
    assert variables['params'] == expected['params']
    assert set(variables) == {'params', 'spectral'}
    m, n = as_matrix(np.zeros(variables['params'][LAYERS[name][3]].shape)).shape
    shapes = {key: leaf.shape for key, leaf in variables['spectral'].items()}
    assert shapes == {'u': (n,), 'v': (m,), 'sigma': ()}


def test_the_same_key_draws_the_parameters_of_flax():
    key, x = jax.random.key(0), jnp.ones((1, 4))
    params, expected = (m.init(key, x)['params'] for m in (SNDense(6), nn.Dense(6)))
    jax.tree.map(np.testing.assert_array_equal, params, expected)


@pytest.mark.parametrize('name', LAYERS)
@pytest.mark.parametrize('kind', ['random', 'rank_one', 'tiny', 'huge'])
def test_sigma_agrees_with_svd(name, kind):
    layer, variables, x, weight = example(name)
    kernel = np.asarray(variables['params'][weight])
    if kind == 'rank_one':
        rng = np.random.default_rng(1)
        rows, columns = (rng.standard_normal(n) for n in as_matrix(kernel).shape)
        kernel = np.outer(rows, columns).reshape(kernel.shape)
    kernel = kernel * {'tiny': 1e-30, 'huge': 1e30}.get(kind, 1)
    variables = advanced(layer, with_weight(variables, weight, kernel), x, 150)
    expected = largest_singular_value(np.float32(kernel))
    assert float(variables['spectral']['sigma']) == pytest.approx(expected, rel=2e-6)
    assert_unit(variables['spectral']['u'])
    assert_unit(variables['spectral']['v'])
    plain = with_weight(variables, weight, kernel / expected)
    y = apply(LAYERS[name][1], {'params': plain['params']}, x)
    np.testing.assert_allclose(apply(layer, variables, x), y, rtol=1e-4, atol=2e-6)


@each_layer
def test_zero_weight_stays_zero_and_keeps_u(name):
    layer, variables, x, weight = example(name)
    kernel = variables['params'][weight]
    zero = advanced(layer, with_weight(variables, weight, jnp.zeros_like(kernel)), x, 3)
    assert float(zero['spectral']['sigma']) == 0
    np.testing.assert_array_equal(zero['spectral']['u'], variables['spectral']['u'])
    bias = zero['params'].get('bias', 0)
    y = apply(layer, zero, x)
    np.testing.assert_array_equal(y, np.broadcast_to(bias, y.shape))
    gradient = jax.grad(lambda p: jnp.sum(apply(layer, {**zero, 'params': p}, x)))(zero['params'])
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
    revived = advanced(layer, with_weight(zero, weight, kernel), x, 150)
    expected = largest_singular_value(kernel)
    assert float(revived['spectral']['sigma']) == pytest.approx(expected, rel=2e-6)


@each_layer
def test_immutable_collection_freezes_u_and_v_but_not_the_weight(name):
    layer, variables, x, weight = example(name)
    before = jax.tree.map(np.array, variables['spectral'])
    kernel = variables['params'][weight]
    moved = kernel + 0.1 * np.random.default_rng(9).standard_normal(kernel.shape)
    variables = with_weight(variables, weight, moved)
    y, updated = apply(layer, variables, x, ('batch_stats', 'intermediates'))
    assert not updated
    np.testing.assert_array_equal(apply(layer, variables, x), y)
    jax.tree.map(np.testing.assert_array_equal, variables['spectral'], before)
    sigma = before['v'].astype(np.float64) @ as_matrix(moved) @ before['u'].astype(np.float64)
    assert abs(sigma / before['sigma'] - 1) > 1e-3  # the stored sigma is not what is used
    plain = with_weight(variables, weight, np.asarray(moved, np.float64) / sigma)['params']
    expected = apply(LAYERS[name][1], {'params': plain}, x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-6)


@each_layer
def test_mutable_collection_advances_n_power_iterations(name, n=3):
    layer, variables, x, weight = example(name)
    layer = layer.copy(n_power_iterations=n)
    kernel = variables['params'][weight]
    y, updated = apply(layer, variables, x, ('spectral',))
    sigma, u, v = numpy_iteration(kernel, variables['spectral']['u'], n)
    assert set(updated) == {'spectral'}
    assert float(updated['spectral']['sigma']) == pytest.approx(sigma, rel=1e-6)
    np.testing.assert_allclose(updated['spectral']['u'], u, atol=1e-6)
    np.testing.assert_allclose(updated['spectral']['v'], v, atol=1e-6)
    # The advanced vectors are those that normalise this very application.
    frozen = apply(layer, {**variables, **updated}, x)
    np.testing.assert_allclose(y, frozen, rtol=1e-6, atol=1e-7)
    collection = advance(layer, variables, x)
    for key in ('u', 'v', 'sigma'):
        np.testing.assert_allclose(collection[key], updated['spectral'][key], rtol=1e-6, atol=1e-7)


class Draws(nn.Module):
    """What `SNDense` draws at init, in its order: kernel, bias, u."""

    @nn.compact
    def __call__(self, m, n):
        kernel = self.param('kernel', nn.initializers.lecun_normal(), (m, n))
        self.param('bias', nn.initializers.zeros_init(), (n,))
        return kernel, jax.random.normal(self.make_rng('params'), (n,))


@pytest.mark.parametrize('n_warmup', [0, 1, 4])
def test_init_runs_one_iteration_and_the_warmup(n_warmup):
    key = jax.random.key(5)
    layer = SNDense(6, n_warmup_iterations=n_warmup, n_power_iterations=2)
    variables = layer.init(key, jnp.ones((1, 4)))
    (kernel, u), _ = Draws().init_with_output(key, 4, 6)
    np.testing.assert_array_equal(kernel, variables['params']['kernel'])
    sigma, u, v = numpy_iteration(kernel, u, 1 + n_warmup)
    assert float(variables['spectral']['sigma']) == pytest.approx(sigma, rel=1e-6)
    np.testing.assert_allclose(variables['spectral']['u'], u, atol=1e-6)
    np.testing.assert_allclose(variables['spectral']['v'], v, atol=1e-6)


class Repeated(nn.Module):
    """One layer applied several times, as a discriminator is to real and fake images."""

    times: int

    @nn.compact
    def __call__(self, x):
        layer = SNDense(4, name='layer')
        for _ in range(self.times):
            x = layer(x)
        return x


def test_init_iterates_once_however_often_a_layer_is_applied():
    x = jnp.ones((2, 4))
    once, twice = (Repeated(times).init(jax.random.key(0), x) for times in (1, 2))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        once['spectral'],
        twice['spectral'],
    )


def test_every_mutable_application_advances():
    x = jnp.ones((2, 4))
    variables = drawn(Repeated(1), x)
    twice = apply(Repeated(2), variables, x, ('spectral',))[1]
    one_by_one = advanced(Repeated(1), variables, x, 2)
    for key in ('u', 'v', 'sigma'):
        np.testing.assert_allclose(
            twice['spectral']['layer'][key], one_by_one['spectral']['layer'][key], rtol=1e-5
        )


@each_layer
def test_bfloat16_is_normalised_in_float32(name):
    layer, variables, x, _ = example(name)
    half = layer.copy(dtype=jnp.bfloat16)
    y, updated = apply(half, variables, x, ('spectral',))
    assert y.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(updated))
    expected, in_float32 = apply(layer, variables, x, ('spectral',))
    jax.tree.map(np.testing.assert_array_equal, updated, in_float32)
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=0.02, atol=0.02)


@each_layer
@pytest.mark.parametrize('mutable', [False, ['spectral']])
def test_missing_collection_is_named(name, mutable):
    layer, variables, x, _ = example(name)
    with pytest.raises(
        ValueError, match=f"{type(layer).__name__} .*without its collection 'spectral'"
    ):
        layer.apply({'params': variables['params']}, x, mutable=mutable)


# --- against torch and flax --------------------------------------------------------------------

# torch 2.13.0, torch.nn.utils.parametrizations.spectral_norm, weights set by hand, its vectors
# set to [1, 2, ...] normalised, then training forward passes of one iteration each. Its _u is v
# here, and its _v is u.
# spectral_norm(Linear(4, 3, bias=False), dim=1) on [[1, -2, .5, 3]]; torch's weight is (out, in):
LINEAR = [[0.5, -1.0, 0.25, 2.0], [1.5, 0.75, -0.5, 1.0], [-0.25, 1.0, 1.25, -0.75]]
LINEAR_STEPS = [  # _u, _v, sigma, output
    (
        [0.487088233, 0.619930446, 0.531368911, 0.309965223],
        [0.235997334, 0.777403057, 0.583052158],
        1.59487557,
        [5.40794516, 1.72427237, -2.42965651],
    ),
    (
        [0.659452736, 0.538821042, 0.231210455, 0.470463276],
        [0.406373292, 0.89966017, 0.159600288],
        1.94312572,
        [4.43872452, 1.41524553, -1.99420953],
    ),
    (
        [0.674480975, 0.190814033, -0.0663150549, 0.710118115],
        [0.614766002, 0.752792776, -0.235299334],
        2.52142096,
        [3.42069006, 1.09065485, -1.53683186],
    ),
    (
        [0.555559158, -0.106056064, -0.192008629, 0.802021742],
        [0.700354695, 0.596358359, -0.392249852],
        2.76984906,
        [3.11388803, 0.992833853, -1.39899325],
    ),
]
# spectral_norm(Conv2d(2, 2, 2, bias=False)), which is dim=0: the matrix (out, in * size), so _u
# belongs to the outputs as u does here, but torch makes it before _v: each _v, and the _u after
# it, are one step here from the _u before.
CONV = [
    [0.5, -1.0, 0.25, 2.0, 1.5, 0.75, -0.5, 1.0],
    [-0.25, 1.0, 1.25, -0.75, 2.0, 0.5, -1.5, 0.25],
]


def numbers(text):
    return [float(number) for number in text.split()]


CONV_STEPS = [  # _u, _v, sigma, output
    (
        numbers('0.959204614 0.282712936'),
        numbers(
            '0.126055181 -0.208535746 0.182857841 0.52600807 '
            '0.617826045 0.265338391 -0.27856642 0.317472339'
        ),
        3.24400806,
        numbers(
            '-0.0192663372 0.327526927 1.0211134 1.36790657 -0.770651579 -0.577988684 -0.19266291 0'
        ),
    ),
    (
        numbers('0.896403253 0.443239361'),
        numbers(
            '0.1013247 -0.136093095 0.233692154 0.438576937 '
            '0.670033693 0.268460542 -0.334271729 0.302483857'
        ),
        3.32980824,
        numbers(
            '-0.0187698305 0.319087416 0.994801998 1.33265924 '
            '-0.750793993 -0.56309551 -0.187698483 0'
        ),
    ),
    (
        numbers('0.833762586 0.55212307'),
        numbers(
            '0.0826311186 -0.0834575742 0.266278386 0.371426821 '
            '0.697818995 0.267104834 -0.368947476 0.287969232'
        ),
        3.37464285,
        numbers(
            '-0.0185204446 0.314848125 0.981585324 1.31495392 '
            '-0.740819216 -0.555614412 -0.185204834 0'
        ),
    ),
]


def test_dense_agrees_with_torch_step_by_step():
    x = jnp.array([[1.0, -2.0, 0.5, 3.0]])
    layer = SNDense(3, use_bias=False)
    variables = with_weight(drawn(layer, x), 'kernel', np.transpose(LINEAR))
    start = jnp.array([1.0, 2.0, 3.0]) / 14**0.5
    variables['spectral'] = {**variables['spectral'], 'u': start}
    for v, u, sigma, y in LINEAR_STEPS:
        output, updated = apply(layer, variables, x, ('spectral',))
        variables = {**variables, **updated}
        np.testing.assert_allclose(updated['spectral']['v'], v, atol=1e-6)
        np.testing.assert_allclose(updated['spectral']['u'], u, atol=1e-6)
        assert float(updated['spectral']['sigma']) == pytest.approx(sigma, rel=1e-6)
        np.testing.assert_allclose(output[0], y, rtol=2e-6)
        np.testing.assert_allclose(apply(layer, variables, x)[0], y, rtol=2e-6)


def test_conv_agrees_with_torch_step_by_step():
    x = (jnp.arange(18.0).reshape(1, 2, 3, 3).transpose(0, 2, 3, 1) - 8) / 4
    layer = SNConv(2, (2, 2), padding='VALID', use_bias=False)
    kernel = np.reshape(CONV, (2, 2, 2, 2)).transpose(2, 3, 1, 0)  # OIHW -> HWIO
    variables = with_weight(drawn(layer, x), 'kernel', kernel)
    variables['spectral'] = {**variables['spectral'], 'u': jnp.array(CONV_STEPS[0][0])}
    for step, (u, v, sigma, y) in enumerate(CONV_STEPS):
        updated = advance(layer, variables, x)
        v = np.reshape(v, (2, 2, 2)).transpose(1, 2, 0).ravel()
        np.testing.assert_allclose(updated['v'], v, atol=1e-6)
        # torch's sigma and output belong to this v and the u before it.
        pair = {**updated, 'u': variables['spectral']['u']}
        np.testing.assert_allclose(pair['u'], u, atol=1e-6)
        assert float(spectral.rayleigh(jnp.float32(as_matrix(kernel)), pair['u'], pair['v'])) == (
            pytest.approx(sigma, rel=1e-6)
        )
        output = apply(layer, {**variables, 'spectral': pair}, x)[0].transpose(2, 0, 1).ravel()
        np.testing.assert_allclose(output, y, rtol=1e-5, atol=1e-6)
        variables = {**variables, 'spectral': updated}
        if step + 1 < len(CONV_STEPS):
            np.testing.assert_allclose(updated['u'], CONV_STEPS[step + 1][0], atol=1e-6)


class FlaxSpectralNorm(nn.Module):
    layer: nn.Module
    n_steps: int

    @nn.compact
    def __call__(self, x):
        return nn.SpectralNorm(self.layer, n_steps=self.n_steps)(x, update_stats=True)


@pytest.mark.parametrize(
    ('name', 'n'), [('dense_wide', 1), ('dense_tall', 2), ('conv', 1), ('conv_transpose', 1)]
)
def test_advancing_calls_agree_with_flax(name, n):
    layer, variables, x, _ = example(name)
    layer = layer.copy(n_power_iterations=n)
    theirs = FlaxSpectralNorm(LAYERS[name][1].copy(), n)
    reference = drawn(theirs, x)
    stored = reference['batch_stats']['SpectralNorm_0']
    variables = {
        'params': reference['params']['layer'],
        'spectral': {**variables['spectral'], 'u': stored['layer/kernel/u'][0]},
    }
    for _ in range(4):
        expected, updated = apply(theirs, reference, x, ('batch_stats',))
        reference = {**reference, **updated}
        y, updated = apply(layer, variables, x, ('spectral',))
        variables = {**variables, **updated}
        stored = reference['batch_stats']['SpectralNorm_0']
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            variables['spectral']['u'], stored['layer/kernel/u'][0], atol=1e-6
        )
        sigma = float(stored['layer/kernel/sigma'])
        assert float(variables['spectral']['sigma']) == pytest.approx(sigma, rel=1e-6)


# --- gradients ---------------------------------------------------------------------------------


def assert_gradient(function, params, tolerance):
    """The gradient along a random direction against a central difference (float64 only)."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(7)
    direction = [rng.standard_normal(leaf.shape) for leaf in leaves]

    def moved(step):
        return tree.unflatten([p + step * d for p, d in zip(leaves, direction, strict=True)])

    gradient = jax.tree.leaves(jax.jit(jax.grad(function))(params))
    along = sum(np.vdot(g, d) for g, d in zip(gradient, direction, strict=True))
    function = jax.jit(function)
    difference = (float(function(moved(1e-5))) - float(function(moved(-1e-5)))) / 2e-5
    assert abs(along) > 1e-2
    assert along == pytest.approx(difference, rel=tolerance)
    return tree.unflatten(gradient)


@each_layer
def test_gradients_agree_with_finite_differences(name):
    with jax.enable_x64(True):
        layer = LAYERS[name][0].copy(param_dtype=jnp.float64)
        x = example_input(name)
        variables = advanced(layer, drawn(layer, x), x, 1)
        assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(variables))

        def loss(params):  # u and v held fixed
            return jnp.sum(jnp.sin(layer.apply({**variables, 'params': params}, x)))

        assert_gradient(loss, variables['params'], 1e-7)


def test_gradient_through_an_advance_holds_the_new_vectors_fixed():
    layer, variables, x, _ = example('conv')
    collection = advance(layer, variables, x)

    def loss(params, collection, mutable):
        y = apply(layer, {'params': params, 'spectral': collection}, x, mutable)
        return jnp.sum(jnp.sin(y[0] if mutable else y))

    advancing = jax.grad(loss)(variables['params'], variables['spectral'], ('spectral',))
    frozen = jax.grad(loss)(variables['params'], collection, False)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), advancing, frozen)


@pytest.mark.parametrize('scale', [1e-30, 1e-22, 1e22, 1e30])
def test_gradient_holds_at_any_scale(scale):
    layer, variables, x, _ = example('dense_tall')
    kernel = variables['params']['kernel']

    @jax.jit
    @jax.grad
    def gradient(kernel):
        return jnp.sum(jnp.sin(layer.apply(with_weight(variables, 'kernel', kernel), x)))

    np.testing.assert_allclose(gradient(kernel * scale) * scale, gradient(kernel), rtol=1e-4)


class Critic(nn.Module):
    """A small spectrally normalised discriminator: one score per image."""

    param_dtype: type = jnp.float32

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(SNConv(3, (3, 3), strides=(2, 2), param_dtype=self.param_dtype)(x))
        return SNDense(1, param_dtype=self.param_dtype)(x.reshape(x.shape[0], -1))[:, 0]


def test_gradient_penalty_differentiates_twice():
    with jax.enable_x64(True):
        critic = Critic(param_dtype=jnp.float64)
        x = jnp.asarray(np.random.default_rng(2).standard_normal((2, 4, 4, 2)))
        variables = advanced(critic, drawn(critic, x), x, 1)

        def penalty(params):
            def scores(x):
                return jnp.sum(critic.apply({**variables, 'params': params}, x))

            norms = jnp.sqrt(jnp.sum(jnp.square(jax.grad(scores)(x)), (1, 2, 3)))
            return jnp.mean(jnp.square(norms - 1))

        gradient = assert_gradient(penalty, variables['params'], 1e-7)
        kernel = gradient['SNConv_0']['kernel']
        assert float(jnp.linalg.norm(kernel)) > 1e-3
        # A normalised kernel does not feel its own scale once u and v are fixed: <w, gradient> = 0.
        along = jnp.vdot(kernel, variables['params']['SNConv_0']['kernel'])
        assert float(along) == pytest.approx(0, abs=1e-14)


# --- options -----------------------------------------------------------------------------------


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
def test_lipschitz_and_gamma_multiply_the_normalised_weight(name):
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


class Options(nn.Module):
    """A discriminator with every option in it: one score per image."""

    @nn.compact
    def __call__(self, x, labels):
        kwargs = {'param_dtype': jnp.float64}
        x = SNConv(3, (3, 3), resample='down', operator='convolution', lipschitz=4.0, **kwargs)(x)
        x = SNConvTranspose(2, (3, 3), operator='convolution', learnable_scale=True, **kwargs)(x)
        x = SNConv(3, (3, 3), operator='bidirectional', lipschitz=3.0, **kwargs)(nn.tanh(x))
        x = SNDense(3, divide=False, **kwargs)(nn.tanh(x).reshape(len(x), -1))
        return jnp.sum(SNEmbed(5, 3, learnable_scale=True, **kwargs)(labels) * nn.tanh(x), -1)


def test_gradient_penalty_differentiates_twice_through_every_option():
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(2).standard_normal((2, 4, 4, 2)))
        labels = jnp.array([1, 4])
        variables = drawn(Options(), x, labels)
        variables['spectral'] = jax.jit(
            lambda v, x, labels: spectral.advance(Options(), v, x, labels)
        )(variables, x, labels)

        def penalty(params):
            def scores(x):
                return jnp.sum(Options().apply({**variables, 'params': params}, x, labels))

            norms = jnp.sqrt(jnp.sum(jnp.square(jax.grad(scores)(x)), (1, 2, 3)))
            return jnp.mean(jnp.square(norms - 1))

        gradient = assert_gradient(penalty, variables['params'], 1e-6)
        for name in ('SNConv_0', 'SNConvTranspose_0', 'SNConv_1', 'SNDense_0'):
            kernel = gradient[name]['kernel']
            along = float(jnp.vdot(kernel, variables['params'][name]['kernel']))
            assert float(jnp.linalg.norm(kernel)) > 1e-3
            if name == 'SNDense_0':  # raw
                assert abs(along) > 1e-3
            else:  # blind to its own scale
                assert along == pytest.approx(0, abs=1e-13)


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


# --- advance and sigmas ------------------------------------------------------------------------


class Mixed(nn.Module):
    """All four layers in one network."""

    @nn.compact
    def __call__(self, x, labels):
        x = nn.relu(SNConv(4, (3, 3), name='first')(x))
        x = SNConvTranspose(4, (4, 4), strides=(2, 2))(x)
        x = nn.relu(SNConv(4, (4, 4), strides=(2, 2))(x)).sum((1, 2))
        return SNDense(1)(x)[:, 0] + jnp.sum(SNEmbed(5, 4, name='labels')(labels) * x, -1)


def test_advance_compiles_to_no_convolution():
    x, labels = jnp.ones(IMAGE), jnp.arange(2)
    variables = drawn(Mixed(), x, labels)

    def whole(variables, x, labels):
        return Mixed().apply(variables, x, labels, mutable=['spectral'])

    def alone(variables, x, labels):
        return spectral.advance(Mixed(), variables, x, labels)

    def compiled(function):
        """The compiled function and what it calls: operations and targets of custom calls."""
        program = jax.jit(function).lower(variables, x, labels).compile()
        text = program.as_text()
        return program, re.findall(r' ([a-z-]+)\(', text) + re.findall(r'call_target="(.*?)"', text)

    (whole, everything), (alone, operations) = compiled(whole), compiled(alone)
    assert any('conv' in name for name in everything)
    assert not [n for n in operations if 'conv' in n and n not in ('convert', 'bitcast-convert')]
    expected, actual = whole(variables, x, labels)[1]['spectral'], alone(variables, x, labels)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), actual, expected)


def test_sigmas_by_the_path_of_the_layer():
    collection = {
        'block': {'first': {'u': jnp.ones(2), 'v': jnp.ones(3), 'sigma': jnp.float32(2.5)}},
        'dense': {'u': jnp.ones(2), 'v': jnp.ones(3), 'sigma': jnp.float32(0.5)},
    }
    assert {k: float(v) for k, v in spectral.sigmas(collection).items()} == {
        'block/first': 2.5,
        'dense': 0.5,
    }
    variables = drawn(Mixed(), jnp.ones(IMAGE), jnp.arange(2))
    names = {'first', 'SNConvTranspose_0', 'SNConv_0', 'SNDense_0', 'labels'}
    assert set(spectral.sigmas(variables['spectral'])) == names


def test_sigmas_of_a_single_layer():
    variables = drawn(SNDense(3), jnp.ones((1, 2)))
    (sigma,) = spectral.sigmas(variables['spectral']).values()
    assert sigma == variables['spectral']['sigma']
