"""Tests of snjax.training.progress: the line beside an estimate of hours."""

import sys
import types

from snjax.training import progress


def shown(monkeypatch, capsys, total):
    """What a run prints that does 10 of `total` updates in 20 seconds."""
    now = 0.0
    clock = types.SimpleNamespace(perf_counter=lambda: now)
    monkeypatch.setattr(progress, 'time', clock)
    bar = progress.Progress(0, total, shorter='shorter by smaller n_dis')
    for step in range(1, 11):
        now += 2.0
        bar.advance(step)
    return capsys.readouterr().err.splitlines()


def test_hours_come_with_the_keys_that_shrink_them(monkeypatch, capsys):
    lines = shown(monkeypatch, capsys, 50_000)
    assert lines == [
        '28 hours to go; shorter by smaller n_dis',
        'step 8/50000  0.50 it/s  ETA 27:46:24',
    ]


def test_minutes_come_alone(monkeypatch, capsys):
    assert shown(monkeypatch, capsys, 100) == ['step 8/100  0.50 it/s  ETA 0:03:04']


def test_a_notebook_has_one_line_that_is_replaced(monkeypatch, capsys):
    lines = []
    monkeypatch.setattr(progress, '_notebook_line', lambda: lines.append)
    assert shown(monkeypatch, capsys, 100) == []
    assert len(lines) == 10 and lines[-1] == 'step 10/100  0.50 it/s  ETA 0:03:00'


def test_a_line_of_a_notebook_is_updated_in_place(monkeypatch):
    shown_there = []
    handle = types.SimpleNamespace(update=lambda data, raw: shown_there.append((data, raw)))
    shell = type('ZMQInteractiveShell', (), {})()
    package = types.ModuleType('IPython')
    package.get_ipython = lambda: shell
    package.display = types.ModuleType('IPython.display')
    package.display.display = lambda data, raw, display_id: handle
    monkeypatch.setitem(sys.modules, 'IPython', package)
    monkeypatch.setitem(sys.modules, 'IPython.display', package.display)
    progress._notebook_line()('step 1/2')
    assert shown_there == [({'text/plain': 'step 1/2'}, True)]
    shell.__class__ = type('TerminalInteractiveShell', (), {})
    assert progress._notebook_line() is None
