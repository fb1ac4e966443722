"""`SpectralNorm` around any NNX layer, and what Flax's own wrappers do otherwise."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from helpers.spectral_layers import largest_singular_value
from snjax.spectral.nnx import SNLinear, Spectral, SpectralNorm

WARM = {'n_warmup_iterations': 100}
X = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 6)), jnp.float32)


def norm(matrix):
    return np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)[0]


def params(layer):
    return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(layer, nnx.Param)))


def assert_unchanged(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_projections_of_attention_are_normalized_as_they_are_applied():
    plain = nnx.MultiHeadAttention(2, 6, 8, out_features=3, decode=False, rngs=nnx.Rngs(0))
    layer = SpectralNorm(plain, **WARM, rngs=nnx.Rngs(1))
    before = params(layer)
    y = nnx.jit(lambda layer: layer(X))(layer)
    assert_unchanged(params(layer), before)
    for name in ('query', 'key', 'value', 'out'):
        projection = getattr(plain, name)
        kernel, vectors = np.float64(projection.kernel[...]), layer.spectral[name].kernel
        sigma = norm(kernel.reshape(6, 8) if name != 'out' else kernel.reshape(8, 3))
        assert float(vectors.sigma[...]) == pytest.approx(sigma, rel=1e-5)
        assert set(layer.spectral[name]) == {'kernel'}  # biases with heads are no weights
        projection.kernel.set_value(projection.kernel[...] / sigma)
    np.testing.assert_allclose(y, plain(X), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ('equation', 'shape', 'matrix'),
    [
        ('btd,dnh->btnh', (6, 2, 4), lambda w: w.reshape(6, 8)),
        ('btd,hd->bth', (4, 6), lambda w: w.T),
        ('btd,ntdh->bnh', (3, 5, 6, 4), lambda w: w.transpose(1, 2, 0, 3).reshape(30, 12)),
    ],
)
def test_the_kernel_of_an_einsum_is_seen_as_inputs_by_outputs(equation, shape, matrix):
    plain = nnx.Einsum(equation, shape, rngs=nnx.Rngs(0))
    layer = SpectralNorm(plain, **WARM, rngs=nnx.Rngs(1))
    sigma = norm(matrix(np.asarray(plain.kernel[...])))
    assert float(layer.spectral.kernel.sigma[...]) == pytest.approx(sigma, rel=1e-5)
    np.testing.assert_allclose(layer(X) * sigma, plain(X), rtol=1e-4, atol=1e-5)


def test_around_a_linear_layer_it_is_sn_linear_in_every_mode():
    layer = SpectralNorm(nnx.Linear(6, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
    ours = SNLinear(6, 4, rngs=nnx.Rngs(0))
    for name in ('u', 'v', 'sigma'):
        ours.spectral[name].set_value(layer.spectral.kernel[name][...])
    for advances in (True, True, False):
        np.testing.assert_array_equal(
            nnx.jit(lambda m, a=advances: m(X, update_stats=a))(layer),
            nnx.jit(lambda m, a=advances: m(X, update_stats=a))(ours),
        )
        for name in ('u', 'v', 'sigma'):
            np.testing.assert_array_equal(
                layer.spectral.kernel[name][...], ours.spectral[name][...]
            )
    layer.eval()
    before = np.asarray(layer.spectral.kernel.u[...])
    layer(X)
    np.testing.assert_array_equal(layer.spectral.kernel.u[...], before)

    def loss(layer):
        return jnp.sum(layer(X, update_stats=False) ** 2)

    grads = nnx.grad(loss)(layer)['layer_instance']['kernel'][...]
    np.testing.assert_allclose(grads, nnx.grad(loss)(ours)['kernel'][...], rtol=1e-4, atol=1e-6)


def test_what_the_layer_itself_keeps_is_kept():
    rngs = nnx.Rngs(0)
    inner = nnx.Sequential(
        nnx.Linear(6, 4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)
    )
    layer = SpectralNorm(inner, rngs=rngs)
    first, second = (nnx.jit(lambda layer: layer(X))(layer) for _ in range(2))
    assert not np.allclose(first == 0, second == 0)  # dropout drew another mask
    assert np.abs(inner.layers[1].mean[...]).max() > 0  # batch norm saw the batches
    layer.eval()
    np.testing.assert_array_equal(layer(X), layer(X))


def test_what_cannot_be_normalized_is_refused(own_errors):
    rngs = nnx.Rngs(0)
    for make, message in (
        (lambda: nnx.LayerNorm(4, rngs=rngs), 'no nnx.Param with two axes or more'),
        (lambda: SNLinear(2, 2, rngs=rngs), 'around SNLinear, which is normalized already'),
        (lambda: nnx.Einsum('bd,bdh->bh', (2, 3, 4), rngs=rngs), 'each axis of the kernel has to'),
        (
            lambda: nnx.LinearGeneral(3, 4, batch_axis={0: 2}, rngs=rngs),
            'one matrix per index: use nnx.vmap over SNLinear',
        ),
    ):
        with pytest.raises(ValueError, match=message):
            SpectralNorm(make(), rngs=rngs)
    with pytest.raises(ValueError, match=r'error_on_non_matrix: kernel has the shape \(3, 2, 4\)'):
        SpectralNorm(nnx.Conv(2, 4, 3, rngs=rngs), error_on_non_matrix=True, rngs=rngs)


# ---- what docs/usage/spectral.md says of Flax's wrappers


def test_the_nnx_wrapper_of_flax_overwrites_the_parameter_and_ours_does_not():
    """So its weight decays to norm 1, and what the optimizer trains is not W."""
    theirs = nnx.SpectralNorm(nnx.Linear(6, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
    ours = SpectralNorm(nnx.Linear(6, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
    kernel = np.asarray(ours.layer_instance.kernel[...])
    assert largest_singular_value(kernel) > 1.2
    for _ in range(60):
        theirs(X, update_stats=True)
        ours(X)
    overwritten = theirs.layer_instance.kernel[...]
    assert largest_singular_value(overwritten) == pytest.approx(1, rel=1e-4)
    assert float(theirs.batch_stats['kernel', 'sigma'][...]) == pytest.approx(1, rel=1e-4)
    np.testing.assert_array_equal(ours.layer_instance.kernel[...], kernel)
    sigma = largest_singular_value(kernel)
    assert float(ours.spectral.kernel.sigma[...]) == pytest.approx(sigma, rel=1e-5)
    # A call that updates no statistics overwrites as well.
    frozen = nnx.SpectralNorm(nnx.Linear(6, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
    frozen.eval()
    frozen(X)
    assert not np.allclose(frozen.layer_instance.kernel[...], kernel)


def test_the_nnx_wrapper_of_flax_has_no_gradient_along_the_weight_it_overwrote():
    """W / sigma does not change with the length of W; a loss on the parameter itself does."""

    def decay(layer):
        layer(X, update_stats=True)
        return jnp.sum(layer.layer_instance.kernel[...] ** 2)  # weight decay, after a forward pass

    kernel = nnx.Linear(6, 4, rngs=nnx.Rngs(0)).kernel[...]
    layers = [
        wrapper(nnx.Linear(6, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
        for wrapper in (SpectralNorm, nnx.SpectralNorm)
    ]
    ours, theirs = (nnx.grad(decay)(m)['layer_instance']['kernel'][...] for m in layers)
    np.testing.assert_allclose(ours, 2 * kernel, rtol=1e-6)
    assert float(jnp.vdot(theirs, kernel)) == pytest.approx(0, abs=1e-4)


def test_the_nnx_wrapper_of_flax_takes_wrong_axes_for_attention_and_normalizes_its_biases():
    plain = nnx.MultiHeadAttention(2, 6, 8, decode=False, rngs=nnx.Rngs(0))
    wide = np.float64(plain.query.kernel[...])
    plain.query.bias.set_value(jnp.full((2, 4), 3.0))
    layer = nnx.SpectralNorm(plain, n_steps=100, rngs=nnx.Rngs(1))
    layer(X, update_stats=True)
    sigma = float(layer.batch_stats['query', 'kernel', 'sigma'][...])
    assert sigma == pytest.approx(norm(wide.reshape(12, 4)), rel=1e-4)
    assert abs(sigma / norm(wide.reshape(6, 8)) - 1) > 0.03
    assert norm(plain.query.bias[...]) == pytest.approx(1, rel=1e-4)


class LinenWrapped(nn.Module):
    @nn.compact
    def __call__(self, x, update_stats):
        return nn.SpectralNorm(nn.Dense(4))(x, update_stats=update_stats)


def test_the_linen_wrapper_of_flax_iterates_in_evaluation_too():
    """With the weight held, the first frozen call already is a step ahead of the stored u."""
    variables = LinenWrapped().init(jax.random.key(0), X, update_stats=False)
    stats = variables['batch_stats']['SpectralNorm_0']
    w, u = (
        np.float64(variables['params']['Dense_0']['kernel']),
        np.float64(stats['Dense_0/kernel/u']),
    )
    y = LinenWrapped().apply(variables, X, update_stats=False)
    v = u[0] @ w.T / np.linalg.norm(u[0] @ w.T)
    ahead = np.linalg.norm(v @ w)  # sigma after one more iteration
    np.testing.assert_allclose(y, X @ w / ahead, rtol=1e-4, atol=1e-5)
    assert float(stats['Dense_0/kernel/sigma']) == 1  # and init runs none: sigma is a constant


def test_spectral_variables_are_not_trained_and_are_found_by_type():
    layer = SpectralNorm(nnx.Linear(6, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
    assert {path[-1] for path, _ in nnx.to_flat_state(nnx.state(layer, Spectral))} == {
        'u',
        'v',
        'sigma',
    }
    assert {path[-1] for path, _ in nnx.to_flat_state(nnx.state(layer, nnx.Param))} == {
        'kernel',
        'bias',
    }
