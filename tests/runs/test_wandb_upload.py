"""Tests of snjax.runs.wandb_upload: what is sent, once, from the files of a run."""

import json
import sys
import types

import numpy as np
import pytest

from helpers.waiting import wait_until
from snjax.runs import images, wandb_upload


def make_run(folder, steps):
    folder.mkdir(exist_ok=True)
    (folder / 'config.json').write_text('{"seed": 3}')
    with open(folder / 'metrics.jsonl', 'a') as file:
        for step in steps:
            file.write(json.dumps({'step': step, 'wall_time': 1.0, 'train/loss': 1 / step}) + '\n')
        file.write('{"step": 99, "tra')
    for step in steps:
        images.save_png(folder / 'samples' / f'{step:08d}.png', np.zeros((4, 4, 1), np.uint8))


class Recorder(types.ModuleType):
    """Stands in for wandb: keeps what is logged."""

    Settings = staticmethod(dict)
    Image = staticmethod(lambda path: path)

    def __init__(self):
        super().__init__('wandb')
        self.logged, self.begun = [], []

    def init(self, **arguments):
        self.begun.append(arguments)
        return types.SimpleNamespace(
            id='abc',
            log=self.logged.append,
            define_metric=lambda *_, **__: None,
            finish=lambda: None,
        )


def test_each_line_and_grid_is_sent_once(tmp_path, monkeypatch):
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, 'wandb', recorder)
    make_run(tmp_path / 'run', [1, 2])
    assert wandb_upload.upload(tmp_path / 'run', project='p') == 2
    scalars = [x for x in recorder.logged if 'train/loss' in x]
    assert scalars == [
        {'generator_updates': 1, 'train/loss': 1.0},
        {'generator_updates': 2, 'train/loss': 0.5},
    ]
    assert [x['generator_updates'] for x in recorder.logged if 'samples' in x] == [1, 2]
    text = (tmp_path / 'run' / 'metrics.jsonl').read_text()
    (tmp_path / 'run' / 'metrics.jsonl').write_text(text.rpartition('\n')[0] + '\n')
    recorder.logged.clear()
    make_run(tmp_path / 'run', [4])
    assert wandb_upload.upload(tmp_path / 'run', project='p') == 1
    assert [x['generator_updates'] for x in recorder.logged] == [4, 4]
    assert [begun['id'] for begun in recorder.begun] == [None, 'abc']
    assert recorder.begun[0]['config'] == {'seed': 3}


def test_what_is_missing_is_one_line_and_exit_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'wandb', Recorder())
    with pytest.raises(SystemExit) as ended:
        wandb_upload.main([str(tmp_path)])
    assert ended.value.code == 2 and 'holds no run' in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, 'wandb', None)
    with pytest.raises(SystemExit) as ended:
        wandb_upload.main([str(tmp_path)])
    assert ended.value.code == 2 and 'pip install wandb' in capsys.readouterr().err


def test_offline_the_last_line_is_the_command_that_sends_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'wandb', Recorder())
    make_run(tmp_path / 'run', [1, 2])
    folder = tmp_path / 'run' / 'wandb' / 'offline-run-1-abc'
    folder.mkdir(parents=True)
    wandb_upload.main([str(tmp_path / 'run')])
    assert capsys.readouterr().out.endswith('sent\n')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    wandb_upload.main([str(tmp_path / 'run')])
    assert capsys.readouterr().out.endswith(f'to send them: wandb sync {folder}\n')


@pytest.mark.slow
def test_wandb_itself_takes_it_offline(tmp_path, monkeypatch):
    pytest.importorskip('wandb', reason='not in this environment: pip install wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    make_run(tmp_path / 'run', [1, 2, 3])
    assert wandb_upload.upload(tmp_path / 'run', project='p') == 3
    (written,) = (tmp_path / 'run' / 'wandb').glob('offline-run-*/run-*.wandb')
    # A process of wandb's own writes it, soon after the run has ended.
    assert wait_until(lambda: b'train/loss' in written.read_bytes(), seconds=60)
