"""Gradient accumulation: what a large batch gives, computed part by part in the memory of a part."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from snjax import parallel


def over_parts(function: Callable[[Any], tuple[Any, Any]], batch: Any, num: int) -> tuple[Any, Any]:
    """`function(batch)`, computed on `num` equal parts of the batch one after the other.

    It is the same but for rounding where what is averaged is a mean over examples, and no example looks at another.

    Args:
        function: of a part, to what is averaged over the parts (gradients, losses) and arrays of one row per example.
        batch: arrays (b, ...); `num` divides b.
        num: parts; with one, `function` is called as it is.

    Returns:
        Both of what `function` gives, the rows in the order of the batch.
    """
    if num == 1:
        return function(batch)
    parts = jax.tree.map(lambda x: x.reshape(num, -1, *x.shape[1:]), batch)
    averaged, _ = jax.eval_shape(function, jax.tree.map(lambda x: x[0], parts))
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), averaged)

    def add(total, part):
        # Written out, the parts would otherwise be free to run side by side, with the activations of all at once.
        total, part = lax.optimization_barrier((total, part))
        averaged, rows = function(part)
        return jax.tree.map(jnp.add, total, averaged), rows

    total, rows = parallel.scan(add, zero, parts, num)
    mean = jax.tree.map(lambda x: x / num, total)
    return mean, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)
