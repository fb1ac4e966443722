"""Diversity inside a class, which a collapsed AC-GAN lacks (Odena et al. 2017, arXiv:1610.09585).

Both measures compare random pairs of images of one class: `class_ms_ssim` their pixels (section 4.2
of the paper; high means alike), `class_feature_distance` their features (low means alike). The same
measures of real images give the scale.
"""

import numpy as np
from jaxtyping import Float, Int, Num, UInt

# Weights of the five scales, the finest first (Wang et al. 2003).
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 11
_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ms_ssim(
    a: UInt[np.ndarray, 'n h w c'], b: UInt[np.ndarray, 'n h w c']
) -> Float[np.ndarray, ' n']:
    """Multi-scale structural similarity of pairs of images (Wang et al. 2003), at most 1.

    Gaussian window 11x11 of standard deviation 1.5, without the edges; 2x2 averages between scales;
    mean over channels. Small images have as many of the five scales as fit a window (two at 32 px),
    and the weights of these scales are rescaled to sum to 1. Negative structure has no root and
    counts as 0.

    Raises:
        ValueError: images below 11 px, or of different shapes.
    """
    if a.shape != b.shape or min(a.shape[1:3]) < _WINDOW:
        raise ValueError(
            f'images of {a.shape[1:]} and {b.shape[1:]}: MS-SSIM takes one size, of at least '
            f'{_WINDOW} px'
        )
    num_scales = min(len(_WEIGHTS), int(np.log2(min(a.shape[1:3]) / _WINDOW)) + 1)
    weights = np.array(_WEIGHTS[:num_scales]) / sum(_WEIGHTS[:num_scales])
    scale = 255 / np.iinfo(a.dtype).max  # the constants are those of 8 bits
    x, y = a.astype(np.float64) * scale, b.astype(np.float64) * scale
    product = np.ones((len(x), x.shape[-1]))
    for scale, weight in enumerate(weights):
        luminance, structure = _ssim_parts(x, y)
        kept = luminance * structure if scale == num_scales - 1 else structure
        product *= kept.mean(axis=(1, 2)).clip(0) ** weight
        x, y = _halved(x), _halved(y)
    return product.mean(axis=-1)


def class_ms_ssim(
    images: UInt[np.ndarray, 'n h w c'],
    labels: Int[np.ndarray, ' n'],
    num_classes: int,
    *,
    pairs: int = 100,
    seed: int = 0,
) -> Float[np.ndarray, ' num_classes']:
    """Mean MS-SSIM of random pairs inside each class; nan for a class with fewer than 2 images."""
    return _over_pairs(labels, num_classes, pairs, seed, lambda i, j: ms_ssim(images[i], images[j]))


def class_feature_distance(
    features: Num[np.ndarray, 'n d'],
    labels: Int[np.ndarray, ' n'],
    num_classes: int,
    *,
    pairs: int = 1000,
    seed: int = 0,
) -> Float[np.ndarray, ' num_classes']:
    """Mean Euclidean distance of random pairs inside each class; nan with fewer than 2 images."""

    def distance(i, j):
        return np.linalg.norm(features[i].astype(np.float64) - features[j], axis=1)

    return _over_pairs(labels, num_classes, pairs, seed, distance)


def _over_pairs(labels, num_classes, pairs, seed, measure):
    rng = np.random.default_rng(seed)
    means = []
    for label in range(num_classes):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            means.append(np.nan)
            continue
        i = rng.integers(len(members), size=pairs)
        # Any other member, all equally likely.
        j = (i + rng.integers(1, len(members), size=pairs)) % len(members)
        means.append(float(np.mean(measure(members[i], members[j]))))
    return np.array(means)


def _ssim_parts(x, y):
    """Luminance, and contrast times structure, at every position of the window."""
    from scipy.ndimage import correlate1d

    taps: np.ndarray = np.exp(-((np.arange(_WINDOW) - _WINDOW // 2) ** 2) / (2 * _SIGMA**2))
    taps /= taps.sum()
    edge = _WINDOW // 2

    def blur(z):
        z = correlate1d(correlate1d(z, taps, axis=1), taps, axis=2)
        return z[:, edge:-edge, edge:-edge]

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return luminance, (2 * covariance + _C2) / (var_x + var_y + _C2)


def _halved(x):
    n, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
