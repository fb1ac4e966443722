"""Diversity inside classes: closed forms, order of likeness, and what collapse looks like."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from snjax.metrics import diversity


def texture(seed, num, size=32, channels=3):
    """Smooth random pictures."""
    coarse = np.random.default_rng(seed).normal(size=(num, 8, 8, channels))
    fine = coarse.repeat(size // 8, axis=1).repeat(size // 8, axis=2)
    return (127 + 50 * fine).clip(0, 255).astype(np.uint8)


def test_equal_images_are_at_one():
    images = texture(0, 3)
    np.testing.assert_allclose(diversity.ms_ssim(images, images), 1, atol=1e-12)


def test_one_scale_is_scikit_images_ssim():
    """Images of 16 px have one scale."""
    a, b = texture(1, 2, 16, 1), texture(2, 2, 16, 1)
    b = (0.7 * a + 0.3 * b).astype(np.uint8)
    expected = [
        structural_similarity(
            x[..., 0],
            y[..., 0],
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(diversity.ms_ssim(a, b), expected, rtol=1e-6)


def test_more_noise_is_less_alike():
    images = texture(3, 4)
    noise = np.random.default_rng(0).normal(size=images.shape)
    found = [
        diversity.ms_ssim(images, (images + s * noise).clip(0, 255).astype(np.uint8)).mean()
        for s in (2, 10, 40)
    ]
    assert 1 > found[0] > found[1] > found[2] > 0
    assert diversity.ms_ssim(images, texture(9, 4)).mean() < 0.3


def test_constant_images_differ_by_their_luminance_alone():
    """The last scale's luminance: (2 a b + C1) / (a^2 + b^2 + C1), to the power of its weight."""
    a, b = (np.full((1, 32, 32, 1), x, np.uint8) for x in (100, 50))
    c1 = 2.55**2
    weight = 0.2856 / (0.0448 + 0.2856)
    expected = ((2 * 100 * 50 + c1) / (100**2 + 50**2 + c1)) ** weight
    assert diversity.ms_ssim(a, b)[0] == pytest.approx(expected, rel=1e-9)


def test_a_collapsed_class_is_seen_and_the_others_are_not_blamed():
    images, labels = texture(4, 40), np.arange(40) % 2
    images[labels == 1] = images[1]
    alike = diversity.class_ms_ssim(images, labels, 3, pairs=20)
    assert alike[0] < 0.4
    assert alike[1] == pytest.approx(1, abs=1e-9)
    assert np.isnan(alike[2])
    features = images.reshape(40, -1).astype(np.float32)
    apart = diversity.class_feature_distance(features, labels, 2, pairs=20)
    assert apart[0] > 100
    assert apart[1] == 0


def test_pairs_are_of_two_images_and_each_is_as_likely():
    """Of points 0, 1 and 3 the pairs are 1, 2 and 3 apart: 2 on average."""
    features = np.array([[0.0], [1], [3]])
    got = diversity.class_feature_distance(features, np.zeros(3, int), 1, pairs=20_000)
    assert got[0] == pytest.approx(2, abs=0.03)


def test_small_images_are_one_line(own_errors):
    small = np.zeros((1, 8, 8, 1), np.uint8)
    with pytest.raises(ValueError, match='at least 11 px'):
        diversity.ms_ssim(small, small)
