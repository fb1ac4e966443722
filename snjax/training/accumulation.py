"""Gradient accumulation: a batch taken in equal parts, one after the other, to hold one part in
memory.

The mean over a batch is the mean over its parts of their means. The same is true of its gradient
and of the statistics that batch norm moves by. It is not true of quantities that are no mean over
examples, such as a relativistic average or a standard deviation.

Batch norm normalizes each part by the part's own statistics. The running statistics move once per
batch, r' = m r + (1 - m) mean_k(s_k): the mean of where each part alone would have moved them, as
across devices with unsynchronized batch norm. The variance of a part is around the part's mean, so the
spread of those means is left out.

Power iterations depend on no image and start, in every part, from the vectors before the batch. So
all parts compute the same vectors, and these advance as often as without parts.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from snjax import parallel


def over_parts(function: Callable[[Any], tuple[Any, Any]], batch: Any, num: int) -> tuple[Any, Any]:
    """Computes `function(batch)` on `num` equal parts of the batch, one after the other.

    Up to rounding this is `function(batch)` itself, if the first value of `function` is a mean over
    examples and no example depends on another.

    Args:
        function: maps a part to values that are averaged over the parts (gradients, losses), and to
            arrays with one row per example.
        batch: arrays (b, ...); `num` divides b. Part k has the examples from k b / num on.
        num: number of parts; with 1, `function` is called on the batch itself.

    Returns:
        The averaged values, and the rows in the order of the batch. Values on which all parts agree
        come back bit for bit.
    """
    if num == 1:
        return function(batch)
    parts = jax.tree.map(lambda x: x.reshape(num, -1, *x.shape[1:]), batch)
    function = jax.jit(function)  # traced once, for its shapes and for all parts
    shapes, _ = jax.eval_shape(function, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def add(means, turn):
        count, part = turn
        # Without the barrier XLA may run unrolled parts side by side, with all activations in
        # memory.
        means, part = lax.optimization_barrier((means, part))
        new, rows = function(part)
        # A running mean, not a sum: the mean of equal numbers is then exact for any count.
        means = jax.tree.map(lambda m, x: m + ((x - m) / count).astype(m.dtype), means, new)
        return means, rows

    counts = jnp.arange(1, num + 1, dtype=jnp.float32)
    means, rows = parallel.scan_or_unroll(add, zeros, (counts, parts), num)
    return means, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)


def value_and_grad(loss_fn: Callable[..., Any], num: int) -> Callable[..., Any]:
    """`jax.value_and_grad(loss_fn, has_aux=True)` over `num` parts of a batch in turn.

    Args:
        loss_fn: `(params, *examples) -> (loss, aux)`; both are means over the examples, or do not
            depend on them, as penalties on weights.
        num: number of parts; divides the number of examples.

    Returns:
        `(params, *examples) -> ((loss, aux), gradient)`.
    """
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

    def mean_over_parts(params, *examples):
        return over_parts(lambda part: (grad_fn(params, *part), None), examples, num)[0]

    return mean_over_parts
