"""Functions for use inside a step: this device's share of the batch, averages, table lookups."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from snjax.shapes import Array, Int

AXIS = 'batch'


def example_ids(batch_size: int) -> Int[Array, ' b']:
    """Positions in the global batch of this device's examples."""
    local = batch_size // lax.axis_size(AXIS)
    return lax.axis_index(AXIS) * local + jnp.arange(local, dtype=jnp.int32)


def mean(tree: Any) -> Any:
    """Average over the devices.

    For a gradient, differentiate the local loss and apply this once to the result.
    """
    return lax.pmean(tree, AXIS)


def total(tree: Any) -> Any:
    """Sum over the devices."""
    return lax.psum(tree, AXIS)


def batch_mean(x: Array) -> Array:
    """Average of an array over all its axes and all devices, i.e. over the global batch."""
    return lax.pmean(jnp.mean(x), AXIS)


def whole_batch(tree: Any) -> tuple[Int[Array, ' b'], Any]:
    """This device's rows, and the whole batch: the rows of all devices in the order of examples.

    A loss of one device's examples may see those of all; the gradient passes back to each device.

    Args:
        tree: arrays (b, ...), this device's share.

    Returns:
        Where that share is in the batch, and arrays (n, ...).
    """
    rows = lax.all_gather(tree, AXIS, tiled=True)
    return example_ids(_num_rows(rows)), rows


def take_rows(table: Any, index: Int[Array, ' b']) -> Any:
    """Reads rows of a table that is sharded over the devices.

    Args:
        table: arrays (rows, ...), this device's shard of the table (see `shard`).
        index: positions of this device's examples in the whole table.

    Returns:
        Arrays (b, ...): the rows at `index`, whichever device holds them.
    """
    position, owned = _local_positions(table, index)

    def take(leaf):
        rows = leaf[jnp.where(owned, position, 0)]
        own_rows = jnp.where(owned.reshape(-1, *[1] * (leaf.ndim - 1)), rows, 0)
        # One device owns each row and the others add zeros, so the sum is exact.
        return lax.psum_scatter(own_rows, AXIS, tiled=True)

    return jax.tree.map(take, table)


def put_rows(table: Any, index: Int[Array, ' b'], rows: Any) -> Any:
    """Returns the table with `rows` written at `index`; all other rows keep their bits.

    Args:
        table: see `take_rows`.
        index: see `take_rows`.
        rows: arrays (b, ...), the new rows.
    """
    position, owned = _local_positions(table, index)
    position = jnp.where(owned, position, _num_rows(table))  # out of range, so dropped

    def put(leaf, new):
        return leaf.at[position].set(lax.all_gather(new, AXIS, tiled=True), mode='drop')

    return jax.tree.map(put, table, rows)


def _num_rows(table):
    return jax.tree.leaves(table)[0].shape[0]


def _local_positions(table, index):
    """Positions of the global batch's rows in this device's shard, and whether it owns them."""
    position = lax.all_gather(index, AXIS, tiled=True) - lax.axis_index(AXIS) * _num_rows(table)
    return position, (position >= 0) & (position < _num_rows(table))
