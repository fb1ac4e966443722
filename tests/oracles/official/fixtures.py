"""Runs the official codes from checkouts, compares snjax with them, and makes the fixtures anew.

    python -m oracles.official.fixtures --checkouts=DIR --runs=FOLDER [--models=resnet,cgan] [--write]

DIR has the checkouts by their repositories' names. The interpreters come from the variables
CHAINER_PYTHON, TENSORFLOW_PYTHON and TORCH_PYTHON; the heads of `chainer_peers.py`,
`tensorflow_peers.py` and `torch_peers.py` say what they need. `--runs` keeps whole trajectories,
and those that are there are used again. Without `--write` the table of errors is all that is made. A fixture
also says how far the official code strays from its own float64 run in float32.
"""

import argparse
import os
import pathlib
import subprocess
import sys

import numpy as np

from oracles.official import compare
from oracles.official import inputs as feed

HERE = pathlib.Path(__file__).parent
# The script and the variable that names its interpreter, and the code's commit that was read.
CODES = {
    'sngan_projection': ('chainer_peers.py', 'CHAINER_PYTHON', 'e84b1a5f604de5fec268f37c3f26478e80b7f475'),
    'chainer-gan-lib': ('chainer_peers.py', 'CHAINER_PYTHON', 'cf9efba5b166c07bfd56be1bd4aa9a662dd54bd1'),
    'improved_wgan_training': (
        'tensorflow_peers.py',
        'TENSORFLOW_PYTHON',
        'fa66c574a54c4916d27c55441d33753dcc78f6bc',
    ),
    'mimicry': ('torch_peers.py', 'TORCH_PYTHON', 'a7fda06c4aff1e6af8dc4c4a35ed6636e434c766'),
    'pytorch-gan-collections': ('torch_peers.py', 'TORCH_PYTHON', '860e90bd882eb5737103de55bcf0e977d6952343'),
    'R3GAN': ('torch_peers.py', 'TORCH_PYTHON', '19a7ddf463fbac2bd39b4c1c73d63f1c441c7403'),
    'BigGAN-PyTorch': ('torch_peers.py', 'TORCH_PYTHON', '98459431a5d618d644d54cd1e9fceb1e5045648d'),
    'minimal_glo': ('torch_peers.py', 'TORCH_PYTHON', 'bbb68d26a5de0effdd93a72f8da8361d3d5d763c'),
}  # fmt: skip
GLO = ('glo_l2', 'glo_lap1')


def code_of(model):
    return 'minimal_glo' if model in GLO else feed.MODELS[model][0]


def models():
    from oracles.official import ours

    return list(ours.CONFIGS)


def fixture(model):
    """The fixture of a model: what its official code did."""
    with np.load(HERE / f'{model}.npz') as arrays:
        return dict(arrays)


def run_peer(model, checkouts, out, dtype='float64'):
    """Runs the official code of a model; raises RuntimeError with its last line if it fails."""
    script, variable, _ = CODES[code_of(model)]
    if variable not in os.environ:
        raise RuntimeError(f'{model} needs the interpreter {variable}: see {script}')
    command = [os.environ[variable], HERE / script, model, f'--checkouts={checkouts}']
    threads = dict.fromkeys(('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'), '1')
    # The tests' XLA_FLAGS are jaxlib's; TensorFlow's XLA ends at a flag that it does not know.
    ours_alone = ('PYTHONPATH', 'XLA_FLAGS')
    env = {k: v for k, v in os.environ.items() if k not in ours_alone} | threads
    done = subprocess.run(
        [*map(str, command), f'--out={out}', f'--dtype={dtype}'],
        env=env,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f'{model}: {done.stderr.strip().splitlines()[-1]}')


def run_ours(models, out, dtype='float64', steps=feed.LAST):
    """Runs snjax in a process of its own, compiled quickly."""
    from helpers.compiling import QUICKLY

    root = HERE.parents[2]
    path = os.pathsep.join(map(str, (root, root / 'tests')))
    env = os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': QUICKLY, 'PYTHONPATH': path}
    command = [sys.executable, '-m', 'oracles.official.ours', f'--models={",".join(models)}']
    command += [f'--dtype={dtype}', f'--steps={steps}', f'--out={out}']
    subprocess.run(command, check=True, cwd=root, env=env)


def rounding(model, in_float32, in_float64):
    """How far the official code strays from itself in float32: `float32/t1/gen` and so on."""
    found = {t: compare.errors(model, in_float32, in_float64, t)[0] for t in feed.kept(model)}
    return {
        f'float32/t{t}/{k}': np.float64(e) for t, errors in found.items() for k, e in errors.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--checkouts', type=pathlib.Path, required=True)
    parser.add_argument('--runs', type=pathlib.Path, required=True)
    parser.add_argument('--models', default=','.join(models()))
    parser.add_argument('--write', action='store_true', help='the fixtures anew')
    given = parser.parse_args()
    given.runs.mkdir(parents=True, exist_ok=True)
    chosen = given.models.split(',')
    for model in chosen:
        official = given.runs / f'{model}.npz'
        if not official.exists():
            run_peer(model, given.checkouts.resolve(), official.resolve())
        if given.write:
            rounded = given.runs / 'float32' / f'{model}.npz'
            if not rounded.exists():
                rounded.parent.mkdir(exist_ok=True)
                run_peer(model, given.checkouts.resolve(), rounded.resolve(), 'float32')
            arrays = dict(np.load(official))
            errors = rounding(model, dict(np.load(rounded)), arrays)
            about = f'{code_of(model)} {CODES[code_of(model)][2]}, {arrays.pop("about")}'
            kept = feed.reduced(model, arrays) | errors
            np.savez_compressed(HERE / f'{model}.npz', about=about, **kept)
    missing = [m for m in chosen if not (given.runs / 'snjax' / f'{m}.npz').exists()]
    if missing:
        run_ours(missing, (given.runs / 'snjax').resolve())
    for model in chosen:
        ours, theirs = (
            dict(np.load(p / f'{model}.npz')) for p in (given.runs / 'snjax', given.runs)
        )
        print(f'\n{model} against {code_of(model)}\n')
        print(*compare.table(model, ours, theirs), sep='\n')


if __name__ == '__main__':
    main()
