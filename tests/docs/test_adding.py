"""docs/adding.md: its diffs are short, apply to this tree, and do what the page says."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from helpers.launching import ROOT, TINY

PAGE = (ROOT / 'docs' / 'adding.md').read_text()
DIFFS = re.findall(r'^```diff\n(.*?)^```$', PAGE, re.M | re.S)
CODE = re.findall(r'^```python\n(.*?)^```$', PAGE, re.M | re.S)


def apply(folder, *options):
    done = subprocess.run(
        ['git', 'apply', *options],
        input='\n'.join(DIFFS),
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_five_diffs_of_under_forty_lines_apply_here():
    assert len(DIFFS) == len(CODE) == 5
    assert max(len(diff.splitlines()) for diff in DIFFS) < 40
    apply(ROOT, '--check')


@pytest.mark.slow
def test_what_the_diffs_add_works_and_trains(tmp_path):
    for name in ('snjax', 'experiments', 'configs'):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(ROOT / 'launch.py', tmp_path)
    subprocess.run(['git', 'init', '-q', '.'], cwd=tmp_path, check=True)
    apply(tmp_path)
    env = os.environ | {'PYTHONPATH': str(tmp_path), 'SNJAX_CACHE': str(tmp_path / 'cache')}

    def python(*words):
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    python('-c', '\n'.join(CODE))
    out = python(
        *('launch.py', '--config=configs/sngan_digits.py', '--workdir=run', *TINY[1:]),
        *('--config.num_steps=2', '--config.checkpoint.every=2', '--config.loss=squared_hinge'),
        *('--config.penalty.mirror=0.1', '--config.data.name=crops'),
        *('--config.eval.extractor=thumbnail', '--config.eval.num_samples=32'),
    )
    assert 'Frechet distance (thumbnail)' in out
