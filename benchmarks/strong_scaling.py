r"""Cost of cutting a batch over devices, without the exchange: forced CPU devices share the cores.

    python -m benchmarks.strong_scaling [--config=sngan_digits] [--devices=1,2,4,8] [--rounds=7] \
        [--out=FILE]

The same global batch runs on 1, 2, 4 and 8 devices that share the cores. Ideally an update takes
equally long on all of them, so the ratio to one device is the overhead of cutting: smaller
operations, the same power iterations and optimizers on every device, and waiting for each other.
The numbers of devices take turns, each in a process of its own; a ratio is of medians. Links
between devices are not part of it; `benchmarks.communication` estimates them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from benchmarks import command, machine
from benchmarks.workloads import Step, load_config

_FORCED = '--xla_force_host_platform_device_count='


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default='sngan_digits')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    parser.add_argument('--devices', type=command.counts, default='1,2,4,8')
    parser.add_argument('--rounds', type=command.count, default=7)
    parser.add_argument(
        '--updates', type=command.count, default=20, help='generator updates in a round'
    )
    parser.add_argument('--out', type=command.report)
    parser.add_argument('--worker', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(args)
    given = command.changes(args.set)
    load_config(args.config, given)  # an error is reported once, not by every worker
    counts = args.devices
    workers = {n: start(n) for n in counts}
    for worker in workers.values():  # one after the other: compiling takes all cores
        ask(worker)
    seconds: dict[int, list[float]] = {n: [] for n in counts}
    for _ in range(args.rounds):
        for n, worker in workers.items():
            seconds[n].append(ask(worker))
    for worker in workers.values():
        worker.communicate()
    medians = {n: statistics.median(s) for n, s in seconds.items()}
    report = {
        **machine.describe(),
        'config': args.config,
        'changes': given,
        'updates_per_round': args.updates,
        'seconds_per_update': seconds,
        'median': medians,
        'ratio': {n: median / medians[counts[0]] for n, median in medians.items()},
    }
    machine.write(report, args.out)


def start(num_devices):
    """Starts a worker with that many devices."""
    flags = f'{os.environ.get("XLA_FLAGS", "")} {_FORCED}{num_devices}'
    return subprocess.Popen(
        [sys.executable, '-m', 'benchmarks.strong_scaling', '--worker', *sys.argv[1:]],
        env=os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': flags},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(worker):
    """Seconds per update of one more round; the first answer comes when the worker is ready."""
    worker.stdin.write('\n')
    worker.stdin.flush()
    if not (line := worker.stdout.readline()):
        raise ValueError(f'a worker ended with exit code {worker.wait()}: see what it said')
    return float(json.loads(line))


def work(args):
    """Runs a round for each line on stdin; the first also compiles and runs an uncounted round."""
    changes = {'steps_per_call': 1, **command.changes(args.set)}
    step = None
    for _ in sys.stdin:
        if step is None:
            step = Step(load_config(args.config, changes), num_images=1000)
            step.compile()
            step.run(args.updates)
            step.block()
        began = time.perf_counter()
        step.run(args.updates)
        step.block()
        print((time.perf_counter() - began) / args.updates, flush=True)


if __name__ == '__main__':
    command.run(main)
