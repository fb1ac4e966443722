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
    each,
    scan,
)
from snjax.parallel.placement import (
    is_ready,
    like,
    local,
    own_examples,
    place,
    shares,
    spread,
    spread_shapes,
    whole,
)
from snjax.parallel.processes import (
    StopSignal,
    any_says,
    initialize,
    is_main,
    judge,
    leaving,
    main_says,
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
    'each',
    'example_ids',
    'initialize',
    'is_main',
    'is_ready',
    'judge',
    'leaving',
    'like',
    'local',
    'main_says',
    'mean',
    'own_examples',
    'place',
    'put_rows',
    'run_once',
    'scan',
    'shares',
    'spread',
    'spread_shapes',
    'take_rows',
    'total',
    'whole',
]
