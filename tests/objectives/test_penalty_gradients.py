"""Gradients of all penalties by the parameters of a network, against finite differences."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax import spectral
from snjax.nn import layers
from snjax.objectives.penalties import PENALTIES, PenaltyInputs

# Compiled quickly rather than well: compiling is most of what this test takes.
QUICK = {'xla_backend_optimization_level': '0'} if jax.default_backend() == 'cpu' else None
quick = functools.partial(jax.jit, compiler_options=QUICK)

REAL, FAKE = (np.random.default_rng(seed).uniform(-1, 1, (4, 4, 4, 2)) for seed in (0, 1))
KEYS = jax.random.split(jax.random.key(3), 4)


class Critic(nn.Module):
    """A small discriminator, one logit per image; smooth, so that differences are its derivatives."""

    @nn.compact
    def __call__(self, x):
        kwargs = {'param_dtype': jnp.float64}
        x = nn.tanh(layers.Conv(3, 3, name='plain', **kwargs)(x))
        x = nn.tanh(spectral.SNConv(3, 4, strides=2, name='normalised', **kwargs)(x))
        x = spectral.SNDense(1, name='score', **kwargs)(x.reshape(x.shape[0], -1))
        return 8 * x[:, 0]  # steep enough for the one-sided penalty


def test_parameter_gradients_agree_with_finite_differences():
    """Every penalty at once, along one direction in each layer; those on images differentiate
    twice.
    """
    with jax.enable_x64(True):
        critic, rng = Critic(), np.random.default_rng(5)
        real, fake = (jnp.asarray(x, jnp.float64) for x in (REAL, FAKE))
        shapes = jax.eval_shape(critic.init, jax.random.key(0), real)
        variables = jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape)) / 2, shapes)
        params = variables['params']
        collection = quick(functools.partial(spectral.advance, critic))(variables, real)

        def penalty(params, key):
            def score(x):
                return critic.apply({'params': params, 'spectral': collection}, x)

            inputs = PenaltyInputs(score, score, params, collection, real, fake, KEYS)
            return PENALTIES[key](inputs._replace(near=fake + 0.5 * real))

        @quick
        def evaluate(params):
            return {key: jax.value_and_grad(penalty)(params, key) for key in PENALTIES}

        here = evaluate(params)
        sigmas = spectral.sigmas(collection)  # of these very weights
        assert set(sigmas) == {'normalised', 'score'}
        expected = sum(float(sigma) ** 2 for sigma in sigmas.values()) / 2
        assert float(here['spectral'][0]) == pytest.approx(expected, rel=1e-10)
        for layer in params:
            direction = jax.tree.map(lambda p: rng.standard_normal(p.shape), params[layer])
            ahead, behind = (
                evaluate(
                    params
                    | {layer: jax.tree.map(lambda p, d: p + step * d, params[layer], direction)}  # noqa: B023
                )
                for step in (1e-5, -1e-5)
            )
            for key in PENALTIES:
                products = jax.tree.map(np.vdot, here[key][1][layer], direction)
                along = float(sum(jax.tree.leaves(products)))
                difference = float(ahead[key][0] - behind[key][0]) / 2e-5
                assert abs(along) > 1e-3 or (key, layer) == ('spectral', 'plain'), (key, layer)
                assert along == pytest.approx(difference, rel=1e-6, abs=1e-9), (key, layer)
