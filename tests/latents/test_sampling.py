"""Latents: distributions, independence of batching, errors; and images from latents."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny_gan
from snjax.latents.sampling import (
    check_labels,
    class_labels,
    generate,
    latents,
    proportional_labels,
    seed_key,
)

RNG = jax.random.key(3)
draw = jax.jit(latents, static_argnums=(2, 3, 4))


@pytest.mark.parametrize('latent', ['normal', 'uniform'])
@pytest.mark.parametrize('truncation', [None, 0.7])
def test_an_example_is_the_same_in_every_batch(latent, truncation):
    whole = np.asarray(draw(RNG, jnp.arange(12), 5, latent, truncation))
    parts = [
        draw(RNG, jnp.asarray(ids), 5, latent, truncation)
        for ids in ([0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11])
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(
        draw(RNG, jnp.array([7, 2]), 5, latent, truncation), whole[[7, 2]]
    )
    assert len(np.unique(whole)) == whole.size
    assert not np.any(whole == draw(jax.random.key(4), jnp.arange(12), 5, latent, truncation))


def test_normal():
    z = np.asarray(draw(RNG, jnp.arange(2000), 10, 'normal'))
    assert z.dtype == np.float32
    assert z.mean() == pytest.approx(0, abs=0.03) and z.std() == pytest.approx(1, abs=0.03)
    # 4.55 % of a normal lies beyond two standard deviations
    assert np.mean(np.abs(z) > 2) == pytest.approx(0.0455, abs=0.008)
    assert np.abs(z).max() > 3


def test_truncated_normal_is_the_normal_between_its_bounds():
    z = np.asarray(draw(RNG, jnp.arange(2000), 10, 'normal', 0.5))
    assert 0.49 < np.abs(z).max() <= 0.5
    # Standard deviation of N(0, 1) restricted to [-.5, .5]: sqrt(1 - phi(.5) / (Phi(.5) - 1/2)) =
    # 0.2840. A clipped normal would have mass on the bounds and deviation 0.41; a scaled one other
    # bounds.
    assert z.std() == pytest.approx(0.2840, abs=0.006) and z.mean() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(('truncation', 'bound'), [(None, 1.0), (0.25, 0.25)])
def test_uniform(truncation, bound):
    z = np.asarray(draw(RNG, jnp.arange(2000), 10, 'uniform', truncation))
    assert -bound <= z.min() < -0.99 * bound and 0.99 * bound < z.max() < bound
    assert z.mean() == pytest.approx(0, abs=0.02 * bound)
    assert z.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'latent': 'gauss'}, "latent 'gauss': accepted are normal, uniform"),
        ({'truncation': 0.0}, 'truncation 0.0: a positive number'),
        ({'latent': 'uniform', 'truncation': -1.0}, 'truncation -1.0: a positive number'),
    ],
)
def test_errors(arguments, words):
    with pytest.raises(ValueError) as caught:
        latents(RNG, jnp.arange(2), 3, **arguments)
    assert words in str(caught.value) and '\n' not in str(caught.value)


def test_generate_uses_the_running_statistics():
    """An image depends on its own z and the running statistics only."""
    gen, z = tiny_gan.Generator(), draw(RNG, jnp.arange(4), tiny_gan.DIM_Z)
    variables = jax.jit(functools.partial(gen.init, train=False))(jax.random.key(0), z)
    images = jax.jit(functools.partial(generate, gen))
    whole = images(variables, z)
    assert whole.shape == (4, 8, 8, 1) and np.abs(whole).max() <= 1
    changed = z.at[1:].multiply(3)
    np.testing.assert_allclose(images(variables, changed)[0], whole[0], atol=1e-6)
    shifted = jax.tree.map(lambda x: x + 1, variables['batch_stats'])
    other = images({**variables, 'batch_stats': shifted}, z)
    assert np.abs(other - whole).max() > 0.01


def test_labels_are_made_one_an_image():
    for given, expected in (
        (None, [0, 1, 2, 0, 1]),
        (2, [2, 2, 2, 2, 2]),
        ([2, 0, 1, 1, 0], [2, 0, 1, 1, 0]),
        (jnp.array([2, 0, 1, 1, 0]), [2, 0, 1, 1, 0]),
    ):
        labels = check_labels(given, 5, 3)
        np.testing.assert_array_equal(labels, expected)
        assert labels.dtype == np.int32
    weights = np.array([[0.5, 0.5, 0.0], [2.0, -1.0, 0.0]])
    labels = check_labels(weights, 2, 3)
    np.testing.assert_array_equal(labels, weights)
    assert labels.dtype == np.float32
    assert check_labels(None, 5, 0) is None


@pytest.mark.parametrize(
    ('labels', 'num_classes', 'words'),
    [
        (0, 0, 'unconditional generator: leave them out'),
        (3, 3, 'label 3: the classes are 0 to 2'),
        ([0, -1], 3, 'label -1: the classes are 0 to 2'),
        ([0, 1, 2], 3, '(3,): accepted are one class, classes (2,) and float weights (2, 3)'),
        (np.zeros(2), 3, 'float64 (2,): accepted are'),
        (np.zeros((2, 3), np.int32), 3, 'int32 (2, 3): accepted are'),
        ([True, False], 3, 'bool (2,): accepted are'),
    ],
)
def test_impossible_labels_are_named(labels, num_classes, words):
    with pytest.raises(ValueError) as caught:
        check_labels(labels, 2, num_classes)
    assert words in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('latent', ['normal', 'uniform'])
@pytest.mark.parametrize('truncation', [None, 0.7])
def test_64_bits_draw_the_same(latent, truncation):
    expected = np.asarray(latents(RNG, jnp.arange(5), 4, latent, truncation))
    classes = np.asarray(class_labels(RNG, jnp.arange(50), 7))
    with jax.enable_x64(True):
        found = np.asarray(latents(RNG, jnp.arange(5), 4, latent, truncation))
        same = np.asarray(class_labels(RNG, jnp.arange(50), 7))
    assert found.dtype == expected.dtype and (found == expected).all()
    assert same.dtype == classes.dtype and (same == classes).all()


def test_classes_are_drawn_as_often_as_in_the_set():
    counts = (0, 500, 0, 1500, 2, 0)
    drawn = class_labels(RNG, jnp.arange(4004), 6, counts)
    found = np.bincount(drawn, minlength=6)
    assert found[[0, 2, 5]].sum() == 0
    # Within four standard deviations of the 4,004 draws.
    np.testing.assert_allclose(found[[1, 3]], [1000, 3000], atol=4 * 27.4)
    assert found[4] <= 4 + 4 * 2
    np.testing.assert_array_equal(class_labels(RNG, jnp.arange(10), 6, counts), drawn[:10])


def test_classes_of_scored_images_have_the_shares_of_the_set():
    counts = (70, 0, 29, 1)
    labels = proportional_labels(counts, 1000)
    np.testing.assert_array_equal(labels[:300], proportional_labels(counts, 300))
    for num in (100, 300, 1000):
        shares = np.bincount(labels[:num], minlength=4) / num
        np.testing.assert_allclose(shares, np.array(counts) / 100, atol=3 / num)
    assert labels.dtype == np.int32


@pytest.mark.parametrize('seed', [-1, 2**32, 2**63, 2**64])
def test_seeds_that_would_be_others_are_refused(seed):
    with pytest.raises(ValueError, match=f'seed {seed}: 0 up to 4294967295 is accepted'):
        seed_key(seed, 'sample')
