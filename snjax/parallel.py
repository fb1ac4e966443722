"""Devices and processes: the only file that knows how many there are.

A step is written for one device's share of the batch. `data_parallel` runs it on every device of every process with
`jax.pmap` over the axis `'batch'`; inside, `example_ids` says which examples of the global batch are this device's and
`mean` averages over the devices. On one device everything is the same, with an axis of length one.
"""

import functools
import logging
import signal
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from snjax import host

AXIS = 'batch'

# What XLA on a CPU hands to YNNPACK: matrix products and reductions, which are up to 50 times faster there, but not
# convolutions, as jax 0.10 does unless told otherwise: their weight gradients are several times slower there.
_COMPILER_OPTIONS = {
    'cpu': {
        'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE'
    },
}
_REFUSING: set[str] = set()  # backends that turned out not to know them
_QUICK_OPTIONS: dict[str, Any] = {
    'cpu': {'xla_backend_optimization_level': '0'},
}


# ---- processes


def initialize(mode: str, **where: Any) -> None:
    """Joins the processes of a run; call before anything else touches JAX.

    Args:
        mode: 'off' (one process), 'auto' (the cluster's environment says, as SLURM and TPU pods do) or 'explicit'.
        **where: `coordinator_address`, `num_processes`, `process_id` for 'explicit'.

    Raises:
        ValueError: for another mode, or 'explicit' with an address, count or number missing.
    """
    if mode == 'off':
        return
    if mode not in ('auto', 'explicit'):
        raise ValueError(f'--distributed={mode}: accepted are off, auto, explicit')
    names = ('coordinator_address', 'num_processes', 'process_id')
    missing = [name for name in names if where.get(name) in (None, '')]
    if mode == 'explicit' and missing:
        raise ValueError(
            f'--distributed=explicit needs --{" --".join(missing)}: '
            'the address host:port of process 0, the number of processes, and the number of this one'
        )
    # Gloo is what lets CPU processes talk; other backends ignore the setting.
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    jax.distributed.initialize(**(where if mode == 'explicit' else {}))


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def main_says(flag: bool) -> bool:
    """What process 0 holds to be true; every process has to ask."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.broadcast_one_to_all(np.int32(flag)))


def any_says(flag: bool) -> bool:
    """Whether it holds in any process; every process has to ask."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.int32(flag))))


class StopSignal:
    """SIGTERM, as schedulers send it before they take a machine away, agreed on by all processes.

    One process keeps the signal itself, and takes the first Ctrl-C for one; a second ends it at once. Several
    processes, which the signal may reach at different steps or not all, let JAX's coordination service agree on the
    step to stop at.
    """

    def __init__(self):
        self._asked = False
        if jax.process_count() == 1:
            self._previous = {
                number: signal.signal(number, self._ask)
                for number in (signal.SIGTERM, signal.SIGINT)
            }

    def _ask(self, number, _):
        self._asked = True
        signal.signal(number, self._previous[number])

    def at(self, step: int) -> bool:
        """Whether to save and stop after `step`; every process must ask at every step."""
        if jax.process_count() == 1:
            return self._asked
        return multihost_utils.reached_preemption_sync_point(step)

    def close(self) -> None:
        """Gives the signal back to whoever had it."""
        if jax.process_count() == 1:
            for number, handler in self._previous.items():
                signal.signal(number, handler)


# ---- devices


def device_count() -> int:
    """Devices of the whole run, over all processes."""
    return jax.device_count()


def describe() -> str:
    """One line for people: how many devices of what kind in how many processes."""
    kinds = sorted({d.device_kind for d in jax.devices()})
    n, p = jax.device_count(), jax.process_count()
    processes = f' in {p} processes' if p > 1 else ''
    return f'{n} {"/".join(kinds)} device{"s" * (n > 1)}{processes} ({jax.default_backend()})'


def check_batch_size(**sizes: int) -> None:
    """Raises a ValueError that names the first of `sizes` that the devices do not divide."""
    n = device_count()
    for name, size in sizes.items():
        if size % n:
            lower, upper = size // n * n, (size // n + 1) * n
            near = f'{lower} or {upper}' if lower else f'{upper}'
            raise ValueError(
                f'{name} {size} does not divide over {n} devices: use {near}, --config.{name}={upper}'
            )


def scan(
    body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any, length: int
) -> tuple[Any, Any]:
    """`lax.scan` on accelerators, written out on the CPU: there convolutions in a loop, even of one turn, crawl."""
    if jax.default_backend() != 'cpu':
        return lax.scan(body, carry, xs, length)
    body, out = jax.jit(body), []  # traced once
    for i in range(length):
        carry, y = body(carry, jax.tree.map(lambda x: x[i], xs))  # noqa: B023 (called at once)
        out.append(y)
    return carry, jax.tree.map(lambda *ys: jnp.stack(ys), *out)


def default_steps_per_call() -> int:
    """Updates per XLA program: many where launches cost, one on the CPU, where they would be unrolled."""
    return 1 if jax.default_backend() == 'cpu' else 50


# ---- inside a step


def example_ids(batch_size: int) -> Int[Array, ' b']:
    """This device's examples of a global batch, as positions in it."""
    local = batch_size // lax.axis_size(AXIS)
    return lax.axis_index(AXIS) * local + jnp.arange(local, dtype=jnp.int32)


def ids_of_share(num: int) -> Int[Array, ' b']:
    """`example_ids` of a global batch of which this device has `num` examples."""
    return example_ids(num * lax.axis_size(AXIS))


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
        table: arrays (rows, ...) of which every device has its own part (`spread`).
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


# ---- around a step


def _mesh() -> Mesh:
    return Mesh(np.array(jax.devices()), (AXIS,))


def place(tree: Any) -> Any:
    """Puts arrays, equal in every process, on all devices (replicated), as `data_parallel` takes them."""
    sharding = NamedSharding(_mesh(), PartitionSpec())

    def one(leaf):
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(one, tree)


def spread(state: Any, axes: Any) -> Any:
    """Puts a state on the devices as a run takes it: `place`, but leaves that `axes` maps are cut.

    Args:
        state: arrays, equal in every process.
        axes: see `DataParallel`.

    Returns:
        The state, whose mapped leaves (n, ...) are now (devices, rows, ...), zeros behind the last: device i has rows
        i * rows up to (i + 1) * rows.
    """
    n = jax.device_count()
    sharding = NamedSharding(_mesh(), PartitionSpec(AXIS))

    def cut(leaf):
        host = np.asarray(leaf)
        rows = -(-len(host) // n)
        host = np.pad(host, [(0, n * rows - len(host)), *[(0, 0)] * (host.ndim - 1)])
        host = host.reshape(n, rows, *host.shape[1:])
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return _by_axis(axes, lambda tree: jax.tree.map(cut, tree), place, state)


def spread_shapes(shapes: Any, axes: Any) -> Any:
    """Shapes and dtypes of what `spread` makes of a state with these."""
    n = jax.device_count()

    def cut(leaf):
        return jax.ShapeDtypeStruct((n, -(-leaf.shape[0] // n), *leaf.shape[1:]), leaf.dtype)

    return _by_axis(axes, lambda tree: jax.tree.map(cut, tree), lambda tree: tree, shapes)


def whole(state: Any, axes: Any, shapes: Any) -> Any:
    """What `spread` has cut put together again, on every device; `shapes` are those before."""

    def join(leaf, shape):
        return _join_rows()(leaf, shape.shape[0])

    return _by_axis(
        axes, lambda *trees: jax.tree.map(join, *trees), lambda tree, _: tree, state, shapes
    )


@functools.cache
def _join_rows() -> Callable:
    """`(leaf, n)`: (devices, rows, ...) to its first n rows; a program, as several processes need it."""

    def join(leaf, num):
        return leaf.reshape(-1, *leaf.shape[2:])[:num]

    return jax.jit(join, static_argnums=1, out_shardings=NamedSharding(_mesh(), PartitionSpec()))


def _by_axis(axes, mapped, replicated, *trees):
    """Applies one of two functions to the parts of `trees` that `axes`, a prefix of them, maps or not."""
    if axes is None:
        return replicated(*trees)

    def one(axis, *parts):
        return (replicated if axis is None else mapped)(*parts)

    return jax.tree.map(one, axes, *trees, is_leaf=lambda x: x is None)


def like(tree: Any) -> Any:
    """Shapes, dtypes and the replicated sharding of `tree`, without its data: the target of a restore."""
    sharding = NamedSharding(_mesh(), PartitionSpec())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def own_examples(batch_size: int) -> list[Int[np.ndarray, ' b']]:
    """`example_ids` of this process's devices, in their order: what a host has to read of a global batch."""
    share = batch_size // jax.device_count()
    return [place * share + np.arange(share) for place in _own_places()]


def shares(arrays: list[np.ndarray]) -> jax.Array:
    """One array for each of this process's devices as a run takes what is streamed: mapped, (devices, ...).

    The copies are on their way when it returns, so the arrays may not be written to any more.
    """
    devices = jax.devices()
    placed = [
        jax.device_put(array[None], devices[place])
        for place, array in zip(_own_places(), arrays, strict=True)
    ]
    shape = (len(devices), *arrays[0].shape)
    sharding = NamedSharding(_mesh(), PartitionSpec(AXIS))
    return jax.make_array_from_single_device_arrays(shape, sharding, placed)


def is_ready(tree: Any) -> bool:
    """Whether the devices have computed all of it."""
    return all(leaf.is_ready() for leaf in jax.tree.leaves(tree))


def device_memory() -> int:
    """Bytes of the smallest of this process's devices; CPU devices share the host's."""
    limits = [(d.memory_stats() or {}).get('bytes_limit') for d in jax.local_devices()]
    known = [limit for limit in limits if limit]
    if known:
        return min(known)
    return host.memory() // jax.local_device_count()


def _own_places() -> list[int]:
    """Where this process's devices stand among all."""
    here = jax.process_index()
    return [i for i, device in enumerate(jax.devices()) if device.process_index == here]


def local(tree: Any) -> Any:
    """Replicated arrays as this process's own, on its first device: for sampling and for looking at values."""
    return jax.tree.map(lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x, tree)


def compile(lowered: Any, *, quickly: bool = False) -> Any:
    """`lowered.compile()` with the backend's compiler options, where this jaxlib knows them.

    `quickly` is for programs that run a few times: on the CPU it compiles in less time to slower code.
    """
    backend = jax.default_backend()
    options: Any = (_QUICK_OPTIONS if quickly else _COMPILER_OPTIONS).get(backend)
    if options and backend not in _REFUSING:
        try:
            return lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            if 'No such compile option' not in str(error):
                raise
            _REFUSING.add(backend)
            logging.getLogger(__name__).warning(
                'jax %s does not know %s; runs may be slower', jax.__version__, options
            )
    return lowered.compile()


def compiler_options() -> str:
    """The options that `compile` gives this backend's compiler, for people; empty for none."""
    backend = jax.default_backend()
    options = {} if backend in _REFUSING else _COMPILER_OPTIONS.get(backend, {})
    return ', '.join(f'{name}={value}' for name, value in options.items())


def run_once(function: Callable, *args: Any) -> Any:
    """`function(*args)` as one program, compiled quickly rather than well: for what runs once, as making a state."""
    return compile(jax.jit(function).lower(*args), quickly=True)(*args)


class OverBatches:
    """`function(variables, batch)` over all devices of all processes, for what only looks: sampling and features.

    It sees the whole batch, as if there were one device, and XLA cuts the work along the batch.

    Args:
        function: of arrays that every device has, and of arrays whose first axis is the batch.
    """

    def __init__(self, function: Callable[[Any, Any], Any]):
        self._cut = NamedSharding(_mesh(), PartitionSpec(AXIS))
        whole = NamedSharding(_mesh(), PartitionSpec())
        self._jitted = jax.jit(
            function, in_shardings=(whole, self._cut), out_shardings=whole, keep_unused=True
        )
        self._programs: dict[Any, Any] = {}

    def __call__(self, variables: Any, batch: Any) -> Any:
        """The outputs, whole on every device; returns before they are there.

        Args:
            variables: placed by `place`, or NumPy arrays.
            batch: NumPy arrays equal in every process, or what another `OverBatches` gave; the devices divide its size.
        """
        variables, batch = self._placed(variables), jax.tree.map(self._cut_leaf, batch)
        leaves, tree = jax.tree.flatten((variables, batch))
        key = (tree, *((leaf.shape, leaf.dtype) for leaf in leaves))
        if key not in self._programs:
            self._programs[key] = compile(self._jitted.lower(variables, batch))
        return self._programs[key](variables, batch)

    def _placed(self, variables):
        is_placed = all(
            isinstance(x, jax.Array) and len(x.sharding.device_set) == jax.device_count()
            for x in jax.tree.leaves(variables)
        )
        return variables if is_placed else place(variables)

    def _cut_leaf(self, leaf):
        if isinstance(leaf, jax.Array):
            return jax.device_put(leaf, self._cut)
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, self._cut, lambda index: host[index])


def divisible(batch_size: int) -> int:
    """The smallest number from `batch_size` on that the devices divide."""
    return -(-batch_size // jax.device_count()) * jax.device_count()


class DataParallel:
    """`run(state, data, *streamed) -> (state, metrics)` over all devices of all processes, `state` donated.

    `data` is whole on every device (`place`), `streamed` are arrays of which each has its own (`shares`).

    Args:
        run: the per-device function. What it returns must be equal on every device (metrics, and the leaves of
            `state` that are replicated); `pmap` does not check.
        state_axes: a state whose leaves are None (replicated) or 0 (one slice a device), or None for all replicated.
    """

    def __init__(self, run: Callable, state_axes: Any = None):
        self._state_axes = state_axes
        # pmap takes its length from a mapped argument, and there may be no other: the devices' numbers are one.
        self.numbers = jax.make_array_from_callback(
            (jax.device_count(),),
            NamedSharding(_mesh(), PartitionSpec(AXIS)),
            lambda index: np.arange(jax.device_count(), dtype=np.int32)[index],
        )
        self._mapped = jax.pmap(
            lambda state, data, streamed, _: run(state, data, *streamed),
            axis_name=AXIS,
            in_axes=(state_axes, None, 0, 0),
            out_axes=(state_axes, None),
            axis_size=jax.device_count(),
            donate_argnums=0,
        )

    def per_device(self, state: Any) -> Any:
        """Shapes of what one device has of a state."""

        def own(leaf):
            return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)

        return _by_axis(self._state_axes, lambda t: jax.tree.map(own, t), lambda t: t, state)

    def trace(self, state: Any, data: Any, streamed: tuple = ()) -> Any:
        """The jaxpr for arguments like these, to count what it costs (`snjax.cost`): of one device."""
        return jax.make_jaxpr(self._mapped)(state, data, streamed, self.numbers).jaxpr

    def lower(
        self, state: Any, data: Any, platform: str | None = None, streamed: tuple = ()
    ) -> Any:
        """The program for arguments like these, before it is compiled: for here, or for 'cuda' or 'tpu' to look at.

        What depends on the backend (loops, forms of convolutions) is that of this one all the same.
        """
        arguments = state, data, streamed, self.numbers
        if platform is None:
            return self._mapped.lower(*arguments)
        return jax.jit(self._mapped).trace(*arguments).lower(lowering_platforms=(platform,))

    def compile(self, state: Any, data: Any, *streamed: Any, quickly: bool = False) -> 'Program':
        """The program for arguments like these, which `place` and `shares` have put on the devices."""
        lowered = self.lower(state, data, streamed=streamed)
        return Program(compile(lowered, quickly=quickly), self.numbers)


class Program:
    """A compiled `DataParallel`: `(state, data, *streamed) -> (state, metrics)`."""

    def __init__(self, compiled: Any, numbers: jax.Array):
        self._compiled, self._numbers = compiled, numbers

    def __call__(self, state: Any, data: Any, *streamed: Any) -> tuple[Any, Any]:
        return self._compiled(state, data, streamed, self._numbers)

    @property
    def temporary_bytes(self) -> int | None:
        """By XLA's count, of a device, arguments and results apart; None where the backend does not say."""
        analysis = self._compiled.memory_analysis()
        return analysis.temp_size_in_bytes if analysis else None
