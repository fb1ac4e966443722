"""Tests of snjax.runs.workdir and snjax.runs.files: steps by name, and files that are replaced."""

import os
import subprocess
import sys

import pytest

from snjax.runs.files import replace_file
from snjax.runs.workdir import check_is_of_a_run, describe_newest, newest_step, steps_in


def test_only_plain_numbers_are_committed_steps(tmp_path):
    assert (newest_step(tmp_path), steps_in(tmp_path / 'checkpoints')) == (0, [])
    assert describe_newest(tmp_path) == f'there is no checkpoint yet in {tmp_path}'
    names = ('80', '100', '120.orbax-checkpoint-tmp-1', '140.deleted', '160.rejected')
    for name in names:
        (tmp_path / 'checkpoints' / name).mkdir(parents=True)
    assert steps_in(tmp_path / 'checkpoints') == [80, 100]
    assert newest_step(tmp_path) == 100
    assert describe_newest(tmp_path) == f'the newest checkpoint is of step 100 in {tmp_path}'


@pytest.mark.parametrize('name', ['metrics.jsonl', 'tensorboard/events.out.tfevents.1', 'a/b'])
def test_files_of_another_program_are_not_overwritten(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text('500 lines of another tool')
    with pytest.raises(ValueError, match=rf'holds {name.split("/")[0]} but no config\.json.*--wor'):
        check_is_of_a_run(tmp_path)
    (tmp_path / 'config.json').touch()
    check_is_of_a_run(tmp_path)


def test_a_new_workdir_may_hold_hidden_files_and_logs(tmp_path):
    check_is_of_a_run(tmp_path / 'not there yet')
    for name in ('.lock', '.0123.tmp', 'output.log', 'slurm-17.out'):
        (tmp_path / name).touch()
    check_is_of_a_run(tmp_path)


@pytest.mark.parametrize('content', ['a\xe9\n', b'a\xc3\xa9\n', [b'a', b'\xc3\xa9\n']])
def test_a_file_is_replaced_whole(tmp_path, content):
    path = tmp_path / 'made' / 'file'
    replace_file(path, 'old and longer')
    replace_file(path, content)
    assert path.read_bytes() == b'a\xc3\xa9\n'
    assert os.listdir(path.parent) == ['file']
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    def chunks():
        yield b'half'
        assert [p.suffix for p in tmp_path.iterdir() if p.name != 'file'] == ['.tmp']
        raise OSError('the disk is full')

    replace_file(tmp_path / 'file', 'old')
    with pytest.raises(OSError, match='the disk is full'):
        replace_file(tmp_path / 'file', chunks())
    assert (tmp_path / 'file').read_text() == 'old'
    assert os.listdir(tmp_path) == ['file']


def test_the_names_of_a_workdir_and_the_supervisor_need_no_jax():
    code = (
        'import sys\n'
        'import snjax.host.supervisor, snjax.runs.config_file, snjax.runs.lock\n'
        'import snjax.runs.scores_file, snjax.runs.workdir\n'
        "sys.exit('jax' in sys.modules)"
    )
    subprocess.run([sys.executable, '-c', code], check=True)
