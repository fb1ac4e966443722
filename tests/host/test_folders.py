from pathlib import Path

from snjax.host.folders import cache_folder


def test_the_cache_folder_is_the_given_one_or_of_the_environment_or_in_the_home(monkeypatch):
    monkeypatch.setenv('SNJAX_CACHE', '/environment')
    monkeypatch.setenv('HOME', '/home/someone')
    assert cache_folder('~/given') == Path('/home/someone/given')
    assert cache_folder() == cache_folder('') == Path('/environment')
    monkeypatch.setenv('SNJAX_CACHE', '')
    assert cache_folder() == Path('/home/someone/.cache/snjax')
