"""Tests of snjax.generate.inversion, its operators and its scores: closed forms, NumPy, and
hand-made traps.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from PIL import Image

from snjax.generate import inversion
from snjax.generate.inversion import Prior, invert, normal_prior, uniform_prior
from snjax.generate.measurements import MASKS, MAX_MATRIX, OPERATORS, Options, hidden_pixels
from snjax.latents import sampling
from snjax.metrics.distortion import distortion

SHAPE, DIM_Z = (8, 8, 3), 4
SIZE = 8 * 8 * 3
OPTIONS = Options(mask='random', fraction=0.5, factor=2, noise=0.3, measurements=40, seed=3)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def keys(num, seed=0):
    return jax.random.split(jax.random.key(seed), num)


def made(name, **changes):
    return OPERATORS[name](SHAPE, OPTIONS._replace(**changes))


def linear(matrix):
    """g(z) = W z, the matrix being a leaf."""
    return Partial(lambda w, z: (z @ w.T).reshape(-1, *SHAPE), jnp.asarray(matrix))


WEIGHTS = numbers(SIZE, DIM_Z, seed=7)


def spread(rng, ids):
    """Starts that cost nothing to draw: drawing is compiled for longer than all else."""
    return jnp.sin(5.0 * ids[:, None] + jnp.arange(1.0, 1 + DIM_Z))


NORMAL = normal_prior(DIM_Z)._replace(start=spread)


def run(measured, operator, prior=None, generate=None, seed=0, **options):
    generate = linear(WEIGHTS) if generate is None else generate
    prior = NORMAL if prior is None else prior
    options = {'num_restarts': 1, 'num_steps': 300, 'lr': 0.1, 'prior_weight': 0.0} | options
    return invert(generate, measured, operator, prior, rng=jax.random.key(seed), **options)


# ---- the descent


@pytest.mark.parametrize('name', ['inpaint', 'superresolve', 'compressed_sensing'])
def test_a_linear_generator_under_the_normal_prior_is_ridge_regression(name):
    operator, weight = made(name), 4.0
    measured = np.asarray(operator.degrade(uniform(3, *SHAPE), keys(3)))
    found = run(measured, operator, prior_weight=weight, num_restarts=2)
    y = measured.reshape(3, -1).astype(np.float64)
    columns = np.asarray(operator.apply(WEIGHTS.T.reshape(DIM_Z, *SHAPE)))
    m = columns.reshape(DIM_Z, -1).T.astype(np.float64)
    # The minimum of |m z - y|^2 / len(y) + weight |z|^2 / (2 d).
    normal = 2 / len(m) * m.T @ m + weight / DIM_Z * np.eye(DIM_Z)
    z = np.linalg.solve(normal, 2 / len(m) * m.T @ y.T).T
    assert np.abs(z).max() > 0.02
    np.testing.assert_allclose(found.z, z, atol=2e-4)
    value = np.mean((z @ m.T - y) ** 2, 1) + weight * np.sum(z**2, 1) / (2 * DIM_Z)
    np.testing.assert_allclose(found.objective, value, rtol=1e-5)
    np.testing.assert_allclose(found.images, (z @ WEIGHTS.T).reshape(-1, *SHAPE), atol=2e-3)
    plain = np.linalg.lstsq(m, y.T, rcond=None)[0].T
    assert np.abs(plain - z).max() > 0.01  # the prior is seen


def test_what_is_in_the_range_is_restored_behind_the_mask():
    z = numbers(2, DIM_Z, seed=1)
    real = (z @ WEIGHTS.T).reshape(-1, *SHAPE)
    operator = made('inpaint')
    measured = np.asarray(operator.apply(real))
    found = run(measured, operator)
    np.testing.assert_allclose(operator.apply(found.images), measured, atol=1e-3)
    np.testing.assert_allclose(found.images, real, atol=1e-3)


def test_the_most_probable_z_of_noisy_values():
    """prior_weight = 2 s^2 d / m makes the objective the posterior's, up to a factor: eq. of the
    module's docstring.
    """
    sigma = 0.3
    operator = made('denoise', noise=sigma)
    measured = np.asarray(operator.degrade(uniform(2, *SHAPE), keys(2)))
    found = run(measured, operator, prior_weight=2 * sigma**2 * DIM_Z / SIZE)
    precision = WEIGHTS.T @ WEIGHTS / sigma**2 + np.eye(DIM_Z)
    expected = np.linalg.solve(precision, WEIGHTS.T @ measured.reshape(2, -1).T / sigma**2).T
    np.testing.assert_allclose(found.z, expected, atol=2e-4)


def test_one_step_is_adams_first_and_is_looked_at():
    operator = made('identity')
    real = uniform(3, *SHAPE, seed=2)
    start = np.asarray(spread(None, jnp.arange(3)))
    found = run(real, operator, num_steps=1, lr=0.01)
    slope = (start @ WEIGHTS.T - real.reshape(3, -1)) @ WEIGHTS
    np.testing.assert_allclose(found.z, start - 0.01 * np.sign(slope), atol=1e-5)
    # A step that leads away is not kept.
    away = run(real, operator, num_steps=1, lr=100.0)
    np.testing.assert_array_equal(away.z, start)
    assert np.all(found.objective < away.objective)


def test_the_rate_falls_to_nothing():
    """At a constant rate Adam ends within about the rate of the minimum; here two steps of it are
    all there is.
    """
    operator, real = made('identity'), np.zeros((1, *SHAPE), np.float32)
    start = np.asarray(spread(None, jnp.arange(1)))
    # Adam's first two steps have the length of the rate where the slope keeps its sign and size:
    # 0.01, then half.
    found = run(real, operator, num_steps=2, lr=1e-4)
    np.testing.assert_allclose(np.abs(found.z - start), 1.5e-4, rtol=0.02)


def two_basins(z):
    """Images of the one value (z^2 - 1)^2 + 0.3 (z - 1)^2, which is 0 at z = 1, and has a trap near
    z = -0.8.
    """
    value = (z[:, 0] ** 2 - 1) ** 2 + 0.3 * (z[:, 0] - 1) ** 2
    return jnp.broadcast_to(value[:, None, None, None], (len(z), *SHAPE))


def test_restarts_find_what_one_start_misses():
    operator, real = made('identity'), np.zeros((8, *SHAPE), np.float32)
    arguments = real, operator, normal_prior(1), two_basins
    options = {'loss': 'l1', 'num_steps': 150, 'lr': 0.02}
    one = run(*arguments, **options)
    many = run(*arguments, **options, num_restarts=8)
    is_trapped = one.z[:, 0] < 0
    assert 2 <= is_trapped.sum() <= 6
    assert np.all(one.objective[is_trapped] > 0.1) and np.all(one.objective[~is_trapped] < 1e-3)
    np.testing.assert_allclose(many.z, 1, atol=0.02)
    assert many.objectives.shape == (8, 8)
    np.testing.assert_allclose(many.objective, many.objectives.min(1))
    np.testing.assert_array_equal(many.restart, many.objectives.argmin(1))
    # The first start is the same however many follow.
    np.testing.assert_allclose(many.objectives[:, 0], one.objective, rtol=1e-3, atol=1e-5)


def curved(z):
    return jnp.tanh(jnp.tanh(z @ numbers(DIM_Z, 16, seed=1)) @ numbers(16, SIZE, seed=2)).reshape(
        -1, *SHAPE
    )


def test_an_image_does_not_depend_on_the_others():
    operator, real = made('identity'), uniform(5, *SHAPE)
    options = {'generate': curved, 'num_steps': 20, 'num_restarts': 2}
    whole = run(real, operator, **options)
    # Fewer of them, in other batches, one of them broken.
    others = real[:4].copy()
    others[3] = np.nan
    found = run(others, operator, batch_size=3, **options)
    for name in ('z', 'images', 'objective', 'objectives'):
        np.testing.assert_allclose(getattr(found, name)[:3], getattr(whole, name)[:3], atol=1e-4)
    assert np.isnan(found.objective[3]) and np.isfinite(found.z[3]).all()


def test_a_diverged_start_is_not_the_best():
    def fragile(z, labels):
        value = jnp.where(labels == 0, jnp.nan, z.mean(1))
        return jnp.broadcast_to(value[:, None, None, None], (len(z), *SHAPE))

    labels = np.broadcast_to([0, 1], (4, 2))
    real = np.zeros((4, *SHAPE), np.float32)
    found = run(
        real, made('identity'), generate=fragile, num_steps=1, num_restarts=2, labels=labels
    )
    assert np.isnan(found.objectives[:, 0]).all()
    np.testing.assert_array_equal(found.restart, np.ones(4))
    np.testing.assert_allclose(found.objective, found.z.mean(1) ** 2, rtol=1e-5)


def test_uniform_z_stays_in_its_cube():
    """Of orthogonal columns the minimum in the cube is the free one, clipped."""
    columns, _ = np.linalg.qr(numbers(SIZE, DIM_Z))
    free = np.array([[0.5, 2.0, -3.0, -0.2], [1.5, -0.9, 0.1, 0.99]], np.float32)
    real = (free @ columns.T).reshape(-1, *SHAPE)
    found = run(
        real,
        made('identity'),
        uniform_prior(DIM_Z)._replace(start=spread),
        linear(columns),
        prior_weight=5.0,
    )
    np.testing.assert_allclose(found.z, np.clip(free, -1, 1), atol=1e-3)
    assert np.abs(found.z).max() <= 1


def test_a_class_for_each_start():
    """Each class has a matrix of its own; the start in the image's class fits, and no other does."""
    tables = jnp.asarray(numbers(3, SIZE, DIM_Z, seed=9))
    truth, z = np.array([2, 0, 1]), numbers(3, DIM_Z)
    generate = Partial(
        lambda tables, z, labels: jnp.einsum('bsd,bd->bs', tables[labels], z).reshape(-1, *SHAPE),
        tables,
    )
    real = np.asarray(generate(z, truth))
    labels = np.broadcast_to(np.array([1, 2, 0, 1]), (3, 4))
    found = run(real, made('identity'), generate=generate, num_restarts=4, labels=labels)
    np.testing.assert_array_equal(labels[np.arange(3), found.restart], truth)
    np.testing.assert_allclose(found.z, z, atol=1e-3)
    wrong = labels != truth[:, None]
    assert np.all(found.objectives[wrong] > 0.1) and np.all(found.objectives[~wrong] < 1e-5)


def test_losses():
    a, b = np.zeros((2, 2, 3), np.float32), np.ones((2, 2, 3), np.float32)
    b[1, 0, 0] = -5
    np.testing.assert_allclose(inversion.l2(*map(jnp.asarray, (a, b))), [1, 30 / 6], rtol=1e-6)
    np.testing.assert_allclose(inversion.l1(*map(jnp.asarray, (a, b))), [1, 10 / 6], rtol=1e-6)

    def twice(made, real):
        return 2 * inversion.l1(made, real)

    real = uniform(1, *SHAPE)
    by_name, by_function = (
        run(real, made('identity'), loss=loss, num_steps=20) for loss in ('l1', twice)
    )
    np.testing.assert_allclose(by_function.objective, 2 * by_name.objective, rtol=1e-4)
    np.testing.assert_allclose(by_name.objective, np.abs(by_name.images - real).mean(), rtol=1e-5)


def test_priors():
    z, rng = numbers(3, DIM_Z), jax.random.key(4)
    for name, make in inversion.PRIORS.items():
        prior = make(DIM_Z)
        assert isinstance(prior, Prior)
        start = prior.start(rng, jnp.arange(5))
        np.testing.assert_array_equal(start, sampling.latents(rng, jnp.arange(5), DIM_Z, name))
        np.testing.assert_array_equal(prior.start(rng, jnp.array([3])), start[3:4])
    normal, cube = normal_prior(DIM_Z), uniform_prior(DIM_Z)
    np.testing.assert_allclose(normal.energy(z), np.sum(z**2, 1) / 2 / DIM_Z, rtol=1e-6)
    np.testing.assert_array_equal(normal.project(z), z)
    np.testing.assert_array_equal(cube.energy(z), np.zeros(3))
    np.testing.assert_array_equal(cube.project(2 * z), np.clip(2 * z, -1, 1))


def test_no_measurements():
    with pytest.raises(ValueError, match='measured is empty'):
        run(np.zeros((0, *SHAPE), np.float32), made('identity'))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'num_restarts': 0}, 'restarts is 0: a whole number from 1'),
        ({'num_steps': 0}, 'steps is 0'),
        ({'batch_size': -1}, 'batch_size is -1'),
        ({'lr': 0.0}, 'lr is 0.0: a positive number'),
        ({'lr': np.inf}, 'lr is inf'),
        ({'prior_weight': -1.0}, 'prior_weight is -1.0: 0 or a positive number'),
        ({'loss': 'l3'}, "loss is 'l3': accepted are l2, l1"),
    ],
)
def test_impossible_descents_are_named(options, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        run(uniform(1, *SHAPE), made('identity'), **options)
    assert '\n' not in str(error.value)


# ---- the operators


@pytest.mark.parametrize('name', OPERATORS)
def test_operators_are_linear_and_so_are_their_gradients(name):
    operator = made(name)
    x, y = uniform(2, *SHAPE), uniform(2, *SHAPE, seed=1)
    both = operator.apply(2 * x - 3 * y)
    ax, pull = jax.vjp(operator.apply, jnp.asarray(x))
    np.testing.assert_allclose(both, 2 * ax - 3 * operator.apply(y), atol=1e-5)
    u = numbers(*ax.shape, seed=2)
    (back,) = pull(jnp.asarray(u))
    np.testing.assert_allclose(np.vdot(ax, u), np.vdot(x, back), rtol=1e-4)
    assert (operator.show(np.asarray(ax)) is None) == (
        name == 'compressed_sensing' or name == 'identity'
    )


def test_the_masks():
    centre, half, random = (
        hidden_pixels(8, 8, Options(mask=m, fraction=0.25)) for m in MASKS_TRIED
    )
    expected = np.zeros((8, 8), bool)
    expected[2:6, 2:6] = True
    np.testing.assert_array_equal(centre, expected)
    np.testing.assert_array_equal(half, np.arange(8)[:, None].repeat(8, 1) >= 6)
    assert random.sum() == 16
    again = hidden_pixels(8, 8, Options(mask='random', fraction=0.25))
    other = hidden_pixels(8, 8, Options(mask='random', fraction=0.25, seed=1))
    np.testing.assert_array_equal(again, random)
    assert other.sum() == 16 and (other != random).any()


MASKS_TRIED = ('centre', 'half', 'random')


def test_inpaint_takes_the_known_pixels_and_puts_them_back():
    assert set(MASKS_TRIED) == set(MASKS)
    operator, x = made('inpaint', mask='centre', fraction=0.25), uniform(2, *SHAPE)
    known = np.ones((8, 8), bool)
    known[2:6, 2:6] = False
    measured = np.asarray(operator.apply(x))
    np.testing.assert_array_equal(measured, x[:, known])
    for image, value in (
        (operator.show(measured), 0),
        (operator.complete(np.full_like(x, 7), measured), 7),
        (operator.baselines['mean of the known'](measured), x[:, known].mean(1)[:, None]),
    ):
        np.testing.assert_array_equal(image[:, known], x[:, known])
        np.testing.assert_allclose(image[:, ~known], np.broadcast_to(value, (2, 16, 3)), rtol=1e-5)


def test_biharmonic_filling_continues_a_ramp():
    """A plane solves the biharmonic equation."""
    row, column = np.mgrid[:8, :8] / 8
    plane = np.stack([row - 0.5, column - 0.5, 0.5 * row - 0.4 * column], -1)[None]
    operator = made('inpaint', mask='centre', fraction=0.25)
    filled = operator.baselines['biharmonic'](np.asarray(operator.apply(plane)))
    np.testing.assert_allclose(filled, plane, atol=1e-5)


def test_superresolve_averages_squares():
    operator, x = made('superresolve', factor=4), uniform(2, *SHAPE)
    small = np.asarray(operator.apply(x))
    assert small.shape == (2, 2, 2, 3)
    for i, j in np.ndindex(2, 2):
        square = x[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
        np.testing.assert_allclose(small[:, i, j], square.mean((1, 2)), atol=1e-6)
        shown = operator.show(small)[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
        np.testing.assert_array_equal(
            shown, np.broadcast_to(small[:, i, j][:, None, None], shown.shape)
        )


def test_bicubic_enlargement():
    operator, x = made('superresolve', factor=2), uniform(2, *SHAPE)
    small = np.asarray(operator.apply(x))
    large = operator.baselines['bicubic'](small)
    plane = Image.fromarray(np.ascontiguousarray(small[1, :, :, 2]))
    expected = np.asarray(plane.resize((8, 8), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(large[1, :, :, 2], expected.clip(-1, 1), atol=1e-6)
    ramp = np.broadcast_to(np.linspace(-0.7, 0.8, 4, dtype=np.float32)[:, None, None], (1, 4, 4, 3))
    middle = operator.baselines['bicubic'](ramp)[0, 3:5, 0, 0]
    np.testing.assert_allclose(
        middle, np.interp([1.25, 1.75], range(4), ramp[0, :, 0, 0]), atol=1e-5
    )


def test_denoise_adds_gaussian_noise_of_each_images_key():
    operator, zeros = made('denoise', noise=0.3), np.zeros((50, *SHAPE), np.float32)
    noise = np.asarray(operator.degrade(zeros, keys(50)))
    assert abs(noise.std() - 0.3) < 0.01 and abs(noise.mean()) < 0.01
    np.testing.assert_array_equal(operator.degrade(zeros[:1], keys(50)[7:8])[0], noise[7])
    np.testing.assert_array_equal(operator.apply(noise), noise)
    shown = operator.show(noise * 10)
    assert shown.min() == -1 and shown.max() == 1


@pytest.mark.parametrize('channels', [1, 3])
def test_denoisers_take_noise_away(channels):
    shape = (16, 16, channels)
    operator = OPERATORS['denoise'](shape, Options(noise=0.3))
    real = np.full((2, *shape), -0.5, np.float32)
    real[:, 4:12, 6:] = 0.5
    noisy = np.asarray(operator.degrade(real, keys(2)))
    error = np.mean((noisy - real) ** 2)
    for name, restore in operator.baselines.items():
        restored = restore(noisy)
        assert restored.shape == noisy.shape, name
        assert np.mean((restored - real) ** 2) < error / 3, name
    residual = operator.baselines['total variation'](noisy) - noisy
    assert abs(residual.std() - 0.3) < 0.06  # takes away as much as there is


def test_compressed_sensing_projects_at_random():
    operator, x = made('compressed_sensing', measurements=60), uniform(3, *SHAPE)
    matrix = np.asarray(operator.apply(np.eye(SIZE, dtype=np.float32).reshape(-1, *SHAPE))).T
    assert matrix.shape == (60, SIZE)
    assert abs(matrix.mean()) < 0.01 and abs(matrix.std() * np.sqrt(60) - 1) < 0.03
    measured = np.asarray(operator.apply(x))
    np.testing.assert_allclose(measured, x.reshape(3, -1) @ matrix.T, atol=1e-4)
    np.testing.assert_array_equal(measured, operator.degrade(x, keys(3)))
    again, other = (made('compressed_sensing', measurements=60, seed=s).apply(x) for s in (3, 4))
    np.testing.assert_array_equal(again, measured)
    assert np.abs(other - measured).max() > 0.1
    restored = operator.baselines['minimum norm'](measured / 4)
    expected = (np.linalg.pinv(matrix) @ measured.T / 4).T
    np.testing.assert_allclose(restored.reshape(3, -1), expected, atol=1e-4)
    assert np.abs(restored).max() < 1  # nothing was clipped


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('inpaint', {'mask': 'left'}, "mask is 'left': accepted are centre, random, half"),
        ('inpaint', {'fraction': 0.0}, 'fraction is 0.0: above 0 and below 1'),
        ('inpaint', {'fraction': 1.0}, 'fraction is 1.0'),
        ('inpaint', {'fraction': 0.999}, 'fraction is 0.999'),
        ('inpaint', {'mask': 'half', 'fraction': 0.01}, 'fraction is 0.01'),
        ('superresolve', {'factor': 3}, 'factor is 3: a divisor of 8'),
        ('superresolve', {'factor': 1}, 'factor is 1'),
        ('denoise', {'noise': 0.0}, 'noise is 0.0: a positive number'),
        ('compressed_sensing', {'measurements': 0}, 'measurements is 0: 1 to 1398101'),
        ('compressed_sensing', {'measurements': MAX_MATRIX}, f'measurements is {MAX_MATRIX}'),
    ],
)
def test_impossible_operators_are_named(name, options, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        made(name, **options)
    assert '\n' not in str(error.value)


# ---- scores


@pytest.mark.parametrize('size', [5, 8, 16])
def test_scores_of_known_pairs(size):
    """Constant images: PSNR 10 log10(4 / 0.25); SSIM has the luminance term alone, C1 = (0.01 *
    2)^2.
    """
    black = np.zeros((3, size, size, 3), np.float32)
    other = black.copy()
    other[1] = 0.5
    noise = np.random.default_rng(0).choice([-0.25, 0.25], size=other[2].shape)
    other[2] = noise
    psnr, ssim = distortion(black, other)
    np.testing.assert_allclose(psnr[1:], [10 * np.log10(16), 10 * np.log10(64)], rtol=1e-6)
    np.testing.assert_allclose(ssim[:2], [1, 4e-4 / (0.25 + 4e-4)], rtol=1e-6)
    assert psnr[0] == np.inf and 0 < ssim[2] < 0.1
