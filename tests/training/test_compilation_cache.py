"""Tests of snjax.training.compilation_cache: which folder keeps compiled programs."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from snjax.training import compilation_cache

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def settings(monkeypatch):
    """Restores JAX's settings afterwards; the environment names no folder."""
    monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
    names = (
        'jax_compilation_cache_dir',
        'jax_compilation_cache_max_size',
        'jax_enable_compilation_cache',
        'jax_persistent_cache_min_compile_time_secs',
    )
    before = {name: getattr(jax.config, name) for name in names}
    yield jax.config
    for name, value in before.items():
        jax.config.update(name, value)


def test_auto_lies_beside_the_prepared_sets(settings, tmp_path, monkeypatch):
    monkeypatch.setenv('SNJAX_CACHE', str(tmp_path))
    folder = compilation_cache.use('auto')
    assert folder.parent == tmp_path / 'xla'
    assert settings.jax_compilation_cache_dir == str(folder)


def test_auto_leaves_the_folder_that_jax_was_told(settings, tmp_path, monkeypatch):
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', str(tmp_path))
    before = settings.jax_compilation_cache_dir
    assert compilation_cache.use('auto') == tmp_path
    assert settings.jax_compilation_cache_dir == before


def test_a_named_folder_goes_first(settings, tmp_path, monkeypatch):
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', str(tmp_path / 'other'))
    folder = compilation_cache.use(str(tmp_path / 'named'))
    assert folder.parent == tmp_path / 'named'
    assert settings.jax_compilation_cache_dir == str(folder)


def test_off(settings):
    assert compilation_cache.use('off') is None
    assert not settings.jax_enable_compilation_cache


def test_a_folder_that_cannot_be_written(settings, own_errors, tmp_path, monkeypatch):
    file = tmp_path / 'file'
    file.touch()
    with pytest.raises(ValueError, match=r'--compilation_cache=.*file cannot be written'):
        compilation_cache.use(str(file))
    monkeypatch.setenv('SNJAX_CACHE', str(file))
    assert compilation_cache.use('auto') is None  # as good as none was asked for


PROGRAM = """
import sys
import jax
from snjax import parallel
from snjax.training import compilation_cache
compilation_cache.use(sys.argv[1])
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
x = jax.numpy.arange(6.0).reshape(2, 3)
print(parallel.compile(jax.jit(lambda x: (x @ x.T).sum(0)).lower(x))(x).tolist())
print(sum('cache_hit' in name for name in hits))
"""


def test_a_second_process_compiles_nothing(tmp_path):
    """Programs with the compiler options of this backend can be read from disk."""
    env = {k: v for k, v in os.environ.items() if k != 'JAX_COMPILATION_CACHE_DIR'}
    command = [sys.executable, '-c', PROGRAM, str(tmp_path)]
    first, second = (
        subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    values, hits = zip(first.stdout.split('\n')[:2], second.stdout.split('\n')[:2], strict=True)
    assert values[0] == values[1] == '[19.0, 64.0]'
    assert hits[0] == '0' and int(hits[1]) >= 1
    assert not second.stderr
    assert list(tmp_path.rglob('*-cache'))
