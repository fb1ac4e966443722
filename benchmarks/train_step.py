r"""Cost of one generator update of a config: time, share of the device's peak, memory, compilation.

    python -m benchmarks.train_step --config=sngan_cifar[:argument] \
        [--set=model.dtype=bfloat16 ...] [--out=FILE]
    python -m benchmarks.train_step --all [--out=FILE]

The report of a config:

* `seconds_per_update`: of `--rounds` rounds, and their median; `images_per_s` counts real images.
* `flops`: multiplications and additions of one update as published, on paper, in total and by
  layer; `executed`: the same after the rewrites of `snjax.nn.convolution`.
* `share_of_peak`: published operations per second over those of a large matrix product in the same
  type, measured in the same run (`peak_flops`).
* `memory`: estimated before compilation, by XLA's analysis of the program, and the device's peak so
  far (on a CPU, of the whole process), which is the config's own if it is the first.
* `trace_s`, `compile_s`: time to trace and lower the step, and to compile it without a cache.
* `host_share`: share of the program's time that Python spends on starting it; the host is free for
  the rest.
"""

import argparse
import contextlib
import gc
import resource
import statistics
import time
from unittest import mock

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks import command, conv, machine
from benchmarks.workloads import Step, load_config
from snjax import parallel
from snjax.nn import convolution, strided
from snjax.parallel import cost

# One config of every method and network.
CONFIGS = (
    'sngan_cifar',
    'sngan_cifar_cnn:C',
    'sngan_stl',
    'cgan_cifar',
    'acgan_cifar',
    'wgan_gp_cifar',
    'wgan_gp_cifar:cnn',
    'dcgan_cifar',
    'dragan_cifar',
    'sagan_cifar',
    'r3gan_cifar:resnet',
    'r3gan_cifar:laptop',
    'glo_cifar',
    'sngan_digits',
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', action='append', help='may be given more than once')
    parser.add_argument('--all', action='store_true', help='a config of every method and network')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    parser.add_argument('--rounds', type=command.count, default=5)
    parser.add_argument(
        '--updates', type=command.count, default=1, help='generator updates in a round'
    )
    parser.add_argument('--out', type=command.report)
    args = parser.parse_args()
    names = [*(args.config or []), *(CONFIGS if args.all else ())]
    if not names:
        parser.error('name a --config, or --all')
    given = command.changes(args.set)
    configs = {name: load_config(name, given) for name in names}
    report = {**machine.describe(), 'changes': given, 'configs': {}}
    peaks = {}
    for name, config in configs.items():
        dtype = config.model.dtype
        peaks[dtype] = peaks.get(dtype) or peak_flops(dtype)
        report['configs'][name] = measure(config, peaks[dtype], args)
        machine.write(report, args.out)
        gc.collect()


def measure(config, peak, args):
    """The report of one config."""
    step = Step(config)
    began = time.perf_counter()
    lowered = step.parallel.lower(step.state, step.data)
    traced = time.perf_counter()
    with without_cache():
        compiled = parallel.compile(lowered)
    done = time.perf_counter()
    step.program = parallel.Program(compiled, step.parallel.device_ids)
    per_call = step.options.steps_per_call
    num = -(-args.updates // per_call) * per_call
    step.run(num)
    step.block()
    seconds, dispatch = [], []
    for _ in range(args.rounds):
        start = time.perf_counter()
        step.run(num)
        started = time.perf_counter()
        step.block()
        seconds.append((time.perf_counter() - start) / num)
        dispatch.append((started - start) / num)
    median = statistics.median(seconds)
    executed, peak_bytes = step.jaxpr(), _peak_bytes()
    with published_forms():
        published = cost.flops_by_layer(Step(config, counted_only=True).jaxpr())
    flops = sum(published.values()) / per_call
    images = step.method.batch_size * step.method.batches_per_step
    return {
        'seconds_per_update': seconds,
        'median': median,
        'images_per_s': images / median,
        'updates_per_call': per_call,
        'flops': {
            'published': flops,
            'executed': cost.flops(executed) / per_call,
            'by_layer': {name: count / per_call for name, count in published.items()},
        },
        'flops_per_s': flops / median,
        'peak_flops': peak,
        'share_of_peak': flops / median / peak,
        'memory': {
            'state': cost.bytes_of(step.state),
            'data': cost.bytes_of(step.data),
            'estimated_temporary': cost.temporary_bytes(executed),
            'xla_temporary': step.program.temporary_bytes,
            'peak': peak_bytes,
        },
        'trace_s': traced - began,
        'compile_s': done - traced,
        'host_share': statistics.median(dispatch) / median,
    }


@contextlib.contextmanager
def published_forms():
    """Traces convolutions as papers write them, without the rewrites of `snjax.nn.convolution`."""
    with contextlib.ExitStack() as stack:
        for kind, name in (('up_conv', 'upsample_conv'), ('conv_pool', 'conv_pool')):
            plain = conv.FORMS[kind]['plain']
            stack.enter_context(mock.patch.object(convolution, name, plain))
        # The phases of a CPU do up to 1.3 times the operations.
        plain = strided._plain_up
        stack.enter_context(mock.patch.object(strided, '_up_by_phases', plain))
        stack.callback(jax.clear_caches)  # traces of one form must not serve the other
        jax.clear_caches()
        yield


@contextlib.contextmanager
def without_cache():
    """Compiles without the cache, as at a first start."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update('jax_enable_compilation_cache', False)
    try:
        yield
    finally:
        jax.config.update('jax_enable_compilation_cache', before)


def peak_flops(dtype: str, size: int | None = None) -> float:
    """Operations per second of a square matrix product, the best of several."""
    size = size or (2048 if jax.default_backend() == 'cpu' else 8192)
    a = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
    precision = lax.Precision.DEFAULT  # TF32 on a GPU, as the convolutions'
    program = parallel.compile(jax.jit(lambda a: jnp.dot(a, a, precision=precision)).lower(a))
    jax.block_until_ready(program(a))
    best = float('inf')
    for _ in range(10):
        began = time.perf_counter()
        jax.block_until_ready(program(a))
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def _peak_bytes() -> int:
    stats = jax.devices()[0].memory_stats()
    if stats:
        return stats['peak_bytes_in_use']
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == '__main__':
    command.run(main)
