"""Whether a run's images lie on the devices or are streamed to them: `data.stream`."""

import dataclasses
from typing import Any

from experiments.method import Config, choose
from snjax import feed, parallel, train
from snjax.data import Decoded

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


def choose_options(config: Config, options: train.Options, images: Any, say) -> train.Options:
    """The loop's options for these images, and a line where they are streamed; every process has to ask.

    Raises:
        ValueError: they have to be streamed, and what that needs is not installed.
    """
    wanted = config.data.stream
    share = int(RESIDENT_SHARE * parallel.device_memory())
    is_large = images.nbytes > share
    stream = parallel.any_says(is_large) if wanted == 'auto' else wanted != 'off'
    if stream:
        size = f'{images.nbytes / 1e9:.2f} GB of images'
        feed.check_installed(f'{size} are more than half of a device')
        why = f', half of a device is {share / 1e9:.2f} GB' if wanted == 'auto' else ''
        how = 'decoded as they are read' if isinstance(images, Decoded) else 'prepared'
        say(f'{size} are streamed, {how}{why}')
    return dataclasses.replace(options, stream=stream)
