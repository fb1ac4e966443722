"""scikit-learn's embedded handwritten digits: 1,797 real images of 8x8 pixels, no download.

They are the test half of 'Optical Recognition of Handwritten Digits' (Alpaydin and Kaynak, UCI
Machine Learning Repository, 1998). A pixel counts the inked dots of a 4x4 cell, 0..16.
"""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from snjax.data import pixels
from snjax.data.image_set import ImageSet, image_set
from snjax.image_format import ImageSize, sides


def load_digits(
    *, split: str, image_size: ImageSize, channels: int, fit: str = 'crop', bits: int = 8
) -> ImageSet:
    """The digits, 0..16 scaled linearly to 0..255 (halves round up), then resized.

    Args:
        split: 'train', all 1,797 images, is the only split.
        image_size, channels, fit, bits: of the result, see `pixels.Form`; the source has 8x8 px.

    Raises:
        ValueError: another split.
    """
    if split != 'train':
        raise ValueError(
            f"digits has no split {split!r}; accepted: 'train' (all 1,797 images); "
            'set --config.data.split=train'
        )
    # Imported here, because scikit-learn takes a second to import.
    from sklearn.datasets import load_digits as load_embedded

    embedded: Any = load_embedded()
    ink = embedded.images.astype(np.int64)
    grey = ((ink * 255 + 8) // 16).astype(np.uint8)
    if (side := max(sides(image_size))) > 8 and side % 8 == 0:
        grey = _enlarge(grey, side)
    images = pixels.fit_arrays(grey[..., None], image_size, channels, fit, bits)
    class_names = tuple(str(name) for name in embedded.target_names)
    return image_set('digits', split, images, embedded.target, class_names)


def _enlarge(grey: UInt8[np.ndarray, 'n 8 8'], image_size: int) -> UInt8[np.ndarray, 'n s s']:
    """Bicubic enlargement whose blocks average to the pixels of the source, up to rounding.

    The bicubic filter alone blurs: its digits, averaged back to 8x8, differ from the real ones, and
    scores at 8x8 would be off. So the differences of the averages are added to the blocks, five
    times.
    """
    factor = image_size // 8
    source = grey.astype(np.float32)
    size = (image_size, image_size)
    large = np.stack(
        [np.asarray(Image.fromarray(x).resize(size, Image.Resampling.BICUBIC)) for x in source]
    )
    for _ in range(5):
        blocks = large.reshape(-1, 8, factor, 8, factor).mean((2, 4))
        missing = (source - blocks).repeat(factor, 1).repeat(factor, 2)
        large = np.clip(large + missing, 0, 255)
    return np.rint(large).astype(np.uint8)
