"""Tests of how runs are read, put together by kind and summed up in tables."""

import json
import shutil
import statistics
from pathlib import Path

import pytest

from experiments.modes import report
from experiments.report import leaderboard
from experiments.report import runs as run_folders
from experiments.report.groups import groups_of
from helpers.report_pages import MANIFEST, digits, make_run, outline
from snjax.runs import lock, scores_file, workdir
from snjax.runs.scores_file import Row


def test_seeds_are_one_row_and_other_configs_others(tmp_path):
    for seed, distance in enumerate([10.0, 12.0, 17.0]):
        make_run(tmp_path / f'a{seed}', digits(), step=100, distance=distance, seed=seed)
    more = {'optimizer.lr': 1e-3, 'seed': 5}
    make_run(tmp_path / 'b', digits(), step=100, distance=4.0, **more)
    make_run(tmp_path / 'c', digits(), step=40, **{'loss': 'wasserstein'})
    report.run_report(tmp_path / '*')
    found = outline(tmp_path)
    first, second = found.table('Frechet distance (digits) ↓')
    assert (first['run'], second['run']) == ('b', 'a') and first['seeds'] == '1'
    assert first['Frechet distance (digits) ↓'] == '4'
    assert (second['seeds'], second['state'], second['step']) == ('3', '3 finished', '100')
    assert second['Frechet distance (digits) ↓'] == '13.0 ± 3.6'
    mean = statistics.fmean([1, 10 / 12, 10 / 17])
    assert second['Classifier score ↑'].startswith(f'{mean:.2f} ± ')
    (without,) = next(t[1:] for t in found.tables if t[0] == ['run', 'seeds', 'state', 'step'])
    assert without[1:] == ['1', 'interrupted', '40 of 100']
    # What is not the same in all, and nothing else.
    rows = found.table('optimizer.lr')
    assert list(rows[0]) == ['run', 'loss', 'optimizer.lr', 'seed']
    assert {(r['loss'], r['optimizer.lr'], r['seed']) for r in rows} == {
        ('hinge', '0.0005', '0, 1, 2'),
        ('hinge', '0.001', '5'),
        ('wasserstein', '0.0005', '0'),
    }
    text = (tmp_path / 'report.html').read_text()
    assert 'model.gen_width: 16' in text
    assert '500 fakes against 1797 real images (digits, train), extractor digits' in text
    assert '<svg ' in (tmp_path / 'report.svg').read_text()
    assert (tmp_path / 'report.pdf').read_bytes().startswith(b'%PDF')
    assert (tmp_path / 'report.png').read_bytes().startswith(b'\x89PNG')
    assert '5 runs of 3 kinds: ' in text


def test_a_seed_that_was_run_twice_counts_once(tmp_path, capsys):
    make_run(tmp_path / 'a', digits(), step=100, distance=10.0)
    make_run(tmp_path / 'again', digits(), step=100, distance=12.0)
    last = tmp_path / 'again' / 'metrics.jsonl'
    last.write_text(json.dumps({'step': 100, 'wall_time': 1.0, 'train/dis_loss': 3.0}) + '\n')
    report.run_report(tmp_path / '*')
    assert capsys.readouterr().out.startswith('2 runs of 1 kind, 2 finished; ')
    (row,) = outline(tmp_path).table('Frechet distance (digits) ↓')
    assert (row['seeds'], row['Frechet distance (digits) ↓']) == ('1', '11')
    runs, _ = run_folders.read([tmp_path / 'a', tmp_path / 'again'])
    (group,) = groups_of(runs)
    at_the_end = group.curve('train/dis_loss')[-1].spread
    assert (at_the_end.mean, at_the_end.std) == (2.0, None)


def test_seeds_that_differ_in_how_data_are_fed_are_one_kind(tmp_path, capsys):
    fed = [{'data.workers': 8, 'data.stream': 'on'}, {'data.stream': 'off', 'log.every': 7}, {}]
    for seed, more in enumerate(fed):
        make_run(tmp_path / str(seed), digits(), step=100, distance=10.0 + seed, seed=seed, **more)
    report.run_report(tmp_path / '*')
    assert capsys.readouterr().out.startswith('3 runs of 1 kind, 3 finished; ')
    (row,) = outline(tmp_path).table('Frechet distance (digits) ↓')
    assert (row['seeds'], row['Frechet distance (digits) ↓']) == ('3', '11.0 ± 1.0')
    (row,) = leaderboard.collect([tmp_path / str(seed) for seed in range(3)], 'digits')
    assert (row['seeds'], row['frechet_distance']) == (3, (11.0, 1.0))


def test_a_run_of_an_older_version_is_of_the_kind_that_it_computed(tmp_path, capsys):
    make_run(tmp_path / 'new', digits(), step=100, distance=10.0)
    make_run(tmp_path / 'old', digits(), step=100, distance=12.0, seed=1)
    path = tmp_path / 'old' / 'config.json'
    config = json.loads(path.read_text())
    del config['data']['workers'], config['penalty']['r2']
    path.write_text(json.dumps(config | {'num_seeds': 1}))
    make_run(tmp_path / 'stacked', digits(), step=100, distance=12.0)
    path = tmp_path / 'stacked' / 'config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'num_seeds': 3}))
    report.run_report(tmp_path / '*')
    out = capsys.readouterr().out
    assert '2 runs of 1 kind' in out
    assert 'left out: ' in out and 'stacked/config.json: num_seeds was removed in 0.2' in out
    rows = outline(tmp_path).table('seed')
    assert list(rows[0]) == ['run', 'seed']  # a key that is absent has its default


def test_each_state_is_told_apart(tmp_path):
    folder = tmp_path / 'x' / 'runs'
    for seed, name in enumerate(['done-1', 'half-2', 'wild-3', 'live-4', 'crashed-5']):
        make_run(folder / name, digits(), step=100 if seed == 0 else 40, seed=seed)
    (folder / 'wild-3' / workdir.DIVERGED_NAME).write_text('diverged by step 41: dis_loss = nan\n')
    journal = [
        {'run': '5', 'state': 'crashed', 'note': 'MemoryError'},
        {'run': '2', 'state': 'running'},
    ]
    lines = [json.dumps(line) for line in journal]
    (tmp_path / 'x' / 'journal.jsonl').write_text('\n'.join([*lines, '{"run": "1", "sta']))
    with lock.WorkdirLock(folder / 'live-4'):
        report.run_report(tmp_path / 'x')
        with pytest.raises(ValueError, match='in use'):  # asking left the lock as it was
            lock.WorkdirLock(folder / 'live-4').__enter__()
    rows = outline(tmp_path / 'x').table('workdir')
    assert {Path(r['workdir']).name: r['state'] for r in rows} == {
        'done-1': 'finished',
        'half-2': 'interrupted',
        'wild-3': 'diverged',
        'live-4': 'running',
        'crashed-5': 'crashed',
    }
    remarks = {Path(r['workdir']).name: r['remark'] for r in rows}
    assert remarks['wild-3'] == 'diverged by step 41: dis_loss = nan'
    assert remarks['crashed-5'] == 'MemoryError'


def test_what_is_torn_damaged_or_no_run_is_said_and_stops_nothing(tmp_path, capsys):
    for name in ('whole', 'torn', 'damaged', 'no-config', 'scores'):
        make_run(tmp_path / name, digits(), step=100, distance=3.0, seed=len(name))
    with open(tmp_path / 'torn' / 'metrics.jsonl', 'a') as file:
        file.write('{"step": 100, "train/dis')
    (tmp_path / 'damaged' / 'metrics.jsonl').write_text('{"step":\n[1]\n{"step": 7, "x": "NaN"}\n')
    (tmp_path / 'no-config' / 'config.json').write_text('{')
    (tmp_path / 'scores' / 'scores.json').write_text('{"rows": [{}]}')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'fresh').mkdir()
    (tmp_path / 'fresh' / 'config.json').write_text(json.dumps(digits().to_dict()))
    report.run_report(tmp_path / '*')
    out = capsys.readouterr().out.splitlines()
    left_out = sorted(line for line in out if line.startswith('left out: '))
    assert len(left_out) == 4
    for line, words in zip(
        left_out,
        [
            'damaged/metrics.jsonl: 2 lines',
            'empty holds no run',
            'no-config/config.json is damaged',
            'scores/scores.json is damaged',
        ],
        strict=True,
    ):
        assert words in line
    assert '5 runs of' in out[-1]
    rows = {Path(r['workdir']).name: r for r in outline(tmp_path).table('workdir')}
    assert rows['fresh']['step'] == '0 of 100'
    assert rows['torn']['step'] == '100 of 100'


def test_best_checkpoints_of_seeds_are_one_row_although_their_steps_differ(tmp_path):
    for seed, step in enumerate((40, 80)):
        folder = tmp_path / str(seed)
        make_run(folder, digits(), step=100, seed=seed)
        manifest = MANIFEST | {'checkpoint': 'best', 'step': step, 'seed': seed}
        scores_file.add(folder / 'scores.json', [Row({'frechet_distance': 3.0 + seed}, manifest)])
    report.run_report(tmp_path / '*')
    (row,) = outline(tmp_path).table('Frechet distance (digits) ↓')
    assert (row['seeds'], row['step']) == ('2', '40-80')
    assert row['Frechet distance (digits) ↓'] == '3.50 ± 0.71'


def test_one_damaged_run_of_many_is_named_and_stops_nothing(tmp_path, capsys):
    damages = {
        'metrics.jsonl': b'{"step": 1e400}\n\0\0\0\n',
        'config.json': b'{"seed": 1e400}',
        'scores.json': b'',
        'journal.jsonl': b'\0\n[]\n',
    }
    folders = [*damages, *(f'{name}-folder' for name in damages), 'checkpoints', 'text', 'good']
    for number, name in enumerate(folders):
        make_run(tmp_path / 'runs' / name, digits(), step=100, distance=10.0, seed=number)
    for name, content in damages.items():
        (tmp_path / 'runs' / name / name).write_bytes(content)
        path = tmp_path / 'runs' / f'{name}-folder' / name
        path.unlink(missing_ok=True)
        path.mkdir()
    shutil.rmtree(tmp_path / 'runs' / 'checkpoints' / 'checkpoints', ignore_errors=True)
    (tmp_path / 'runs' / 'checkpoints' / 'checkpoints').touch()
    text = tmp_path / 'runs' / 'text' / 'config.json'
    text.write_text(json.dumps(json.loads(text.read_text()) | {'num_steps': 'many'}))
    report.run_report(tmp_path / 'runs' / '*')
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith('8 runs of 1 kind')
    for name in ('metrics.jsonl', 'config.json', 'scores.json'):
        assert f'runs/{name}/{name}' in out
    assert "config.json is damaged (num_steps is 'many', where int belongs)" in out
