r"""Memory of a training step before it runs: our estimate and XLA's own count.

    python -m benchmarks.memory --config=sngan_imagenet [--set=batch_size=64 ...] \
        [--accumulate=1,4] [--out=FILE]

Each config is measured with and without `model.remat`, in the types of `--dtypes` and, with
`--accumulate`, with batches in so many parts (`benchmarks.accumulation` has their times). XLA's
count is that of this backend: a CPU computes bfloat16 convolutions in float32, so its count says
nothing about bfloat16, and it keeps transposed copies for the gradients of kernels, which a GPU
does not.
"""

import argparse
import itertools

import jax
import numpy as np

from benchmarks import command, machine
from benchmarks.workloads import load_config
from experiments import build
from snjax import from_config, parallel
from snjax.latents.sampling import seed_key
from snjax.parallel import cost
from snjax.training.step import device_data, make_step

_DTYPES = command.names(('float32', 'bfloat16'))
_REMAT = command.names(('False', 'True'))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', action='append', required=True)
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    parser.add_argument('--dtypes', type=_DTYPES, default='float32,bfloat16')
    parser.add_argument('--remat', type=_REMAT, default='False,True')
    parser.add_argument('--accumulate', type=command.counts, default='1')
    parser.add_argument(
        '--compile', action='store_true', help="XLA's count too, which takes minutes"
    )
    parser.add_argument('--out', type=command.report)
    args = parser.parse_args()
    given = command.changes(args.set)
    report = {**machine.describe(), 'changes': given, 'configs': {}}
    for name in args.config:
        load_config(name, given)
    for name in args.config:
        found = report['configs'][name] = {}
        options = itertools.product(args.dtypes, args.remat, args.accumulate)
        for dtype, remat, accumulate in options:
            changes = {**given, 'model.dtype': dtype, 'model.remat': remat}
            form = dtype + ', remat' * (remat == 'True')
            if args.accumulate != [1]:
                changes['accumulate'] = accumulate
                form += f', accumulate {accumulate}'
            found[form] = measure(load_config(name, changes), args.compile)
            machine.write(report, args.out)


def measure(config, compiles):
    """Bytes of the state, and of a step without the state."""
    options = build.options(config)
    # A set of one batch: the step's memory does not depend on the set's size.
    like = from_config.images_shape(config, config.batch_size)
    shape = like.shape
    pixels = np.zeros(shape, like.dtype)
    method = build.method(config).with_images(pixels)
    data = device_data(pixels, np.zeros(shape[0], np.int32), 0)
    state = parallel.shard_shapes(
        jax.eval_shape(method.init, seed_key(0, 'init')), method.state_axes
    )
    step = parallel.DataParallel(make_step(method, options), method.state_axes)
    found = {
        'state': cost.bytes_of(state),
        'estimated': cost.temporary_bytes(step.trace(state, data)),
    }
    if compiles:
        found['xla'] = step.compile(state, data).temporary_bytes
    return found


if __name__ == '__main__':
    command.run(main)
