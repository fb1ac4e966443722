"""zCR: pairs of close latents, and what each player's update makes of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from configs import r3gan_cifar, sngan_cifar
from experiments import build
from helpers import tiny_gan
from snjax.latents.sampling import latents
from snjax.training.adversarial import Batch, Nearby, Noise, Use, augmented, images_of, key_of

KEY = np.asarray(jax.random.key_data(jax.random.key(3)))
LR = 0.05  # of the tiny GAN


@pytest.mark.parametrize(('latent', 'spread'), [('normal', 0.2), ('uniform', 0.2 / 3**0.5)])
def test_the_second_latent_is_near_the_first(latent, spread):
    ids, rng = jnp.arange(500), jax.random.key(0)
    noise = Noise(latents(rng, ids, 8, latent), None)
    found = Nearby(0.2, 0.0).beside(noise, ids, rng, latent)
    np.testing.assert_array_equal(found.z, noise.z)
    step = np.asarray(found.near - found.z)
    assert step.std() == pytest.approx(spread, rel=0.05) and abs(step.mean()) < 0.02
    assert abs(np.corrcoef(step.ravel(), np.ravel(noise.z))[0, 1]) < 0.05
    # An example's pair follows its id, not its place.
    some = Noise(noise.z[100:], None)
    other = Nearby(0.2, 0.0).beside(some, ids[100:], rng, latent)
    np.testing.assert_array_equal(other.near, found.near[100:])


def test_near_images_are_augmented_as_the_fake_beside_them():
    keys, image = jax.random.split(jax.random.key(0), 6), jnp.asarray(tiny_gan.images(1)[0])
    policy = ('color', 'translation', 'cutout')
    found = augmented(Batch(image, None, image), keys, policy, 0.7)
    np.testing.assert_array_equal(found.near, found.image)
    assert not np.array_equal(found.image, image)
    assert augmented(Batch(image, None), keys, policy, 0.7).near is None


def game(consistency=0.0, distance=0.0, radius=0.3, **changes):
    on = consistency or distance
    return tiny_gan.make_gan(
        nearby=Nearby(radius, distance) if on else None,
        penalties={'latent_consistency': consistency} if consistency else {},
        **changes,
    )


@pytest.fixture(scope='module')
def steps():
    """A state, and what a step of games with other weights makes of it and logs."""
    state = tiny_gan.filled(tiny_gan.make_gan())
    images = tiny_gan.images(1)
    make = lambda *weights: tiny_gan.step_of(game(*weights))(state, images, KEY)  # noqa: E731
    return state, {weights: make(*weights) for weights in ((0.0, 0.0), (2.0, 0.0), (0.0, 0.5))}


def pair_of_gen(state):
    """The generator's weights, and the fakes of its update and of their near latents as functions
    of them.
    """
    gan = game(distance=0.5)
    key = functools.partial(key_of, jax.random.fold_in(jax.random.wrap_key_data(KEY), 0))
    ids = jnp.arange(gan.gen_batch_size)
    noise = Noise(latents(key(Use.GEN_Z), ids, gan.dim_z), None)
    noise = Nearby(0.3, 0.5).beside(noise, ids, key(Use.GEN_Z), 'normal')

    def apply(module, player, params, z, labels):
        variables = {'params': params, **player.model_state}
        module = tiny_gan.Generator(batch_norm_axis=None)
        return module.apply(variables, z, labels, train=True, mutable=['batch_stats'])

    return lambda params: images_of(apply, gan.gen, state.gen, params, noise)[1]


def test_the_generator_moves_the_images_of_a_pair_apart(steps):
    """By LR times its weight times the gradient of their mean squared distance."""
    state, found = steps
    pair = pair_of_gen(state)

    @jax.jit
    @jax.value_and_grad
    def distance(params):
        made = pair(params)
        return jnp.mean(jnp.square(made.image - made.near))

    value, gradient = distance(state.gen.params)
    (plain, _), (moved, metrics) = found[0, 0], found[0, 0.5]
    assert metrics['latent_distance'] == pytest.approx(float(value), rel=1e-4) and value > 1e-4
    flat = lambda tree: ravel_pytree(tree)[0]  # noqa: E731
    change = flat(moved.gen.params) - flat(plain.gen.params)
    np.testing.assert_allclose(change, LR * 0.5 * flat(gradient), rtol=1e-2, atol=1e-6)
    assert np.abs(change).max() > 1e-4
    for a, b in zip(jax.tree.leaves(moved.dis), jax.tree.leaves(plain.dis), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_discriminator_is_asked_to_agree_on_a_pair(steps):
    state, found = steps
    (plain, _), (moved, metrics) = found[0, 0], found[2.0, 0]
    assert metrics['penalty_latent_consistency'] > 1e-6
    first, second = (ravel_pytree(s.dis.params)[0] for s in (moved, plain))
    assert np.abs(first - second).max() > 1e-5
    # The pass over near latents leaves no trace in the batch statistics.
    norms = (s.gen.model_state['batch_stats'] for s in (moved, plain))
    for a, b in zip(*map(jax.tree.leaves, norms), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    same, metrics = tiny_gan.step_of(game(2.0, radius=0.0))(state, tiny_gan.images(1), KEY)
    assert metrics['penalty_latent_consistency'] < 1e-10
    np.testing.assert_allclose(ravel_pytree(same.dis.params)[0], second, rtol=1e-6)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'penalty.latent_radius': 0.0}, 'penalty.latent_radius is 0.0: .* above 0'),
        ({'penalty.gen_latent_distance': -1.0}, 'penalty.gen_latent_distance is -1.0'),
        ({'penalty.latent_consistency': float('nan')}, 'penalty.latent_consistency is nan'),
    ],
)
def test_impossible_values_are_one_line(changes, message):
    config = sngan_cifar.get_config()
    assert build.method(config).nearby is None
    config.penalty.latent_consistency = 20.0
    assert build.method(config).nearby == Nearby(0.05, 0.0)
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        build.plan(config)


def test_r3gan_takes_no_other_penalty_through_its_augmentation():
    config = r3gan_cifar.get_config()
    config.penalty.latent_consistency = 20.0
    with pytest.raises(ValueError, match='R2 are latent_consistency'):
        build.plan(config)
