"""Our training step beside PyTorch's on the same networks, batches and order of updates, in turns.

    python -m benchmarks.against_peers [--workloads=...] [--rounds=5] [--mimicry=CHECKOUT] [--out=FILE]

Needs PyTorch (`pip install torch`), which nothing else here does. Every side runs in a process of its own; they take
turns, `--updates` generator updates (with 5 of the discriminator each) a turn, and what is compared are the medians of
the rounds. The PyTorch side is `benchmarks/peers/pytorch.py` in the forms of `--forms`; with a checkout of mimicry its
own training step takes part too, as it is and with channels-last memory. `--starts` also times the way from nothing to
the first update, for ours with an empty and with a filled compilation cache.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile

from benchmarks import machine
from benchmarks.worker import Worker
from benchmarks.workloads import WORKLOADS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--workloads', default=','.join(WORKLOADS))
    parser.add_argument('--forms', default='eager;channels last', help='of PyTorch; all: every one')
    parser.add_argument(
        '--ours', action='append', default=[], help='one more of ours, as model.dtype=bfloat16;a=b'
    )
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--updates', type=int, default=1, help='generator updates in a turn')
    parser.add_argument('--mimicry', default='', help='a checkout of github.com/kwotsin/mimicry')
    parser.add_argument('--starts', type=int, default=0, help='starts to time of every side')
    parser.add_argument('--python', default=sys.executable, help='that has PyTorch')
    parser.add_argument('--out', type=pathlib.Path)
    args = parser.parse_args()
    if args.forms == 'all':
        from benchmarks.peers.pytorch import FORMS

        args.forms = ';'.join(FORMS)
    report = {**machine.describe(), 'workloads': {}}
    for name in args.workloads.split(','):
        report['workloads'][name] = found = {}
        for side in compare(_jobs(name, args), args):
            found |= side
            machine.write(report, args.out)
        if args.starts:
            found['starts'] = starts(_jobs(name, args), args)
            machine.write(report, args.out)


def _jobs(name, args):
    """What each side is told, by its name; ours first."""
    workload = WORKLOADS[name]
    jobs = {'snjax': {'side': 'ours', 'workload': name}}
    for told in args.ours:
        changes = dict(pair.split('=') for pair in told.split(';'))
        jobs[f'snjax {told}'] = {'side': 'ours', 'workload': name, 'changes': changes}
    for form in args.forms.split(';'):
        jobs[f'pytorch {form}'] = {'side': 'pytorch', 'workload': name, 'form': form}
    if args.mimicry and workload.mimicry:
        shared = {'side': 'mimicry', 'network': workload.mimicry, 'checkout': args.mimicry}
        jobs['mimicry'] = {**shared, 'layout': 'contiguous_format'}
        jobs['mimicry channels last'] = {**shared, 'layout': 'channels_last'}
    return jobs


def compare(jobs, args):
    """Yields the report after every round: medians, and the others' over ours."""
    # All wait on one device meanwhile: none takes more of its memory than it needs, and none starts from a cache.
    env = {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false', 'JAX_ENABLE_COMPILATION_CACHE': 'false'}
    sides = [Worker(name, args.python, job, env) for name, job in jobs.items()]
    try:
        answers = {side.name: [] for side in sides}
        for _ in range(args.rounds):
            for side in sides:
                answers[side.name].append(side.run(args.updates))
            yield {'sides': {side.name: _summary(side, answers[side.name]) for side in sides}} | {
                'over_snjax': _ratios(answers)
            }
    finally:
        for side in sides:
            side.close()


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
                if job['side'] == 'ours':  # one update, as the others
                    job = {**job, 'changes': {**job.get('changes', {}), 'steps_per_call': 1}}
                if job['side'] != 'ours':
                    # What PyTorch compiles is kept too, so this is a first start.
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
    main()
