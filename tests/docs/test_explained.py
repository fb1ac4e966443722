"""The explanations: their cells are Python that imports what there is, they are short, they run."""

import ast
import importlib
import os
import re
import subprocess
import sys

import pytest

from helpers.launching import ROOT

FOLDER = ROOT / 'docs' / 'explained'
TEXTS = {path.stem: path.read_text() for path in FOLDER.glob('*.md')}
CELL = re.compile(r'^```\{code-cell\} python\n((?:^:[^\n]*\n)*)(.*?)^```$', re.M | re.S)
CELLS = {
    page: [code for _, code in CELL.findall(text)]
    for page, text in TEXTS.items()
    if 'file_format: mystnb' in text
}


def test_there_are_seven_and_the_site_lists_them():
    assert len(CELLS) == 7
    index = (ROOT / 'docs' / 'index.md').read_text()
    assert [page for page in TEXTS if f'explained/{page}\n' not in index] == []


@pytest.mark.parametrize('page', CELLS)
def test_cells_are_python_and_import_what_there_is(page):
    assert len(CELLS[page]) == TEXTS[page].count('{code-cell}')
    tree = ast.parse('\n'.join(CELLS[page]))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('snjax'):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f'{node.module}.{alias.name}')
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree))


@pytest.mark.parametrize('page', CELLS)
def test_a_page_is_read_in_ten_minutes(page):
    prose = re.sub(r'^```.*?^```$|^---.*?^---$', '', TEXTS[page], flags=re.M | re.S)
    assert len(prose.split()) < 1700  # 200 words a minute, and the figures
    assert re.search(r'It takes \w+\s+minutes to\s+read', TEXTS[page])


def test_the_table_of_what_is_shown_has_a_page_for_every_thing():
    rows = re.findall(r'^\| ([^*|][^|]*) \| ([^|]*) \|$', TEXTS['shown'], re.M)[1:]
    assert len(rows) == 48
    assert [what for what, page in rows if '](' not in page and 'not ' not in page] == []


@pytest.mark.slow
@pytest.mark.parametrize('page', CELLS)
def test_the_page_runs(page):
    env = os.environ | {'PYTHONPATH': f'{ROOT}:{FOLDER}', 'MPLBACKEND': 'agg'}
    done = subprocess.run(
        [sys.executable, '-c', '\n'.join(CELLS[page])],
        cwd=FOLDER,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    """Without the notebooks' outputs, which are tested above."""
    pytest.importorskip('sphinx', reason='pip install -r requirements-docs.txt')
    build = [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', '-c', 'docs']
    done = subprocess.run(
        [*build, '-d', tmp_path / 'trees', '-D', 'nb_execution_mode=off', '.', tmp_path / 'html'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'html' / 'docs' / 'index.html').is_file()
