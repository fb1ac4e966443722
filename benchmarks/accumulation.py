r"""Memory and time of gradient accumulation and rematerialization, relative to the plain step.

    python -m benchmarks.accumulation --config=sngan_imagenet --set=n_dis=1 \
        [--set=model.gen_width=8 ...] [--out=FILE]

For every form of the step (`--accumulate` parts, with and without `model.remat`) the report has the
memory that XLA counts, our estimate, and the seconds of an update. Forms take turns, and the
quickest round of each counts. On a CPU the parts are written out; `--loop` also compiles the loop
over parts that accelerators use, only to count its memory.
"""

import argparse
import time
from unittest import mock

from jax import lax

from benchmarks import command, machine
from benchmarks.workloads import Step, load_config
from snjax import parallel
from snjax.parallel import cost

_REMAT = command.names(('False', 'True'))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default='sngan_imagenet')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    parser.add_argument('--accumulate', type=command.counts, default='1,2,4')
    parser.add_argument('--remat', type=_REMAT, default='False,True')
    parser.add_argument(
        '--rounds', type=command.count, default=3, help='updates of each form in turn'
    )
    parser.add_argument('--loop', action='store_true')
    parser.add_argument('--out', type=command.report)
    args = parser.parse_args()
    given = command.changes(args.set)
    report = {**machine.describe(), 'config': args.config, 'changes': given, 'forms': {}}
    forms = {
        f'accumulate {num}{", remat" * (remat == "True")}': {
            'accumulate': num,
            'model.remat': remat,
        }
        for remat in args.remat
        for num in args.accumulate
    }
    steps = {}
    for name, changes in forms.items():
        config = load_config(args.config, given | changes)
        found = report['forms'][name] = {}
        if args.loop:
            with mock.patch.object(parallel, 'scan', lax.scan):
                found['loop'] = memory(Step(config, num_images=config.batch_size))
        steps[name] = Step(config, num_images=config.batch_size)
        found |= memory(steps[name])
        machine.write(report, args.out)
    for _ in range(args.rounds + 1):  # the first round is not counted
        for name, step in steps.items():
            report['forms'][name].setdefault('seconds', []).append(seconds(step))
    plain = next(iter(report['forms'].values()))
    for found in report['forms'].values():
        found['seconds'] = min(found['seconds'][1:])
        for key in ('xla', 'estimated', 'operations', 'seconds'):
            found[f'{key}_ratio'] = round(found[key] / plain[key], 3)
        if args.loop:
            found['loop_xla_ratio'] = round(found['loop']['xla'] / plain['loop']['xla'], 3)
    machine.write(report, args.out)


def memory(step):
    """Compiles a step; returns its temporary bytes, estimated and by XLA, and its operations."""
    jaxpr = step.jaxpr()
    step.compile()
    return {
        'estimated': cost.temporary_bytes(jaxpr),
        'xla': step.program.temporary_bytes,
        'operations': cost.flops(jaxpr),
    }


def seconds(step):
    """Seconds of one update."""
    began = time.perf_counter()
    step.run(step.options.steps_per_call)
    step.block()
    return (time.perf_counter() - began) / step.options.steps_per_call


if __name__ == '__main__':
    command.run(main)
