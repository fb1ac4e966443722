"""Spectrally normalized layers against torch and flax, step by step."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.spectral_layers import LAYERS, advance, apply, as_matrix, drawn, example, with_weight
from snjax import spectral
from snjax.spectral import SNConv, SNDense

# torch 2.13.0, torch.nn.utils.parametrizations.spectral_norm, weights set by hand, its vectors
# set to [1, 2, ...] normalized, then training forward passes of one iteration each. Its _u is v
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
