r"""Cost of spectral normalization: one advance of all layers of D, relative to a training step.

    python -m benchmarks.power_iteration [--config=sngan_cifar] \
        [--set=model.sn_operator=convolution] [--out=FILE]

Times are medians of runs in turns: the advance alone (`snjax.spectral.advance`), and whole training
steps with and without spectral normalization (`model.normalization=none`). `advance_share` is n_dis
advances over a step. `step_ratio` is a step over a step without spectral normalization, so it
includes the frozen applications and their gradients.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp

from benchmarks import command, machine
from benchmarks.workloads import Step, load_config
from snjax import parallel, spectral

# As in a step, no advance waits for the host. On a CPU, starting a program takes no time, and
# loops are written out.
_IN_ONE_PROGRAM = 1 if jax.default_backend() == 'cpu' else 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', action='append')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    parser.add_argument('--rounds', type=command.count, default=7)
    parser.add_argument('--out', type=command.report)
    args = parser.parse_args()
    given = command.changes(args.set)
    report = {**machine.describe(), 'changes': given, 'configs': {}}
    names = args.config or ['sngan_cifar', 'sngan_cifar_cnn:C']
    for name in names:
        load_config(name, given)
    for name in names:
        report['configs'][name] = measure(name, given, args.rounds)
        machine.write(report, args.out)


def measure(name, given, rounds):
    """Medians of one config, in seconds."""
    config = load_config(name, given)
    normalized = Step(config)
    dis = getattr(normalized.state, 'dis', None)
    if dis is None or 'spectral' not in dis.model_state:
        raise ValueError(f'--config={name} has no spectral normalization to measure: give another')
    plain = Step(load_config(name, {**given, 'method': 'gan', 'model.normalization': 'none'}))
    for step in (normalized, plain):
        step.compile()
    advance = _advance(normalized.method, normalized.state)
    per_call = normalized.options.steps_per_call
    runs = {
        'step': lambda: _updates(normalized, per_call) / per_call,
        'step_without': lambda: _updates(plain, per_call) / per_call,
        'advance': lambda: _seconds(advance, 20) / _IN_ONE_PROGRAM,
    }
    seconds = {key: [] for key in runs}
    for turn in range(rounds + 1):
        for key, run in runs.items():
            taken = run()
            if turn:
                seconds[key].append(taken)
    medians = {key: statistics.median(s) for key, s in seconds.items()}
    n_dis = normalized.method.n_dis
    layers = len(spectral.sigmas(normalized.state.dis.model_state['spectral']))
    return {
        'seconds': seconds,
        'medians': medians,
        'layers': layers,
        'n_dis': n_dis,
        'advance_share': n_dis * medians['advance'] / medians['step'],
        'step_ratio': medians['step'] / medians['step_without'],
    }


def _advance(method, state):
    """One advance of all layers as a program of its own, on a copy of D."""
    dis = jax.tree.map(jnp.copy, parallel.first_replica(state.dis))
    labels = jnp.zeros(1, jnp.int32) if method.num_classes else None
    images = jnp.zeros((1, *method.image_shape))

    def once(dis, _):
        moved = spectral.advance(method.dis, dis.variables, images, labels, train=False)
        return dis.replace(model_state={**dis.model_state, 'spectral': moved}), None

    lowered = jax.jit(
        lambda dis: parallel.scan_or_unroll(once, dis, None, _IN_ONE_PROGRAM)[0]
    ).lower(dis)
    program = parallel.compile(lowered)
    return lambda: jax.block_until_ready(program(dis))


def _updates(step, num):
    began = time.perf_counter()
    step.run(num)
    step.block()
    return time.perf_counter() - began


def _seconds(run, num):
    began = time.perf_counter()
    for _ in range(num):
        run()
    return (time.perf_counter() - began) / num


if __name__ == '__main__':
    command.run(main)
