"""Whether a run's images lie on the devices or are streamed to them: `data.stream`."""

import dataclasses
import math
from typing import Any

from experiments.settings.check import Config, choose
from snjax import parallel
from snjax.data import LazyImages
from snjax.training import feed, loop

MODES = ('auto', 'on', 'off', 'decode')
# Of a device's memory, what a set may take: the rest is the state's and the activations'.
RESIDENT_SHARE = 0.5


def check(config: Config) -> None:
    """Raises a ValueError of one line for keys that cannot be followed, before anything is read."""
    d = config.data
    choose('data.stream', d.stream, MODES)
    if d.workers < 0:
        raise ValueError(f'data.workers is {d.workers}: 0 (one per core) or more is accepted')
    if d.stream in ('on', 'decode'):
        feed.check_installed(f'data.stream={d.stream} streams the images')


def choose_options(config: Config, options: loop.Options, images: Any, say) -> loop.Options:
    """The loop's options for these images, and a line where they are streamed; every process has to ask.

    Raises:
        ValueError: they have to be streamed, and what that needs is not installed.
    """
    stream = is_streamed(config, images)
    if stream:
        size = f'{_bytes(images) / 1e9:.2f} GB of images'
        feed.check_installed(f'{size} are more than half of a device')
        half = f', half of a device is {_share() / 1e9:.2f} GB'
        why = half if config.data.stream == 'auto' else ''
        how = 'decoded as they are read' if isinstance(images, LazyImages) else 'prepared'
        say(f'{size} are streamed, {how}{why}')
    return dataclasses.replace(options, stream=stream)


def is_streamed(config: Config, images: Any) -> bool:
    """Whether these images, or images of this shape and type, are; every process has to ask."""
    wanted = config.data.stream
    if wanted != 'auto':
        return wanted != 'off'
    return parallel.any_process(_bytes(images) > _share())


def _bytes(images: Any) -> int:
    return math.prod(images.shape)  # uint8


def _share() -> int:
    return int(RESIDENT_SHARE * parallel.device_memory())
