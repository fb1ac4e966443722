"""Configs by name, from any folder."""

import pytest

from experiments.modes.config_paths import CONFIGS, located, with_located
from helpers.launching import ROOT


@pytest.mark.parametrize('argument', ['', ':photos,64', ':a/b.c'])
def test_a_name_is_a_file_of_configs_from_anywhere(tmp_path, monkeypatch, argument):
    monkeypatch.chdir(tmp_path)
    for given in ('sngan_folder', 'configs/sngan_folder.py'):
        assert located(given + argument) == f'{CONFIGS}/sngan_folder.py{argument}'
    assert located('cifar10', 'sweeps') == f'{CONFIGS}/sweeps/cifar10.py'
    monkeypatch.chdir(ROOT)  # here both ways give the path that a sweep notes
    for given in ('sngan_folder', 'configs/sngan_folder.py'):
        assert located(given + argument) == f'configs/sngan_folder.py{argument}'


def test_a_file_that_is_there_wins_and_what_is_nowhere_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'configs').mkdir()
    for name in ('configs/sngan_cifar.py', 'sngan_cifar'):
        (tmp_path / name).touch()
        assert located(f'{name}:x') == f'{name}:x'
    for name in ('nosuch', 'configs/nosuch.py', 'base.py', '../configs/base.py', ''):
        assert located(name) == name


def test_config_and_sweep_are_located_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [
        'launch.py',
        '--config=base',
        '-sweep',
        'cifar10',
        '--workdir=base',
        '--config',
        'base',
    ]
    assert with_located(given) == [
        'launch.py',
        f'--config={CONFIGS}/base.py',
        '-sweep',
        f'{CONFIGS}/sweeps/cifar10.py',
        '--workdir=base',
        '--config',
        f'{CONFIGS}/base.py',
    ]
    assert with_located(['launch.py', '--config']) == ['launch.py', '--config']
    assert with_located(['launch.py', '--config.seed=1']) == ['launch.py', '--config.seed=1']
