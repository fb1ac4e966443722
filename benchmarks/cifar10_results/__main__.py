"""Every method on CIFAR-10 at full length, scored by one protocol: the runs behind docs/results/cifar10.md.

    python -m benchmarks.cifar10_results --data_dir=TFDS --weights=resnet56_cifar10.npz --workdirs=DIR \\
        --budget=600 --page
    python -m benchmarks.cifar10_results --rows=1,3 ...                 # kinds by number, or rows by name
    python -m benchmarks.cifar10_results --page                         # the page anew from its records alone
    python -m benchmarks.cifar10_results --smoke --workdirs=runs/smoke  # all rows, tiny, on a CPU: no results

Rows run in order of importance, each through `launch.py` (training, scores, samples), and go on where an earlier call
was ended: by its budget, by SIGTERM, or by the machine. Exit codes: 0 all rows asked for are finished, 1 some failed,
2 bad flags or files, 75 the time is over and there is more to do.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from benchmarks.cifar10_results import page, records, rows
from benchmarks.cifar10_results.children import PREEMPTED, Budget
from benchmarks.cifar10_results.rows import Job, Scale
from benchmarks.cifar10_results.running import Places, Runner, Stopped

RESULTS = rows.ROOT / 'docs' / 'results'
PAGE = RESULTS / 'cifar10.md'
FAILED, BAD_INPUT = 1, 2


def main(arguments: Sequence[str]) -> int:
    args = _flags(arguments)
    try:
        return _run(args, Budget(args.budget, args.grace))
    except (ValueError, KeyError, AttributeError, TypeError, OSError, flags.Error) as error:
        print(f'cifar10_results: {" ".join(str(error).split())}', file=sys.stderr)
        return BAD_INPUT


def _run(args, budget):
    scale = _scale(args)
    out = args.out or (args.workdirs / 'out' if args.smoke else RESULTS / 'cifar10')
    if args.smoke and args.page and args.page.resolve() == PAGE:
        raise ValueError(
            f'--smoke makes no results for {PAGE.name}: give --page=FILE, or leave it out'
        )
    code = 0
    if args.workdirs:
        budget.listen()
        code = _run_rows(args, scale, Places(*_places(args, out)), budget)
    found = records.read_all(out, [row.name for row in rows.ROWS])
    for name, record in found.items():
        if record['is_smoke'] != scale.is_smoke:
            kind = 'a dry run' if record['is_smoke'] else 'a full run'
            raise ValueError(f'{out / name}.json is of {kind}: give another --out')
    if args.page:
        page.write(args.page, out, found, scale)
        print(f'page         {args.page}', flush=True)
    return code


def _run_rows(args, scale, places, budget):
    runner = Runner(places, budget, lambda line: print(line, flush=True))
    states = {}
    try:
        for row in rows.chosen(args.rows):
            job = Job(row, scale)
            print(f'{row.number} {row.name}: {job.command}', flush=True)
            states[row.name] = runner.run(job)
            print(f'{row.number} {row.name}: {states[row.name]}', flush=True)
    except Stopped:
        print('the time is over: start it again to go on', flush=True)
        return PREEMPTED
    return FAILED if records.FAILED in states.values() else 0


def _scale(args):
    if not args.smoke:
        return Scale()
    # Without the classifier's weights, the one that is fitted to scikit-learn's digits in a second.
    return dataclasses.replace(
        rows.SMOKE,
        protocols=args.protocols.split(',') if args.protocols else rows.SMOKE.protocols,
        extractor=rows.EXTRACTOR if args.weights else 'digits',
        set_changes=dict(change.split('=', 1) for change in args.set),
    )


def _places(args, out):
    # `launch.py` runs in the project's folder.
    paths = [
        str(path.resolve()) if path else ''
        for path in (args.data_dir, args.weights, args.inception)
    ]
    return out.resolve(), args.workdirs.resolve(), *paths


def _flags(arguments):
    parser = argparse.ArgumentParser('cifar10_results', description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('--workdirs', type=pathlib.Path, help='the runs go here; left out: nothing is run')
    add('--rows', default='', help='numbers or names, with commas; all by default')
    add('--budget', type=float, help='seconds of the whole call; no bound by default')
    add('--grace', type=float, default=40, help='of them, for saving at the end')
    add('--data_dir', type=pathlib.Path, help='of TFDS')
    add(
        '--weights', type=pathlib.Path, help="of cifar_resnet56; by default where the project's are"
    )
    add('--inception', type=pathlib.Path, help='weights of Inception, for FID as well')
    add('--out', type=pathlib.Path, help='records and figures; by default those of the page')
    add('--page', type=pathlib.Path, nargs='?', const=PAGE, help='write the page, there or here')
    add('--smoke', action='store_true', help='tiny: to see that everything works')
    add('--protocols', default='', help='of --smoke: of another set than CIFAR-10')
    add(
        '--set',
        action='append',
        default=[],
        help='of --smoke: a key of every config, as data.name=digits',
    )
    args = parser.parse_args(arguments)
    if not args.workdirs and not args.page:
        parser.error(
            '--workdirs=DIR is missing (or --page alone, to write the page from its records)'
        )
    if args.smoke and not (args.workdirs or args.out):
        parser.error('--smoke needs --workdirs, or --out')
    if (args.set or args.protocols) and not args.smoke:
        parser.error(
            '--set and --protocols are of --smoke: a row of the page is what the list says'
        )
    if args.budget is not None and args.budget <= 2 * args.grace:
        parser.error(f'--budget={args.budget:g} leaves no time beside twice --grace={args.grace:g}')
    try:
        rows.chosen(args.rows)
    except ValueError as error:
        parser.error(str(error))
    return args


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
