"""Checks of a network's arguments; the errors are one line and name the key of the config."""

import difflib
from collections.abc import Iterable
from typing import TypeVar

from snjax.image_format import ImageSize, canonical, said, sides

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


def check_multiples(image_size: ImageSize, factor: int, network: str) -> None:
    """Raises ValueError for a size with a side that `factor` does not divide; names the nearest.

    Args:
        image_size: of the images.
        factor: by which the network reduces them.
        network: named in the message.
    """
    for side in sides(image_size):
        if side % factor:
            below = max(side // factor, 1) * factor
            raise ValueError(
                f'image_size is {said(image_size)}: the {network} takes sides that are multiples '
                f'of {factor} there; the nearest to {side} are {below} and {below + factor} '
                '(--config.data.image_size)'
            )


def bottom_of(image_size: ImageSize, smallest: int, network: str) -> tuple[int, int]:
    """Height and width of the first feature map of a network that doubles them up to the image.

    Args:
        image_size: a power of 2, or two sides of which the smaller is one and the larger is a
            multiple of the same number of doublings.
        smallest: the smaller side of the first feature map.
        network: named in the message.

    Raises:
        ValueError: for another size.
    """
    side = min(sides(image_size))
    if side < 2 * smallest or side & (side - 1):
        lower = max(2 * smallest, 2 ** (max(side, 1).bit_length() - 1))
        of = '' if isinstance(canonical(image_size), int) else ' as the smaller side'
        raise ValueError(
            f'image_size is {said(image_size)}: the {network} takes powers of 2 from '
            f'{2 * smallest}{of}; the nearest are {lower} and {2 * lower} (--config.data.image_size)'
        )
    factor = side // smallest
    check_multiples(image_size, factor, network)
    height, width = sides(image_size)
    return height // factor, width // factor
