"""Inside a step: this device's share of a batch, averages over the devices, rows of a table that is cut over them."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

AXIS = 'batch'


def example_ids(batch_size: int) -> Int[Array, ' b']:
    """This device's examples of a global batch, as positions in it."""
    local = batch_size // lax.axis_size(AXIS)
    return lax.axis_index(AXIS) * local + jnp.arange(local, dtype=jnp.int32)


def mean(tree: Any) -> Any:
    """Average over the devices. For gradients: take the gradient of the local loss first, then this, once."""
    return lax.pmean(tree, AXIS)


def total(tree: Any) -> Any:
    """Sum over the devices."""
    return lax.psum(tree, AXIS)


def batch_mean(x: Array) -> Array:
    """Average of an array over all its axes and all devices: of the whole batch."""
    return lax.pmean(jnp.mean(x), AXIS)


def take_rows(table: Any, index: Int[Array, ' b']) -> Any:
    """Rows of a table that is cut over the devices, wherever they lie.

    Args:
        table: arrays (rows, ...) of which every device has its own part (`shard`).
        index: this device's share of a batch, as positions in the whole table.

    Returns:
        Arrays (b, ...): the rows that `index` names.
    """
    place, owned = _places(table, index)

    def take(leaf):
        rows = leaf[jnp.where(owned, place, 0)]
        mine = jnp.where(owned.reshape(-1, *[1] * (leaf.ndim - 1)), rows, 0)
        # Every row has one owner, and the others add zeros.
        return lax.psum_scatter(mine, AXIS, tiled=True)

    return jax.tree.map(take, table)


def put_rows(table: Any, index: Int[Array, ' b'], rows: Any) -> Any:
    """The table with new `rows` at `index`; arguments as of `take_rows`. All other rows stay bit for bit."""
    place, owned = _places(table, index)
    place = jnp.where(owned, place, _num_rows(table))  # out of range, so left out

    def put(leaf, new):
        return leaf.at[place].set(lax.all_gather(new, AXIS, tiled=True), mode='drop')

    return jax.tree.map(put, table, rows)


def _num_rows(table):
    return jax.tree.leaves(table)[0].shape[0]


def _places(table, index):
    """Where the rows of the whole batch lie in this device's part, and which of them do."""
    place = lax.all_gather(index, AXIS, tiled=True) - lax.axis_index(AXIS) * _num_rows(table)
    return place, (place >= 0) & (place < _num_rows(table))
