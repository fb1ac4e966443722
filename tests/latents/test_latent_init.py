"""Initial latents of GLO: norms of normal draws, and principal components against NumPy's SVD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax.latents import initial
from snjax.latents.initial import check_initial, initial_latents, principal_components

KEY = jax.random.key(3)
BLANK = np.zeros((300, 4, 4, 1), np.uint8)


def low_rank(num, rank, noise=0):
    """Images (num, 6, 6, 1) of `rank` patterns with very unequal weights, up to rounding."""
    rng = np.random.default_rng(rank)
    patterns = np.linalg.qr(rng.standard_normal((36, rank)))[0].T
    scores = rng.standard_normal((num, rank)) * 90 / 1.6 ** np.arange(rank)
    pixels = 128 + scores @ patterns + noise * rng.standard_normal((num, 36))
    return pixels.clip(0, 255).round().astype(np.uint8).reshape(num, 6, 6, 1)


def exact_rank(num):
    """Images whose deviation from the mean has exactly rank three: patterns of whole numbers."""
    rng = np.random.default_rng(7)
    patterns = np.array([[2, 0, 1, 0, 0, 1], [0, 3, 0, 1, 0, 0], [1, 0, 0, 0, 2, 0]]).repeat(6, 1)
    scores = rng.integers(0, 25, (num, 3)) * [1, 2, 1]
    return (10 + scores @ patterns).astype(np.uint8).reshape(num, 6, 6, 1)


def svd_scores(images, num):
    """Principal components by NumPy in float64, with the mean squared norm 1, and their deviations."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    u, s, _ = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    scores = u[:, :num] * s[:num]
    return scores / np.sqrt(np.mean(np.sum(scores**2, axis=1)))


def assert_equal_up_to_sign(ours, theirs, atol):
    signs = np.sign(np.sum(ours.astype(np.float64) * theirs, axis=0))
    assert (signs != 0).all()
    np.testing.assert_allclose(ours * signs, theirs, atol=atol)


# ---- normals


def test_scaled_normal_has_norms_near_one_and_none_above():
    """N(0, I / d) has a squared norm of mean 1 and variance 2 / d; about half of them is clipped."""
    d = 200
    z = np.asarray(initial_latents('scaled_normal', KEY, BLANK, d), np.float64)
    assert z.shape == (300, d)
    norms = np.linalg.norm(z, axis=1)
    assert norms.max() < 1 + 1e-6 and norms.min() > 1 - 5 / np.sqrt(2 * d)
    is_inside = norms < 1 - 1e-6
    assert is_inside.mean() == pytest.approx(0.513, abs=0.15)
    # A norm has deviation 1 / sqrt(2 d) = .05, the clipped half of it .603 times that.
    assert np.std(norms[is_inside]) == pytest.approx(0.0301, rel=0.25)
    assert z.std() == pytest.approx(norms.mean() / np.sqrt(d), rel=0.02)
    assert abs(z.mean()) < 5 / np.sqrt(d * z.size)


def test_normal_is_spread_over_the_sphere():
    z = np.asarray(initial_latents('normal', KEY, BLANK, 20), np.float64)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-6)
    # Its moments are 0 and I / d, with deviations of a mean over 300 of sqrt(1 / d) and at most
    # sqrt(2) / d.
    assert np.abs(z.mean(0)).max() < 5 * np.sqrt(1 / 20 / 300)
    assert np.abs(z.T @ z / 300 - np.eye(20) / 20).max() < 5 * np.sqrt(2 / 300) / 20


def test_a_normal_of_two_dimensions_fills_the_ball_too():
    """A chi-squared variable of two degrees of freedom is below 1 with probability 1 - exp(-1 / 2)
    = .393.
    """
    norms = np.linalg.norm(initial_latents('normal', KEY, BLANK, 2), axis=1)
    assert norms.max() < 1 + 1e-6
    assert (norms < 1 - 1e-6).mean() == pytest.approx(0.393, abs=5 * np.sqrt(0.24 / 300))


@pytest.mark.parametrize('name', ['scaled_normal', 'normal'])
def test_normals_follow_the_key_alone(name):
    first = initial_latents(name, KEY, BLANK, 5)
    np.testing.assert_array_equal(first, initial_latents(name, KEY, BLANK + 9, 5))
    assert (first != initial_latents(name, jax.random.key(4), BLANK, 5)).mean() > 0.9


# ---- principal components


@pytest.mark.parametrize('num', [1, 3])
def test_components_are_those_of_an_svd(num):
    images = exact_rank(60)
    z = principal_components(images, num, whiten=False)
    assert z.dtype == np.float32 and z.shape == (60, num)
    assert_equal_up_to_sign(z, svd_scores(images, num), atol=1e-5)
    assert np.mean(np.sum(z.astype(np.float64) ** 2, axis=1)) == pytest.approx(1, rel=1e-5)


def test_all_components_keep_the_distances_between_images():
    """Principal components put images that look alike near each other."""
    images = exact_rank(40)
    z = principal_components(images, 3, whiten=False).astype(np.float64)
    flat = images.reshape(40, -1).astype(np.float64)
    ours, theirs = (np.linalg.norm(x[:, None] - x, axis=2) for x in (z, flat))
    scale = np.sum(ours) / np.sum(theirs)
    np.testing.assert_allclose(ours, scale * theirs, rtol=1e-4, atol=1e-5)
    assert theirs[~np.eye(40, dtype=bool)].min() > 0


@pytest.mark.parametrize('max_bytes', [2**31, 0])
def test_whitened_components_have_equal_variances(max_bytes):
    images = low_rank(80, 4)
    plain, white = (
        principal_components(images, 4, whiten, max_bytes).astype(np.float64)
        for whiten in (False, True)
    )
    np.testing.assert_allclose(np.cov(white, rowvar=False, ddof=0), np.eye(4) / 4, atol=1e-4)
    assert np.ptp(plain.var(axis=0)) > 0.3
    # The same directions, with other lengths.
    assert_equal_up_to_sign(white, plain / plain.std(axis=0) / 2, atol=2e-3)


def test_one_block_is_exact():
    images = low_rank(90, 5)
    z = principal_components(images, 3, whiten=False, max_bytes=90 * 36 * 4 - 1)
    assert_equal_up_to_sign(z, svd_scores(images, 3), atol=1e-4)


@pytest.mark.parametrize('whiten', [False, True])
def test_blocks_agree_with_the_whole(monkeypatch, whiten):
    """Images of hardly more than five patterns, in three blocks, the last of them longer."""
    images = low_rank(230, 5, noise=0.5)
    whole = principal_components(images, 5, whiten)
    sizes = []

    def blocks(num, size):
        assert (num, size) == (230, 1000)
        made = _blocks(num, 70)
        sizes.extend(len(range(num)[block]) for block in made)
        return made

    _blocks = initial._blocks
    monkeypatch.setattr(initial, '_blocks', blocks)
    by_blocks = principal_components(images, 5, whiten, max_bytes=1000)
    assert sizes == [70, 70, 90]
    assert not np.array_equal(whole, by_blocks)
    assert_equal_up_to_sign(by_blocks, whole.astype(np.float64), atol=0.02)


@pytest.mark.parametrize(
    ('num', 'size', 'lengths'),
    [
        (1, 5, [1]),
        (5, 5, [5]),
        (9, 5, [9]),
        (10, 5, [5, 5]),
        (14, 5, [5, 9]),
        (23, 5, [5, 5, 5, 8]),
    ],
)
def test_blocks_cover_all_rows_once(num, size, lengths):
    blocks = initial._blocks(num, size)
    rows = [list(range(num)[block]) for block in blocks]
    assert [len(block) for block in rows] == lengths
    assert np.concatenate(rows).tolist() == list(range(num))


def test_images_may_be_mapped_from_a_file(tmp_path):
    images = exact_rank(30)
    np.save(tmp_path / 'images.npy', images)
    mapped = np.load(tmp_path / 'images.npy', mmap_mode='r')
    for max_bytes in (2**31, 0):
        np.testing.assert_array_equal(
            principal_components(mapped, 2, False, max_bytes),
            principal_components(images, 2, False, max_bytes),
        )


@pytest.mark.parametrize('whiten', [False, True])
@pytest.mark.parametrize('max_bytes', [2**31, 0])
def test_as_many_components_as_images_are_finite(whiten, max_bytes):
    """Without their mean, n images have n - 1 components; the n-th must not be amplified noise."""
    images = low_rank(12, 5, noise=20)
    z = principal_components(images, 12, whiten, max_bytes).astype(np.float64)
    assert np.isfinite(z).all()
    shares = np.mean(z**2, axis=0)
    if whiten:
        np.testing.assert_allclose(shares, 1 / 12, rtol=0.01)
    else:
        assert shares.sum() == pytest.approx(1, rel=1e-5)
        assert shares[:11].min() > 1e-4 and shares[11] < 1e-10


@pytest.mark.parametrize('max_bytes', [2**31, 0])
def test_pixels_that_never_change_do_not_drown_the_others(max_bytes):
    """31 of 36 components are missing; whitening turns each into noise of equal variance."""
    images = np.zeros((60, 6, 6, 1), np.uint8)
    images[:, 0, :5] = np.random.default_rng(1).integers(0, 256, (60, 5, 1))
    z = principal_components(images, 36, True, max_bytes).astype(np.float64)
    assert np.isfinite(z).all()
    np.testing.assert_allclose(np.mean(z[:, :5] ** 2, axis=0) / np.mean(z[:, 0] ** 2), 1, rtol=1e-3)
    assert np.mean(z[:, 5:] ** 2, axis=0).max() < 1.1 * np.mean(z[:, 0] ** 2)


# ---- in a program


@pytest.mark.parametrize('name', ['pca', 'whitened_pca'])
def test_initial_latents_are_the_projected_components(name):
    images = exact_rank(50)
    z = np.asarray(initial_latents(name, KEY, images, 3))
    components = principal_components(images, 3, name == 'whitened_pca')
    norms = np.linalg.norm(components, axis=1, keepdims=True)
    assert 0.2 < (norms > 1).mean() < 0.8
    np.testing.assert_allclose(z, components / np.maximum(norms, 1), rtol=1e-6)
    within = jax.jit(lambda rng: initial_latents(name, rng, images, 3))(KEY)
    np.testing.assert_allclose(within, z, rtol=1e-6)


def test_shapes_do_not_wait_for_the_decomposition(monkeypatch):
    images = exact_rank(50)

    def refuse(*_):
        raise AssertionError('was called')

    def init(rng):
        return {'z': initial_latents('pca', rng, images, 3), 'step': jnp.zeros(())}

    monkeypatch.setattr(initial, 'principal_components', refuse)
    shapes = jax.eval_shape(init, KEY)
    assert shapes['z'].shape == (50, 3) and shapes['z'].dtype == jnp.float32
    lowered = jax.jit(init).lower(KEY)
    with pytest.raises(jax.errors.JaxRuntimeError, match='was called'):
        jax.block_until_ready(lowered.compile()(KEY))


# ---- errors


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (
            lambda: check_initial('random', BLANK, 5),
            "glo.initial is 'random': accepted are scaled_normal, normal, pca, whitened_pca (--config.glo.initial)",
        ),
        (
            lambda: initial_latents('random', KEY, BLANK, 5),
            "glo.initial is 'random': accepted are scaled_normal",
        ),
        (
            lambda: initial_latents('pca', KEY, BLANK, 17),
            'glo.initial=pca of 300 images of 16 values has 16 components, fewer than model.dim_z 17: '
            'use --config.model.dim_z=16 or --config.glo.initial=scaled_normal',
        ),
        (
            lambda: check_initial('whitened_pca', BLANK[:9], 16),
            'glo.initial=whitened_pca of 9 images of 16 values has 9 components',
        ),
    ],
)
def test_what_is_not_accepted_is_named_in_one_line(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value) and '\n' not in str(caught.value)


def test_what_is_accepted():
    for name in initial.INITIAL_LATENTS:
        check_initial(name, BLANK, 16)
    check_initial('normal', BLANK, 1000)
