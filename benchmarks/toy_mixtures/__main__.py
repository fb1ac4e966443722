r"""Mode coverage of every method on three sets of points in the plane.

    python -m benchmarks.toy_mixtures --out=DIR [--methods=sngan,wgan_gp] [--sets=ring,grid] \
        [--seeds=3] [--num_steps=4000] [--merge=DIR1,DIR2]

Rows are printed as they finish and kept in DIR/results.json, with their points beside it. A run
that is started again skips finished rows. At the end it writes `table.md` and one picture per set.
Several processes need a DIR each; `--merge=DIR1,DIR2` first adds their rows to this one's.
"""

import argparse
import pathlib
import sys

from benchmarks.toy_mixtures.methods import METHODS
from benchmarks.toy_mixtures.results import Results
from benchmarks.toy_mixtures.sets import SETS
from benchmarks.toy_mixtures.training import run


def main(arguments: list[str]) -> None:
    flags = _flags(arguments)
    results = Results(flags.out, num_steps=flags.num_steps)
    for other in flags.merge:
        results.add(Results(other, num_steps=flags.num_steps))
    for method in flags.methods:
        run(results, method, flags.sets, range(flags.seeds))
    results.write_summary()


def _flags(arguments):
    parser = argparse.ArgumentParser(
        'toy_mixtures', description='Mode coverage of every method on three sets of points.'
    )
    parser.add_argument('--out', type=pathlib.Path, required=True)
    parser.add_argument('--methods', type=_names(METHODS), default=list(METHODS))
    parser.add_argument('--sets', type=_names(SETS), default=list(SETS))
    parser.add_argument('--seeds', type=_positive, default=3)
    parser.add_argument('--num_steps', type=_positive, default=4000)
    parser.add_argument('--merge', type=lambda text: text.split(','), default=[])
    return parser.parse_args(arguments)


def _names(known):
    def parse(text):
        names = text.split(',') if text else []
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f'{name!r}: accepted are {", ".join(known)}')
        return names

    return parse


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{value}: a positive number is needed')
    return value


if __name__ == '__main__':
    main(sys.argv[1:])
