"""Devices, processes and backends: the only package that asks JAX for them.

A training step is written for one device's share of the batch. `DataParallel` runs it on every
device of every process with `jax.pmap` over the axis `'batch'`. Inside the step, `example_ids`
gives this device's positions in the global batch, and `mean` averages over the devices. One device
runs the same code with an axis of length one.
"""

from snjax.parallel.collectives import (
    AXIS,
    batch_mean,
    example_ids,
    mean,
    put_rows,
    take_rows,
    total,
    whole_batch,
)
from snjax.parallel.devices import (
    backend,
    check_batch_size,
    default_steps_per_call,
    describe,
    device_count,
    device_kind,
    device_memory,
    divisible,
    forms_of,
    on_host,
    scan_or_unroll,
)
from snjax.parallel.placement import (
    abstract,
    first_replica,
    gather,
    is_ready,
    own_examples,
    replicate,
    shard,
    shard_batch,
    shard_shapes,
)
from snjax.parallel.processes import (
    StopSignal,
    any_process,
    exit_if_peer_lost,
    from_main,
    initialize,
    is_main,
    process_count,
    process_index,
    report_exit,
)
from snjax.parallel.programs import (
    DataParallel,
    OverBatches,
    Program,
    compile,
    compiler_options,
    run_once,
)

__all__ = [
    'AXIS',
    'DataParallel',
    'OverBatches',
    'Program',
    'StopSignal',
    'abstract',
    'any_process',
    'backend',
    'batch_mean',
    'check_batch_size',
    'compile',
    'compiler_options',
    'default_steps_per_call',
    'describe',
    'device_count',
    'device_kind',
    'device_memory',
    'divisible',
    'example_ids',
    'exit_if_peer_lost',
    'first_replica',
    'forms_of',
    'from_main',
    'gather',
    'initialize',
    'is_main',
    'is_ready',
    'mean',
    'on_host',
    'own_examples',
    'process_count',
    'process_index',
    'put_rows',
    'replicate',
    'report_exit',
    'run_once',
    'scan_or_unroll',
    'shard',
    'shard_batch',
    'shard_shapes',
    'take_rows',
    'total',
    'whole_batch',
]
