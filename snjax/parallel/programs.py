"""Programs for all devices of all processes: training steps and functions without a state."""

import logging
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from snjax.parallel import devices, targets
from snjax.parallel.collectives import AXIS
from snjax.parallel.placement import by_axis, mesh, numbers, replicate

_COMPILER_OPTIONS = {
    'cpu': {
        # YNNPACK runs matrix products and reductions up to 50 times faster. By default jax 0.10
        # also gives it convolutions, whose weight gradients are several times slower there.
        'xla_cpu_experimental_ynn_fusion_type': (
            'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE'
        ),
        # This pass removes the optimization barriers of remat and gradient accumulation before XLA
        # schedules. All parts would then be computed side by side, and little memory saved.
        'xla_disable_hlo_passes': 'cse_barrier_expander',
    },
}
_UNSUPPORTED: set[str] = set()  # backends whose jaxlib does not know these options
_QUICK_OPTIONS: dict[str, Any] = {
    'cpu': {'xla_backend_optimization_level': '0'},
}


def compile(lowered: Any, *, quickly: bool = False) -> Any:
    """`lowered.compile()` with this package's compiler options, where the jaxlib knows them.

    Args:
        lowered: what `jax.jit(f).lower(...)` returned.
        quickly: compile faster to slower code (on the CPU), for programs that run a few times.
    """
    if target := targets.current():
        return lowered.compile(compiler_options=target.compiler_options)
    backend = devices.backend()
    options: Any = (_QUICK_OPTIONS if quickly else _COMPILER_OPTIONS).get(backend)
    if options and backend not in _UNSUPPORTED:
        try:
            return lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            if 'No such compile option' not in str(error):
                raise
            _UNSUPPORTED.add(backend)
            logging.getLogger(__name__).warning(
                'jax %s does not know the compiler options %s; runs may be slower',
                jax.__version__,
                options,
            )
    return lowered.compile()


def compiler_options() -> str:
    """The compiler options of `compile` as text to print; empty if there are none."""
    backend = devices.backend()
    options = {} if backend in _UNSUPPORTED else _COMPILER_OPTIONS.get(backend, {})
    return ', '.join(f'{name}={value}' for name, value in options.items())


def run_once(function: Callable, *args: Any) -> Any:
    """Runs `function(*args)` as one quickly compiled program, e.g. to initialize a state."""
    return compile(jax.jit(function).lower(*args), quickly=True)(*args)


def _in_turn(outputs):
    """Waits for the outputs where several CPU devices are threads of this process.

    Queued programs with collectives deadlock there once in thousands of runs (jax 0.10 and 0.11):
    'Expected 4 threads to join the rendezvous, but only 3 of them arrived'.
    """
    if devices.backend() == 'cpu' and jax.local_device_count() > 1:
        jax.block_until_ready(outputs)
    return outputs


class OverBatches:
    """Runs `function(variables, batch)` on all devices, for sampling and features.

    `function` is written for the whole batch, as if there were one device; XLA shards the work
    along the batch.

    Args:
        function: takes replicated arrays, and arrays whose first axis is the batch.
    """

    def __init__(self, function: Callable[[Any, Any], Any]):
        self._sharded = NamedSharding(mesh(), PartitionSpec(AXIS))
        replicated = NamedSharding(mesh(), PartitionSpec())
        self._jitted = jax.jit(
            function,
            in_shardings=(replicated, self._sharded),
            out_shardings=replicated,
            keep_unused=True,
        )
        self._programs: dict[Any, Any] = {}

    def __call__(self, variables: Any, batch: Any) -> Any:
        """Returns the outputs, replicated; on accelerators before they are computed.

        Args:
            variables: arrays from `replicate`, or NumPy arrays.
            batch: NumPy arrays that are equal in every process, or the output of another
                `OverBatches`; its size is a multiple of the device count.
        """
        variables, batch = self._replicated(variables), jax.tree.map(self._shard_leaf, batch)
        leaves, tree = jax.tree.flatten((variables, batch))
        key = (tree, *((leaf.shape, leaf.dtype) for leaf in leaves))
        if key not in self._programs:
            self._programs[key] = compile(self._jitted.lower(variables, batch))
        return _in_turn(self._programs[key](variables, batch))

    def _replicated(self, variables):
        is_on_devices = all(
            isinstance(x, jax.Array) and len(x.sharding.device_set) == devices.device_count()
            for x in jax.tree.leaves(variables)
        )
        return variables if is_on_devices else replicate(variables)

    def _shard_leaf(self, leaf):
        if isinstance(leaf, jax.Array):
            return jax.device_put(leaf, self._sharded)
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, self._sharded, lambda index: host[index])


class DataParallel:
    """Runs `run(state, data, *streamed) -> (state, metrics)` on all devices; `state` is donated.

    `data` is replicated (`replicate`), `streamed` holds each device's own arrays (`shard_batch`).

    Args:
        run: the per-device function. Metrics and the replicated leaves of `state` that it returns
            must be equal on every device; `pmap` does not check that.
        state_axes: a state whose leaves are None (replicated) or 0 (one slice per device), or None
            if all leaves are replicated.
    """

    def __init__(self, run: Callable, state_axes: Any = None):
        self._state_axes, self._run = state_axes, run
        # pmap needs at least one mapped argument, and there may be no other.
        self.device_ids = numbers()
        target = targets.current()
        self._mapped = jax.pmap(
            lambda state, data, streamed, _: run(state, data, *streamed),
            axis_name=AXIS,
            in_axes=(state_axes, None, 0, 0),
            out_axes=(state_axes, None),
            axis_size=devices.device_count(),
            devices=target.devices if target else None,
            donate_argnums=0,
        )

    def per_device(self, state: Any) -> Any:
        """Shapes of one device's part of `state`."""
        return by_axis(self._state_axes, _own_shapes, _shapes, state)

    def trace(
        self, state: Any, data: Any, streamed: tuple = (), num_devices: int | None = None
    ) -> Any:
        """The jaxpr of one device for arguments of these shapes, e.g. to count its operations.

        It is the same in every process; the `pmap` over all processes cannot be traced in one.

        Args:
            state, data, streamed: arrays or shapes, as for `compile`.
            num_devices: trace for another device count, if no leaf of the state is mapped.
        """
        arguments = self.per_device(state), _shapes(data), *_own_shapes(streamed)
        axes = [(AXIS, num_devices or devices.device_count())]
        return jax.make_jaxpr(self._run, axis_env=axes)(*arguments).jaxpr

    def lower(
        self, state: Any, data: Any, platform: str | None = None, streamed: tuple = ()
    ) -> Any:
        """The lowered program for arguments of these shapes, for this machine or for `platform`.

        Args:
            state, data, streamed: arrays or shapes, as for `compile`.
            platform: 'cuda' or 'tpu' to inspect the program of another platform. Choices that the
                code makes by backend (loops, forms of convolutions) stay those of this machine.
        """
        arguments = state, data, streamed, self.device_ids
        if platform is None:
            return self._mapped.lower(*arguments)
        return jax.jit(self._mapped).trace(*arguments).lower(lowering_platforms=(platform,))

    def compile(self, state: Any, data: Any, *streamed: Any, quickly: bool = False) -> 'Program':
        """Compiles for arguments of these shapes.

        Args:
            state: from `shard`, or from `replicate` where no leaf is mapped.
            data: from `replicate`.
            *streamed: from `shard_batch`.
            quickly: see `compile`.
        """
        lowered = self.lower(state, data, streamed=streamed)
        return Program(compile(lowered, quickly=quickly), self.device_ids)


def _shapes(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def _own_shapes(tree):
    """Shapes without the leading device axis."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), tree)


class Program:
    """A compiled `DataParallel`: `(state, data, *streamed) -> (state, metrics)`."""

    def __init__(self, compiled: Any, device_ids: jax.Array):
        self._compiled, self._device_ids = compiled, device_ids

    def __call__(self, state: Any, data: Any, *streamed: Any) -> tuple[Any, Any]:
        return _in_turn(self._compiled(state, data, streamed, self._device_ids))

    @property
    def temporary_bytes(self) -> int | None:
        """XLA's temporary memory per device, beside arguments and results; None if unknown."""
        analysis = self._compiled.memory_analysis()
        return analysis.temp_size_in_bytes if analysis else None

    @property
    def argument_bytes(self) -> int | None:
        """Memory of the arguments per device; None if XLA does not know it."""
        analysis = self._compiled.memory_analysis()
        return analysis.argument_size_in_bytes if analysis else None

    @property
    def flops(self) -> float | None:
        """Operations of one call per device by XLA's count, which enters a loop's body once.

        None if XLA does not know them.
        """
        analysis = self._compiled.cost_analysis()
        analysis = analysis[0] if isinstance(analysis, list) and analysis else analysis
        count = analysis.get('flops', 0) if analysis else 0
        return count if count > 0 else None
