"""Configs of configs/ by name, and their keys by full names."""

import importlib
from collections.abc import Iterable, Iterator
from typing import Any

from ml_collections import ConfigDict


def load(name: str, *args: str) -> ConfigDict:
    """Returns what `get_config` of configs/<name>.py returns for `args`."""
    return importlib.import_module(f'configs.{name}').get_config(*args)


def flat(config: ConfigDict, prefix: str = '') -> Iterator[str]:
    """Yields the full name of every key."""
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from flat(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}'


def values(config: ConfigDict, keys: Iterable[str]) -> dict[str, Any]:
    """Returns the values of keys by full name."""
    return {
        key: config[key] if '.' not in key else config[key.split('.')[0]][key.split('.')[1]]
        for key in keys
    }
