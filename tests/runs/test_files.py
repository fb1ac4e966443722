"""Tests of snjax.runs.files, best and scores_file: what damage, kills and two writers leave."""

import json
import shutil
import subprocess
import sys

import pytest

from snjax.runs import best, scores_file, workdir
from snjax.runs.files import Damaged, read_json, read_lines, remove_leftovers, replace_file
from snjax.runs.scores_file import Row

DAMAGES = {
    'empty': (b'', 'it is empty'),
    'zeros': (b'\0' * 40, 'zero bytes'),
    'cut': (b'{"score": 1', 'delimiter'),
    'huge number': (b'{"score": 1e400}', '1e400 is too large'),
    'nan': (b'{"score": NaN}', 'NaN is no JSON'),
    'latin': (b'{"score": "\xe9"}', 'no UTF-8'),
    'nested': (b'[' * 100_000, 'nested'),
    'digits': (b'9' * 5000, 'digits'),
}


@pytest.mark.parametrize('name', DAMAGES)
def test_damage_is_one_line_with_the_file_and_a_log_does_without(tmp_path, name):
    content, reason = DAMAGES[name]
    path = tmp_path / 'file.json'
    path.write_bytes(content)
    with pytest.raises(Damaged, match=reason) as info:
        read_json(path)
    assert str(path) in str(info.value) and '\n' not in str(info.value)
    path.write_bytes(b'{"step": 1}\n' + content + b'\n{"step": 2}\n{"st')
    lines = read_lines(path)
    assert [point['step'] for _, point in lines.good] == [1, 2]
    assert (lines.bad, lines.tail) == ([content + b'\n'], b'{"st')


def test_a_folder_in_the_place_of_a_file_is_named_and_no_file_is_none(tmp_path):
    assert read_json(tmp_path / 'none') is None
    for name in (workdir.METRICS_NAME, workdir.CONFIG_NAME, workdir.LOCK_NAME):
        (tmp_path / name).mkdir()
        with pytest.raises(ValueError, match=rf'{name} is a folder where a file belongs'):
            workdir.check_kinds(tmp_path)
        (tmp_path / name).rmdir()
    (tmp_path / workdir.CHECKPOINTS).touch()
    with pytest.raises(ValueError, match='checkpoints is a file where a folder belongs'):
        workdir.check_kinds(tmp_path)


KILLED = """
import os, pathlib, signal, sys
from snjax.runs.files import replace_file
def chunks():
    yield b'half'
    print('half', flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
replace_file(sys.argv[1], chunks())
"""


def test_leftovers_of_a_kill_go_and_a_live_write_stays(tmp_path):
    path = tmp_path / 'run' / 'file'
    process = subprocess.Popen(
        [sys.executable, '-c', KILLED, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline() == b'half\n'
        assert remove_leftovers(path.parent) == []
    (left,) = path.parent.iterdir()
    for name in ('checkpoints/8.deleted', 'best/8.new', 'checkpoints/9.orbax-checkpoint-tmp'):
        (tmp_path / 'run' / name / 'state').mkdir(parents=True)
    (tmp_path / 'run' / 'checkpoints' / '7.rejected').mkdir()
    removed = workdir.clean(tmp_path / 'run')
    assert removed == [
        left.name,
        'checkpoints/8.deleted',
        'checkpoints/9.orbax-checkpoint-tmp',
        'best/8.new',
    ]
    assert [p.name for p in (tmp_path / 'run' / 'checkpoints').iterdir()] == ['7.rejected']


def test_a_best_checkpoint_with_a_damaged_score_is_named_and_gives_way(tmp_path, caplog):
    for step in (10, 20):
        (tmp_path / 'checkpoints' / str(step)).mkdir(parents=True)
    folder = tmp_path / 'best'
    assert best.keep(folder, tmp_path / 'checkpoints' / '10', 1.0)
    assert not best.keep(folder, tmp_path / 'checkpoints' / '20', 2.0)
    (folder / '10' / 'score.json').write_bytes(b'')
    assert best.best_scores(folder) == {}
    assert 'best/10/score.json is damaged (it is empty)' in caplog.text
    assert best.keep(folder, tmp_path / 'checkpoints' / '20', 2.0)
    assert best.best_scores(folder) == {20: 2.0}
    assert [p.name for p in folder.iterdir()] == ['20']


def test_the_former_best_that_a_kill_left_beside_the_best_goes_at_the_next_start(tmp_path):
    (tmp_path / 'checkpoints' / '10').mkdir(parents=True)
    assert best.keep(tmp_path / 'best', tmp_path / 'checkpoints' / '10', 1.0)
    shutil.copytree(tmp_path / 'best' / '10', tmp_path / 'best' / '5')
    (tmp_path / 'best' / '5' / 'score.json').write_text('{"score": 3.0}')
    best.tidy(tmp_path / 'best')
    assert best.best_scores(tmp_path / 'best') == {10: 1.0}
    best.tidy(tmp_path / 'none')


ADD = """
import pathlib, sys
from snjax.runs import scores_file
for i in range(20):
    row = scores_file.Row({'x': 1.0}, {'protocol': f'{sys.argv[2]}-{i}'})
    scores_file.add(pathlib.Path(sys.argv[1]), [row])
"""


def test_two_writers_of_scores_lose_nothing_and_leave_nothing(tmp_path):
    path = tmp_path / 'scores.json'
    writers = [subprocess.Popen([sys.executable, '-c', ADD, path, name]) for name in 'ab']
    assert [writer.wait() for writer in writers] == [0, 0]
    found = {row.manifest['protocol'] for row in scores_file.read(path)}
    assert found == {f'{name}-{i}' for name in 'ab' for i in range(20)}
    assert [p.name for p in tmp_path.iterdir()] == ['scores.json']


@pytest.mark.parametrize('content', [b'', b'{"rows": [{"scores": 3, "manifest": {}}]}', b'[]'])
def test_damaged_scores_are_set_aside_and_the_new_ones_kept(tmp_path, caplog, content):
    path = tmp_path / 'scores.json'
    replace_file(path, content)
    with pytest.raises(Damaged, match=r'scores\.json is damaged'):
        scores_file.read(path)
    scores_file.add(path, [Row({'x': float('nan')}, {'protocol': 'new'})])
    assert (tmp_path / 'scores.json.damaged').read_bytes() == content
    assert 'kept as' in caplog.text
    (row,) = scores_file.read(path)
    assert row.manifest == {'protocol': 'new'} and json.dumps(row.scores) == '{"x": NaN}'
