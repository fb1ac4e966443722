"""The notebooks of the manual: short, and every cell runs, offline."""

import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from unittest import mock

import pytest

import snjax
from experiments.build import plan
from experiments.modes import from_python
from helpers.launching import ROOT
from snjax.generate.trained import TrainedGenerator

NOTEBOOKS = sorted((ROOT / 'docs' / 'notebooks').glob('*.md'))
CELL = re.compile(
    r'^```\{code-cell\} ipython3\n(?:^:[^\n]*\n)*(.*?)^```$', re.MULTILINE | re.DOTALL
)
# Runs the cells in turn in one namespace, as a notebook does, with Matplotlib drawing nothing.
RUN = """
import json, sys
import matplotlib
matplotlib.use('agg')
names = {'__name__': '__main__'}
for cell in json.load(sys.stdin):
    exec(compile(cell, 'cell', 'exec'), names)
"""


def cells(notebook):
    return CELL.findall(notebook.read_text())


def test_the_notebooks_are_there():
    names = {path.stem for path in NOTEBOOKS}
    assert names >= {'first_run', 'own_images', 'spectral_norm', 'glo', 'comparing'}


@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_fewer_than_40_lines_of_code_and_is_one_for_jupytext(notebook):
    text = notebook.read_text()
    assert text.startswith('---\nfile_format: mystnb\njupytext:\n') and 'format_name: myst' in text
    lines = [line for cell in cells(notebook) for line in cell.splitlines() if line.strip()]
    assert 10 < len(lines) < 40
    for cell in cells(notebook):
        compile(cell, str(notebook), 'exec')


NEEDS_IPYTHON = [path for path in NOTEBOOKS if 'IPython' in path.read_text()]


@pytest.mark.parametrize('notebook', NEEDS_IPYTHON, ids=lambda path: path.stem)
def test_trainings_of_a_notebook_that_may_not_run_here_would_start(notebook, tmp_path, monkeypatch):
    """Cells before the first training, and those that train, which is planned instead."""
    planned = []
    monkeypatch.setattr(from_python.training, 'run_train', lambda c, _: planned.append(plan(c)))
    monkeypatch.setattr(from_python.compilation_cache, 'use', lambda _: None)
    monkeypatch.setattr(from_python, 'load', mock.MagicMock())
    monkeypatch.setattr(snjax, 'load', mock.MagicMock(), raising=False)
    monkeypatch.setattr(tempfile, 'mkdtemp', lambda: str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = cells(notebook)
    first = next(i for i, cell in enumerate(found) if 'snjax.train(' in cell)
    names = {'__name__': '__main__'}
    for i, cell in enumerate(found):
        if i < first or 'snjax.train(' in cell:
            exec(compile(cell, str(notebook), 'exec'), names)
    assert len(planned) >= notebook.read_text().count('snjax.train(')


STEPS = ('num_steps', 'checkpoint.every', 'eval.every', 'sampling.every', 'log.every')


@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_with_a_fiftieth_of_the_updates(notebook, tmp_path, monkeypatch):
    """All of a notebook, in this process; only trainings and inversions are shorter."""
    if notebook in NEEDS_IPYTHON:
        pytest.importorskip('IPython', reason='not in this environment: pip install ipython')
    train, load, invert = snjax.train, snjax.load, TrainedGenerator.invert

    def shorter(config, workdir, changes):
        shortened = {k: -(-v // 50) if k in STEPS else v for k, v in changes.items()}
        return train(config, workdir, {'log.every': 1, 'eval.num_samples': 60} | shortened)

    def loaded(workdir, step=None):
        return load(workdir, step=step and -(-step // 50))

    monkeypatch.setattr(snjax, 'train', shorter)
    monkeypatch.setattr(snjax, 'load', loaded)
    monkeypatch.setattr(
        TrainedGenerator, 'invert', lambda *args, **_: invert(*args, num_steps=2, num_restarts=1)
    )
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    names = {'__name__': '__main__'}
    for cell in cells(notebook):
        exec(compile(cell, str(notebook), 'exec'), names)


@pytest.mark.slow
@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(notebook, tmp_path):
    if notebook in NEEDS_IPYTHON:
        pytest.importorskip('IPython', reason='not in this environment: pip install ipython')
    done = subprocess.run(
        [sys.executable, '-W', 'error::SyntaxWarning', '-c', textwrap.dedent(RUN)],
        input=json.dumps(cells(notebook)),
        cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
