"""Tests of snjax.host.paths: what a path means, and which are refused."""

import os
from pathlib import Path

import pytest

from snjax.host import paths


def test_home_is_expanded_everywhere(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert paths.expanded('~/x') == tmp_path / 'x'
    assert paths.expanded('x/~/y') == Path('x/~/y')
    assert paths.absolute('~/x/') == tmp_path / 'x'


def test_absolute_paths_of_one_folder_are_equal(monkeypatch, tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'link').symlink_to('images')
    monkeypatch.chdir(tmp_path)
    given = ['images', 'images/', './images', 'images/../images', 'link', tmp_path / 'images']
    assert {paths.absolute(path) for path in given} == {(tmp_path / 'images').resolve()}


@pytest.mark.parametrize(
    ('path', 'words'),
    [
        (
            '~no_such_user/x',
            r"data\.path is '~no_such_user/x', but there is no user 'no_such_user'",
        ),
        ('a\0b', 'NUL byte'),
    ],
)
def test_paths_without_meaning_are_one_line(path, words):
    with pytest.raises(ValueError, match=words):
        paths.expanded(path, 'data.path')


def test_a_user_without_a_home_is_told_so(monkeypatch):
    def unknown(_):
        raise KeyError('uid not found')

    monkeypatch.delenv('HOME')
    monkeypatch.setattr('pwd.getpwuid', unknown)
    with pytest.raises(ValueError, match=r'no home folder \(HOME is not set\): give the path'):
        paths.expanded('~/x')


@pytest.mark.parametrize('name', ['gs:/x', 'a\\b', os.fsdecode(b'caf\xe9')])
def test_workdirs_that_checkpoints_cannot_use_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match='cannot be written to a folder named'):
        paths.check_workdir(tmp_path / name)


def test_a_file_is_no_workdir(tmp_path):
    (tmp_path / 'gen.safetensors').touch()
    with pytest.raises(ValueError, match=r'is a file: give the folder of a run; .* --init_from'):
        paths.check_workdir(tmp_path / 'gen.safetensors')


def test_an_existing_path_is_no_pattern(tmp_path):
    for name in ('a1', 'a[1]', 'a2'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'config.json').touch()
    (tmp_path / 'empty').mkdir()
    found = {
        pattern: [path.parent.name for path in paths.matches(tmp_path / pattern, 'config.json')]
        for pattern in ('a[1]', 'a[2]', '*', 'empty', 'none')
    }
    assert found == {
        'a[1]': ['a[1]'],
        'a[2]': ['a2'],
        '*': ['a1', 'a2', 'a[1]'],
        'empty': [],
        'none': [],
    }
    assert [path.name for path in paths.matches(tmp_path / 'a[1]')] == ['a[1]']


def test_names_are_printed_without_control_characters():
    assert paths.printable('ähm \x1b[31m\n' + os.fsdecode(b'\xe9')) == r'ähm \x1b[31m\n\udce9'
    assert paths.printable('ähm 猫.png') == 'ähm 猫.png'
