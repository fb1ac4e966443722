"""Checks of a network's arguments; the errors are one line and name the key of the config."""

import difflib
from collections.abc import Iterable
from typing import TypeVar

Name = TypeVar('Name', bound=str)


def choose(key: str, name: Name, accepted: Iterable[str]) -> Name:
    """`name`, if it is accepted.

    Raises:
        ValueError: it is not; the message lists the accepted names and the nearest of them.
    """
    accepted = list(accepted)
    if name not in accepted:
        near = difflib.get_close_matches(str(name), accepted, n=1, cutoff=0.5)
        hint = f'; the nearest is {near[0]!r}' if near else ''
        use = near[0] if near else accepted[0]
        raise ValueError(
            f'{key} is {name!r}: accepted are {", ".join(map(repr, accepted))}{hint} '
            f'(--config.model.{key}={use})'
        )
    return name


def at_least(least: int, key: str, value: int) -> int:
    """`value`, if it is a whole number from `least` on; raises ValueError otherwise."""
    if not isinstance(value, int) or value < least:
        raise ValueError(
            f'{key} is {value!r}: whole numbers from {least} are accepted (--config.model.{key})'
        )
    return value


def positive(key: str, value: float) -> float:
    """`value`, if it is finite and above 0; raises ValueError otherwise."""
    if not 0 < value < float('inf'):
        raise ValueError(f'{key} is {value!r}: numbers above 0 are accepted (--config.model.{key})')
    return value
