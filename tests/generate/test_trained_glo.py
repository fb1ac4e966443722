"""A trained GLO: priors, rows and what inversion knows of its latents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny_gan
from snjax.generate.glo import TrainedGlo
from snjax.latents import priors

NUM, DIM_Z = 60, tiny_gan.DIM_Z
LABELS = np.arange(NUM) % 3


@pytest.fixture(scope='module')
def run():
    """Three classes about centres of their own, well inside the ball."""
    rng = np.random.default_rng(0)
    centres = np.eye(3, DIM_Z) * 0.5
    table = (centres[LABELS] + 0.05 * rng.standard_normal((NUM, DIM_Z))).astype(np.float32)
    gen = tiny_gan.Generator(batch_norm_axis=None)
    raw = jax.tree.map(
        lambda leaf: rng.uniform(0.1, 0.5, leaf.shape).astype(np.float32),
        jax.eval_shape(
            lambda k: gen.init(k, jnp.zeros((2, DIM_Z)), train=False), jax.random.key(0)
        ),
    )
    config = {'model': {'dim_z': DIM_Z, 'num_classes': 0, 'latent': 'normal'}}
    return TrainedGlo(config, 7, gen, raw, None, table)


def test_latents_have_the_moments_of_the_table(run):
    z = run.latents(4000, seed=1)
    np.testing.assert_allclose(z.mean(0), run.table.mean(0), atol=0.02)
    np.testing.assert_allclose(np.cov(z.T), np.cov(run.table.T), atol=0.01)
    np.testing.assert_array_equal(z[:5], run.latents(5, seed=1))
    assert not np.array_equal(z[:5], run.latents(5, seed=2))


def test_a_class_has_its_own_gaussian(run):
    prior = run.prior('class', labels=LABELS)
    z = run.latents(300, prior=prior, components=np.full(300, 2))
    np.testing.assert_allclose(z.mean(0), run.table[LABELS == 2].mean(0), atol=0.02)
    with pytest.raises(ValueError, match='labels'):
        run.prior('class')


def test_a_mixture_finds_the_classes(run):
    found = np.asarray(run.prior('mixture', components=3).means)
    expected = [run.table[LABELS == i].mean(0) for i in range(3)]
    for mean in expected:
        assert np.linalg.norm(found - mean, axis=1).min() < 0.02


def test_truncation_bounds_the_noise_of_each_direction(run):
    prior = run.prior('diagonal')
    z = run.latents(500, prior=prior, truncation=0.5)
    noise = (z - np.asarray(prior.means[0])) / np.diag(np.asarray(prior.factors[0]))
    assert 0.45 < np.abs(noise).max() <= 0.5 + 1e-4
    with pytest.raises(ValueError, match='truncation -1'):
        run.latents(2, truncation=-1.0)


def test_reconstruction_is_the_image_of_a_row(run):
    index = [3, 0]
    np.testing.assert_array_equal(run.reconstruct(index), run.generate(run.table[index]))
    np.testing.assert_allclose(run.mean_latent(index), (run.table[3] + run.table[0]) / 2, rtol=1e-6)
    for wrong in ([NUM], [-1]):
        with pytest.raises(ValueError, match=f'0 to {NUM - 1}'):
            run.reconstruct(wrong)


def test_nearest_rows_are_of_the_class(run):
    found = run.nearest_rows(run.table[[4, 5]], 10)
    assert found.index[:, 0].tolist() == [4, 5]
    assert np.all(LABELS[found.index] == LABELS[[4, 5]][:, None])


def test_what_inversion_knows_is_the_gaussian_and_the_ball(run):
    prior = run.inversion_prior()
    z = np.random.default_rng(1).standard_normal((5, DIM_Z)).astype(np.float32)
    difference = z - run.table.mean(0)
    precision = np.linalg.inv(np.cov(run.table.T))
    expected = np.einsum('ni,ij,nj->n', difference, precision, difference) / (2 * DIM_Z)
    np.testing.assert_allclose(prior.energy(jnp.asarray(z)), expected, rtol=1e-3)
    np.testing.assert_array_equal(prior.project(jnp.asarray(z)), priors.project(z))
    start = prior.start(jax.random.key(0), jnp.arange(400))
    np.testing.assert_allclose(np.mean(start, axis=0), run.table.mean(0), atol=0.05)


def test_other_names_are_refused(run):
    with pytest.raises(ValueError, match='full, diagonal, mixture, class'):
        run.prior('uniform')
    with pytest.raises(ValueError, match='num 0'):
        run.latents(0)
