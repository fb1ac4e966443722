"""Functions compiled for all devices of all processes: steps (`DataParallel`) and what only looks (`OverBatches`)."""

import logging
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from snjax.parallel import devices
from snjax.parallel.collectives import AXIS
from snjax.parallel.placement import by_axis, mesh, replicate

_COMPILER_OPTIONS = {
    'cpu': {
        # What XLA hands to YNNPACK: matrix products and reductions, which are up to 50 times faster there, but not
        # convolutions, as jax 0.10 does unless told otherwise: their weight gradients are several times slower there.
        'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE',
        # It drops the barriers of remat and of parts of a batch before it chooses an order, and then computes all parts
        # side by side: parts would save hardly any memory, and remat less.
        'xla_disable_hlo_passes': 'cse_barrier_expander',
    },
}
_REFUSING: set[str] = set()  # backends that turned out not to know them
_QUICK_OPTIONS: dict[str, Any] = {
    'cpu': {'xla_backend_optimization_level': '0'},
}


def compile(lowered: Any, *, quickly: bool = False) -> Any:
    """`lowered.compile()` with the backend's compiler options, where this jaxlib knows them.

    `quickly` is for programs that run a few times: on the CPU it compiles in less time to slower code.
    """
    backend = devices.backend()
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
    backend = devices.backend()
    options = {} if backend in _REFUSING else _COMPILER_OPTIONS.get(backend, {})
    return ', '.join(f'{name}={value}' for name, value in options.items())


def run_once(function: Callable, *args: Any) -> Any:
    """`function(*args)` as one program, compiled quickly rather than well: for what runs once, as making a state."""
    return compile(jax.jit(function).lower(*args), quickly=True)(*args)


def _in_turn(outputs):
    """Waits where several devices are threads of this process: XLA's lock up, once in thousands of programs, if queued.

    The sign is 'Expected 4 threads to join the rendezvous, but only 3 of them arrived' (jax 0.10 and 0.11).
    """
    if devices.backend() == 'cpu' and jax.local_device_count() > 1:
        jax.block_until_ready(outputs)
    return outputs


class OverBatches:
    """`function(variables, batch)` over all devices of all processes, for what only looks: sampling and features.

    It sees the whole batch, as if there were one device, and XLA cuts the work along the batch.

    Args:
        function: of arrays that every device has, and of arrays whose first axis is the batch.
    """

    def __init__(self, function: Callable[[Any, Any], Any]):
        self._cut = NamedSharding(mesh(), PartitionSpec(AXIS))
        whole = NamedSharding(mesh(), PartitionSpec())
        self._jitted = jax.jit(
            function, in_shardings=(whole, self._cut), out_shardings=whole, keep_unused=True
        )
        self._programs: dict[Any, Any] = {}

    def __call__(self, variables: Any, batch: Any) -> Any:
        """The outputs, whole on every device; on accelerators it returns before they are there.

        Args:
            variables: placed by `replicate`, or NumPy arrays.
            batch: NumPy arrays equal in every process, or what another `OverBatches` gave; the devices divide its size.
        """
        variables, batch = self._placed(variables), jax.tree.map(self._cut_leaf, batch)
        leaves, tree = jax.tree.flatten((variables, batch))
        key = (tree, *((leaf.shape, leaf.dtype) for leaf in leaves))
        if key not in self._programs:
            self._programs[key] = compile(self._jitted.lower(variables, batch))
        return _in_turn(self._programs[key](variables, batch))

    def _placed(self, variables):
        is_placed = all(
            isinstance(x, jax.Array) and len(x.sharding.device_set) == jax.device_count()
            for x in jax.tree.leaves(variables)
        )
        return variables if is_placed else replicate(variables)

    def _cut_leaf(self, leaf):
        if isinstance(leaf, jax.Array):
            return jax.device_put(leaf, self._cut)
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, self._cut, lambda index: host[index])


class DataParallel:
    """`run(state, data, *streamed) -> (state, metrics)` over all devices of all processes, `state` donated.

    `data` is whole on every device (`replicate`), `streamed` are arrays of which each has its own (`shard_batch`).

    Args:
        run: the per-device function. What it returns must be equal on every device (metrics, and the leaves of
            `state` that are replicated); `pmap` does not check.
        state_axes: a state whose leaves are None (replicated) or 0 (one slice a device), or None for all replicated.
    """

    def __init__(self, run: Callable, state_axes: Any = None):
        self._state_axes, self._run = state_axes, run
        # pmap takes its length from a mapped argument, and there may be no other: the devices' numbers are one.
        self.numbers = jax.make_array_from_callback(
            (jax.device_count(),),
            NamedSharding(mesh(), PartitionSpec(AXIS)),
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
        return by_axis(self._state_axes, _own_shapes, _shapes, state)

    def trace(
        self, state: Any, data: Any, streamed: tuple = (), num_devices: int | None = None
    ) -> Any:
        """The jaxpr of one device for arguments like these, to count what it costs (`snjax.training.cost`).

        It is the same in every process, none of which could trace the `pmap` of all. A state without mapped leaves may
        be traced for other than the devices that there are.
        """
        arguments = self.per_device(state), _shapes(data), *_own_shapes(streamed)
        axes = [(AXIS, num_devices or jax.device_count())]
        return jax.make_jaxpr(self._run, axis_env=axes)(*arguments).jaxpr

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
        """The program for arguments like these, which `replicate` and `shard_batch` have put on the devices."""
        lowered = self.lower(state, data, streamed=streamed)
        return Program(compile(lowered, quickly=quickly), self.numbers)


def _shapes(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def _own_shapes(tree):
    """Without the axis of the devices."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), tree)


class Program:
    """A compiled `DataParallel`: `(state, data, *streamed) -> (state, metrics)`."""

    def __init__(self, compiled: Any, numbers: jax.Array):
        self._compiled, self._numbers = compiled, numbers

    def __call__(self, state: Any, data: Any, *streamed: Any) -> tuple[Any, Any]:
        return _in_turn(self._compiled(state, data, streamed, self._numbers))

    @property
    def temporary_bytes(self) -> int | None:
        """By XLA's count, of a device, arguments and results apart; None where the backend does not say."""
        analysis = self._compiled.memory_analysis()
        return analysis.temp_size_in_bytes if analysis else None
