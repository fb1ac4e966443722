"""Sliced Wasserstein distance of patches: by hand, and on images that are known to be bad."""

import numpy as np
import pytest

from snjax import data
from snjax.metrics import comparison, extractors, patches
from snjax.metrics.comparison import ScoredSet
from snjax.metrics.evaluate import Evaluator
from snjax.metrics.extractors import Features
from snjax.metrics.options import Options
from snjax.metrics.protocols import Protocol


@pytest.fixture(scope='module')
def digits():
    return data.find('digits', image_size=32, channels=1, split='train').read()


@pytest.fixture(scope='module')
def real(digits):
    return patches.patches(digits.images[:120])


def test_levels_end_at_16_px():
    sizes = {64: (64, 32, 16), 48: (48, 24), 32: (32, 16), 28: (28,), 16: (16,)}
    assert {side: patches.levels_of(side) for side in sizes} == sizes


def test_a_shift_on_a_line_by_hand():
    points = np.random.default_rng(0).normal(size=(100, 1)).astype(np.float32)
    assert patches.sliced_wasserstein(points, points + 3, 8) == pytest.approx(3, rel=1e-5)


def test_a_shift_in_the_plane_has_its_mean_projection():
    points = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    shifted = points + np.float32([3, 4])  # of length 5; the mean of |cos| is 2 / pi
    assert patches.sliced_wasserstein(points, shifted) == pytest.approx(10 / np.pi, rel=0.05)


def test_sets_of_unequal_size_are_compared_at_quantiles():
    points = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    assert patches.sliced_wasserstein(points, np.repeat(points, 3, axis=0)) == pytest.approx(0)


def test_patches_are_windows_of_the_levels():
    """Images of one gray value have nothing but a mean, which is in the coarsest level alone."""
    values = np.uint8([[50], [200]]).repeat(32 * 32, 1).reshape(2, 32, 32, 1)
    found = patches.patches(values)
    assert found.sizes == (32, 16)
    fine, coarse = found.points
    assert fine.shape == coarse.shape == (2 * patches.PATCHES, 49)
    np.testing.assert_allclose(np.unique(coarse.round(4)), [-1, 1])
    assert np.isfinite(fine).all()


def test_images_are_at_no_distance_from_themselves(digits, real):
    values = patches.compare(real, patches.patches(digits.images[:120]))
    assert values['swd'] == values['swd_32'] == values['swd_16'] == 0
    assert values['precision'] == values['recall'] == 1


def test_noise_shows_at_the_finest_level_and_one_image_in_recall(digits, real):
    rng = np.random.default_rng(0)
    others = digits.images[600:720]
    good = patches.compare(real, patches.patches(others))
    noisy = np.clip(others + rng.normal(0, 30, others.shape), 0, 255).astype(np.uint8)
    noise = patches.compare(real, patches.patches(noisy))
    assert noise['swd_32'] > 2 * good['swd_32']
    assert noise['swd_32'] - good['swd_32'] > 4 * (noise['swd_16'] - good['swd_16'])
    one = patches.compare(real, patches.patches(others[:1].repeat(120, 0)))
    assert one['swd'] > 3 * good['swd'] and one['recall'] < good['recall'] / 2


def test_the_extractor_hands_pixels_on(digits):
    evaluator = Evaluator(extractors.load('patches'), lambda split: digits, Options(batch_size=100))
    protocol = Protocol('train/150/100', 'train', 150, 100)
    features = Features(digits.images[1000:1100], np.zeros((100, 1), np.float32))
    values = evaluator.compare(protocol, ScoredSet(features, np.zeros(100, np.int32)))
    assert set(values) == {'swd', 'swd_32', 'swd_16', 'precision', 'recall'}
    assert comparison.main_score(evaluator.extractor) == 'swd'
    assert comparison.columns(evaluator.extractor)['sliced Wasserstein distance x 1000'] == 'swd'


def test_small_images_are_refused(own_errors):
    with pytest.raises(ValueError, match='images of 4x4 px have no patches of 7x7 px'):
        patches.patches(np.zeros((2, 4, 4, 1), np.uint8))
