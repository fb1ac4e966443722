"""Tests of --mode=doctor: a line for everything that is there, a fault for everything damaged."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments.modes import doctor
from helpers.checkpointing import flip_a_bit_of, make_state, save_all
from helpers.report_pages import digits, make_run
from snjax.runs.best import keep


def examine(workdir, capsys, config=None):
    given = SimpleNamespace(workdir=str(workdir), config=config)
    try:
        doctor.main(given, workdir)
        error = ''
    except ValueError as raised:
        error = str(raised)
    return error, capsys.readouterr().out


@pytest.fixture
def workdir(tmp_path):
    """A run with two checkpoints, a best one and logs, whose data are too many to look at here."""
    make_run(tmp_path / 'run', digits(), step=20, distance=3.0)
    for path in (tmp_path / 'run' / 'checkpoints').glob('*'):
        path.rmdir()
    save_all(tmp_path / 'run' / 'checkpoints', [10, 20])
    keep(tmp_path / 'run' / 'best', tmp_path / 'run' / 'checkpoints' / '20', 3.0)
    return tmp_path / 'run'


def test_every_file_of_a_workdir_is_verified_and_every_damage_is_a_fault(
    workdir, capsys, monkeypatch
):
    monkeypatch.setattr(doctor, 'of_data', lambda config: iter(()))
    monkeypatch.setattr(doctor, 'of_config', lambda config, workdir: iter(()))
    error, out = examine(workdir, capsys)
    assert error == '' and 'FAULT' not in out
    for line in ('checkpoints/10: ', 'best/20: ', 'no process uses it'):
        assert f'  ok     {line}' in out
    before = {path: path.read_bytes() for path in workdir.rglob('*') if path.is_file()}
    flip_a_bit_of(make_state(10).gen.params['kernel'], workdir / 'checkpoints' / '10')
    (workdir / 'best' / '20' / 'score.json').write_bytes(b'')
    with open(workdir / 'metrics.jsonl', 'ab') as file:
        file.write(b'\0\0\n')
    (workdir / 'checkpoints' / '5.deleted').mkdir()
    error, out = examine(workdir, capsys)
    faults = [line for line in out.splitlines() if line.startswith('  FAULT')]
    assert error == '3 faults found, see the lines above' and len(faults) == 3, out
    for part in ('checkpoints/10: ', 'best/20 has no score', 'metrics.jsonl: '):
        assert any(part in line for line in faults)
    assert 'the next start removes it: checkpoints/5.deleted' in out
    changed = {p for p, content in before.items() if p.read_bytes() != content}
    assert len(changed) == 3 and {p.name for p in changed} > {'score.json', 'metrics.jsonl'}


def test_a_damaged_config_is_a_fault_and_the_rest_of_the_page_is_printed(workdir, capsys):
    (workdir / 'config.json').write_text('{')
    error, out = examine(workdir, capsys)
    assert error == '1 fault found, see the lines above'
    assert 'machine\n  ok     Python' in out and 'config.json is damaged' in out


def test_duplicates_and_images_of_one_value_are_notes(monkeypatch):
    images = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4, 1)
    images[4], images[5] = images[1], 7
    source = SimpleNamespace(
        read=lambda: SimpleNamespace(
            images=images, name='set', sha256='ab', labels=np.zeros(6), class_names=()
        )
    )
    monkeypatch.setattr(doctor.from_config, 'image_source', lambda config: source)
    assert list(doctor.of_data({})) == [
        ('ok', 'set: 6 images of 4x4x1, sha256 ab'),
        ('note', '1 images are exact duplicates of others (4 = 1, ...)'),
        ('note', '1 images are of one value (5, ...)'),
    ]
