"""Scores of distributions: closed forms, SciPy, 50 digits, and what a collapsed generator gets."""

import mpmath
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from snjax.metrics import scores


def gaussian(seed, dim, rank=None):
    """A mean and a covariance, of full rank by default."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(dim, dim if rank is None else rank))
    return rng.normal(size=dim), factor @ factor.T / dim


def test_moments_are_numpys():
    points = (np.random.default_rng(0).normal(size=(9001, 3)) * [1, 10, 0.1] + 100).astype(
        np.float32
    )
    got = scores.moments(points)
    wide = points.astype(np.float64)
    np.testing.assert_allclose(got.mean, wide.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(got.cov, np.cov(wide, rowvar=False), rtol=1e-10, atol=1e-12)
    assert got.count == 9001


# ---- Frechet distance


def test_frechet_distance_of_a_shift_is_its_square():
    shift = np.array([1.0, -2.0, 3.0])
    assert scores.frechet_distance(np.zeros(3), np.eye(3), shift, np.eye(3)) == pytest.approx(
        14, abs=1e-12
    )


def test_frechet_distance_of_diagonal_gaussians():
    a, b = np.array([1.0, 4.0, 0.0]), np.array([9.0, 1.0, 2.0])
    expected = np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    got = scores.frechet_distance(np.zeros(3), np.diag(a), np.zeros(3), np.diag(b))
    assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('rank', [None, 3])
def test_frechet_distance_of_equals_is_zero(rank):
    mean, cov = gaussian(0, 30, rank)
    assert scores.frechet_distance(mean, cov, mean, cov) <= 1e-12 * np.trace(cov)


def test_frechet_distance_is_scipys_on_full_ranks():
    (mu_a, a), (mu_b, b) = gaussian(1, 40), gaussian(2, 40)
    root = scipy.linalg.sqrtm(a @ b).real
    expected = np.sum((mu_a - mu_b) ** 2) + np.trace(a + b - 2 * root)
    assert scores.frechet_distance(mu_a, a, mu_b, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('ranks', [(2, 2), (3, 8), (8, 1), (8, 8)])
def test_frechet_distance_is_that_of_50_digits(ranks):
    """Rank-deficient covariances, as of fewer images than features; the reference knows their
    factors exactly.
    """
    rng = np.random.default_rng(3)
    factors = [rng.normal(size=(8, rank)) for rank in ranks]
    means = rng.normal(size=(2, 8))
    with mpmath.workdps(50):
        one, two = (mpmath.matrix(f.tolist()) for f in factors)
        covariances = one * one.T, two * two.T
        # tr((A B)^(1/2)) of A = F F^T and B = G G^T: the singular values of F^T G.
        cross = one.T * two
        cross = cross * cross.T if ranks[0] <= ranks[1] else cross.T * cross
        roots = sum(mpmath.sqrt(v) for v in mpmath.eigsy(cross, eigvals_only=True))
        traces = sum(c[i, i] for c in covariances for i in range(8))
        shift = sum((mpmath.mpf(a) - mpmath.mpf(b)) ** 2 for a, b in zip(*means, strict=True))
        expected = float(shift + traces - 2 * roots)
    (mu_a, mu_b), (a, b) = means, (np.array(c.tolist(), np.float64) for c in covariances)
    assert scores.frechet_distance(mu_a, a, mu_b, b) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 10))
def test_frechet_distance_is_symmetric_turns_with_the_features_and_grows_with_their_square(
    seed, factor
):
    (mu_a, a), (mu_b, b) = gaussian(seed, 5), gaussian(seed + 1, 5)
    expected = scores.frechet_distance(mu_a, a, mu_b, b)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))[0] * factor
    same = pytest.approx(expected, rel=1e-6)
    assert scores.frechet_distance(mu_b, b, mu_a, a) == same
    turned = scores.frechet_distance(turn @ mu_a, turn @ a @ turn.T, turn @ mu_b, turn @ b @ turn.T)
    assert turned / factor**2 == same


# ---- Inception score


def test_inception_score_runs_from_one_to_the_number_of_classes():
    sure = 100.0 * np.eye(5)[np.arange(50) % 5]
    assert scores.inception_score(sure, splits=10) == pytest.approx((5, 0), abs=1e-12)
    assert scores.inception_score(np.zeros((50, 5))) == pytest.approx((1, 0), abs=1e-12)
    assert scores.inception_score(sure[::5]) == pytest.approx((1, 0), abs=1e-12)  # one class alone


def test_inception_score_by_hand():
    """Two splits: p of (1/2, 1/2) and (3/4, 1/4), and then twice (1, 0)."""
    logits = np.log([[0.5, 0.5], [0.75, 0.25], [1, 1e-300], [1, 1e-300]])
    first = np.array([[0.5, 0.5], [0.75, 0.25]])
    kl = np.sum(first * np.log(first / first.mean(axis=0)), axis=1).mean()
    expected = np.exp(kl), 1.0
    got = scores.inception_score(logits, splits=2)
    assert got == pytest.approx((np.mean(expected), np.std(expected)), rel=1e-12)


# ---- kernel distance


def test_kernel_distance_of_whole_sets_is_the_sum_over_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 3)) + 1

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    def within(z):
        return np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j])

    expected = within(x) + within(y) - 2 * np.mean([kernel(a, b) for a in x for b in y])
    got = scores.kernel_distance(x, y, subsets=2, subset_size=7)
    assert got.mean == pytest.approx(expected, rel=1e-10)
    assert got.std == pytest.approx(0, abs=1e-10)


def test_kernel_distance_of_one_distribution_is_about_zero_and_may_be_below():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 2000, 4))
    got = scores.kernel_distance(x, y, subsets=50, subset_size=200)
    assert abs(got.mean) < 5 * got.standard_error + 0.02
    assert got.standard_error == pytest.approx(got.std / np.sqrt(50))
    assert scores.kernel_distance(x, y + 0.5, subsets=50, subset_size=200).mean > 0.3


# ---- classes


def test_class_distances_are_those_inside_each_class():
    rng = np.random.default_rng(2)
    labels = np.arange(400) % 2
    real = rng.normal(size=(400, 3)) + 5 * labels[:, None]
    shift = np.where(labels[:, None] == 1, 2.0, 0.0) * [1, 0, 0]
    got = scores.class_frechet_distances(real, labels, real + shift, labels, 2)
    np.testing.assert_allclose(got, [0, 4], atol=1e-6)
    # Classes that are exchanged are not noticed by the distance of all.
    exchanged = scores.class_frechet_distances(real, labels, real, 1 - labels, 2)
    assert exchanged.min() > 50


def test_accuracy():
    logits = np.array([[1, 2, 0], [3, 0, 0], [0, 0, 1.0]])
    assert scores.classification_accuracy(logits, np.array([1, 0, 0])) == pytest.approx(2 / 3)


def test_a_collapsed_generator_is_far_away():
    rng = np.random.default_rng(3)
    real, other = rng.normal(size=(2, 1000, 6))
    a = scores.moments(real)
    for collapsed in (np.zeros((1000, 6)), other * [0.05, 1, 1, 1, 1, 1] + [1.5, 0, 0, 0, 0, 0]):
        b, c = scores.moments(collapsed), scores.moments(other)
        floor = scores.frechet_distance(a.mean, a.cov, c.mean, c.cov)
        assert scores.frechet_distance(a.mean, a.cov, b.mean, b.cov) > 50 * floor
        options = {'subsets': 10, 'subset_size': 500}
        near, far = (scores.kernel_distance(real, x, **options) for x in (other, collapsed))
        assert far.mean > near.mean + 5 * near.std


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: scores.moments(np.zeros((1, 2))), 'needs 2 points, and there is 1'),
        (lambda: scores.moments(np.full((3, 2), np.nan)), 'NaN'),
        (lambda: scores.inception_score(np.zeros((5, 2))), 'splits is 10: with 5 samples, 1 to 5'),
        (lambda: scores.kernel_distance(np.zeros((9, 2)), np.zeros((8, 2))), '1000 points.*2 to 8'),
        (
            lambda: scores.frechet_distance(np.zeros(2), np.eye(2), np.zeros(3), np.eye(3)),
            'cannot be compared',
        ),
        (
            lambda: scores.frechet_distance(
                np.zeros(2), np.full((2, 2), np.inf), np.zeros(2), np.eye(2)
            ),
            'NaN or infinite',
        ),
        (
            lambda: scores.class_frechet_distances(
                np.zeros((4, 2)),
                np.array([0, 0, 0, 1]),
                np.zeros((4, 2)),
                np.array([0, 0, 1, 1]),
                2,
            ),
            'class 1 has 1 real images',
        ),
    ],
)
def test_errors_are_one_line(own_errors, call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert '\n' not in str(error.value)


# ---- class coverage


def test_class_coverage():
    shares = scores.class_coverage(np.array([0, 2, 2, 0, 2]), 4)
    np.testing.assert_array_equal(shares, [0.4, 0, 0.6, 0])
    assert shares.dtype == np.float64


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        (np.array([], int), 'at least one entry'),
        (np.array([0.0, 1.0]), 'integers'),
        (np.array([[0, 1]]), 'vector'),
        (np.array([0, 10]), '0 to 10.*0 .. 9'),
        (np.array([-1, 3]), '-1 to 3.*0 .. 9'),
    ],
)
def test_class_coverage_errors(own_errors, labels, message):
    with pytest.raises(ValueError, match=message):
        scores.class_coverage(labels, 10)


def test_cmmd_is_the_biased_mmd_of_its_paper():
    """By a loop over pairs; 0 for equal sets; it grows with the distance."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(7, 5)), rng.normal(size=(4, 5)) + 0.3
    x, y = (points / np.linalg.norm(points, axis=1, keepdims=True) for points in (x, y))

    def mean(a, b):
        return np.mean([np.exp(-((p - q) ** 2).sum() / 200) for p in a for q in b])

    assert scores.cmmd(x, y) == pytest.approx(1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y)))
    assert abs(scores.cmmd(x, x)) < 1e-9
    assert scores.cmmd(x, -x) > scores.cmmd(x, y) > 0
