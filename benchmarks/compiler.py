"""Effect of XLA's options and of `memory.in_memory` on a training step on a CPU, in turns.

    python -m benchmarks.compiler [--workloads=sngan_resnet,standard_cnn] [--rounds=3] [--out=FILE]

Each form leaves out or changes one of them. A step is one update of the discriminator and one of
the generator. `over_ours` is a form's median over that of the unchanged step.
"""

import argparse
import contextlib
import statistics
import time
from unittest import mock

import jax
import jax.numpy as jnp

from benchmarks import command, machine
from benchmarks.workloads import WORKLOADS, Step, load_config
from snjax import parallel
from snjax.nn import memory
from snjax.parallel import programs as compiling

_YNN = 'xla_cpu_experimental_ynn_fusion_type'


def _handed_to_ynnpack(*kinds: str):
    """Lets XLA hand these operations to YNNPACK; without any, jaxlib's own default applies."""
    value = ','.join(f'LIBRARY_FUSION_TYPE_{kind}' for kind in kinds)
    options = {'cpu': {_YNN: value} if kinds else {}}
    return mock.patch.object(compiling, '_COMPILER_OPTIONS', options)


FORMS = {
    'ours': contextlib.nullcontext,
    'no in_memory': lambda: mock.patch.object(memory, 'in_memory', lambda x: x),
    'no reductions to YNNPACK': lambda: _handed_to_ynnpack('INDIVIDUAL_DOT'),
    'elementwise to YNNPACK too': lambda: _handed_to_ynnpack('INDIVIDUAL_DOT', 'REDUCE', 'ELTWISE'),
    'no options': lambda: _handed_to_ynnpack(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--workloads', type=command.names(WORKLOADS), default='sngan_resnet,standard_cnn'
    )
    parser.add_argument('--rounds', type=command.count, default=3)
    parser.add_argument('--out', type=command.report)
    args = parser.parse_args()
    report = {**machine.describe(), 'mean_and_square_ms': reductions(), 'workloads': {}}
    for name in args.workloads:
        report['workloads'][name] = steps(WORKLOADS[name], args.rounds)
        machine.write(report, args.out)


def steps(workload, rounds):
    """Seconds of a step in every form."""
    step = Step(load_config(workload.config, {**workload.changes, 'n_dis': 1}), num_images=1000)
    programs = {}
    for form, patch in FORMS.items():
        with patch():
            jax.clear_caches()  # drops the traces of other forms
            programs[form] = step.parallel.compile(step.state, step.data)
    seconds = {form: [] for form in programs}
    for turn in range(rounds + 1):
        for form, program in programs.items():
            step.program = program
            began = time.perf_counter()
            step.run(1)
            step.block()
            if turn:
                seconds[form].append(time.perf_counter() - began)
    medians = {form: statistics.median(s) for form, s in seconds.items()}
    over = {form: round(m / medians['ours'], 2) for form, m in medians.items()}
    return {'seconds': seconds, 'medians': medians, 'over_ours': over}


def reductions():
    """Milliseconds of a batch norm's mean and mean square of 64 x 32 x 32 x 256 values."""
    x = jax.random.normal(jax.random.key(0), (64, 32, 32, 256))

    def moments(x):
        return jnp.mean(x, (0, 1, 2)), jnp.mean(jnp.square(x), (0, 1, 2))

    found = {}
    for form in ('ours', 'no reductions to YNNPACK'):
        with FORMS[form]():
            program = parallel.compile(jax.jit(moments).lower(x))
        times = []
        for _ in range(8):
            began = time.perf_counter()
            jax.block_until_ready(program(x))
            times.append(1e3 * (time.perf_counter() - began))
        found[form] = statistics.median(times[1:])
    return found


if __name__ == '__main__':
    command.run(main)
