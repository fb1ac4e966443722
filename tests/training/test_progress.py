"""Tests of snjax.training.progress: the line beside an estimate of hours."""

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
