"""What the files of installation say of each other: the requirements, uv.lock, the Dockerfiles."""

import re
import subprocess
import sys
import tomllib

import pytest

from helpers.launching import ROOT

PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
LOCK = (ROOT / 'uv.lock').read_text()
DOCKERFILES = ('Dockerfile', 'Dockerfile.cuda')


def plain(name):
    return re.sub(r'[-_.]+', '-', name).lower()


def locked():
    """The versions of each package in uv.lock."""
    found = {}
    for package in tomllib.loads(LOCK)['package']:
        found.setdefault(package['name'], set()).add(package.get('version'))
    return found


def pinned(name):
    """The lines 'package==version' of a requirements file."""
    lines = (ROOT / name).read_text().splitlines()
    return [found.groups() for line in lines if (found := re.match(r'([\w.-]+)==([\w.]+)', line))]


@pytest.mark.parametrize('name', ['requirements.txt', 'requirements-dev.txt'])
def test_uv_installs_the_versions_of_the_requirements(name):
    there, lines = locked(), pinned(name)
    assert len(lines) > 20
    assert [(p, v) for p, v in lines if v not in there.get(plain(p), ())] == []


def test_the_lock_is_of_this_project_and_of_pypi_alone():
    lock = tomllib.loads(LOCK)
    mine = next(package for package in lock['package'] if package['name'] == 'snjax')
    assert set(mine['metadata']['provides-extras']) == set(PROJECT['optional-dependencies'])
    plain_ones = {
        r['name']: r['specifier'] for r in mine['metadata']['requires-dist'] if len(r) == 2
    }
    for line in PROJECT['dependencies']:
        name, ranges = re.match(r'([\w.-]+)(.*)', line).groups()
        assert set(plain_ones[plain(name)].split(',')) == set(ranges.split(',')), line
    asked = set(PROJECT['requires-python'].split(','))
    assert set(lock['requires-python'].replace(' ', '').split(',')) == asked
    assert set(re.findall(r'(\w+://[^/"]+)', LOCK)) == {
        'https://pypi.org',
        'https://files.pythonhosted.org',
    }


@pytest.mark.parametrize('name', DOCKERFILES)
def test_a_dockerfile_copies_what_is_there_and_installs_what_is_tested(name):
    text = (ROOT / name).read_text()
    copied = [line.split()[1].rstrip('/') for line in text.splitlines() if line.startswith('COPY ')]
    assert {'launch.py', 'configs', 'experiments', 'snjax', 'requirements.txt'} == set(copied)
    assert all((ROOT / path).exists() for path in copied)
    let_in = (ROOT / '.dockerignore').read_text().splitlines()
    assert {f'!{path}' for path in copied} <= set(let_in) and let_in[0] == '*'
    python = re.search(r'^FROM python:([\d.]+)-', text, re.M)[1]
    assert python == '3.12'  # the version of jax that requirements.txt has for it:
    jax = re.findall(
        r"^jax==([\d.]+) ; python_version >= '3.12'", (ROOT / 'requirements.txt').read_text(), re.M
    )
    assert re.findall(r'jax\[cuda13\]==([\d.]+)', text) == (jax if name.endswith('cuda') else [])


def test_the_package_can_be_installed_where_it_is_tested():
    """The Pythons that the workflow runs all tests on are those that pyproject.toml names."""
    workflow = (ROOT / '.github' / 'workflows' / 'ci.yml').read_text()
    listed = re.findall(r"'(3\.\d+)'", re.search(r'python: \[(.*)\]', workflow)[1])
    named = {c.rpartition(' ')[2] for c in PROJECT['classifiers'] if ':: 3.' in c}
    assert set(listed) == named
    low, high = (int(n) for n in re.findall(r'3\.(\d+)', PROJECT['requires-python']))
    assert all(low <= int(version.split('.')[1]) < high for version in listed)


def test_a_matrix_that_ran_nothing_fails():
    command = [sys.executable, ROOT / 'tests' / 'matrix.py', '--pythons=9.9', '--jax=0.10']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and 'cannot run: no such Python' in done.stdout
