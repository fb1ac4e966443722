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


def in_parts(
    function: Callable[..., tuple[Any, Any]], examples: tuple[Any, ...], num: int
) -> tuple[Any, Any]:
    """`function(*examples)`, computed on `num` parts in turn: the same but for rounding where nothing mixes examples.

    With one part it is the call itself. Part k has the examples from k b / num on, so that they keep their numbers.

    Args:
        function: arrays (b, ...) to two trees: means over the examples, or what is the same for all parts; and
            arrays (b, ...) with a row for each example. Either may be None.
        examples: trees of arrays (b, ...), the arguments.
        num: divides b.

    Returns:
        The means, averaged over the parts (what is equal in all of them stays as it is, bit for bit), and the rows.
    """
    if num == 1:
        return function(*examples)
    parts = jax.tree.map(lambda x: x.reshape(num, -1, *x.shape[1:]), examples)
    function = jax.jit(function)  # traced once, for its shapes and for all parts
    shapes, _ = jax.eval_shape(function, *jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def body(means, turn):
        count, part = turn
        # Written out one after the other, parts have to wait for each other, or all are held at once.
        means, part = lax.optimization_barrier((means, part))
        new, rows = function(*part)
        # A running mean and not a sum: equal numbers have themselves as their mean, whatever their count.
        means = jax.tree.map(lambda m, x: m + ((x - m) / count).astype(m.dtype), means, new)
        return means, rows

    counts = jnp.arange(1, num + 1, dtype=jnp.float32)
    means, rows = parallel.scan(body, zeros, (counts, parts), num)
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

    def over_parts(params, *examples):
        return in_parts(lambda *part: (grad_fn(params, *part), None), examples, num)[0]

    return over_parts
