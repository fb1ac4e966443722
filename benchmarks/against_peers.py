r"""Our training step and PyTorch's on the same networks, batches and order of updates, in turns.

    python -m benchmarks.against_peers [--workloads=...] [--rounds=5] [--mimicry=CHECKOUT] \
        [--out=FILE]

This script needs PyTorch (`pip install torch`). Every side runs in a process of its own. The sides
take turns of `--updates` generator updates (with 5 discriminator updates each), and the report
compares the medians of the rounds. The PyTorch side is `benchmarks/peers/pytorch.py` in the forms
of `--forms`. With a checkout of mimicry, its own training step takes part too, unchanged and with
channels-last memory. `--starts` also measures the time from the start of a process to its first
update, for ours with an empty and with a filled compilation cache. A side that cannot run is named
in the report (`failed`); the others continue, and the exit code is 1.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile

from benchmarks import command, machine
from benchmarks.peers import FORMS, mimicry_package
from benchmarks.worker import Ended, Worker
from benchmarks.workloads import WORKLOADS, load_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('--workloads', type=command.names(WORKLOADS), default=','.join(WORKLOADS))
    add('--forms', type=_forms, default='eager;channels last', help='of PyTorch; all: every one')
    add('--ours', action='append', default=[], help='one more of ours, as model.dtype=bfloat16;a=b')
    add('--rounds', type=command.count, default=5)
    add('--updates', type=command.count, default=1, help='generator updates in a turn')
    add('--mimicry', default='', help='a checkout of github.com/kwotsin/mimicry')
    add('--starts', type=int, default=0, help='starts to time of every side')
    add('--python', default=sys.executable, help='that has PyTorch')
    add('--out', type=command.report)
    args = parser.parse_args()
    jobs = {name: _jobs(name, args) for name in args.workloads}
    _check(jobs, args)
    report = {**machine.describe(), 'workloads': {}}
    for name, sides in jobs.items():
        report['workloads'][name] = found = {}
        for so_far in compare(sides, args):
            found |= so_far
            machine.write(report, args.out)
        if args.starts:
            able = {side: job for side, job in sides.items() if side not in found['failed']}
            found['starts'] = starts(able, args)
            machine.write(report, args.out)
    failed = {side for found in report['workloads'].values() for side in found['failed']}
    if failed:
        sys.exit(f'these could not run, see above: {"; ".join(sorted(failed))}')


def _forms(text):
    return list(FORMS) if text == 'all' else command.names(FORMS, ';')(text)


def _check(jobs, args):
    """Raises a ValueError of one line for input with which no side could run."""
    for name, sides in jobs.items():
        for job in sides.values():
            workload = WORKLOADS[name]
            load_config(workload.config, {**workload.changes, **job.get('changes', {})})
    if args.mimicry:
        mimicry_package(args.mimicry)
    if args.mimicry or args.forms:
        find = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
        if subprocess.run([args.python, '-c', find]).returncode:
            raise ValueError(
                f'{args.python} has no PyTorch: pip install torch, or name one that has by --python'
            )


def _jobs(name, args):
    """The job of each side by its name; ours first."""
    workload = WORKLOADS[name]
    jobs = {'snjax': {'side': 'ours', 'workload': name}}
    for given in args.ours:
        changes = command.changes(given.split(';'), '--ours')
        jobs[f'snjax {given}'] = {'side': 'ours', 'workload': name, 'changes': changes}
    for form in args.forms:
        jobs[f'pytorch {form}'] = {'side': 'pytorch', 'workload': name, 'form': form}
    if args.mimicry and workload.mimicry:
        shared = {'side': 'mimicry', 'network': workload.mimicry, 'checkout': args.mimicry}
        jobs['mimicry'] = {**shared, 'layout': 'contiguous_format'}
        jobs['mimicry channels last'] = {**shared, 'layout': 'channels_last'}
    return jobs


def compare(jobs, args):
    """Yields the report after every round: medians, ratios to ours, and sides that failed."""
    # All sides share one device: none may take all its memory, and none may start from a cache.
    env = {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false', 'JAX_ENABLE_COMPILATION_CACHE': 'false'}
    sides, failed = [], []
    try:
        for name, job in jobs.items():
            with _noted(name, failed):
                sides.append(Worker(name, args.python, job, env))
        answers = {side.name: [] for side in sides}
        for _ in range(args.rounds):
            for side in sides:
                if side.name not in failed:
                    with _noted(side.name, failed):
                        answers[side.name].append(side.run(args.updates))
            able = [side for side in sides if side.name not in failed]
            yield {
                'sides': {side.name: _summary(side, answers[side.name]) for side in able},
                'over_snjax': _ratios({side.name: answers[side.name] for side in able}),
                'failed': failed,
            }
    finally:
        for side in sides:
            side.close()


@contextlib.contextmanager
def _noted(name, failed):
    """Adds a side that ends inside to `failed`; raises if that side is ours."""
    try:
        yield
    except Ended:
        if name == 'snjax':
            raise
        failed.append(name)


def _per_update(answer):
    return answer['seconds'] / answer['updates']


def _summary(side, answers):
    seconds = [_per_update(a) for a in answers]
    return {
        **side.start,
        'seconds_per_update': seconds,
        'median': statistics.median(seconds),
        'cpu_seconds_per_update': statistics.median(
            a['cpu_seconds'] / a['updates'] for a in answers
        ),
        'peak_bytes': answers[-1]['peak_bytes'],
    }


def _ratios(answers):
    medians = {name: statistics.median(map(_per_update, those)) for name, those in answers.items()}
    ours = medians['snjax']
    return {name: round(median / ours, 3) for name, median in medians.items() if name != 'snjax'}


def starts(jobs, args):
    """Seconds from the start of a process to the end of its first update, in turns."""
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        for turn in range(args.starts):
            for name, job in jobs.items():
                if job['side'] == 'ours':  # one update, like the other sides
                    job = {**job, 'changes': {**job.get('changes', {}), 'steps_per_call': 1}}
                if job['side'] != 'ours':
                    # PyTorch caches compiled code too: an empty folder makes this a first start.
                    folder = f'{cache}/{name}{turn}'
                    env = {'TORCHINDUCTOR_CACHE_DIR': folder, 'TRITON_CACHE_DIR': folder}
                    side = Worker(name, args.python, job, env)
                    found.setdefault(name, []).append(side.start['first_update_s'])
                    side.close()
                    continue
                for kind in ('cold', 'warm'):
                    env = {
                        'JAX_COMPILATION_CACHE_DIR': f'{cache}/{name}{turn}',
                        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
                    }
                    side = Worker(name, args.python, job, env)
                    found.setdefault(f'{name} {kind}', []).append(side.start['first_update_s'])
                    side.close()
    return {name: {'seconds': s, 'median': statistics.median(s)} for name, s in found.items()}


if __name__ == '__main__':
    command.run(main)
