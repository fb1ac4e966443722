"""Where arrays lie: whole on every device, cut over them, and back."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from snjax.parallel.collectives import AXIS


def mesh() -> Mesh:
    return Mesh(np.array(jax.devices()), (AXIS,))


def replicate(tree: Any) -> Any:
    """Puts arrays, equal in every process, on all devices (replicated), as `data_parallel` takes them."""
    sharding = NamedSharding(mesh(), PartitionSpec())

    def one(leaf):
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(one, tree)


def shard(state: Any, axes: Any) -> Any:
    """Puts a state on the devices as a run takes it: `replicate`, but leaves that `axes` maps are cut.

    Args:
        state: arrays, equal in every process.
        axes: see `DataParallel`.

    Returns:
        The state, whose mapped leaves (n, ...) are now (devices, rows, ...), zeros behind the last: device i has rows
        i * rows up to (i + 1) * rows.
    """
    n = jax.device_count()
    sharding = NamedSharding(mesh(), PartitionSpec(AXIS))

    def cut(leaf):
        host = np.asarray(leaf)
        rows = -(-len(host) // n)
        host = np.pad(host, [(0, n * rows - len(host)), *[(0, 0)] * (host.ndim - 1)])
        host = host.reshape(n, rows, *host.shape[1:])
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return by_axis(axes, lambda tree: jax.tree.map(cut, tree), replicate, state)


def shard_shapes(shapes: Any, axes: Any) -> Any:
    """Shapes and dtypes of what `shard` makes of a state with these."""
    n = jax.device_count()

    def cut(leaf):
        return jax.ShapeDtypeStruct((n, -(-leaf.shape[0] // n), *leaf.shape[1:]), leaf.dtype)

    return by_axis(axes, lambda tree: jax.tree.map(cut, tree), lambda tree: tree, shapes)


def gather(state: Any, axes: Any, shapes: Any) -> Any:
    """What `shard` has cut put together again, on every device; `shapes` are those before."""

    def join(leaf, shape):
        return _join_rows()(leaf, shape.shape[0])

    return by_axis(
        axes, lambda *trees: jax.tree.map(join, *trees), lambda tree, _: tree, state, shapes
    )


@functools.cache
def _join_rows() -> Callable:
    """`(leaf, n)`: (devices, rows, ...) to its first n rows; a program, as several processes need it."""

    def join(leaf, num):
        return leaf.reshape(-1, *leaf.shape[2:])[:num]

    return jax.jit(join, static_argnums=1, out_shardings=NamedSharding(mesh(), PartitionSpec()))


def by_axis(axes, mapped, replicated, *trees):
    """Applies one of two functions to the parts of `trees` that `axes`, a prefix of them, maps or not."""
    if axes is None:
        return replicated(*trees)

    def one(axis, *parts):
        return (replicated if axis is None else mapped)(*parts)

    return jax.tree.map(one, axes, *trees, is_leaf=lambda x: x is None)


def abstract(tree: Any) -> Any:
    """Shapes, dtypes and the replicated sharding of `tree`, without its data: the target of a restore."""
    sharding = NamedSharding(mesh(), PartitionSpec())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def own_examples(batch_size: int) -> list[Int[np.ndarray, ' b']]:
    """`example_ids` of this process's devices, in their order: what a host has to read of a global batch."""
    share = batch_size // jax.device_count()
    return [place * share + np.arange(share) for place in _own_places()]


def shard_batch(arrays: list[np.ndarray]) -> jax.Array:
    """One array for each of this process's devices as a run takes what is streamed: mapped, (devices, ...).

    The copies are on their way when it returns, so the arrays may not be written to any more.
    """
    devices = jax.devices()
    placed = [
        jax.device_put(array[None], devices[place])
        for place, array in zip(_own_places(), arrays, strict=True)
    ]
    shape = (len(devices), *arrays[0].shape)
    sharding = NamedSharding(mesh(), PartitionSpec(AXIS))
    return jax.make_array_from_single_device_arrays(shape, sharding, placed)


def _own_places() -> list[int]:
    """Where this process's devices stand among all."""
    here = jax.process_index()
    return [i for i, device in enumerate(jax.devices()) if device.process_index == here]


def first_replica(tree: Any) -> Any:
    """Replicated arrays as this process's own, on its first device: for sampling and for looking at values."""
    return jax.tree.map(lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x, tree)


def is_ready(tree: Any) -> bool:
    """Whether the devices have computed all of it."""
    return all(leaf.is_ready() for leaf in jax.tree.leaves(tree))
