"""Gradient accumulation: a batch taken in equal parts, one after the other, so that memory holds one part at a time.

The mean over a batch is the mean over its parts of their means, and so are its gradient and the statistics that batch
norm moves by. What is not a mean over examples (the relativistic average, a standard deviation) cannot be had in parts.

Batch norm normalises each part by its own statistics. The running ones move once, from those before the batch to the
mean of where each part alone would have moved them: r' = m r + (1 - m) mean_k(s_k), the rule that averages over devices
whose statistics are their own. A part's variance is around the part's mean, so what the means differ by is left out.
Power iterations start, in every part, from the vectors before the batch and depend on no image: all parts make the same
ones, and they advance as often as they would without parts.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from snjax import parallel


def over_parts(function: Callable[[Any], tuple[Any, Any]], batch: Any, num: int) -> tuple[Any, Any]:
    """`function(batch)`, computed on `num` equal parts of the batch one after the other.

    It is the same but for rounding where what is averaged is a mean over examples, and no example looks at another.
    Part k has the examples from k b / num on.

    Args:
        function: of a part, to what is averaged over the parts (gradients, losses) and arrays of one row per example.
        batch: arrays (b, ...); `num` divides b.
        num: parts; with one, `function` is called as it is.

    Returns:
        Both of what `function` gives, the rows in the order of the batch. Of the first, what all parts agree on stays
        as it is, bit for bit.
    """
    if num == 1:
        return function(batch)
    parts = jax.tree.map(lambda x: x.reshape(num, -1, *x.shape[1:]), batch)
    function = jax.jit(function)  # traced once, for its shapes and for all parts
    shapes, _ = jax.eval_shape(function, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def add(means, turn):
        count, part = turn
        # Written out, the parts would otherwise be free to run side by side, with the activations of all at once.
        means, part = lax.optimization_barrier((means, part))
        new, rows = function(part)
        # A running mean and not a sum: equal numbers have themselves as their mean, whatever their count.
        means = jax.tree.map(lambda m, x: m + ((x - m) / count).astype(m.dtype), means, new)
        return means, rows

    counts = jnp.arange(1, num + 1, dtype=jnp.float32)
    means, rows = parallel.scan_or_unroll(add, zeros, (counts, parts), num)
    return means, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)


def value_and_grad(loss_fn: Callable[..., Any], num: int) -> Callable[..., Any]:
    """`jax.value_and_grad(loss_fn, has_aux=True)` over `num` parts of a batch in turn.

    Args:
        loss_fn: `(params, *examples) -> (loss, aux)`, of which loss and aux are means over the examples, or do not
            depend on them, as penalties on weights.
        num: parts; divides the examples.

    Returns:
        `(params, *examples) -> ((loss, aux), gradient)`.
    """
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

    def mean_over_parts(params, *examples):
        return over_parts(lambda part: (grad_fn(params, *part), None), examples, num)[0]

    return mean_over_parts
