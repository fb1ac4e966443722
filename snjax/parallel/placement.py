"""Puts arrays on the devices, replicated or sharded, and gathers them again."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from snjax.parallel import devices, targets
from snjax.parallel.collectives import AXIS
from snjax.shapes import Int


def mesh() -> Mesh:
    """All devices of the run along the one axis `AXIS`."""
    return Mesh(np.array(devices.all_devices()), (AXIS,))


def replicate(tree: Any) -> Any:
    """Puts arrays that are equal in every process on all devices, as `DataParallel` needs."""
    sharding = NamedSharding(mesh(), PartitionSpec())

    def one(leaf):
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(one, tree)


def shard(state: Any, axes: Any) -> Any:
    """Puts a state on the devices: shards the leaves that `axes` maps and replicates the others.

    Args:
        state: arrays, equal in every process.
        axes: see `DataParallel`.

    Returns:
        The state, whose mapped leaves (n, ...) have become (devices, rows, ...), padded with zeros.
        Device i holds the rows i * rows to (i + 1) * rows.
    """
    n = devices.device_count()
    sharding = NamedSharding(mesh(), PartitionSpec(AXIS))

    def cut(leaf):
        host = np.asarray(leaf)
        rows = -(-len(host) // n)
        host = np.pad(host, [(0, n * rows - len(host)), *[(0, 0)] * (host.ndim - 1)])
        host = host.reshape(n, rows, *host.shape[1:])
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return by_axis(axes, lambda tree: jax.tree.map(cut, tree), replicate, state)


def numbers() -> Any:
    """The number of each device, an int32 on each; shapes alone where a target is compiled for."""
    n, sharding = devices.device_count(), NamedSharding(mesh(), PartitionSpec(AXIS))
    if targets.current():
        return jax.ShapeDtypeStruct((n,), np.int32, sharding=sharding)
    return jax.make_array_from_callback(
        (n,), sharding, lambda index: np.arange(n, dtype=np.int32)[index]
    )


def shard_shapes(shapes: Any, axes: Any) -> Any:
    """Shapes and dtypes of the state that `shard` returns for a state of these `shapes`."""
    n = devices.device_count()

    def cut(leaf):
        return jax.ShapeDtypeStruct((n, -(-leaf.shape[0] // n), *leaf.shape[1:]), leaf.dtype)

    return by_axis(axes, lambda tree: jax.tree.map(cut, tree), lambda tree: tree, shapes)


def gather(state: Any, axes: Any, shapes: Any) -> Any:
    """Inverse of `shard`: gathers the state on every device and drops the padding.

    Args:
        state: as `shard` returned it.
        axes: see `DataParallel`.
        shapes: the state before `shard`, arrays or their shapes.
    """

    def join(leaf, shape):
        return _join_rows()(leaf, shape.shape[0])

    return by_axis(
        axes, lambda *trees: jax.tree.map(join, *trees), lambda tree, _: tree, state, shapes
    )


@functools.cache
def _join_rows() -> Callable:
    """Compiled `(leaf, n)`: the first n rows of a sharded (devices, rows, ...), replicated."""

    def join(leaf, num):
        return leaf.reshape(-1, *leaf.shape[2:])[:num]

    return jax.jit(join, static_argnums=1, out_shardings=NamedSharding(mesh(), PartitionSpec()))


def by_axis(axes, mapped, replicated, *trees):
    """Applies `mapped` to the parts of `trees` that the prefix `axes` maps, else `replicated`."""
    if axes is None:
        return replicated(*trees)

    def one(axis, *parts):
        return (replicated if axis is None else mapped)(*parts)

    return jax.tree.map(one, axes, *trees, is_leaf=lambda x: x is None)


def abstract(tree: Any) -> Any:
    """Shapes and dtypes of `tree` with a replicated sharding: the target of a restore."""
    sharding = NamedSharding(mesh(), PartitionSpec())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def own_examples(batch_size: int) -> list[Int[np.ndarray, ' b']]:
    """Positions in the global batch that this process has to read, one array per local device."""
    share = batch_size // devices.device_count()
    return [i * share + np.arange(share) for i in _own_devices()]


def shard_batch(arrays: list[np.ndarray]) -> jax.Array:
    """Puts one array on each local device, as one sharded array (devices, ...) in all.

    Copying is still under way on return, so the caller must not write to `arrays` afterwards.
    """
    on = jax.devices()
    placed = [
        jax.device_put(array[None], on[i]) for i, array in zip(_own_devices(), arrays, strict=True)
    ]
    shape = (len(on), *arrays[0].shape)
    sharding = NamedSharding(mesh(), PartitionSpec(AXIS))
    return jax.make_array_from_single_device_arrays(shape, sharding, placed)


def _own_devices() -> list[int]:
    """Indices of this process's devices in `jax.devices()`."""
    here = jax.process_index()
    return [i for i, device in enumerate(jax.devices()) if device.process_index == here]


def first_replica(tree: Any) -> Any:
    """This process's first copy of replicated arrays, for sampling and for reading values."""
    return jax.tree.map(lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x, tree)


def is_ready(tree: Any) -> bool:
    """Whether the devices have finished computing `tree`."""
    return all(leaf.is_ready() for leaf in jax.tree.leaves(tree))
