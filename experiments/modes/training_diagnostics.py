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
    images = fixed_images(image_set, LIGHT.num, method.num_conditions)
    return Measurement(method, *images, LIGHT)


def fixed_images(
    image_set: ImageSet, num: int, num_conditions: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Images spread evenly over a set, and their classes or numbers; all of a smaller set, again and
    again."""
    ids = np.linspace(0, len(image_set.images), num, endpoint=False).astype(int)
    return np.asarray(image_set.images[ids]), image_set.labels_for(num_conditions)[ids]
