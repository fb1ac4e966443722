"""The sdist and the wheel, installed into environments that hold nothing else. No network."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import textwrap
import tomllib
import venv
from pathlib import Path

import pytest

import snjax
from helpers.launching import ROOT, TINY

PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
BUILD = 'from setuptools import build_meta as b; import sys; print(b.build_{}(sys.argv[1]))'


def run(*command, cwd, **env):
    inherited = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    return subprocess.run(
        [*map(str, command)], cwd=cwd, env=inherited | env, capture_output=True, text=True
    )


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel that is built from the sdist, which is built from the tracked files."""
    folder = tmp_path_factory.mktemp('package')
    source = folder / 'source'
    listed = run('git', 'ls-files', '--cached', '--others', '--exclude-standard', cwd=ROOT)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    done = run(sys.executable, '-c', BUILD.format('sdist'), folder, cwd=source)
    assert done.returncode == 0, done.stderr
    sdist = folder / f'snjax-{snjax.__version__}.tar.gz'
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter='data')
    unpacked = folder / f'snjax-{snjax.__version__}'
    done = run(sys.executable, '-c', BUILD.format('wheel'), folder, cwd=unpacked)
    assert done.returncode == 0, done.stderr
    return folder / f'snjax-{snjax.__version__}-py3-none-any.whl'


def site_packages(environment):
    return next((environment / 'lib').glob('python*/site-packages'))


def installed(wheel, environment):
    """A new environment with the wheel, and without pip."""
    venv.create(environment)
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--no-cache-dir']
    python = environment / 'bin' / 'python'
    done = run(*pip, '--python', python, 'install', '--no-deps', '--no-index', wheel, cwd='/')
    assert done.returncode == 0, done.stderr
    return environment


def closure(requirements):
    """The distributions that the requirements bring, without extras."""
    found, left = {}, [re.match(r'[\w.-]+', r)[0] for r in requirements]
    while left:
        name = left.pop()
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform or version of Python
        needed = found[name].requires or []
        left += [re.match(r'[\w.-]+', r)[0] for r in needed if 'extra ==' not in r]
    return found.values()


@pytest.fixture(scope='module')
def core(wheel, tmp_path_factory):
    """What `pip install snjax` gives: the wheel, jax, flax, numpy and what those three need."""
    environment = installed(wheel, tmp_path_factory.mktemp('core') / 'venv')
    target = site_packages(environment)
    for distribution in closure(PROJECT['dependencies']):
        for first in {file.parts[0] for file in distribution.files or ()}:
            source = Path(distribution.locate_file(first))
            if first != '..' and source.exists() and not (target / first).exists():
                (target / first).symlink_to(source)
    return environment


@pytest.fixture(scope='module')
def full(wheel, tmp_path_factory):
    """What `pip install snjax[train]` gives: the wheel beside everything that is installed here."""
    environment = installed(wheel, tmp_path_factory.mktemp('full') / 'venv')
    others = next(p for p in sys.path if p.endswith('site-packages'))
    (site_packages(environment) / 'others.pth').write_text(others)
    return environment


@pytest.mark.slow
def test_the_wheel_holds_the_library_and_the_program_and_names_nothing_else(core):
    site = site_packages(core)
    ours = {p.name for p in site.iterdir() if not p.is_symlink()}
    assert ours == {'snjax', f'snjax-{snjax.__version__}.dist-info'}
    modules = {p.relative_to(ROOT / 'snjax') for p in (ROOT / 'snjax').rglob('*.py')}
    program = {
        Path('_program') / p.relative_to(ROOT)
        for folder in ('configs', 'experiments')
        for p in (ROOT / folder).rglob('*')
        if p.is_file() and '__pycache__' not in p.parts
    }
    held = {
        p.relative_to(site / 'snjax')
        for p in (site / 'snjax').rglob('*')
        if p.is_file() and '__pycache__' not in p.parts
    }
    assert held == {*modules, *program, Path('_program/launch.py'), Path('py.typed')}


def blocks(page):
    """The Python of a page. A block that imports nothing of snjax goes on from the one before."""
    found = re.findall(r'^```python\n(.*?)^```', (ROOT / page).read_text(), re.M | re.S)
    before = ['', *found]
    return [b if 'snjax' in b else a + b for a, b in zip(before, found, strict=False)]


@pytest.mark.slow
def test_jax_flax_and_numpy_are_enough_for_the_layers(core, tmp_path):
    """The code of README.md and docs/usage/spectral.md, where that is all there is."""
    code = [b for b in blocks('README.md') + blocks('docs/usage/spectral.md') if 'spectral' in b]
    code = [b for b in code if not re.search(r'import (equinox|haiku|torch|keras)', b)]
    assert len(code) >= 3
    for block in code:
        done = run(core / 'bin' / 'python', '-c', block, cwd=tmp_path, JAX_PLATFORMS='cpu')
        assert done.returncode == 0, done.stderr + block
    script = """
        import importlib.util, snjax, snjax.spectral.nnx
        for name in ('jaxtyping', 'tensorflow_datasets', 'ml_collections', 'matplotlib', 'PIL'):
            assert importlib.util.find_spec(name) is None, name
        print(snjax.__file__)
        snjax.load('run')
    """
    done = run(core / 'bin' / 'python', '-c', textwrap.dedent(script), cwd=tmp_path)
    assert done.stdout.strip() == str(site_packages(core) / 'snjax' / '__init__.py')
    assert "pip install 'snjax[train]'" in done.stderr


@pytest.mark.slow
def test_the_command_says_what_is_missing(core, tmp_path):
    done = run(core / 'bin' / 'snjax', '--config=sngan_cifar', cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith('snjax: ') and "pip install 'snjax[train]'" in line


@pytest.mark.slow
def test_the_command_trains_samples_and_plans_sweeps_from_any_folder(full, tmp_path):
    snjax_command = full / 'bin' / 'snjax'
    tiny = ['--config=sngan_digits', *TINY[1:], '--config.num_steps=10', '--config.eval.every=10']
    done = run(snjax_command, *tiny, '--config.sampling.every=10', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'spectrally normalized' not in done.stderr  # the warning of a forgotten update
    workdir = tmp_path / 'runs' / 'sngan_digits'
    assert (workdir / 'config.json').is_file()
    done = run(snjax_command, '--mode=sample', f'--workdir={workdir}', '--sample.num=4', cwd='/')
    assert done.returncode == 0, done.stderr
    # A sweep by the names of both files; its runs are started by the same program.
    sweep = ['--mode=sweep', '--config=sngan_digits', '--sweep=paper_settings:digits', '--dry_run']
    done = run(snjax_command, *sweep, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    launcher = site_packages(full) / 'snjax' / '_program' / 'launch.py'
    assert launcher.is_file() and f'{launcher} --config=configs/sngan_paper.py:' in done.stdout
    # Which a run, alone, finds by that path as well.
    listed = run(
        snjax_command,
        '--config=configs/sngan_paper.py:sngan,A,digits',
        '--list_keys=n_dis',
        cwd=tmp_path,
    )
    assert '--config.n_dis=' in listed.stdout
    done = run(snjax_command, '--help', cwd=tmp_path)
    assert 'Trains, samples, inverts' in done.stdout and '--workdir' in done.stdout
