"""Devices and processes: the only place that knows how many there are.

A step is written for one device's share of the batch. `DataParallel` runs it on every device of every process with
`jax.pmap` over the axis `'batch'`; inside, `example_ids` says which examples of the global batch are this device's and
`mean` averages over the devices. On one device everything is the same, with an axis of length one.
"""

from snjax.parallel.collectives import (
    AXIS,
    batch_mean,
    example_ids,
    mean,
    put_rows,
    take_rows,
    total,
)
from snjax.parallel.devices import (
    check_batch_size,
    default_steps_per_call,
    describe,
    device_count,
    device_memory,
    divisible,
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
    any_says,
    exit_if_peer_lost,
    initialize,
    is_main,
    main_says,
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
    'any_says',
    'batch_mean',
    'check_batch_size',
    'compile',
    'compiler_options',
    'default_steps_per_call',
    'describe',
    'device_count',
    'device_memory',
    'divisible',
    'example_ids',
    'exit_if_peer_lost',
    'first_replica',
    'gather',
    'initialize',
    'is_main',
    'is_ready',
    'main_says',
    'mean',
    'own_examples',
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
]
