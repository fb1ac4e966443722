"""Several seeds in one program (`num_seeds`) against as many runs one after the other.

    python -m benchmarks.vmapped_seeds [--config=sngan_digits] [--set=batch_size=16] [--seeds=2,4,8] [--out=FILE]

Seconds of an update of all members, timed in turns, medians; `ratio` is that over the seconds of as many runs alone.
Of both forms: what this backend uses (`jax.vmap` on accelerators, written out on the CPU) and `vmap`, which on a CPU is
there to show why it is not used.
"""

import argparse
import contextlib
import statistics
import time
from unittest import mock

import jax
import numpy as np

from benchmarks import command, machine
from benchmarks.workloads import Step, load_config
from snjax import parallel
from snjax.latents.sampling import seed_key
from snjax.training import loop, members


class Stacked(Step):
    """`Step` of several members, from as many seeds."""

    def __init__(self, config, num):
        super().__init__(config)
        alone = self.method
        self.method = members.Members(alone, num)
        keys = {
            f'{role}_rng': np.stack(
                [jax.random.key_data(seed_key(seed, role)) for seed in range(num)]
            )
            for role in ('data', 'train')
        }
        self.data = {**self.data, **parallel.replicate(keys)}
        init = jax.jit(alone.init)
        self.state = parallel.shard(
            members.stack([init(seed_key(seed, 'init')) for seed in range(num)])
            if num > 1
            else jax.tree.map(lambda x: x[None], init(seed_key(0, 'init'))),
            None,
        )
        self.parallel = parallel.DataParallel(loop.make_step(self.method, self.options))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default='sngan_digits')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    parser.add_argument('--seeds', type=command.counts, default='2,4,8')
    parser.add_argument('--forms', type=command.names(('own', 'vmap')), default='own,vmap')
    parser.add_argument('--updates', type=command.count, default=20)
    parser.add_argument('--rounds', type=command.count, default=5)
    parser.add_argument('--out', type=command.report)
    args = parser.parse_args()
    told = command.changes(args.set)
    config = load_config(args.config, told)
    report = {
        **machine.describe(),
        'config': args.config,
        'changes': told,
        'updates': args.updates,
        'forms': {},
    }
    alone = Step(config)
    alone.compile()
    for form in args.forms:
        found = report['forms'][form] = {}
        for num in args.seeds:
            with _forced(form):
                together = Stacked(config, num)
                together.compile()
            found[num] = measure(alone, together, num, args.updates, args.rounds)
            print(form, num, f'{found[num]["ratio"]:.3f}', flush=True)
            machine.write(report, args.out)


def _forced(form):
    if form == 'own':
        return contextlib.nullcontext()
    vmap = mock.Mock(side_effect=lambda function, args, num: jax.vmap(function)(*args))
    return mock.patch.object(parallel, 'each', vmap)


def measure(alone, together, num, updates, rounds):
    """Medians in seconds for an update, and the ratio."""
    per_call = alone.options.steps_per_call
    updates = max(1, updates // per_call) * per_call
    seconds = {'alone': [], 'together': []}
    for turn in range(rounds + 1):
        for name, step in (('alone', alone), ('together', together)):
            began = time.perf_counter()
            step.run(updates)
            step.block()
            if turn:
                seconds[name].append((time.perf_counter() - began) / updates)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        'seconds': seconds,
        'medians': medians,
        'ratio': medians['together'] / (num * medians['alone']),
    }


if __name__ == '__main__':
    command.run(main)
