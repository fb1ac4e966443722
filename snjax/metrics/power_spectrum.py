"""Azimuthally averaged power spectra: do fakes have the frequencies of real images?

Durall et al. 2020 (arXiv:2003.01826, section 2.1) found that networks that upsample miss the power
of real images at high frequencies. Here as there the power of the discrete Fourier transform is
averaged over rings of one radius. Departures, so that sets of any form compare: power is averaged
over channels and divided by the number of pixels (white noise of variance s^2 has s^2 at every
frequency); a radius is in cycles per pixel along both axes, so that the rings of rectangles are
circles too; the corners past 0.5 cycles per pixel, which no axis has, are left out.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt

from snjax.data.lazy_images import LazyImages
from snjax.image_format import half_range

_BLOCK = 256  # images per transform, so that any number fits


class Spectrum(NamedTuple):
    """Spectra of a set of images, whose values are in [-1, 1].

    Attributes:
        frequency: radius of each ring in cycles per pixel, from 0 to 0.5.
        mean, std: over images, of the power in each ring.
        floor: power of rounding to the pixels' levels, below which nothing can be told.
    """

    frequency: Float[np.ndarray, ' k']
    mean: Float[np.ndarray, ' k']
    std: Float[np.ndarray, ' k']
    floor: float


def of_images(images: UInt[np.ndarray | LazyImages, 'n h w c']) -> Spectrum:
    """The spectrum of pixels (n, h, w, c) of 8 or 16 bits, n at least 1.

    Raises:
        ValueError: no images, or one side of less than 2 pixels.
    """
    num, height, width, _ = images.shape
    if num < 1 or min(height, width) < 2:
        raise ValueError(f'images are of shape {images.shape}: at least one of 2x2 is needed')
    ring, count = _rings(height, width)
    half = half_range(images.dtype)
    profiles = []
    for start in range(0, num, _BLOCK):
        block = np.asarray(images[start : start + _BLOCK], np.float64) / half - 1
        power = np.abs(np.fft.fft2(block, axes=(1, 2))) ** 2
        flat = power.mean(-1).reshape(len(block), -1) / (height * width)
        profiles += [np.bincount(ring, row, len(count) + 1)[:-1] / count for row in flat]
    found = np.stack(profiles)
    frequency = np.arange(len(count)) / min(height, width)
    return Spectrum(frequency, found.mean(0), found.std(0), (1 / half) ** 2 / 12)


def decibels(fake: Spectrum, real: Spectrum) -> Float[np.ndarray, ' k']:
    """Power of fakes over that of reals in each ring, in dB: 0 where they are equal.

    Raises:
        ValueError: images of another size.
    """
    if len(fake.frequency) != len(real.frequency):
        raise ValueError(
            f'spectra of {len(fake.frequency)} and {len(real.frequency)} frequencies cannot be '
            'compared: give images of one size'
        )
    return 10 * np.log10((fake.mean + fake.floor) / (real.mean + real.floor))


def summary(difference: Float[np.ndarray, ' k']) -> dict[str, float]:
    """Numbers of a difference in dB: `distance_db`, its root mean square over all frequencies but 0
    (the mean brightness), and `high_db`, its mean over the highest quarter of them."""
    without_mean = difference[1:]
    high = without_mean[-max(1, len(without_mean) // 4) :]
    return {
        'distance_db': float(np.sqrt(np.mean(without_mean**2))),
        'high_db': float(high.mean()),
    }


def _rings(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The ring (height * width,) of each frequency, and how many frequencies each ring has.

    What lies in the corners is in one more ring, the last.
    """
    side = min(height, width)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    num = side // 2 + 1
    ring = np.minimum(np.rint(radius * side).astype(int), num).reshape(-1)
    return ring, np.bincount(ring, minlength=num)[:num]
