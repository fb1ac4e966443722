"""Decides whether the images of a run lie on the devices or are streamed to them: `data.stream`."""

import dataclasses
import math
from typing import Any

from snjax import parallel
from snjax.data import LazyImages
from snjax.training import feed
from snjax.training.step import Options

# Share of a device's memory that a set may take: the rest is for the state and activations.
RESIDENT_SHARE = 0.5


def choose_options(stream: str, options: Options, images: Any, say) -> Options:
    """The loop's options for these images; every process has to call it.

    Says so if the images are streamed.

    Args:
        stream: `data.stream`.
        options: of the loop.
        images: of the training set.
        say: prints a line.

    Raises:
        ValueError: the images have to be streamed, and the library for that is not installed.
    """
    streamed = is_streamed(stream, images)
    if streamed:
        size = f'{_bytes(images) / 1e9:.2f} GB of images'
        feed.check_installed(f'{size} are more than half of a device')
        half = f', half of a device is {_share() / 1e9:.2f} GB'
        why = half if stream == 'auto' else ''
        how = 'decoded as they are read' if isinstance(images, LazyImages) else 'prepared'
        say(f'{size} are streamed, {how}{why}')
    return dataclasses.replace(options, stream=streamed)


def is_streamed(stream: str, images: Any) -> bool:
    """Whether `data.stream` streams images of this shape; every process has to call it."""
    if stream != 'auto':
        return stream != 'off'
    return parallel.any_process(_bytes(images) > _share())


def _bytes(images: Any) -> int:
    return math.prod(images.shape) * images.dtype.itemsize


def _share() -> int:
    return int(RESIDENT_SHARE * parallel.device_memory())
