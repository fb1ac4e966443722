"""The diagnostics that a training logs: `diagnostics.every`."""

import numpy as np

from experiments.gan import Gan
from experiments.modes.measure_gan import LIGHT, Measurement
from snjax.data import ImageSet
from snjax.training.method import Method


def measurement(method: Method, every: int, image_set: ImageSet) -> Measurement | None:
    """What is measured every `every` generator updates; None for 0.

    Raises:
        ValueError: the method trains no discriminator.
    """
    if not every:
        return None
    if not isinstance(method, Gan):
        raise ValueError(
            f'diagnostics.every is {every}, but this method trains no discriminator: use 0, or '
            'another --config.method'
        )
    return Measurement(method, *fixed_images(image_set, LIGHT.num), LIGHT)


def fixed_images(image_set: ImageSet, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Images spread evenly over a set, and their classes; all of a smaller set, again and again."""
    ids = np.linspace(0, len(image_set.images), num, endpoint=False).astype(int)
    return np.asarray(image_set.images[ids]), np.asarray(image_set.labels)[ids]
