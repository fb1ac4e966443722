"""Precision, recall, density and coverage: the authors' package, closed forms, a naive loop, ties,
bounded memory.
"""

import contextlib
import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snjax.metrics import manifold


def column(*values):
    return np.array(values, np.float64)[:, None]


def naive_precision_recall(real, fake, k):
    """The definition, point by point, with distances from differences."""

    def squared(x, y):
        return sum((float(a) - float(b)) ** 2 for a, b in zip(x, y, strict=True))

    def radii(points):
        return [
            sorted(squared(x, y) for j, y in enumerate(points) if j != i)[k - 1]
            for i, x in enumerate(points)
        ]

    def covered(points, balls):
        centres = list(zip(balls, radii(balls), strict=True))
        return np.mean([any(squared(x, c) <= r for c, r in centres) for x in points])

    return covered(fake, real), covered(real, fake)


def test_closed_form_on_a_line():
    real = column(0, 1, 10)
    fake = column(2, 2.5, 7)
    np.testing.assert_array_equal(manifold.knn_squared_radii(real, k=1), [1, 1, 81])
    np.testing.assert_array_equal(manifold.knn_squared_radii(fake, k=1), [0.25, 0.25, 20.25])
    # Real balls [-1, 1], [0, 2], [1, 19] hold every fake point; the fake balls [1.5, 2.5],
    # [2, 3], [2.5, 11.5] hold only the real 10.
    assert manifold.precision_recall(real, fake, k=1) == (1.0, pytest.approx(1 / 3))


def test_a_point_on_the_sphere_counts():
    real = column(0, 1)
    fake = column(2, 2.0000001)
    assert manifold.precision_recall(real, fake, k=1).precision == 0.5


def test_k_excludes_the_point_but_not_its_duplicate():
    points = column(0, 0, 3, 7)
    np.testing.assert_array_equal(manifold.knn_squared_radii(points, k=1), [0, 0, 9, 16])
    np.testing.assert_array_equal(manifold.knn_squared_radii(points, k=2), [9, 9, 9, 49])
    np.testing.assert_array_equal(manifold.knn_squared_radii(points, k=3), [49, 49, 16, 49])


@pytest.mark.parametrize('scale', [1e-6, 1.0, 1e6])
def test_identical_sets_score_one(scale):
    points = np.random.default_rng(0).normal(size=(50, 7)) * scale
    assert manifold.precision_recall(points, points.copy(), k=3, block=8) == (1.0, 1.0)


def test_disjoint_sets_score_zero():
    rng = np.random.default_rng(0)
    real, fake = rng.uniform(size=(40, 5)), rng.uniform(size=(30, 5)) + 100
    assert manifold.precision_recall(real, fake, k=3) == (0.0, 0.0)


def test_precision_and_recall_are_not_exchanged():
    # Half of the real set is imitated well; the other half is missed.
    rng = np.random.default_rng(0)
    near = rng.uniform(size=(80, 2))
    real = np.concatenate([near[:40], near[:40] + 100])
    assert manifold.precision_recall(real, near[40:], k=20) == (1.0, 0.5)
    assert manifold.precision_recall(near[40:], real, k=20) == (0.5, 1.0)


def test_constant_fake_points_cover_nothing_but_themselves():
    # A large offset and a coordinate that is no dyadic fraction: a rounded distance would not be 0.
    real = np.random.default_rng(0).normal(size=(60, 64)) + 1000.1
    fake = np.repeat(real[7:8], 20, axis=0)
    precision, recall = manifold.precision_recall(real, fake, k=3, block=16)
    assert precision == 1.0
    assert recall == pytest.approx(1 / 60)


def test_duplicates_are_at_distance_zero_exactly():
    points = np.random.default_rng(0).normal(size=(100, 64)).repeat(4, axis=0)
    np.testing.assert_array_equal(manifold.knn_squared_radii(points, k=3, block=64), 0)
    assert manifold.knn_squared_radii(points, k=4).min() > 1


def test_a_common_offset_changes_nothing():
    lattice = np.random.default_rng(0).integers(0, 17, size=(50, 8)) / 16
    np.testing.assert_array_equal(
        manifold.knn_squared_radii(lattice + 2.0**30, k=3), manifold.knn_squared_radii(lattice, k=3)
    )


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_agrees_with_the_definition(data):
    k = data.draw(st.integers(1, 4))
    dim = data.draw(st.integers(1, 4))
    coordinate = st.integers(-6, 6)  # a small lattice: many ties and duplicates

    def point_set():
        rows = st.lists(
            st.lists(coordinate, min_size=dim, max_size=dim), min_size=k + 1, max_size=14
        )
        return np.array(data.draw(rows), np.float64) / 16

    real, fake = point_set(), point_set()
    block = data.draw(st.integers(1, 20))
    got = manifold.precision_recall(real, fake, k=k, block=block)
    assert got == pytest.approx(naive_precision_recall(real, fake, k), abs=1e-12)


def test_agrees_with_the_definition_on_continuous_features():
    rng = np.random.default_rng(3)
    real, fake = rng.normal(size=(70, 6)), rng.normal(size=(50, 6)) * 0.8 + 0.5
    expected = naive_precision_recall(real, fake, 3)
    assert 0.1 < expected[0] < 0.95 and 0.1 < expected[1] < 0.9
    assert manifold.precision_recall(real, fake, k=3) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.uint8, np.int64])
def test_computed_in_float64_whatever_the_input(dtype):
    rng = np.random.default_rng(0)
    real, fake = (rng.integers(0, 200, size=(n, 30)).astype(dtype) for n in (60, 40))
    wide = manifold.precision_recall(real.astype(np.float64), fake.astype(np.float64))
    assert manifold.precision_recall(real, fake) == wide
    direct = ((real[:, None].astype(float) - real[None].astype(float)) ** 2).sum(-1)
    expected = np.sort(direct, axis=1)[:, 3]
    np.testing.assert_array_equal(manifold.knn_squared_radii(real, k=3), expected)


def test_memory_is_a_few_tiles():
    real, fake = (np.random.default_rng(i).normal(size=(3000, 4)) for i in range(2))
    tile = 256 * 256 * 8
    tracemalloc.start()
    manifold.precision_recall(real, fake, k=3, block=256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * tile < 3000 * 3000 * 8 / 10


def test_inputs_are_left_alone():
    real = np.random.default_rng(0).normal(size=(10, 3))
    before = real.copy()
    manifold.precision_recall(real, real[:6])
    np.testing.assert_array_equal(real, before)


@pytest.mark.parametrize(
    ('real', 'fake', 'options', 'message'),
    [
        (np.zeros((3, 2)), np.zeros((9, 2)), {}, 'real has 3 points.*at least 4'),
        (np.zeros((9, 2)), np.zeros((3, 2)), {}, 'fake has 3 points.*at least 4'),
        (np.zeros((9, 2)), np.zeros((9, 3)), {}, '2 features and fake 3'),
        (np.zeros(9), np.zeros((9, 1)), {}, r'real has shape \(9,\)'),
        (np.zeros((9, 0)), np.zeros((9, 0)), {}, r'real has shape \(9, 0\)'),
        (np.zeros((9, 1)), np.full((9, 1), np.nan), {}, 'fake has NaN'),
        (np.zeros((9, 1)), np.zeros((9, 1)), {'k': 0}, 'k is 0'),
        (np.zeros((9, 1)), np.zeros((9, 1)), {'block': 0}, 'block is 0'),
    ],
)
def test_errors_are_one_line(own_errors, real, fake, options, message):
    with pytest.raises(ValueError, match=message) as error:
        manifold.precision_recall(real, fake, **options)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(('k', 'block'), [(1, 7), (3, 64), (5, 2048)])
def test_prdc_is_the_authors_package(k, block):
    """On data without ties, where a point exactly on a ball cannot occur."""
    reference = pytest.importorskip('prdc')
    rng = np.random.default_rng(k)
    real, fake = rng.normal(size=(150, 4)), 0.8 * rng.normal(size=(110, 4)) + 0.3
    got = manifold.prdc(real, fake, k=k, block=block)
    with contextlib.redirect_stdout(io.StringIO()):
        expected = reference.compute_prdc(real, fake, nearest_k=k)
    assert got._asdict() == pytest.approx(expected, abs=1e-12)


def test_prdc_on_a_line():
    """Balls of real points, k = 1: [-1, 1], [0, 2], [1, 19]; of fake ones: [2, 2.5] twice over,
    [2.5, 11.5].
    """
    got = manifold.prdc(column(0, 1, 10), column(2, 2.5, 7), k=1)
    # Fake 2 lies in two balls, 2.5 and 7 in one: density 4/3. The balls of 1 and of 10 hold fakes.
    assert got == pytest.approx((1, 1 / 3, 4 / 3, 2 / 3))


def test_precision_and_recall_are_those_of_prdc():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(60, 3)), rng.normal(size=(50, 3))
    assert manifold.prdc(real, fake, k=3)[:2] == manifold.precision_recall(real, fake, k=3)


def test_a_collapsed_generator_is_seen():
    real = np.random.default_rng(0).normal(size=(300, 4))
    constant = np.repeat(real[:1], 300, axis=0)
    got = manifold.prdc(real, constant)
    assert got.precision == 1  # it copies a real image, which precision alone would praise
    assert got.recall <= 1 / 300
    assert got.coverage < 0.05
    one_mode = real[real[:, 0] > 1.2]
    good = manifold.prdc(real, np.random.default_rng(1).normal(size=(300, 4)))
    bad = manifold.prdc(real, one_mode)
    assert bad.coverage < 0.3 < 0.9 < good.coverage
    assert bad.recall < 0.6 < 0.85 < good.recall
