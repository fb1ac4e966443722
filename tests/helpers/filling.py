"""States and variables of NumPy's numbers; compiling an `init` takes as long as a step."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Fill = Callable[[str, tuple[int, ...], np.random.Generator], Any]
# Ranges of the leaves that must be positive, or counts that start at 0.
_RANGES = {'var': (0.5, 2), 'scale': (0.5, 2), 'sigma': (1, 2), 'step': (0, 0), 'count': (0, 0)}


def filled(shapes: Any, fill: Fill, seed: int = 0) -> Any:
    """Gives every leaf of a tree of shapes its values.

    Args:
        shapes: a pytree of leaves with `shape` and `dtype`, as `jax.eval_shape` returns it.
        fill: called with the last key of the leaf's path, its shape and one common generator.
        seed: seed of the generator.

    Returns:
        The same tree of NumPy arrays.
    """
    rng = np.random.default_rng(seed)

    def leaf(path, like):
        name = getattr(path[-1], 'key', getattr(path[-1], 'name', ''))
        return np.broadcast_to(
            np.asarray(fill(name, like.shape, rng), like.dtype), like.shape
        ).copy()

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def filled_state(method: Any, seed: int = 0) -> Any:
    """A state of `method` with random numbers in all its leaves, such as training would leave."""

    def fill(name, shape, rng):
        return rng.uniform(*_RANGES.get(name, (-0.4, 0.4)), shape)

    return filled(jax.eval_shape(method.init, jax.random.key(0)), fill, seed)
