"""Distortion of restored images against the originals: PSNR and SSIM by scikit-image."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_WINDOW = 7


class Distortion(NamedTuple):
    """Distortion of n images.

    Attributes:
        psnr: peak signal-to-noise ratio, dB; infinite for equal images.
        ssim: structural similarity (Wang et al. 2004), at most 1, averaged over pixels and
            channels. The uniform window has 7x7 pixels, scikit-image's default, or the largest odd
            side that fits a smaller image.
    """

    psnr: Float[np.ndarray, ' n']
    ssim: Float[np.ndarray, ' n']


def distortion(
    real: Float[np.ndarray, 'n h w c'], restored: Float[np.ndarray, 'n h w c']
) -> Distortion:
    """PSNR and SSIM of images in [-1, 1], a range of 2."""
    # Imported here: training and sampling need not wait for it.
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    side = min(_WINDOW, *real.shape[1:3])
    window = side - (side % 2 == 0)
    pairs = list(zip(real.astype(np.float64), restored.astype(np.float64), strict=True))
    with np.errstate(divide='ignore'):
        psnr = [peak_signal_noise_ratio(x, y, data_range=2) for x, y in pairs]
    ssim = [
        structural_similarity(x, y, data_range=2, channel_axis=-1, win_size=window)
        for x, y in pairs
    ]
    return Distortion(np.array(psnr), np.array(ssim))
