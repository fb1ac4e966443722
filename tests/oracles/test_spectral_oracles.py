"""Spectral normalization of torch and Keras, and ours in Equinox and Haiku: docs/usage/spectral.md.

Each part needs its package, and is left out without it.
"""

import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from helpers.spectral_layers import largest_singular_value, numpy_iteration
from snjax import spectral
from snjax.spectral.nnx import SNConvTranspose, SNLinear

ROOT = Path(__file__).parents[2]
X = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)


def blocks(package):
    page = (ROOT / 'docs' / 'usage' / 'spectral.md').read_text()
    found = re.findall(r'^```python\n(.*?)^```', page, re.M | re.S)
    return [block for block in found if f'import {package}' in block]


# ---- torch


def torch_layer(layer):
    torch = pytest.importorskip('torch')
    torch.manual_seed(0)
    return torch.nn.utils.parametrizations.spectral_norm(layer(torch.nn)), torch


def test_torch_keeps_the_parameter_and_advances_at_every_forward_pass():
    layer, torch = torch_layer(lambda nn: nn.Linear(4, 3, bias=False))
    parametrization, x = layer.parametrizations.weight[0], torch.tensor(X)
    kept = layer.parametrizations.weight.original.detach().numpy().copy()
    with torch.no_grad():
        v = np.float64(parametrization._v)
        layer(x)
        w = np.float64(kept).T  # (in, out)
        u = v @ w / np.linalg.norm(v @ w)  # u first, then v
        np.testing.assert_allclose(parametrization._u, u, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            parametrization._v, w @ u / np.linalg.norm(w @ u), rtol=1e-5, atol=1e-6
        )
        moved = parametrization._u.clone()
        layer.parametrizations.weight.original.mul_(torch.tensor([[1.0], [2.0], [3.0]]))
        layer(x)
        assert not torch.equal(parametrization._u, moved)
        layer.eval()
        moved = parametrization._u.clone()
        layer(x)
        assert torch.equal(parametrization._u, moved)
    np.testing.assert_array_equal(
        layer.parametrizations.weight.original.detach().numpy(), kept * [[1.0], [2.0], [3.0]]
    )


def test_a_layer_of_torch_carries_over():
    theirs, torch = torch_layer(lambda nn: nn.Linear(4, 3))
    ours = SNLinear(4, 3, rngs=nnx.Rngs(0))
    parametrization = theirs.parametrizations.weight[0]
    ours.kernel.set_value(jnp.asarray(theirs.parametrizations.weight.original.detach().numpy().T))
    ours.bias.set_value(jnp.asarray(theirs.bias.detach().numpy()))
    ours.spectral.u.set_value(jnp.asarray(parametrization._u.numpy()))
    ours.spectral.v.set_value(jnp.asarray(parametrization._v.numpy()))
    theirs.eval()
    y = theirs(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(ours(X, update_stats=False), y, rtol=1e-5, atol=1e-6)
    assert float(ours.normalized(False).sum()) == pytest.approx(
        float(theirs.weight.detach().sum()), rel=1e-5
    )


def test_the_matrix_of_a_transposed_convolution_is_that_of_torch():
    theirs, _ = torch_layer(lambda nn: nn.ConvTranspose2d(3, 4, 2, bias=False))
    ours = SNConvTranspose(3, 4, (2, 2), rngs=nnx.Rngs(0))
    parametrization = theirs.parametrizations.weight[0]
    assert parametrization._u.shape == ours.spectral.u.shape == (4,)
    assert parametrization._v.shape == ours.spectral.v.shape == (12,)
    # torch's (in, out, height, width), turned by 180 degrees: (height, width, in, out).
    w = theirs.parametrizations.weight.original.detach().numpy()
    w = w.transpose(2, 3, 0, 1)[::-1, ::-1]
    layer_sigma = largest_singular_value(w)
    for _ in range(60):
        theirs.weight  # noqa: B018  reading it iterates
    applied = theirs.weight.detach().numpy().transpose(2, 3, 0, 1)
    assert largest_singular_value(applied) == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(applied[::-1, ::-1], w / layer_sigma, rtol=1e-3, atol=1e-5)


# ---- Keras


@pytest.fixture
def keras():
    os.environ.setdefault('KERAS_BACKEND', 'jax')
    return pytest.importorskip('keras')


def keras_layer(keras):
    layer = keras.layers.SpectralNormalization(keras.layers.Dense(3, use_bias=False))
    layer.build((None, 4))
    layer.layer.kernel.assign(np.random.default_rng(1).standard_normal((4, 3)) * 2)
    return layer


def test_keras_overwrites_the_kernel_in_training(keras):
    layer = keras_layer(keras)
    kernel = np.asarray(layer.layer.kernel)
    sigma, u, _ = numpy_iteration(kernel, np.asarray(layer.vector_u)[0], 1)
    layer(X, training=True)
    np.testing.assert_allclose(layer.layer.kernel, kernel / sigma, rtol=1e-4)
    np.testing.assert_allclose(np.asarray(layer.vector_u)[0], u, rtol=1e-4, atol=1e-6)
    for _ in range(60):
        layer(X, training=True)
    assert largest_singular_value(kernel) > 2
    assert largest_singular_value(np.asarray(layer.layer.kernel)) == pytest.approx(1, rel=1e-4)


def test_keras_divides_by_nothing_in_evaluation(keras):
    layer = keras_layer(keras)
    for _ in range(60):
        layer(X, training=True)
    kernel = 3 * np.asarray(layer.layer.kernel)  # as an optimizer might leave it
    layer.layer.kernel.assign(kernel)
    np.testing.assert_allclose(layer(X, training=False), X @ kernel, rtol=1e-4, atol=1e-5)
    ours = SNLinear(4, 3, use_bias=False, n_warmup_iterations=60, rngs=nnx.Rngs(0))
    ours.kernel.set_value(jnp.asarray(kernel))
    for _ in range(60):
        ours(X)
    np.testing.assert_allclose(ours(X, update_stats=False), X @ kernel / 3, rtol=1e-3, atol=1e-5)


# ---- the code of the page


def largest(tree):
    return [largest_singular_value(w) for w in jax.tree.leaves(tree) if jnp.ndim(w) > 1]


@pytest.mark.parametrize('package', ['equinox', 'haiku'])
def test_the_code_of_the_page_normalizes_every_weight(package):
    pytest.importorskip(package)
    (block,) = blocks(package)
    names = {}
    exec(block, names)
    weights = names['score'] if package == 'equinox' else names['weights']
    raw = names['critic'] if package == 'equinox' else names['params']
    options = {'matrix': spectral.outputs_first} if package == 'equinox' else {}
    state = names['state']
    sigmas = [float(vectors['sigma']) for vectors in state.values()]
    assert len(sigmas) == 3
    # One or two iterations: sigma is at most the norm, and the weights are divided by it.
    norms = largest([w for w in jax.tree.leaves(raw) if hasattr(w, 'ndim')])
    assert all(0 < s <= n * (1 + 1e-6) for s, n in zip(sorted(sigmas), sorted(norms), strict=True))
    for _ in range(100):
        weights, state = spectral.normalize(raw, state, train=True, **options)
    found = largest([w for w in jax.tree.leaves(weights) if hasattr(w, 'ndim')])
    np.testing.assert_allclose(found, 1, rtol=1e-3)
