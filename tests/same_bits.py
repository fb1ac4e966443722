"""Shows that this tree computes what another checkout computes, bit for bit: for changes that move
code.

    git worktree add ../before COMMIT
    python tests/same_bits.py --before=../before --out=/tmp/bits

Each case trains 60 generator updates with both trees and compares every array of the last
checkpoints. Then a workdir of the other checkout is cut back to its checkpoint of 30 updates and
resumed with this tree, which has to end in the same bits. Workdirs of the other checkout that are
in --out already are used again.

Exits with 1 if an array differs. Both trees have to run on the same machine, with the same
versions.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from snjax.runs.checkpoint import load_tree  # noqa: E402

NUM_STEPS, SAVED = 60, 30
COMMON = {
    'num_steps': NUM_STEPS,
    'checkpoint.every': SAVED,
    'eval.every': 0,
    'eval.extractor': '',
    'sampling.every': NUM_STEPS,
}
DIGITS = 'configs/sngan_digits.py'
CASES = {
    'sngan': (DIGITS, {}),
    'projection': (DIGITS, {'method': 'cgan', 'model.num_classes': 10, 'model.head': 'projection'}),
    'acgan': (DIGITS, {'method': 'acgan', 'model.num_classes': 10, 'model.head': 'acgan'}),
    'glo': ('configs/glo_digits.py', {}),
    'wgan_gp': ('configs/sngan_paper.py:wgan_gp,C,digits', {}),
    'batch_norm': ('configs/sngan_paper.py:batch_norm,C,digits', {}),
    'r3gan': (
        DIGITS,
        {
            'method': 'r3gan',
            'loss': 'relativistic_pairing',
            'model.normalization': 'none',
            'penalty.r1': 0.05,
            'penalty.r2': 0.05,
        },
    ),
    'per_forward': (
        DIGITS,
        {'model.spectral_updates': 'per_forward', 'update_order': 'gen_first', 'n_dis': 2},
    ),
}


def train(tree: pathlib.Path, name: str, workdir: pathlib.Path) -> None:
    """Starts, or resumes, the run of a case with the code in `tree`."""
    config, changes = CASES[name]
    flags = [f'--config.{key}={value}' for key, value in (COMMON | changes).items()]
    command = [sys.executable, 'launch.py', f'--config={config}', f'--workdir={workdir}', *flags]
    subprocess.run(command, cwd=tree, check=True, stdout=subprocess.DEVNULL)


def arrays(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    """Every array of the last checkpoint, by its path."""
    step, tree = load_tree(workdir / 'checkpoints')
    if step != NUM_STEPS:
        raise SystemExit(f'{workdir} ended at step {step}, not {NUM_STEPS}')
    return dict(_leaves(tree))


def _leaves(tree, prefix=''):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f'{prefix}{key}/')
        elif value is not None:
            yield f'{prefix}{key}', np.asarray(value)


def differing(one: pathlib.Path, other: pathlib.Path) -> list[str]:
    """Paths of the arrays that are not the same bits in two workdirs."""
    a, b = arrays(one), arrays(other)
    same = {key for key in a.keys() & b.keys() if a[key].tobytes() == b[key].tobytes()}
    return sorted((a.keys() | b.keys()) - same)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--before', type=pathlib.Path, required=True, help='the other checkout')
    parser.add_argument('--out', type=pathlib.Path, required=True, help='where workdirs go')
    parser.add_argument('--cases', default=','.join(CASES), help='some of them, with commas')
    parser.add_argument('--only_before', action='store_true', help="make the other checkout's")
    given = parser.parse_args()
    out, failed = given.out.resolve(), False
    for name in given.cases.split(','):
        old, new, resumed = (out / f'{name}-{end}' for end in ('before', 'after', 'resumed'))
        if not (old / 'checkpoints' / str(NUM_STEPS)).exists():
            train(given.before.resolve(), name, old)
        if given.only_before:
            continue
        for folder in (new, resumed):
            shutil.rmtree(folder, ignore_errors=True)
        train(ROOT, name, new)
        shutil.copytree(old, resumed)
        shutil.rmtree(resumed / 'checkpoints' / str(NUM_STEPS))
        train(ROOT, name, resumed)
        for what, folder in (('trained', new), ('resumed', resumed)):
            wrong = differing(old, folder)
            failed |= bool(wrong)
            print(f'{name}, {what}: {f"DIFFERS in {wrong[:5]}" if wrong else "the same bits"}')
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
