"""The list of runs behind the results page: its commands, its bounds in time, its records and what the page says."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.cifar10_results import __main__ as command
from benchmarks.cifar10_results import children, page, records, rows, running, spectra
from benchmarks.cifar10_results.children import Budget
from benchmarks.cifar10_results.records import Record
from benchmarks.cifar10_results.rows import ROWS, SMOKE, Job, Scale
from benchmarks.cifar10_results.running import Places, Runner, Stopped
from experiments import build
from experiments.report.published import PUBLISHED
from helpers.launching import ROOT
from snjax.metrics import protocols
from snjax.runs.scores_file import Row as ScoreRow
from snjax.runs.scores_file import add

FULL = Scale()
# ml_collections loads config files so on Python 3.11.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')


# ---- the list


def config_of(row, scale):
    """The config as `launch.py` makes it, which `method.load` takes with dots."""
    from ml_collections import ConfigDict

    return ConfigDict(Job(row, scale).config)


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize('scale', [FULL, SMOKE], ids=['full', 'smoke'])
def test_every_command_is_a_config_that_its_method_takes(row, scale):
    config = config_of(row, scale)
    config.steps_per_call = config.steps_per_call or 50  # a GPU's
    built = build.method(config)
    options = build.options(config)
    assert built.batch_size == config.batch_size
    assert options.keep_every and options.num_steps == 5 * options.keep_every
    job = Job(row, scale)
    assert job.steps[-1] == config.num_steps and len(job.steps) == 5
    assert protocols.parse(','.join(scale.protocols))


def test_the_eight_kinds_in_order_and_as_published():
    assert [row.number for row in ROWS] == [1, 2, 2, 3, 4, 5, 6, 7, 8, 8]
    assert len({row.name for row in ROWS}) == len(ROWS)
    config = {row.name: config_of(row, FULL) for row in ROWS}
    first = config['sngan_resnet_seed0']
    assert (first.num_steps, first.model.dtype, first.loss) == (50_000, 'bfloat16', 'hinge')
    assert {config[f'sngan_resnet_seed{i}'].seed for i in range(3)} == {0, 1, 2}
    assert config['sngan_resnet_float32'].model.dtype == 'float32'
    assert config['sngan_cnn_code'].model.variant == 'code'
    assert config['cgan_resnet'].model.head == 'projection'
    assert config['wgan_gp_resnet'].penalty.gradient == 10
    for row in ROWS:
        has_ema = config[row.name].optimizer.ema_decay > 0
        assert Job(row, FULL).variants == ['ema/running'] * has_ema + ['raw/running']
        assert {p[:2] for p in row.published} <= {(p.method, p.network) for p in PUBLISHED}


def test_rows_are_chosen_by_kind_or_name():
    assert [row.name for row in rows.chosen('7,2')] == ['sngan_cnn_paper', 'sngan_cnn_code', 'glo']
    assert [row.name for row in rows.chosen('r3gan')] == ['r3gan']
    assert rows.chosen('') == list(ROWS)
    with pytest.raises(ValueError, match=r"no '9'; accepted are 1 \(sngan_resnet_seed0\)"):
        rows.chosen('1,9')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--rows=1'], '--workdirs=DIR is missing'),
        (['--page', '--rows=x'], "there is no 'x'"),
        (['--workdirs=w', '--budget=60'], 'leaves no time beside twice --grace=40'),
        (['--workdirs=w', '--set=n_dis=1'], '--set and --protocols are of --smoke'),
    ],
)
def test_bad_flags_are_told_before_anything_runs(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        command.main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


# ---- bounds in time

SAVING = """
import signal, sys, time
def stop(*_):
    time.sleep(float(sys.argv[1]))
    print('saved', flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
print('ready', flush=True)
time.sleep(60)
"""


def child(tmp_path, budget, *arguments, code=SAVING, beat=lambda seconds: None):
    """A real process inside a budget."""
    process = [sys.executable, '-c', code, *arguments]
    return children.run(process, tmp_path / 'log', budget, cwd=tmp_path, beat=beat)


def test_a_process_is_asked_to_stop_in_time_to_save(tmp_path):
    ended = child(tmp_path, Budget(3.0, grace=1.5), '0.2')
    assert ended.code == 75 and ended.was_stopped and ended.is_unfinished
    assert 1.0 < ended.seconds < 3.0
    assert (tmp_path / 'log').read_text() == 'ready\nsaved\n'


def test_a_process_that_does_not_stop_is_killed_when_the_time_is_over(tmp_path):
    ended = child(tmp_path, Budget(3.0, grace=1.0), '60')
    assert ended.code == -signal.SIGKILL and ended.is_unfinished
    assert ended.seconds < 5.0


def test_without_a_bound_a_process_ends_by_itself(tmp_path):
    ended = child(tmp_path, Budget(), code='import sys; print("no such file"); sys.exit(2)')
    assert (ended.code, ended.was_stopped, ended.is_unfinished) == (2, False, False)
    assert children.last_line(tmp_path / 'log') == 'no such file'
    assert children.last_line(tmp_path / 'none') == 'nothing was printed'


def test_a_finished_process_is_finished_even_if_it_was_asked_to_stop(tmp_path):
    code = SAVING.replace('sys.exit(75)', 'sys.exit(0)')
    ended = child(tmp_path, Budget(2.0, grace=1.0), '0', code=code)
    assert ended.was_stopped and not ended.is_unfinished


def test_sigterm_of_the_whole_call_is_passed_on(tmp_path):
    """The call itself is a process here."""
    call = f"""
import pathlib, sys
from benchmarks.cifar10_results import children
budget = children.Budget(60.0, grace=5.0)
budget.listen()
ended = children.run([sys.executable, '-c', {SAVING!r}, '0'], pathlib.Path('log'), budget, cwd='.')
sys.exit(75 if ended.is_unfinished and budget.is_over() else 1)
"""
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    process = subprocess.Popen([sys.executable, '-c', call], cwd=tmp_path, env=env)
    deadline = time.monotonic() + 30
    while not (tmp_path / 'log').exists() or 'ready' not in (tmp_path / 'log').read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 75
    assert 'saved' in (tmp_path / 'log').read_text()


def test_nothing_is_started_when_the_time_is_over(tmp_path):
    runner = Runner(Places(tmp_path / 'out', tmp_path / 'runs'), Budget(0.0, grace=1.0), print)
    with pytest.raises(Stopped):
        runner.run(Job(ROWS[0], FULL))
    assert json.loads((tmp_path / 'out' / 'sngan_resnet_seed0.json').read_text())['pieces'] == []
    assert list((tmp_path / 'out').iterdir()) == [tmp_path / 'out' / 'sngan_resnet_seed0.json']


@pytest.mark.parametrize('state', ['scoring', 'diverged'])
def test_an_unfinished_row_whose_workdir_is_gone_starts_over(tmp_path, capsys, state):
    out = tmp_path / 'out'
    record = finished(out, 'sngan_resnet_seed0', score_rows(10_000), state=state)
    del record.data['curves']  # which come last
    record.write()
    runner = Runner(Places(out, tmp_path / 'fresh_disk'), Budget(0.0, grace=1.0), print)
    with pytest.raises(Stopped):
        runner.run(Job(ROWS[0], FULL))
    left = records.read(record.path)
    assert (left['pieces'], left['scores'], left['state']) == ([], [], 'training')
    assert 'curves' not in left and left['command'] == Job(ROWS[0], FULL).command
    assert 'its workdir is gone, so it starts over' in capsys.readouterr().out


# ---- records

MACHINE = {'devices': '1 gpu device (some)', 'jax': '0.10.2', 'date': '2026-01-02'}


def score_rows(
    step, frechet=10.0, coverage=0.5, weights=('ema', 'raw'), extractor='cifar_resnet56'
):
    """Rows of `scores.json` as --mode=evaluate writes them, as far as they are looked at."""
    values = {
        'frechet_distance': frechet,
        'classifier_score': 7.0,
        'precision': 0.6,
        'recall': 0.5,
        'density': 0.8,
        'coverage': coverage,
    }
    if extractor == 'inception':
        values = {'fid': frechet, 'precision': 0.6, 'recall': 0.5, 'density': 0.8, 'coverage': 0.5}
    return [
        ScoreRow(
            values,
            {
                'step': step,
                'protocol': protocol,
                'weights': w,
                'batch_statistics': 'running',
                'extractor': extractor,
                'checkpoint': 'step',
                'eval_seed': 0,
            },
        )
        for w in weights
        for protocol in FULL.protocols
    ]


def finished(out, name, found, state='finished', note=''):
    """A record as a run leaves it."""
    job = Job(rows.chosen(name)[0], FULL)
    record = Record(out, job)
    pieces = [MACHINE | {'from': 0, 'to': 400, 'seconds': 100.0}]
    pieces += [MACHINE | {'from': 400, 'to': job.num_steps, 'seconds': 200.4}]
    record.write(
        state=state,
        note=note,
        pieces=pieces,
        scores=[dataclasses.asdict(row) for row in found],
        measured={'images_per_s': 12345.6, 'updates_per_s': 100.0},
        curves={'train/dis_loss': [[100, 2.0], [200, 1.5]]},
        spectra={'block0/conv1': {'largest': 1.0, 'at': [0, 5], 'values': [1.0, 0.25]}},
    )
    return record


def written(tmp_path, out, scale=FULL):
    path = tmp_path / 'docs' / 'page.md'
    page.write(path, out, records.read_all(out, [row.name for row in ROWS]), scale)
    return path.read_text()


def line_of(text, start, after=''):
    text = text[text.index(after) :]
    return next(line for line in text.splitlines() if line.startswith(start))


def test_the_page_without_records_says_that_nothing_has_run(tmp_path):
    text = written(tmp_path, tmp_path / 'out')
    runs = text[text.index('## Runs') : text.index('## Scores')]
    assert runs.count('not yet run') == len(ROWS)
    assert 'Measured: not yet run.' in text and '0 of 10 runs' in text
    for row in ROWS:
        assert Job(row, FULL).command in text
    assert not list(tmp_path.glob('out/*'))
    assert '| 1, 5, 8 | sngan, hinge, ResNet | 8.22 | 21.70 | paper |' in text


def test_the_committed_page_is_that_of_the_committed_records(tmp_path):
    """Written by the script and not by hand."""
    out = command.PAGE.parent / 'cifar10'
    copy = tmp_path / 'docs' / 'results' / 'cifar10.md'
    found = records.read_all(out, [row.name for row in ROWS])
    page.write(copy, copy.parent / 'cifar10', found, FULL)
    assert copy.read_text() == command.PAGE.read_text()


def test_seeds_are_taken_together_and_a_diverged_run_is_a_row(tmp_path):
    out = tmp_path / 'out'
    for seed, frechet in enumerate((9.0, 10.0, 11.0)):
        last = score_rows(50_000, frechet)
        finished(out, f'sngan_resnet_seed{seed}', score_rows(10_000, 20.0) + last)
    note = 'diverged by step 30000: dis_loss = nan; the last checkpoint is of step 29000'
    found = score_rows(20_000, 30.0, coverage=0.01)
    finished(out, 'wgan_gp_resnet', found, state='diverged', note=note)
    text = written(tmp_path, out)
    line = line_of(text, '| SNGAN, ResNet, hinge, bfloat16 | EMA', '### 50k_50k_train')
    assert line.startswith(
        '| SNGAN, ResNet, hinge, bfloat16 | EMA | 3 | 50,000 | 10.0 ± 1.0 | 7.0 ± 0 |'.replace(
            '7.0 ± 0', '7 ± 0'
        )
    )
    assert '| 4 | WGAN-GP, ResNet | 0 | 100,000 | diverged | 5 min | 12,346 |' in text
    assert 'WGAN-GP, ResNet | raw | 1 | 20,000 | 30 |' in text
    assert f'- WGAN-GP, ResNet, seed 0: {note}' in text
    assert 'collapsed (EMA): coverage 0.010 at 20,000, and no better later' in text
    assert '1 gpu device (some) | 2026-01-02 |' in text
    assert '300 s of wall time, in 2 starts; 500 s at the median rate' in text
    assert '4 of 10 runs are done.' in text
    assert 'FID ↓' not in text  # no Inception here
    assert (out / 'scores.svg').is_file() and (out / 'losses.svg').is_file()
    assert '(../out/sngan_resnet_seed0_spectra.svg)' in text


def test_fid_has_a_column_where_inception_has_scored(tmp_path):
    found = score_rows(10_000, raw := 8.0, weights=['raw'])
    found += score_rows(10_000, 65.0, weights=['raw'], extractor='inception')
    finished(tmp_path / 'out', 'glo', found)
    text = written(tmp_path, tmp_path / 'out')
    line = line_of(text, '| GLO, DCGAN | raw', '### paper')
    assert line.endswith('| 0.5 | 65 |') and f'| {raw:g} |' in line
    assert 'FID ↓' in text


def test_a_poor_start_is_no_collapse_and_a_poor_end_is(tmp_path):
    poor, good = (score_rows(10_000, 9.0, coverage=c) for c in (0.01, 0.5))
    for start, end, expected in (
        (poor, score_rows(50_000, 9.0), []),
        (good, score_rows(40_000, coverage=0.01) + score_rows(50_000, coverage=0.02), [40_000]),
    ):
        record = finished(tmp_path / 'out', 'cgan_resnet', start + end)
        found = [line for line in page.verdicts(record.data, FULL) if 'collapsed (raw)' in line]
        assert found == [
            f'collapsed (raw): coverage 0.010 at {step:,}, and no better later' for step in expected
        ]


def test_a_run_that_falls_back_is_said_to(tmp_path):
    found = score_rows(10_000, 5.0) + score_rows(50_000, 9.0)
    record = finished(tmp_path / 'out', 'cgan_resnet', found)
    verdicts = page.verdicts(record.data, FULL)
    assert verdicts == [
        f'fell back ({w}): Frechet distance 5 at 10,000, 9 at 50,000' for w in ('EMA', 'raw')
    ]
    good = score_rows(10_000, 9.0) + score_rows(50_000, 5.0)
    assert (
        page.verdicts({**record.data, 'scores': [dataclasses.asdict(r) for r in good]}, FULL) == []
    )


def test_what_has_not_been_scored_at_every_checkpoint_is_scored(tmp_path):
    job, workdir = Job(ROWS[0], FULL), tmp_path / 'run'
    for step in (10_000, 20_000, 30_000, 35_000):
        (workdir / 'checkpoints' / str(step)).mkdir(parents=True)
    (workdir / 'checkpoints' / '40000.deleted').mkdir()
    add(workdir / 'scores.json', score_rows(10_000) + score_rows(20_000, weights=['ema']))
    assert running._unscored(workdir, job, 'cifar_resnet56') == [20_000, 30_000]
    assert running._unscored(workdir, job, 'inception') == [10_000, 20_000, 30_000]


def test_a_finished_row_is_left_alone_and_one_of_another_command_refused(tmp_path):
    out = tmp_path / 'out'
    record = finished(out, 'sngan_resnet_seed0', score_rows(50_000))
    before = record.path.read_bytes()
    runner = Runner(Places(out, tmp_path / 'none'), Budget(0.0, grace=1.0), print)
    assert runner.run(Job(ROWS[0], FULL)) == 'finished'
    assert record.path.read_bytes() == before
    with pytest.raises(ValueError, match=r'is of another command \(python launch\.py'):
        runner.run(Job(ROWS[0], SMOKE))
    record.path.write_text('{"command"')
    with pytest.raises(ValueError, match=r'seed0\.json is damaged'):
        Record(out, Job(ROWS[0], FULL))


def test_smoke_never_reaches_the_page(tmp_path, capsys):
    out, file = tmp_path / 'out', tmp_path / 'page.md'
    Record(out, Job(ROWS[0], SMOKE)).write()
    assert command.main([f'--out={out}', f'--page={file}']) == 2
    assert 'is of a dry run' in capsys.readouterr().err
    before = command.PAGE.read_bytes()
    assert command.main(['--smoke', f'--out={out}', '--page']) == 2
    assert '--smoke makes no results' in capsys.readouterr().err
    assert command.PAGE.read_bytes() == before and not file.exists()
    assert command.main(['--smoke', f'--out={out}', f'--page={file}']) == 0
    assert file.read_text().startswith('# Dry run of the results page: no results')


# ---- spectra


def test_singular_values_of_a_kernel_as_a_matrix():
    kernel = np.zeros((3, 3, 2, 4))
    kernel.reshape(18, 4)[[0, 5, 9, 17], range(4)] = [2.0, -3.0, 0.5, 0.0]
    assert spectra.singular_values(kernel) == pytest.approx([3, 2, 0.5, 0])


# ---- all of it

DIGITS = [
    '--smoke',
    '--set=data.name=digits',
    '--set=data.split=train',
    '--set=data.image_size=16',
    '--set=data.channels=1',
    '--set=num_steps=2000',
    '--set=checkpoint.every=10',
    '--protocols=train/all/100,train/300/200',
    '--rows=1,sngan_resnet_float32',
]


@pytest.mark.slow
def test_two_rows_interrupted_twice_end_as_they_should(tmp_path):
    """SIGTERM while it trains, SIGTERM while it scores, then to the end: each goes on where the one before was."""
    call = [sys.executable, '-m', 'benchmarks.cifar10_results', f'--workdirs={tmp_path}/runs']
    call += [*DIGITS, f'--page={tmp_path}/page.md', '--grace=15']
    env = {**os.environ, 'SNJAX_CACHE': str(tmp_path / 'cache')}
    path = tmp_path / 'runs' / 'out' / 'sngan_resnet_seed0.json'
    folder = tmp_path / 'runs' / 'sngan_resnet_seed0' / 'checkpoints'

    def steps():
        return [int(p.name) for p in folder.glob('*') if p.name.isdecimal()]

    def interrupted(number, condition):
        process = subprocess.Popen(call, cwd=ROOT, env=env)
        deadline = time.monotonic() + 300
        while not condition():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        return process.wait(60)

    assert interrupted(signal.SIGTERM, lambda: steps() and max(steps()) >= 20) == 75
    first = json.loads(path.read_text())
    reached = first['pieces'][0]['to']
    assert first['state'] == 'training' and 20 <= reached == max(steps()) < 2000

    scores = tmp_path / 'runs' / 'sngan_resnet_seed0' / 'scores.json'
    assert interrupted(signal.SIGTERM, scores.exists) == 75
    second = json.loads(path.read_text())
    assert [p['from'] for p in second['pieces']] == [0, reached]
    assert second['state'] == 'scoring' and second['scores']

    assert subprocess.run(call, cwd=ROOT, env=env).returncode == 0
    for name in ('sngan_resnet_seed0', 'sngan_resnet_float32'):
        record = json.loads((path.parent / f'{name}.json').read_text())
        assert record['state'] == 'finished'
        found = {
            (r['manifest']['step'], r['manifest']['protocol'], r['manifest']['weights'])
            for r in record['scores']
        }
        assert len(record['scores']) == len(found) == 5 * 2 * 2
        assert record['spectra'] and record['measured']['images_per_s'] > 0
        # As they act: divided by sigma, which one power iteration an update has found by then.
        assert all(0.9 < layer['largest'] < 1.2 for layer in record['spectra'].values())
        with np.load(tmp_path / 'runs' / record['samples']['file']) as made:
            assert made['images'].shape == (100, 16, 16, 1) and made['images'].dtype == np.uint8
        assert (path.parent / record['grid']).is_file()
    assert len(json.loads(path.read_text())['pieces']) == 2
    text = (tmp_path / 'page.md').read_text()
    assert 'no results' in text and 'finished' in text
