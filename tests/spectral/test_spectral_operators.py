"""Operator norms against numpy's SVD of the unrolled map: every layer applied to the identity
basis.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax import spectral
from snjax.nn import layers
from snjax.spectral import SNConv, SNConvTranspose, SNDense, SNEmbed
from snjax.spectral.power_iteration import (
    convolution_power_iteration,
    convolution_rayleigh,
    power_of_two,
    views,
)

exact = functools.partial(SNConv, operator='convolution', n_power_iterations=2000)
transpose = functools.partial(SNConvTranspose, operator='convolution', n_power_iterations=2000)
CASES = {  # name: (layer, shape of one input)
    'conv3': (exact(3, (3, 3)), (5, 5, 2)),
    'conv4': (exact(2, (4, 4), lipschitz=2.5), (5, 6, 2)),  # padded more on one side
    'conv1': (exact(4, (1, 1)), (3, 3, 3)),
    'valid': (exact(3, (3, 3), padding='VALID'), (6, 5, 2)),
    'conv3_stride2': (exact(3, (3, 3), strides=2), (5, 5, 2)),
    'conv4_stride2': (exact(3, (4, 4), strides=2), (6, 6, 2)),
    'groups': (exact(4, (3, 3), feature_group_count=2), (4, 4, 4)),
    'dilated': (exact(2, (3, 3), kernel_dilation=2), (6, 6, 1)),
    'up3': (exact(3, (3, 3), resample='up'), (5, 5, 2)),
    'up1': (exact(3, (1, 1), resample='up'), (3, 3, 2)),
    'up5': (exact(2, (5, 5), resample='up'), (4, 4, 1)),
    'down3': (exact(3, (3, 3), resample='down', lipschitz=0.5), (8, 6, 2)),
    'down1': (exact(3, (1, 1), resample='down'), (4, 4, 2)),
    'line': (exact(3, (3,), strides=2), (8, 2)),
    'transpose4_stride2': (transpose(2, (4, 4), strides=(2, 2)), (4, 4, 2)),
    'transpose3': (transpose(3, (3, 3)), (4, 4, 2)),
}
PLAIN = ('conv3', 'conv4', 'conv1', 'valid')  # stride 1, and the kernel fits into the image
each_case = pytest.mark.parametrize('name', CASES)


class Everything(nn.Module):
    """All cases in one program, each applied to its own input."""

    plain: bool = False

    @nn.compact
    def __call__(self, inputs):
        return {k: self._layer(k)(x) for k, x in inputs.items()}

    def _layer(self, name):
        layer = CASES[name][0]
        if not self.plain:
            return layer.copy(name=name)
        of_layer = layers.Conv if isinstance(layer, SNConv) else layers.ConvTranspose
        kept = {f: getattr(layer, f) for f in of_layer.__dataclass_fields__}
        return of_layer(**{**kept, 'use_bias': False, 'parent': self, 'name': name})


def identity(shape):
    return jnp.eye(int(np.prod(shape))).reshape(-1, *shape)


def drawn(module, x):
    """Variables of `module` filled by numpy: compiling its `init` would take seconds."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    return jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape), s.dtype), shapes)


@functools.cache
def everything():
    """Variables after 2,000 iterations and the maps, raw and normalized, as matrices (inputs,
    outputs).
    """
    inputs = {name: identity(shape) for name, (_, shape) in CASES.items()}
    variables = drawn(Everything(), inputs)

    @jax.jit
    def maps(variables):
        kernels = {k: {'kernel': p['kernel']} for k, p in variables['params'].items()}
        raw = Everything(plain=True).apply({'params': kernels}, inputs)
        normalized, updated = Everything().apply(variables, inputs, mutable=['spectral'])
        biases = {k: p['bias'] for k, p in variables['params'].items()}
        return updated['spectral'], raw, jax.tree.map(jnp.subtract, normalized, biases)

    spectral_state, *matrices = maps(variables)
    raw, normalized = jax.tree.map(
        lambda y: np.asarray(y, np.float64).reshape(len(y), -1), matrices
    )
    return {**variables, 'spectral': spectral_state}, raw, normalized


def norm(matrix):
    return np.linalg.svd(matrix, compute_uv=False)[0]


@each_case
def test_sigma_is_the_norm_of_the_map(name):
    variables, raw, normalized = everything()
    state = jax.tree.map(lambda a: np.asarray(a, np.float64), variables['spectral'][name])
    layer, shape = CASES[name]
    u, v = state['u'].ravel(), state['v'].ravel()
    assert state['v'].shape == shape
    assert float(state['sigma']) == pytest.approx(norm(raw[name]), rel=1e-5)
    assert np.linalg.norm(u) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(v) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(v @ raw[name], state['sigma'] * u, atol=1e-2 * state['sigma'])
    assert norm(normalized[name]) == pytest.approx(layer.lipschitz, rel=1e-4)
    np.testing.assert_allclose(
        normalized[name], layer.lipschitz * raw[name] / norm(raw[name]), atol=1e-4
    )


@pytest.mark.parametrize('name', PLAIN)
def test_the_norm_lies_between_the_reshaped_sigma_and_its_bound(name):
    variables, raw, _ = everything()
    kernel = np.asarray(variables['params'][name]['kernel'], np.float64)
    reshaped = norm(kernel.reshape(-1, kernel.shape[-1]))
    bound = (kernel.shape[0] * kernel.shape[1]) ** 0.5 * reshaped
    assert reshaped * (1 - 1e-6) <= norm(raw[name]) <= bound * (1 + 1e-6)
    assert (name == 'conv1') == (bound == pytest.approx(norm(raw[name]), rel=1e-6))


def test_kernel_of_ones_after_the_warm_up_of_init():
    layer = SNConv(
        1,
        (3, 3),
        operator='convolution',
        kernel_init=nn.initializers.ones_init(),
        n_warmup_iterations=99,
    )
    sigma = jax.jit(layer.init)(jax.random.key(0), jnp.ones((1, 7, 7, 1)))['spectral']['sigma']
    # The map is a tensor product of two tridiagonal matrices of ones, with the norm 1 + 2 cos(pi /
    # 8).
    assert float(sigma) == pytest.approx((1 + 2 * np.cos(np.pi / 8)) ** 2, rel=1e-5)


# --- one layer: iterations, gradient, scale ----------------------------------------------------

LAYER = SNConv(3, (4, 4), strides=2, operator='convolution', n_power_iterations=2)
SHAPE = (6, 6, 2)
LINEAR = layers.Linear(
    functools.partial(
        lambda x, w: layers.Conv(3, (4, 4), strides=2, use_bias=False).apply(
            {'params': {'kernel': w}}, x
        )
    ),
    SHAPE,
)
iterate = jax.jit(
    lambda w, u, n_steps: convolution_power_iteration(LINEAR, w, u, n_steps=n_steps),
    static_argnums=2,
)
sigma_and_gradient = jax.jit(
    jax.value_and_grad(lambda w, u, v: convolution_rayleigh(LINEAR, w, u, v))
)


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


W, U = draw(0, 4, 4, 2, 3), draw(1, 3, 3, 3)


@functools.cache
def matrix_of():
    """Maps a kernel to the matrix (inputs, outputs) of its convolution."""
    apply = jax.jit(LINEAR.apply)
    return lambda w: np.asarray(apply(identity(SHAPE), w), np.float64).reshape(72, -1)


def test_steps_are_those_of_the_matrix():
    m, u = matrix_of()(W), np.asarray(U, np.float64).ravel()
    for _ in range(2):
        v = m @ u / np.linalg.norm(m @ u)
        u = v @ m / np.linalg.norm(v @ m)
    sigma, *vectors = iterate(W, U, 2)
    assert float(sigma) == pytest.approx(v @ m @ u, rel=1e-6)
    np.testing.assert_allclose(vectors[0].ravel(), u, atol=1e-6)
    np.testing.assert_allclose(vectors[1].ravel(), v, atol=1e-6)


def test_rolled_iterations_continue_the_written_out_ones():
    u = U
    for _ in range(6):
        _, u, v = iterate(W, u, 2)
    sigma, *vectors = iterate(W, U, 12)  # a loop
    np.testing.assert_allclose(vectors[0], u, atol=1e-5)
    np.testing.assert_allclose(vectors[1], v, atol=1e-5)
    assert float(sigma) == pytest.approx(float(sigma_and_gradient(W, u, v)[0]), rel=1e-6)


def test_gradient_of_sigma_holds_u_and_v():
    _, u, v = iterate(W, U, 2)
    sigma, gradient = sigma_and_gradient(W, u, v)
    assert float(jnp.vdot(gradient, W)) == pytest.approx(float(sigma), rel=1e-5)
    for seed in (3, 4):  # sigma is linear in w: <gradient, e> = v^T M(e) u
        e = draw(seed, *W.shape)
        expected = np.ravel(v) @ matrix_of()(e) @ np.ravel(u)
        assert float(jnp.vdot(gradient, e)) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    through = jax.jit(jax.grad(lambda w: iterate(w, U, 2)[0]))(W)
    np.testing.assert_allclose(through, gradient, atol=1e-6)


@pytest.mark.parametrize('scale', [1e-30, 1e30])
def test_vectors_do_not_depend_on_the_scale(scale):
    expected, sigma_and_vectors = iterate(W, U, 2), iterate(W * scale, U, 2)
    assert float(sigma_and_vectors[0]) / scale == pytest.approx(float(expected[0]), rel=1e-6)
    for got, want in zip(sigma_and_vectors[1:], expected[1:], strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_zero_weight_gives_zero_and_keeps_u():
    sigma, u, v = iterate(jnp.zeros_like(W), U, 2)
    assert float(sigma) == 0
    np.testing.assert_array_equal(u, U)
    np.testing.assert_array_equal(v, jnp.zeros(SHAPE))
    assert np.all(np.isfinite(sigma_and_gradient(jnp.zeros_like(W), u, v)[1]))


def test_power_of_two_along_an_axis():
    w = jnp.array([[3.0, 0.0, -0.25], [-4.0, 0.0, 0.1]])
    np.testing.assert_array_equal(power_of_two(w), 4)
    np.testing.assert_array_equal(power_of_two(w, axis=(0,)), [[4, 1, 0.25]])


@pytest.mark.parametrize('x', [1.0, 1.5, 2.0, 3.9999998, 1e-37, 1e37, 0.1, 7e-30])
def test_power_of_two_is_at_or_below(x):
    x = np.float32(x)
    power = float(power_of_two(jnp.array([-x, x / 3])))
    assert np.frexp(power)[0] == 0.5
    assert power <= x < 2 * power


def test_power_of_two_of_zero_and_of_what_is_below_all_normal_numbers():
    assert power_of_two(jnp.zeros(3)) == 1
    assert power_of_two(jnp.array([1e-40])) in (1, 2.0**-126)  # 1 if it is flushed to zero


@pytest.mark.parametrize(('u', 'n_steps'), [((3, 3, 2), 1), ((1, 3, 3, 3), 1), ((3, 3, 3), 0)])
def test_convolution_power_iteration_refuses(own_errors, u, n_steps):
    with pytest.raises(
        ValueError, match=rf'u \({u[0]}, .* n_steps {n_steps}: .*need u \(3, 3, 3\)'
    ):
        convolution_power_iteration(LINEAR, W, jnp.ones(u), n_steps=n_steps)


# --- the layers --------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=(0, 3))
def apply(layer, variables, x, mutable=()):
    return layer.apply(variables, x, mutable=list(mutable))


@functools.cache
def example():
    x = draw(5, 2, *SHAPE)
    variables = {
        'params': {'kernel': W, 'bias': draw(6, 3)},
        'spectral': {'u': U, 'v': jnp.zeros(SHAPE), 'sigma': jnp.zeros(())},
    }
    return variables, x


def test_a_layer_advances_when_mutable_and_is_frozen_otherwise():
    variables, x = example()
    y, updated = apply(LAYER, variables, x, ('spectral',))
    for got, want in zip(
        [updated['spectral'][k] for k in ('sigma', 'u', 'v')], iterate(W, U, 2), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    variables = {**variables, **updated}
    frozen, nothing = apply(LAYER, variables, x)
    assert not nothing
    np.testing.assert_allclose(y, frozen, rtol=1e-5, atol=1e-6)
    expected = np.reshape(x, (2, -1)) @ matrix_of()(W) / float(updated['spectral']['sigma'])
    expected = expected.reshape(y.shape) + variables['params']['bias']
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    moved = {**variables, 'params': {**variables['params'], 'kernel': W + 0.2 * draw(7, *W.shape)}}
    sigma = np.ravel(updated['spectral']['v']) @ matrix_of()(moved['params']['kernel'])
    sigma = sigma @ np.ravel(updated['spectral']['u'])
    assert abs(sigma / float(updated['spectral']['sigma']) - 1) > 1e-2
    expected = np.reshape(x, (2, -1)) @ matrix_of()(moved['params']['kernel']) / sigma
    y = apply(LAYER, moved, x)[0] - variables['params']['bias']
    np.testing.assert_allclose(y, expected.reshape(y.shape), rtol=1e-4, atol=1e-5)


def test_bfloat16_is_normalized_in_float32():
    variables, x = example()
    half = LAYER.copy(dtype=jnp.bfloat16)
    y, updated = apply(half, variables, x, ('spectral',))
    expected, in_float32 = apply(LAYER, variables, x, ('spectral',))
    assert y.dtype == jnp.bfloat16
    jax.tree.map(np.testing.assert_array_equal, updated, in_float32)
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=0.02, atol=0.02)


def test_another_size_of_image_is_refused():
    variables, _ = example()
    message = (
        r"SNConv '\(top\)' operator='convolution' keeps u and v of \(3, 3, 3\) and \(6, 6, 2\)"
        r'.*need \(4, 4, 3\) and \(8, 8, 2\)'
    )
    with pytest.raises(ValueError, match=message):
        LAYER.apply(variables, jnp.ones((1, 8, 8, 2)))
    with pytest.raises(ValueError, match=r"operator='reshaped' keeps .*need \(3,\) and \(32,\)"):
        LAYER.copy(operator='reshaped').apply(variables, jnp.ones((1, *SHAPE)))


def test_matrices_are_their_own_only_view():
    for layer, x in ((SNDense(4), jnp.ones((1, 3))), (SNEmbed(3, 4), jnp.arange(2))):
        expected = jax.eval_shape(layer.init, jax.random.key(0), x)
        for operator in ('bidirectional', 'convolution'):
            other = jax.eval_shape(layer.copy(operator=operator).init, jax.random.key(0), x)
            assert other == expected
    w = draw(8, 3, 4)
    for operator in ('reshaped', 'bidirectional', 'convolution'):
        ((suffix, view),) = views(w, operator).items()
        sigma, u, _ = view.iterate(jnp.ones(4), n_steps=1)
        expected = spectral.power_iteration(w, jnp.ones(4))
        assert suffix == ''
        np.testing.assert_array_equal(sigma, expected[0])
        np.testing.assert_array_equal(u, expected[1])


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        conv = functools.partial(SNConv, operator='convolution')
        x = nn.relu(conv(4, (4, 4), strides=2)(x))
        x = SNConvTranspose(3, (4, 4), strides=(2, 2), operator='convolution')(nn.relu(x))
        x = nn.relu(conv(4, (3, 3), resample='down')(x))
        return SNDense(1, operator='convolution')(x.reshape(len(x), -1))[:, 0]


def test_advance_does_without_the_batch():
    x = jnp.ones((7, 8, 8, 3))
    shapes = jax.eval_shape(Network().init, jax.random.key(0), x)
    variables = jax.tree.map(lambda s: jnp.ones(s.shape, s.dtype), shapes)

    def whole(variables, x):
        return Network().apply(variables, x, mutable=['spectral'])

    def alone(variables, x):
        return spectral.advance(Network(), variables, x)

    assert 'tensor<7x' in jax.jit(whole).lower(variables, x).as_text()
    program = jax.jit(alone).lower(variables, x).compile().as_text()
    assert 'f32[7,' not in program  # the forward pass is dropped
    assert ' while(' not in program  # few iterations are written out
