"""Tests the layers and a tiny training with every Python and JAX that can be had: `make matrix`.

    python tests/matrix.py [--pythons 3.11,3.12] [--jax 0.10,0.11] [--out table.md]

Each pair has an environment of its own, made by pip from `pyproject.toml` and removed again: the
newest releases that its ranges allow, not the pinned ones. In it run the tests of `snjax.spectral`
and a training of ten updates. Needs the standard library alone, and prints one line for each pair,
with the reason for one that cannot run.

Exits with 1 if a test or a training failed, or if no pair could run; one that cannot is no failure.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).parents[1]
PYTHONS = ('3.11', '3.12', '3.13', '3.14')
JAX = ('0.10', '0.11', '0.12')
TESTS = ('beartype', 'hypothesis', 'mpmath', 'pytest')
TRAINING = (
    '--config=configs/sngan_digits.py',
    '--config.model.gen_width=8',
    '--config.model.dis_width=8',
    '--config.num_steps=10',
    '--config.checkpoint.every=10',
    '--config.eval.every=10',
    '--config.eval.num_samples=200',
    '--config.sampling.every=10',
    '--compilation_cache=off',
)
VERSIONS = (
    'import importlib.metadata as m, platform; '
    "print(platform.python_version(), *(m.version(p) for p in ('jax', 'flax', 'numpy')))"
)
# Words of pip's where a package has no release for this Python.
NOTHING = ('No matching distribution', 'conflicting', 'ResolutionImpossible')


def interpreter(version: str) -> str | None:
    """The path of Python `version`, as '3.12': from PATH or from pyenv; None without one."""
    pyenv = pathlib.Path(os.environ.get('PYENV_ROOT', pathlib.Path.home() / '.pyenv'))
    there = [
        shutil.which(f'python{version}'),
        *sorted(pyenv.glob(f'versions/{version}.*/bin/python')),
    ]
    say = "import sys; print('%d.%d' % sys.version_info[:2])"
    for path in filter(None, there):
        # A shim of pyenv is on PATH for every version, and fails for those that are not chosen.
        done = subprocess.run([path, '-c', say], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return str(path)
    return None


def run(*command, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in the repository, without a PYTHONPATH of the caller's."""
    inherited = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    return subprocess.run(
        [*map(str, command)],
        cwd=ROOT,
        env=inherited | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), 'no output')


def pair(path: str, jax: str, folder: pathlib.Path) -> tuple[list[str], bool]:
    """Tests one pair.

    Args:
        path: of the interpreter.
        jax: as '0.11', for any of its releases.
        folder: for the environment and the run.

    Returns:
        The cells of its row after the first two, and whether nothing failed.
    """
    python, start = folder / 'venv' / 'bin' / 'python', time.monotonic()
    made = run(path, '-m', 'venv', folder / 'venv')
    if made.returncode:
        return [f'cannot run: {last_line(made.stdout)}'], True
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    ranges = [*project['dependencies'], *project['optional-dependencies']['train']]
    wanted = (*ranges, f'jax=={jax}.*', f'jaxlib=={jax}.*', *TESTS)
    made = run(python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', *wanted)
    if made.returncode:
        errors = [line for line in made.stdout.splitlines() if line.startswith('ERROR')]
        if any(words in error for error in errors for words in NOTHING):
            return ['cannot run: pip finds no release of this JAX for this Python'], True
        return [f'failed: pip: {last_line(made.stdout)}'], False
    versions = run(python, '-c', VERSIONS).stdout.split()
    env = {'JAX_PLATFORMS': 'cpu', 'SNJAX_CACHE': str(folder / 'cache')}
    tests = run(python, '-m', 'pytest', '-p', 'no:cacheprovider', 'tests/spectral', **env)
    workdir = f'--workdir={folder / "run"}'
    training = run(python, 'launch.py', *TRAINING, workdir, **env)
    for done in (tests, training):
        if done.returncode:
            print(done.stdout, file=sys.stderr)
    ended = 'done' if training.returncode == 0 else f'failed: {last_line(training.stdout)}'
    row = [*versions, last_line(tests.stdout), ended, f'{time.monotonic() - start:.0f} s']
    return row, not (tests.returncode or training.returncode)


def main() -> int:
    """Prints the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--pythons', default=','.join(PYTHONS), help='versions, as 3.11,3.12')
    parser.add_argument('--jax', default=','.join(JAX), help='versions, as 0.10,0.11')
    parser.add_argument('--out', type=pathlib.Path, help='file for the table')
    given = parser.parse_args()
    rows, good, num_run = (
        ['| Python | jax | release | flax | NumPy | tests | training | time |', '|---' * 8 + '|'],
        [],
        0,
    )
    print('\n'.join(rows), flush=True)
    for version in given.pythons.split(','):
        path = interpreter(version)
        for jax in given.jax.split(','):
            if path is None:
                row, is_good = ['cannot run: no such Python on PATH or in pyenv'], True
            else:
                with tempfile.TemporaryDirectory(prefix='snjax-matrix-') as folder:
                    row, is_good = pair(path, jax, pathlib.Path(folder))
            good.append(is_good)
            if len(row) > 1:  # the whole version of Python in place of the one that was asked for
                cells, num_run = [row[0], jax, *row[1:]], num_run + 1
            else:
                cells = [version, jax, *row]
            rows.append('| ' + ' | '.join(cells + [''] * (8 - len(cells))) + ' |')
            print(rows[-1], flush=True)
    if given.out:
        given.out.write_text('\n'.join(rows) + '\n')
    if not num_run:
        print(f'no pair of --pythons={given.pythons} and --jax={given.jax} ran', file=sys.stderr)
    return 0 if num_run and all(good) else 1


if __name__ == '__main__':
    sys.exit(main())
