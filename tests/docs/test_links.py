"""Pages: their links and names exist, the README leads to all of them, their code and commands
work.
"""

import ast
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from configs import sngan_digits
from helpers import hub_server, own_images
from helpers.launching import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        ROOT / 'README.md',
        ROOT / 'CONTRIBUTING.md',
        ROOT / 'benchmarks' / 'README.md',
        *(ROOT / 'docs').rglob('*.md'),
    )
)
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ('snjax', 'experiments', 'configs', 'benchmarks')
    for path in (ROOT / folder).rglob('*.py')
)
LINK = re.compile(r'\]\(([^)\s]+)\)|src="([^"]+)"')
NAMED_PATH = re.compile(
    r'`((?:snjax|experiments|configs|tests|docs|benchmarks)/[\w./-]*)(?::[^`]*)?`'
)
HF = re.compile(r'hf://([\w.-]+/[\w.-]+)')
NAMED_MODULE = re.compile(r'(?:`|-m )((?:snjax|experiments|benchmarks)(?:\.\w+)+)')


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def without_code(text: str) -> str:
    return re.sub(r'^ *```.*?^ *```$', '', text, flags=re.M | re.S)


def links(page: str) -> list[str]:
    """Targets of the relative links and pictures of a page."""
    found = (a or b for a, b in LINK.findall(without_code(text_of(page))))
    return [target for target in found if not re.match(r'https?:', target)]


def anchors(page: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    titles = re.findall(r'^#+ (.*)$', without_code(text_of(page)), re.M)
    plain = [re.sub(r'\[([^]]*)\]\([^)]*\)', r'\1', title).lower() for title in titles]
    return {re.sub(r'[^\w -]', '', title).replace(' ', '-') for title in plain}


# ---- what is there


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
    wrong = []
    for target in links(page):
        path, _, anchor = target.partition('#')
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.exists():
            wrong.append(target)
        elif anchor and anchor not in anchors(os.path.relpath(file.resolve(), ROOT)):
            wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize('page', PAGES)
def test_named_files_exist(page):
    paths = {path for path in NAMED_PATH.findall(text_of(page)) if not re.search('[A-Z]{2}', path)}
    missing = [p for p in paths if not (ROOT / p).exists() and not list(ROOT.glob(p.rstrip('/')))]
    assert missing == []


@pytest.mark.parametrize('page', PAGES)
def test_named_modules_and_what_is_in_them_exist(page):
    assert [name for name in NAMED_MODULE.findall(text_of(page)) if not is_defined(name)] == []


def is_defined(name: str) -> bool:
    """Whether a dotted name is a module, or a module and something that its text defines or
    imports.
    """
    parts = name.split('.')
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        file = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
        if not file.is_file():
            if path.is_dir() and end == len(parts):
                return True
            continue
        text = file.read_text()
        return all(re.search(rf'\b{part}\b', text) for part in parts[end : end + 1])
    return False


def test_pages_that_docstrings_name_exist():
    named = {
        (source, path)
        for source in SOURCES
        for path in re.findall(r'\bdocs/[\w/.-]+\.(?:md|json|png)\b', text_of(source))
        if not path.endswith('.json')  # which a command may be about to write
    }
    assert named
    assert [pair for pair in sorted(named) if not (ROOT / pair[1]).is_file()] == []


# ---- how they read


def test_the_readme_is_short_and_starts_with_a_picture():
    lines = text_of('README.md').splitlines()
    assert len(lines) <= 130
    assert any(line.startswith('![') for line in lines[:12])


@pytest.mark.parametrize('page', PAGES)
def test_lines_end_at_100_columns(page):
    lines = enumerate(text_of(page).splitlines(), 1)
    assert [i for i, line in lines if len(line) > 100 and not line.startswith('|')] == []


def test_every_page_is_reached_from_the_readme():
    reached, todo = set(), ['README.md']
    while todo:
        page = todo.pop()
        reached.add(page)
        for target in links(page):
            file = ((ROOT / page).parent / target.partition('#')[0]).resolve()
            name = os.path.relpath(file, ROOT)
            if name in PAGES and name not in reached:
                todo.append(name)
    assert sorted(set(PAGES) - reached) == []


def test_every_picture_is_shown():
    shown = {
        os.path.relpath(((ROOT / page).parent / target).resolve(), ROOT)
        for page in PAGES
        for target in links(page)
    }
    pictures = [p.relative_to(ROOT).as_posix() for p in (ROOT / 'docs' / 'images').iterdir()]
    assert sorted(set(pictures) - shown) == []


def test_every_benchmark_is_in_the_table():
    table = text_of('benchmarks/README.md')
    scripts = [
        path.name
        for path in (ROOT / 'benchmarks').iterdir()
        if path.suffix in ('.py', '.sh') and path.name != '__init__.py'
    ]
    assert scripts
    assert [name for name in scripts if f']({name})' not in table] == []


# ---- the code


def python_blocks(page: str) -> list[str]:
    found = re.findall(r'^( *)```python\n(.*?)^ *```$', text_of(page), re.M | re.S)
    return [textwrap.dedent(block) for _, block in found]


@pytest.mark.parametrize('page', [page for page in PAGES if python_blocks(page)])
def test_code_imports_what_there_is(page):
    for block in python_blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('snjax'):
                names = [f'{node.module}.{alias.name}' for alias in node.names]
                assert [name for name in names if not is_defined(name)] == []


def test_the_model_with_spectral_layers_works_as_printed(capsys):
    block, short = (
        next(block for block in python_blocks(page) if 'nn.compact' in block)
        for page in ('docs/usage/python.md', 'README.md')
    )
    assert block.startswith(short)
    names = {'__name__': __name__}
    exec(block, names)
    before, after = (names[k]['spectral']['SNConv_0'] for k in ('variables', 'new'))
    sigma = after['sigma']
    assert names['y'].shape == (8, 1) and float(sigma) > 0
    assert abs(after['u'] - before['u']).max() > 0
    assert capsys.readouterr().out == f'{sigma!s}\n'


def test_the_training_step_with_spectral_layers_works_as_printed():
    model, step = python_blocks('docs/usage/spectral.md')[:2]
    names = {'__name__': __name__}
    exec(model + step, names)
    before, after = names['variables'], names['rest']
    assert float(names['value']) < 2  # the hinge loss of D before it has learned anything
    assert abs(after['spectral']['SNConv_0']['u'] - before['spectral']['SNConv_0']['u']).max() > 0


# ---- the commands


# Writes the arguments it is given instead of running: the pages' own shell does the expansion.
STUB = """#!/bin/bash
printf '%s\\0' "$@" >> "$RECORD"
printf '\\n\\0' >> "$RECORD"
"""
SRUN = """#!/bin/bash
while [ "$1" != python ]; do shift; done
exec "$@"
"""
# Runs `launch.py` up to where it has read its flags, each command in a child of its own, and prints
# what stands for a command that is refused.
PARSE = """
import importlib, json, os, sys
from absl import app
calls, sys.argv = json.load(sys.stdin), ['launch.py']
launch = importlib.import_module('launch')
app.run = lambda main, flags_parser: flags_parser(sys.argv)
for folder, words in calls:
    child = os.fork()
    if not child:
        sys.argv = words
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        launch.run()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(json.dumps([folder, words]))
"""


def shell_of(page: str) -> str:
    """All commands of a page, in order."""
    text = text_of(page)
    fenced = re.findall(r'^```bash\n(.*?)^```$', text, re.M | re.S)
    blocks = re.findall(r'(?:^    .*\n)+', without_code(text), re.M)
    indented = [re.sub(r'^    ', '', block, flags=re.M) for block in blocks if 'python' in block]
    return '\n'.join([*fenced, *indented])


def place(folder: Path) -> Path:
    """Makes a folder in which the pages' commands find configs, stubs of programs, images and
    workdirs.
    """
    folder.mkdir()
    (folder / 'configs').symlink_to(ROOT / 'configs')
    for name, text in (('bin/python', STUB), ('.venv/bin/python', STUB), ('bin/srun', SRUN)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    for images in ('photos', 'faces', 'clusters'):
        (folder / images / 'anna').mkdir(parents=True)
        (folder / images / 'anna' / '1.png').touch()
        (folder / images / 'conditions.csv').write_text('file,age\nanna/1.png,.5\n')
    own_images.zipped(own_images.in_folders)(folder / 'photos')
    own_images.plain_parquet(folder / 'photos')
    return folder


def commands(page: str, place: Path) -> list[list[str]]:
    """The arguments of every call of python in a page's commands."""
    record = place / 'record'
    env = {'PATH': str(place / 'bin'), 'RECORD': str(record)}
    text = f'{shell_of(page)}\npython the last one\n'
    outcome = subprocess.run(
        ['/bin/bash', '-c', text], cwd=place, env=env, capture_output=True, text=True, check=False
    )
    calls = [call.rstrip('\0').split('\0') for call in record.read_text().split('\n\0') if call]
    assert calls.pop() == ['the', 'last', 'one'], outcome.stderr
    return calls


def make_workdirs(calls: list[list[str]], place: Path) -> None:
    """A run in every workdir that a command names: what a mode may be asked does not depend on
    which.
    """
    config = json.dumps(sngan_digits.get_config().to_dict())
    for word in (word for call in calls for word in call):
        if word.startswith('--workdir=') and not HF.search(word):
            folder = place / word.partition('=')[2].replace('*', 'one').lstrip('/')
            folder.mkdir(parents=True, exist_ok=True)
            (folder / 'config.json').write_text(config)


LAUNCHING = [page for page in PAGES if 'launch.py --' in shell_of(page)]


@pytest.fixture(scope='module')
def launches(tmp_path_factory) -> dict[str, tuple[Path, list[list[str]]]]:
    """Of every page, a folder that has what its launches name, and the launches."""
    found = {}
    for number, page in enumerate(LAUNCHING):
        folder = place(tmp_path_factory.getbasetemp() / f'page-{number}')
        calls = [call for call in commands(page, folder) if call[0] == 'launch.py']
        make_workdirs(calls, folder)
        found[page] = folder, calls
    return found


def generator() -> bytes:
    """A file as `run.export` writes it, as far as flags are concerned."""
    config = json.dumps(sngan_digits.get_config().to_dict())
    return save({'a': np.zeros(1)}, {'config': config, 'step': '3', 'weights': 'raw'})


@pytest.fixture(scope='module')
def refused(launches, tmp_path_factory) -> tuple[list, str]:
    """The launches that are refused, each with its folder, and why. One process reads them all."""
    calls = [(str(folder), call) for folder, calls in launches.values() for call in calls]
    with hub_server.Hub() as hub:
        for model in {m for _, call in calls for word in call for m in re.findall(HF, word)}:
            hub.models[model] = {}
            hub.commit(model, {'generator.safetensors': generator()})
        home = str(tmp_path_factory.mktemp('huggingface'))
        outcome = subprocess.run(
            [sys.executable, '-c', PARSE],
            input=json.dumps(calls),
            env=os.environ | {'PYTHONPATH': str(ROOT), 'HF_ENDPOINT': hub.url, 'HF_HOME': home},
            capture_output=True,
            text=True,
            check=True,
        )
    return [json.loads(line) for line in outcome.stdout.splitlines()], outcome.stderr


@pytest.mark.parametrize('page', LAUNCHING)
def test_commands_parse(launches, refused, page):
    folder, calls = launches[page]
    assert calls
    if any(HF.search(word) for call in calls for word in call):
        pytest.importorskip('huggingface_hub', reason='huggingface_hub is not installed')
    wrong, why = refused
    assert [call for where, call in wrong if where == str(folder)] == [], why
