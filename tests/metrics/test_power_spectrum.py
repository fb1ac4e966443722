"""Tests of snjax.metrics.power_spectrum: waves and noise whose spectra are known."""

import numpy as np
import pytest

from snjax.metrics import power_spectrum


def wave(
    height, width, cycles_y, cycles_x, amplitude=100, channels=1, dtype=np.uint8, middle=127.5
):
    y, x = np.mgrid[:height, :width]
    phase = 2 * np.pi * (cycles_y * y / height + cycles_x * x / width)
    plane = np.rint(middle + amplitude * np.cos(phase)).astype(dtype)
    return np.repeat(plane[None, ..., None], channels, -1)


@pytest.mark.parametrize(
    ('shape', 'cycles'),
    [((16, 16), (3, 4)), ((16, 32), (0, 10)), ((32, 16), (10, 0)), ((15, 20), (3, 4))],
)
@pytest.mark.parametrize('channels', [1, 5])
def test_the_power_of_a_wave_lies_at_its_frequency(shape, cycles, channels):
    """Two conjugate frequencies of (amplitude / 2)^2 h w each, over the frequencies of their ring."""
    found = power_spectrum.of_images(wave(*shape, *cycles, channels=channels))
    radius = np.hypot(cycles[0] / shape[0], cycles[1] / shape[1])
    ring = int(np.argmin(np.abs(found.frequency - radius)))
    fy, fx = (np.fft.fftfreq(side) for side in shape)
    distance = np.hypot(fy[:, None], fx) * min(shape)
    count = (np.abs(distance - ring) < 0.5).sum()
    expected = 2 * (100 / 127.5 / 2) ** 2 * shape[0] * shape[1] / count
    np.testing.assert_allclose(found.mean[ring], expected, rtol=0.02)
    others = np.delete(found.mean, [0, ring])
    assert others.max() < 1e-3 * expected
    assert found.frequency[-1] == min(shape) // 2 / min(shape)


@pytest.mark.parametrize(('dtype', 'half'), [(np.uint8, 127.5), (np.uint16, 32767.5)])
def test_white_noise_is_flat_at_its_variance_in_any_depth(dtype, half):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (400, 12, 16, 2))
    found = power_spectrum.of_images(np.rint(noise * half + half).astype(dtype))
    np.testing.assert_allclose(found.mean[1:], 1 / 12, rtol=0.05)
    assert found.floor == pytest.approx((1 / half) ** 2 / 12)
    assert (found.std[1:] > 0).all()


def test_half_the_contrast_is_6_decibels_below_at_every_frequency():
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, (300, 16, 16, 1))
    whole, half = (
        power_spectrum.of_images(np.rint(noise * c * 127.5 + 127.5).astype(np.uint8))
        for c in (1, 0.5)
    )
    difference = power_spectrum.decibels(half, whole)
    np.testing.assert_allclose(difference[1:], -6.02, atol=0.05)
    assert power_spectrum.summary(difference) == pytest.approx(
        {'distance_db': 6.02, 'high_db': -6.02}, abs=0.05
    )


def test_images_without_contrast_have_a_finite_distance():
    blank = power_spectrum.of_images(np.full((2, 8, 8, 1), 7, np.uint8))
    real = power_spectrum.of_images(wave(8, 8, 1, 0))
    assert np.isfinite(power_spectrum.decibels(blank, real)).all()
    np.testing.assert_array_equal(power_spectrum.decibels(blank, blank), 0)


def test_other_sizes_and_no_images_are_refused():
    one, other = (power_spectrum.of_images(wave(side, side, 1, 0)) for side in (8, 16))
    with pytest.raises(ValueError, match='of 5 and 9 frequencies cannot be compared'):
        power_spectrum.decibels(one, other)
    with pytest.raises(ValueError, match=r'shape \(0, 8, 8, 1\): at least one'):
        power_spectrum.of_images(np.zeros((0, 8, 8, 1), np.uint8))
