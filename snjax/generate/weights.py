"""The generator's weights to use: as trained, or their moving average (EMA)."""

from collections.abc import Mapping
from typing import Any

KINDS = ('ema', 'raw')
CHOICES = ('auto', *KINDS)


def select(
    raw: Mapping[str, Any] | None, ema: Mapping[str, Any] | None, weights: str = 'auto'
) -> Mapping[str, Any]:
    """The generator's variables by name: the one rule for training, sampling and scores.

    Args:
        raw: variables as trained; None for an exported moving average, which is alone.
        ema: their moving average; None if the run keeps none. One of the two is there.
        weights: 'raw', 'ema', or 'auto' for the EMA if the run keeps one and for 'raw' otherwise.

    Returns:
        `raw` or `ema` itself.

    Raises:
        ValueError: an unknown name, or weights that are not there.
    """
    if weights not in CHOICES:
        raise ValueError(f'weights {weights!r}: accepted are {", ".join(CHOICES)}')
    if weights == 'ema' and ema is None:
        raise ValueError(
            'weights ema: this run kept no moving average (optimizer.ema_decay is 0); '
            'use raw or auto'
        )
    if weights == 'raw' and raw is None:
        raise ValueError(
            'weights raw: this file holds the moving average alone; use ema or auto, or export '
            'the run with weights raw'
        )
    found = raw if weights == 'raw' or ema is None else ema
    assert found is not None
    return found
