"""BigGAN's game: G's orthogonal regularization, the start of its average, what is refused.

Against the authors' code: tests/oracles/test_official.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import biggan_cifar, sngan_digits
from experiments import biggan, build
from helpers import tiny_gan
from snjax.objectives.weight_penalties import orthogonal
from snjax.training.optimizers import at, from_update


def test_the_gradient_of_g_alone_has_that_of_the_regularization():
    """Plain gradient descent: what beta adds to a step is -lr beta times the penalty's gradient."""
    options = {'optimizer': optax.trace(0.5), 'update_order': 'dis_first'}
    plain = tiny_gan.make_gan(biggan.BigGan, **options)
    regularized = tiny_gan.make_gan(biggan.BigGan, **options, gen_orthogonal=0.3)
    before = tiny_gan.filled(plain)
    key = np.asarray(jax.random.key_data(jax.random.key(0)))
    (a, metrics), (b, same_metrics) = (
        tiny_gan.step_of(gan)(before, tiny_gan.images(1), key) for gan in (plain, regularized)
    )
    for x, y in zip(jax.tree.leaves(a.dis), jax.tree.leaves(b.dis), strict=True):
        np.testing.assert_array_equal(x, y)
    assert metrics == same_metrics  # losses and norms are those of the game
    pull = jax.jit(jax.grad(orthogonal))(before.gen.params)
    lr = plain.learning_rate(0)
    expected = jax.tree.map(lambda p, g: p - 0.3 * lr * g, a.gen.params, pull)
    moved = jax.tree.map(lambda p, q: np.abs(p - q).max(), a.gen.params, b.gen.params)
    assert moved['project']['kernel'] > 1e-3 and moved['project']['bias'] == 0
    for x, y in zip(jax.tree.leaves(b.gen.params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)
    # It is in the optimizer's mean, too.
    np.testing.assert_allclose(
        b.gen.opt_state.trace['project']['kernel'],
        a.gen.opt_state.trace['project']['kernel'] + 0.3 * pull['project']['kernel'],
        atol=1e-5,
    )


def test_the_average_is_the_weights_until_it_starts():
    decay = from_update(1000, 0.9999)
    found = [float(at(decay, jnp.int32(step))) for step in (0, 998, 999, 10**6)]
    assert found == [0, 0, np.float32(0.9999), np.float32(0.9999)]  # step 999 is update 1000


def test_numbers_arrive_where_they_belong():
    gan = build.method(biggan_cifar.get_config().lock())
    assert isinstance(gan, biggan.BigGan) and gan.gen_orthogonal == 0
    assert float(at(gan.ema_decay, jnp.int32(999))) == np.float32(0.9999)
    config = biggan_cifar.get_config('laptop')
    config.penalty.gen_orthogonal = 1e-4
    gan = build.method(config.lock())
    assert (gan.gen_orthogonal, gan.ema_decay, gan.fake_classes) == (1e-4, 0.999, 'real')


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'penalty.gen_orthogonal': 1e-4}, ['penalty.gen_orthogonal is 0.0001', 'sngan']),
        ({'optimizer.ema_start': 9, 'optimizer.ema_decay': 0.0}, ['optimizer.ema_start is 9']),
        ({'optimizer.ema_start': -1}, ['optimizer.ema_start is -1', 'from 0']),
        ({'model.spectral_updates': 'per_joint'}, ['per_joint_forward']),
        ({'method': 'biggan'}, ['model.gen_normalization', 'biggan is defined by']),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes, words):
    config = sngan_digits.get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError) as error:
        build.method(config.lock())
    line = str(error.value)
    assert '\n' not in line and [word for word in words if word not in line] == [], line
