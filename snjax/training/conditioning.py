"""Labels of an adversarial method, which are classes (b,) or numbers (b, k): blank ones, those of
grids, and what a method takes of its training set.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snjax.image_format import MAX_COLUMNS

_STEPS = 10  # of one number in a grid, a column each


def of_set(
    labels: np.ndarray | None, *, num_classes: int, num_conditions: int, fake_classes: str
) -> dict[str, Any]:
    """What a method takes of its training set, as arguments of `experiments.gan.Gan`.

    Args:
        labels: of the set: classes (N,), or numbers (N, k) with `num_conditions`; None if unknown.
        num_classes, num_conditions, fake_classes: of the method.

    Returns:
        `class_counts`, where the classes of fakes are as often as in the set; `grid_rows`, rows of
        numbers for grids; or nothing.
    """
    if labels is not None and num_conditions:
        return {'grid_rows': spread_rows(labels)}
    if labels is not None and fake_classes == 'set':
        return {'class_counts': tuple(np.bincount(labels, minlength=num_classes).tolist())}
    return {}


def blank_labels(num: int, num_classes: int, num_conditions: int) -> jax.Array | None:
    """Labels of `num` images, all zero, to initialize and trace networks with."""
    if num_conditions:
        return jnp.zeros((num, num_conditions))
    return jnp.zeros(num, jnp.int32) if num_classes else None


def spread_rows(numbers: np.ndarray, num: int = 100) -> tuple[tuple[float, ...], ...]:
    """Rows of a set's numbers (N, k) for a grid.

    Of one number, ten from its smallest to its largest, equally far apart, again and again, so that
    each column of a grid has one; of several, those of images spread evenly over the set.
    """
    if numbers.shape[1] == 1:
        steps = np.linspace(numbers.min(), numbers.max(), _STEPS)[:, None]
        rows = np.tile(steps, (-(-num // _STEPS), 1))[:num]
    else:
        rows = numbers[np.linspace(0, len(numbers), num, endpoint=False).astype(int)]
    return tuple(tuple(row) for row in rows.astype(float).tolist())


def grid_columns(num_classes: int, num_conditions: int) -> int | None:
    """Columns of a grid whose labels come in turn: one for each class, or for each step of one
    number; None where nothing would stand in a column.
    """
    if num_conditions == 1:
        return _STEPS
    return num_classes if 1 < num_classes <= MAX_COLUMNS else None


def labels_in_turn(
    labels: jax.Array | None,
    num: int,
    num_classes: int,
    num_conditions: int = 0,
    rows: Sequence[Sequence[float]] = (),
) -> jax.Array | None:
    """Labels of `num` images: those given, or the classes in turn, or the rows of numbers in turn.

    Raises:
        ValueError: labels of an unconditional generator, or neither labels nor rows of numbers.
    """
    if labels is not None and not (num_classes or num_conditions):
        raise ValueError('labels were given to an unconditional generator: leave them out')
    if labels is not None or not (num_classes or num_conditions):
        return labels
    if num_classes:
        return jnp.arange(num) % num_classes
    if not rows:
        raise ValueError(f'no labels were given: numbers ({num}, {num_conditions}) are needed')
    return jnp.asarray(np.resize(np.asarray(rows, np.float32), (num, num_conditions)))
