"""A tiny GAN and its batches, for tests of batches in parts (`snjax.training.accumulation`)."""

from typing import Any

import numpy as np

from experiments.gan import Gan
from helpers import tiny_gan
from helpers.tiny_gan import IMAGE, make_gan
from snjax.nn import layers
from snjax.objectives.losses import LOSSES

NUM_CLASSES = 3
PARTS = 3  # a third of a number is not exact, so nothing is equal by luck
RAW = tiny_gan.Discriminator(dense=layers.Dense)


def without_batch_norm(**changes: Any) -> Gan:
    """Returns the tiny GAN without batch norm, which mixes the images of a part."""
    return make_gan(
        **{
            'gen': tiny_gan.Generator(has_batch_norm=False),
            'gen_batch_size': 12,
            'loss': LOSSES['non_saturating'],
            **changes,
        }
    )


def batch_of(gan: Gan, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns the images and labels of one step."""
    rng = np.random.default_rng(seed)
    shape = gan.batches_per_step, gan.batch_size
    # Brighter from image to image, so that parts differ in mean and deviation.
    bright = np.linspace(0.2, 1, gan.batch_size)[:, None, None, None]
    image = (bright * rng.uniform(-1, 1, (*shape, *IMAGE))).astype(np.float32)
    return {'image': image, 'label': rng.integers(0, NUM_CLASSES, shape, np.int32)}
