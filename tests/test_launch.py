"""Tests of launch.py, started as users start it: what a run leaves, how it fails, and that it resumes bit for bit."""

import concurrent.futures
import contextlib
import csv
import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import launching
import numpy as np
import pytest
from launching import (
    CHECKPOINT_EVERY,
    DIGITS,
    LOG_EVERY,
    NUM_STEPS,
    ROOT,
    SAMPLE_EVERY,
    TINY,
    Launcher,
    assert_same_run,
    bytes_under,
    checkpoints,
    events,
    logged_step,
    metrics,
    printed,
    state,
    wait,
    wait_until,
)
from PIL import Image
from tensorboard_server import ask, ask_bytes, hparams_rows, scalar_points, serve, wait_for

from configs import sngan_digits
from experiments import method, modes
from snjax import resume
from snjax.checkpoint import Checkpointer, best_scores, load_tree
from snjax.resume import WorkdirLock

# Fixtures, which pytest finds by their names here.
launcher, finished_run = launching.launcher, launching.finished_run

SN_LAYERS = [f'conv{i}' for i in range(1, 8)] + ['score']

# ---- how it fails

FOUR_DEVICES = {'XLA_FLAGS': f'--xla_force_host_platform_device_count=4 {launching.QUICKLY}'}
CONFIGS = ROOT / 'configs'
# name: (flags, environment, what the one line must say)
BAD_INPUT = {
    'a typo': ([DIGITS, '--config.n_dsi=5'], {}, ['n_dsi', 'n_dis']),
    'a wrong type': ([DIGITS, '--config.n_dis=abc'], {}, ['n_dis', 'abc']),
    'unknown loss': ([DIGITS, '--config.loss=hing'], {}, ["'hing'", '--config.loss=hinge']),
    'unknown method': ([DIGITS, '--config.method=sngn'], {}, ["'sngn'", '--config.method=sngan']),
    'unknown architecture': (
        [DIGITS, '--config.model.architecture=resent'],
        {},
        ["'resent'", '--config.model.architecture=resnet'],
    ),
    'unknown set': ([DIGITS, '--config.data.name=digts'], {}, ["'digts'", 'digits']),
    'batch and devices': (
        [DIGITS, '--config.batch_size=6'],
        FOUR_DEVICES,
        ['batch_size 6', '4 devices', '4 or 8'],
    ),
    'interval': (
        [DIGITS, '--config.num_steps=1600', '--config.steps_per_call=7'],
        {},
        ['1600', 'not a multiple', 'steps_per_call 7', '--config.num_steps=1603'],
    ),
    'no config': ([], {}, ['--config=configs/sngan_digits.py']),
    'no such config': ([f'--config={CONFIGS}/sngan_digts.py'], {}, ['sngan_digts.py']),
    'unknown mode': ([DIGITS, '--mode=tain'], {}, ['tain', 'train']),
    'unknown flag': ([DIGITS, '--wrkdir=x'], {}, ['wrkdir', 'workdir']),
    'not a flag': ([DIGITS, 'train'], {}, ["'train'"]),
    'config argument': (
        [f'--config={CONFIGS}/sngan_cifar_cnn.py:Z'],
        {},
        ['sngan_cifar_cnn.py:Z', 'A, B, C, D, E, F'],
    ),
    'argument not taken': ([f'{DIGITS}:C'], {}, ['sngan_digits.py:C']),
    'a cache in a file': (
        [DIGITS, f'--compilation_cache={ROOT}/LICENSE'],
        {},
        ['--compilation_cache', 'LICENSE cannot be written', 'auto or off'],
    ),
    'a trace of a sweep': (
        [DIGITS, '--mode=sweep', '--profile=2'],
        {},
        ['--profile', 'leave it out'],
    ),
    'a trace of less than nothing': ([DIGITS, '--profile=-1'], {}, ['profile', '-1']),
    'no such folder': (
        [f'--config={CONFIGS}/sngan_folder.py:/no/such/folder'],
        {},
        ['/no/such/folder'],
    ),
    'workdir is a file': ([DIGITS, f'--workdir={ROOT}/LICENSE'], {}, ['LICENSE']),
    'samples of nothing': (['--mode=sample', '--workdir=nowhere'], {}, ['nowhere', 'config.json']),
}


@pytest.fixture(scope='module')
def bad_launches(launcher, tmp_path_factory):
    """All of them, two at a time: each waits for imports more than it computes."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:

        def start(flags, env):
            where = tmp_path_factory.mktemp('bad')
            return where, pool.submit(launcher.run, *flags, cwd=where, **env)

        yield {name: start(flags, env) for name, (flags, env, _) in BAD_INPUT.items()}


@pytest.mark.parametrize('name', BAD_INPUT)
def test_bad_input_is_one_line_and_exit_2_before_anything_is_compiled(bad_launches, name):
    _, launch = bad_launches[name]
    outcome = launch.result()
    line = outcome.error_line()
    assert outcome.code == 2
    assert line.startswith('launch.py: ')
    assert 'Traceback' not in line and '\\n' not in line
    assert [part for part in BAD_INPUT[name][2] if part not in line] == [], line
    assert 'compiled' not in outcome.stdout


@pytest.mark.parametrize('name', BAD_INPUT)
def test_bad_input_leaves_nothing_that_refuses_the_corrected_run(bad_launches, name):
    where, launch = bad_launches[name]
    launch.result()
    assert [str(path) for path in where.rglob('config.json')] == []


def tiny_config():
    config = sngan_digits.get_config()
    config.model.gen_width = config.model.dis_width = 4
    config.batch_size = config.gen_batch_size = 8
    return config.lock()


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('n_dis', 0),
        ('batch_size', 0),
        ('batch_size', 1798),
        ('gen_batch_size', -8),
        ('num_steps', 0),
        ('steps_per_call', -1),
        ('update_order', 'gen'),
        ('seed', 2**64),
        ('optimizer.lr', 0.0),
        ('optimizer.lr', -1e-4),
        ('optimizer.name', 'adm'),
        ('optimizer.beta1', 1.0),
        ('optimizer.beta2', -0.5),
        ('optimizer.ema_decay', 1.0),
        ('optimizer.decay_end', -5),
        ('model.gen_width', 0),
        ('model.dis_width', 0),
        ('model.dim_z', 0),
        ('model.latent', 'gaussian'),
        ('model.dtype', 'float16'),
        ('model.variant', 'papr'),
        ('model.spectral_updates', 'never'),
        ('model.n_power_iterations', 0),
        ('model.n_warmup_iterations', -1),
        ('data.image_size', 0),
        ('data.image_size', 17),
        ('data.channels', 2),
        ('data.split', 'tarin'),
        ('checkpoint.every', -1),
        ('checkpoint.keep', 0),
        ('checkpoint.keep_every', -1),
        ('log.every', 0),
        ('log.histograms_every', -1),
        ('sampling.every', -1),
        ('sampling.num', -1),
        ('eval.extractor', 'vgg'),
        ('eval.num_samples', 0),
        ('eval.num_samples', 5),
        ('eval.every', -40),
        ('eval.every', 15),  # no multiple of checkpoint.every
        ('eval.nearest', -1),
        ('eval.batch_size', 0),
        ('eval.neighbour_num', 3),
    ],
)
def test_impossible_values_are_named_before_anything_is_compiled(
    key, value, tmp_path, monkeypatch, own_errors
):
    config = tiny_config()
    with config.unlocked():
        config.update_from_flattened_dict({key: value})

    def compile_nothing(*_):
        pytest.fail(f'{key} = {value} got as far as the compiler')

    monkeypatch.setattr('snjax.parallel.DataParallel.compile', compile_nothing)
    with pytest.raises(ValueError, match=re.escape(key.split('.')[-1])) as error:
        modes.run_train(config, tmp_path / 'run')
    assert '\n' not in str(error.value)
    # The corrected run may have the same workdir.
    good = tiny_config().to_dict()
    resume.check_config(tmp_path / 'run', good, harmless=modes.HARMLESS)


def test_a_workdir_of_another_config_is_refused_with_the_difference(
    launcher,
    finished_run,
    tmp_path,
):
    workdir = finished_run.copy(tmp_path / 'run')
    before = bytes_under(workdir)
    other = ['--config.n_dis=2', '--config.optimizer.lr=0.001', '--config.log.every=5']
    outcome = launcher.run(*TINY, f'--workdir={workdir}', *other)
    line = outcome.error_line()
    assert outcome.code == 2
    assert 'n_dis: 1 (workdir) != 2 (now)' in line
    assert 'optimizer.lr: 0.0005 (workdir) != 0.001 (now)' in line
    assert 'log.every' not in line  # harmless
    assert 'compiled' not in outcome.stdout
    after = bytes_under(workdir)
    before.pop('.lock'), after.pop('.lock')
    assert after == before


def test_a_workdir_in_use_is_refused(launcher, finished_run, tmp_path):
    workdir = finished_run.copy(tmp_path / 'run')
    before = bytes_under(workdir)
    with WorkdirLock(workdir):
        before['.lock'] = (workdir / '.lock').read_bytes()
        outcome = launcher.run(*TINY, f'--workdir={workdir}')
        assert bytes_under(workdir) == before
    line = outcome.error_line()
    assert outcome.code == 2
    assert str(workdir) in line and f'process {os.getpid()}' in line


def test_divergence_is_exit_3_with_value_and_step_and_keeps_the_checkpoints(
    launcher,
    finished_run,
    tmp_path,
):
    # A discriminator with biases next to float32's end: one more forward pass overflows.
    workdir = finished_run.copy(tmp_path / 'run')
    run = method.load(tiny_config_of(workdir))
    like = jax.eval_shape(run.init, jax.random.key(0))
    with Checkpointer(workdir / 'checkpoints', keep=3) as kept:
        step, at_the_end = kept.restore_latest(like)
        dis = at_the_end.dis
        params = jax.tree.map(lambda p: p if p.ndim > 1 else p * 0 + 3e38, dis.params)
        brink = at_the_end.replace(dis=dis.replace(params=params), step=at_the_end.step + 1)
        kept.save(step + 1, brink)
    before = state(workdir)

    outcome = launcher.run(*TINY, f'--workdir={workdir}', f'--config.num_steps={NUM_STEPS + 9}')
    assert outcome.code == 3
    assert f'resuming from step {NUM_STEPS + 1}' in outcome.stdout
    lines = outcome.stderr.splitlines()
    assert 'Traceback' not in outcome.stderr
    diverged = f'launch.py: diverged by step {NUM_STEPS + 2}: '
    (line,) = [line for line in lines if line.startswith('launch.py: ')]
    assert line.startswith(diverged)
    assert re.search(r'dis_loss = (nan|inf)', line)
    assert line.endswith(f'the last checkpoint is of step {NUM_STEPS + 1}')
    assert checkpoints(workdir)[-2:] == [NUM_STEPS, NUM_STEPS + 1]
    after = state(workdir)
    assert after[0] == before[0] == NUM_STEPS + 1
    assert {k: v.tobytes() for k, v in after[1].items()} == {
        k: v.tobytes() for k, v in before[1].items()
    }
    # No number that is not one got into the logs.
    assert max(line['step'] for line in metrics(workdir)) <= NUM_STEPS + 1


def tiny_config_of(workdir: Path):
    config = sngan_digits.get_config()
    config.update(json.loads((workdir / 'config.json').read_text()))
    return config


# ---- what a run leaves


def test_the_end_says_how_good_it_is_and_where_everything_lies(finished_run):
    out, workdir = finished_run.outcome.stdout, finished_run.workdir
    assert f'workdir {workdir}' in out
    assert f'trained to step {NUM_STEPS} in ' in out
    assert re.search(r'^classes .*\b\d+/10', out, re.MULTILINE)
    assert re.search(r'^precision\s+\d\.\d\d', out, re.MULTILINE)
    assert f'{workdir}/samples/{NUM_STEPS:08d}.png' in out
    assert f'tensorboard --logdir {workdir}/tensorboard' in out
    assert 'resuming' not in out


def test_cost_and_compiler_are_told_at_the_start(finished_run):
    out = finished_run.outcome.stdout
    assert re.search(
        r'^one update takes [\d,]+ GFLOP; memory of a device, estimated: state [\d,]+ MB, images [\d,]+ MB, step ',
        out,
        re.MULTILINE,
    )
    assert re.search(
        r"^compiled the training step in [\d.]+ s; by XLA's count it takes [\d,]+ MB$",
        out,
        re.MULTILINE,
    )
    assert re.search(r'^compiler options: xla_cpu_', out, re.MULTILINE)


def test_profile_leaves_a_trace_beside_the_logs(launcher, tmp_path):
    outcome = launcher.train(tmp_path / 'run', '--config.num_steps=10', '--profile=2')
    [trace] = (tmp_path / 'run' / 'tensorboard' / 'plugins' / 'profile').iterdir()
    assert list(trace.glob('*.xplane.pb'))
    assert f'trace        {trace} ' in outcome.stdout


def test_nothing_but_progress_is_on_stderr(finished_run):
    for line in finished_run.outcome.stderr.splitlines():
        assert re.match(r'step \d+/120  [\d.]+ it/s  ETA \d+:\d\d:\d\d  dis_loss ', line), line


def test_a_run_imports_neither_tensorflow_nor_torch(finished_run):
    assert (finished_run.poison / 'tensorflow.py').exists()
    assert not (finished_run.poison / 'imported').exists()


def test_metrics_hold_every_logged_step_once_with_all_tags(finished_run):
    lines = metrics(finished_run.workdir)
    training = [line for line in lines if 'train/dis_loss' in line]
    assert [line['step'] for line in training] == list(range(LOG_EVERY, NUM_STEPS + 1, LOG_EVERY))
    expected = {'step', 'wall_time', 'perf/steps_per_s', 'perf/images_per_s'}
    expected |= {f'train/{n}' for n in ('dis_loss', 'gen_loss', 'real_logits', 'fake_logits')}
    expected |= {f'train/{n}' for n in ('dis_grad_norm', 'gen_grad_norm', 'lr', 'epoch')}
    expected |= {f'sigma/{name}' for name in SN_LAYERS}
    for line in training:
        assert set(line) == expected
        assert all(np.isfinite(value) for value in line.values())
        assert all(line[f'sigma/{name}'] > 0 for name in SN_LAYERS)
        assert line['train/lr'] == np.float32(5e-4)
        assert line['train/epoch'] == pytest.approx(line['step'] / (1797 // 8))  # whole batches
        assert line['perf/images_per_s'] == pytest.approx(8 * line['perf/steps_per_s'])
    # The hinge loss at initialisation is about 2, and this run has learnt something.
    assert 1.5 < training[0]['train/dis_loss'] < 2.5
    scored = [line for line in lines if 'train/dis_loss' not in line]
    assert [line['step'] for line in scored] == [40, 80, 120, 120]
    for line in scored:
        assert all(k.startswith('eval/') for k in line if k not in ('step', 'wall_time'))
    quick = {'frechet_distance', 'classifier_score', 'classifier_score_std'}
    quick |= {'classes_found', 'smallest_class_share'}
    assert all(
        {f'eval/{k}' for k in quick} == line.keys() - {'step', 'wall_time'} for line in scored[:3]
    )
    # The last state's scores are those of the checkpoint, and there are more of them.
    values = scores(finished_run.workdir)['scores']
    assert {f'eval/{k}' for k in values} == {k for line in scored[2:] for k in line if '/' in k}
    for name in quick:
        assert scored[2][f'eval/{name}'] == pytest.approx(values[name], rel=1e-6)


def scores(workdir: Path, protocol: str = 'train/all/200') -> dict:
    rows = json.loads((workdir / 'scores.json').read_text())['rows']
    (row,) = [row for row in rows if row['manifest']['protocol'] == protocol]
    return row


def test_the_best_is_kept_beside_the_last(finished_run):
    found = {
        line['step']: line['eval/frechet_distance']
        for line in metrics(finished_run.workdir)
        if 'eval/frechet_distance' in line
    }
    best = min(found, key=found.get)
    assert best_scores(finished_run.workdir / 'best') == {best: found[best]}
    # It is the checkpoint of that step, whole and verified.
    step, tree = load_tree(finished_run.workdir / 'best')
    assert step == tree['step'] == best
    assert checkpoints(finished_run.workdir)[-1] == NUM_STEPS


def test_sigmas_are_those_of_the_state(finished_run):
    """One power iteration an update follows the largest singular value from below, as the weights move on."""
    _, leaves = state(finished_run.workdir)
    line = [line for line in metrics(finished_run.workdir) if 'train/dis_loss' in line][-1]
    for name in SN_LAYERS:
        kernel = leaves[f'dis/params/{name}/kernel']
        largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        assert line[f'sigma/{name}'] == leaves[f'dis/model_state/spectral/{name}/sigma']
        assert 0.5 * largest < line[f'sigma/{name}'] < 1.1 * largest


def test_scores_come_with_their_protocol(finished_run):
    yardstick = scores(finished_run.workdir, 'digits yardstick')
    assert set(yardstick['scores']) == {
        'classes_found',
        'smallest_class_share',
        'precision',
        'recall',
    }
    found = scores(finished_run.workdir)
    assert {'frechet_distance', 'kernel_distance', 'density', 'coverage'} < set(found['scores'])
    assert 'fid' not in found['scores']  # which is Inception's
    assert found['manifest']['real_count'] == 1797
    assert found['manifest']['extractor'] == 'digits'
    assert len(found['manifest']['extractor_sha256']) == 64
    for row in (yardstick, found):
        manifest = row['manifest']
        assert manifest['step'] == NUM_STEPS
        assert manifest['checkpoint'] == 'last'
        assert manifest['fake_count'] == 200
        assert manifest['weights'] == 'ema'
        assert manifest['batch_statistics'] == 'running'
        assert manifest['seed'] == 0


def test_workdir_holds_config_grids_and_the_latest_checkpoints(finished_run):
    workdir = finished_run.workdir
    config = json.loads((workdir / 'config.json').read_text())
    assert (config['method'], config['model']['gen_width'], config['num_steps']) == (
        'sngan',
        4,
        NUM_STEPS,
    )
    assert set(config) == set(sngan_digits.get_config().to_dict())
    steps = range(0, NUM_STEPS + 1, SAMPLE_EVERY)
    assert sorted(p.name for p in (workdir / 'samples').iterdir()) == [
        f'{s:08d}.png' for s in steps
    ]
    grids = [np.asarray(Image.open(workdir / 'samples' / f'{s:08d}.png')) for s in steps]
    assert all(min(g.shape[:2]) >= 4 * 16 and g.dtype == np.uint8 for g in grids)
    assert len({g.tobytes() for g in grids}) == len(grids)  # they change as it learns
    assert checkpoints(workdir) == [
        NUM_STEPS - 2 * CHECKPOINT_EVERY,
        NUM_STEPS - CHECKPOINT_EVERY,
        NUM_STEPS,
    ]
    assert not [p for p in (workdir / 'checkpoints').iterdir() if not p.name.isdecimal()]
    step, leaves = state(workdir)
    assert step == leaves['step'] == NUM_STEPS
    tops = {'step', 'gen/params', 'gen/opt_state', 'gen/model_state', 'dis/params', 'dis/opt_state'}
    tops |= {'dis/model_state', 'ema/params', 'ema/batch_stats'}
    assert {'/'.join(k.split('/')[:2]) for k in leaves} == tops


# ---- where it runs


def test_runs_from_any_folder_and_names_the_workdir_after_the_config(
    launcher,
    finished_run,
    tmp_path,
):
    # A finished run in the place where the run would be: found there, it has nothing left to train.
    finished_run.copy(tmp_path / 'runs' / 'sngan_digits')
    outcome = launcher.run(*TINY, cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert 'workdir runs/sngan_digits\n' in outcome.stdout
    assert f'resuming from step {NUM_STEPS}' in outcome.stdout
    assert 'compiled' not in outcome.stdout
    assert_same_run(tmp_path / 'runs' / 'sngan_digits', finished_run.workdir)


@pytest.mark.parametrize(
    ('argument', 'expected'),
    [
        ('sngan_cifar_cnn.py:B,code', 'sngan_cifar_cnn-B,code'),
        ('sngan_cifar.py', 'sngan_cifar'),
    ],
)
def test_the_default_workdir_holds_the_argument(argument, expected):
    script = (
        'import sys, launch\n'
        f'launch._parse([sys.argv[0], "--config={CONFIGS}/{argument}"])\n'
        'print(launch._workdir())\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == f'runs/{expected}\n'


# ---- stopping and going on


def test_harmless_keys_may_change_and_the_run_goes_on(launcher, finished_run, tmp_path):
    workdir = finished_run.copy(tmp_path / 'run')
    lines = metrics(workdir)
    more = [f'--config.num_steps={NUM_STEPS + 10}', '--config.log.every=5']
    outcome = launcher.run(*TINY, f'--workdir={workdir}', *more)
    assert outcome.code == 0, outcome.stderr
    assert f'resuming from step {NUM_STEPS}\n' in outcome.stdout
    assert f'trained to step {NUM_STEPS + 10} in ' in outcome.stdout
    assert checkpoints(workdir)[-1] == NUM_STEPS + 10
    now = metrics(workdir)
    assert now[: len(lines)] == lines
    trained = [line['step'] for line in now[len(lines) :] if 'train/dis_loss' in line]
    assert trained == [NUM_STEPS + 5, NUM_STEPS + 10]
    assert json.loads((workdir / 'config.json').read_text())['num_steps'] == NUM_STEPS + 10
    assert scores(workdir)['manifest']['step'] == NUM_STEPS + 10
    with serve(workdir) as url:
        (row,) = wait_for(lambda: hparams_rows(url), bool).values()
    assert row['num_steps'] == NUM_STEPS + 10
    assert row['log.every'] == 5


def test_evaluate_scores_runs_by_every_protocol_and_compares_them(launcher, finished_run, tmp_path):
    """Two copies of a run stand for two seeds."""
    for seed in (0, 1):
        folder = finished_run.copy(tmp_path / 'runs' / f'seed{seed}')
        config = json.loads((folder / 'config.json').read_text())
        (folder / 'config.json').write_text(json.dumps(config | {'seed': seed}))
    outcome = launcher.run(
        '--mode=evaluate',
        f'--workdir={tmp_path}/runs/seed*',
        '--config.eval.protocols=train/all/60,train/500/40',
        '--config.eval.variants=ema/running,raw/reestimated,raw/batch',
        '--config.eval.batch_size=20',
        '--config.eval.nearest=3',
    )
    assert outcome.code == 0, outcome.stderr
    added = set()
    for seed in (0, 1):
        folder = tmp_path / 'runs' / f'seed{seed}'
        rows = json.loads((folder / 'scores.json').read_text())['rows']
        manifests = [row['manifest'] for row in rows]
        # Those of the training stay.
        assert {m['protocol'] for m in manifests} == {
            'train/all/200',
            'digits yardstick',
            'train/all/60',
            'train/500/40',
        }
        new = [m for m in manifests if m['fake_count'] < 200]
        assert {m['checkpoint'] for m in new} == {'last', 'best'}
        assert len(new) == 2 * 3 * 2
        added |= {m['real_count'] for m in new}
        assert list((folder / 'generated').glob('nearest_digits_*.png'))
        tags = {tag for tag, *_ in events(folder)}
        assert 'eval/digits/train/all/60/last/raw/batch/frechet_distance' in tags
    assert added == {1797, 500}
    board = (tmp_path / 'runs' / 'leaderboard.md').read_text()
    assert '| sngan | digits | 120 | train/500/40 |' in board
    # Equal runs: the mean is theirs, and the deviation 0.
    assert '± 0 |' in board
    with open(tmp_path / 'runs' / 'leaderboard.csv') as file:
        lines = list(csv.DictReader(file))
    assert {line['seeds'] for line in lines if line['fake_count'] != '200'} == {'2'}
    assert all(float(line['frechet_distance']) > 0 for line in lines)


def test_a_run_without_a_checkpoint_does_not_keep_the_others_from_being_scored(
    launcher, finished_run, tmp_path
):
    for name in ('a', 'b', 'c'):
        finished_run.copy(tmp_path / name)
    shutil.rmtree(tmp_path / 'b' / 'checkpoints')
    outcome = launcher.run(
        '--mode=evaluate', f'--workdir={tmp_path}/?', '--config.eval.protocols=train/all/60'
    )
    assert outcome.code == 0, outcome.stderr
    assert f'left out: no checkpoint in {tmp_path}/b' in outcome.stdout
    board = (tmp_path / 'leaderboard.md').read_text()
    assert '| sngan | digits | 120 | train/all/60 |' in board


def test_several_checkpoints_are_scored_in_turn_and_kept_at_once(launcher, finished_run, tmp_path):
    """The third is not there: what came before it stays."""
    folder = finished_run.copy(tmp_path / 'run')
    before = len(json.loads((folder / 'scores.json').read_text())['rows'])
    there = checkpoints(folder)[-2:]
    asked = ','.join(map(str, [*there, 7]))
    outcome = launcher.run(
        '--mode=evaluate',
        f'--workdir={folder}',
        '--config.eval.protocols=train/all/60',
        f'--config.eval.steps={asked}',
    )
    assert outcome.code == 2 and 'no checkpoint of step 7' in outcome.error_line()
    rows = json.loads((folder / 'scores.json').read_text())['rows']
    manifests = [row['manifest'] for row in rows[before:]]
    assert [(m['checkpoint'], m['step']) for m in manifests] == [('step', s) for s in there]
    assert len({row['scores']['frechet_distance'] for row in rows[before:]}) == 2


@pytest.mark.parametrize(
    ('flag', 'message'),
    [
        ('eval.steps=10,x', "eval.steps is '10,x'.*10000,20000"),
        ('eval.protocols=paper', 'digits.*'),
        (
            'eval.protocols=train/5000/50',
            'compares with 5,000 images of train, but digits has 1,797',
        ),
        ('eval.variants=ema', 'ema/running,raw/batch'),
        ('eval.extractor=inception', 'inception'),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(launcher, finished_run, flag, message):
    outcome = launcher.run(
        '--mode=evaluate',
        f'--workdir={finished_run.workdir}',
        f'--config.{flag}',
        SNJAX_WEIGHTS='/nowhere',
    )
    assert outcome.code == 2
    assert re.search(message, outcome.error_line())


def test_sigterm_saves_and_exits_75_and_the_next_start_ends_as_if_nothing_had_been(
    launcher,
    finished_run,
    tmp_path,
):
    workdir = tmp_path / 'run'
    process = launcher.start(*TINY, f'--workdir={workdir}')
    assert wait_until(process, lambda: logged_step(workdir) >= 13)
    process.send_signal(signal.SIGTERM)
    outcome = wait(process)
    assert outcome.code == 75
    assert 'Traceback' not in outcome.stderr
    found = re.fullmatch(
        rf'launch.py: .*saved at step (\d+) of {NUM_STEPS}',
        outcome.stderr.splitlines()[-1],
    )
    assert found, outcome.stderr
    step = int(found[1])
    assert 13 <= step < NUM_STEPS
    assert checkpoints(workdir)[-1] == step
    assert state(workdir)[1]['step'] == step
    assert not (workdir / 'scores.json').exists()

    outcome = launcher.train(workdir)
    assert f'resuming from step {step}\n' in outcome.stdout
    assert_same_run(workdir, finished_run.workdir)


def unfinished_saves(workdir: Path) -> set[tuple[str, int]]:
    """Checkpoints being written, or left half-written by a kill: names and times, so that they can be told apart."""
    found = set()
    for path in (workdir / 'checkpoints').glob('*.orbax-checkpoint-tmp*'):
        with contextlib.suppress(FileNotFoundError):  # committed since
            found.add((path.name, path.stat().st_ctime_ns))
    return found


def kill(launcher: Launcher, flags, workdir: Path, moment) -> int:
    """Starts a run, kills it when it trains and `moment()` has come, and returns the step it started from."""
    process = launcher.start(*flags, f'--workdir={workdir}')
    trains = wait_until(process, lambda: 'compiled the training step' in printed(process))
    came = wait_until(process, moment)
    process.send_signal(signal.SIGKILL)
    outcome = wait(process)
    assert trains and came and outcome.code == -signal.SIGKILL, outcome
    return resumed_from(outcome)


def resumed_from(outcome) -> int:
    found = re.search(r'^resuming from step (\d+)$', outcome.stdout, re.MULTILINE)
    return int(found[1]) if found else 0


def kill_and_resume(launcher, flags, workdir, num_steps, second, num_random):
    """Kills a run at random moments after its checkpoint of step `second`, once while it saves; then it may end.

    Returns:
        The step that each start but the first went on from.
    """
    starts = []
    kills = [*['at a random moment'] * num_random, 'while it saves']
    random.shuffle(kills)
    for i, how in enumerate(kills):  # which grows below
        reached = max(second, logged_step(workdir))
        # Leaves room for those to come, so that each finds a run that is not over.
        target = random.randint(
            reached + 1, reached + (num_steps - reached) // (len(kills) - i + 1)
        )
        leftovers = unfinished_saves(workdir)

        def due(how=how, target=target, leftovers=leftovers):
            if second not in checkpoints(workdir) and not starts:
                return False
            if how == 'while it saves':
                return logged_step(workdir) > second and unfinished_saves(workdir) - leftovers
            return logged_step(workdir) >= target

        starts.append(kill(launcher, flags, workdir, due))
        print(f'kill {i} {how} ({target}): from {starts[-1]} to {logged_step(workdir)}')
        if how == 'while it saves' and not unfinished_saves(workdir) - leftovers:
            kills.append(how)  # the save was over before the kill came: again
    outcome = launcher.run(*flags, f'--workdir={workdir}')
    assert outcome.code == 0, outcome.stderr
    return [*starts[1:], resumed_from(outcome)]


def test_a_run_killed_at_any_moment_ends_as_if_nothing_had_been(launcher, finished_run, tmp_path):
    workdir, second = tmp_path / 'run', 2 * CHECKPOINT_EVERY
    starts = kill_and_resume(launcher, TINY, workdir, NUM_STEPS, second, num_random=2)
    assert min(starts) >= second, starts
    assert_same_run(workdir, finished_run.workdir)


@pytest.mark.slow
def test_the_demo_killed_five_times_ends_as_if_nothing_had_been(launcher, tmp_path):
    launcher = dataclasses.replace(launcher, xla_flags='')  # as users compile it
    undisturbed, workdir = tmp_path / 'undisturbed', tmp_path / 'killed'
    assert launcher.run(DIGITS, f'--workdir={undisturbed}').code == 0
    config = sngan_digits.get_config()
    second = 2 * config.checkpoint.every
    starts = kill_and_resume(launcher, [DIGITS], workdir, config.num_steps, second, num_random=4)
    assert min(starts) >= second, starts
    assert_same_run(workdir, undisturbed)


# ---- samples of a run


def sample(launcher, workdir, *flags):
    outcome = launcher.run('--mode=sample', f'--workdir={workdir}', *flags)
    assert outcome.code == 0, outcome.stderr
    return outcome.stdout


def test_samples_need_nothing_but_the_workdir(launcher, finished_run, tmp_path):
    workdir = finished_run.copy(tmp_path / 'run')
    before = bytes_under(workdir)
    outcome = launcher.run('--mode=sample', '--workdir=run', cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    (made,) = (workdir / 'generated').iterdir()
    assert outcome.stdout == f'16 samples of step {NUM_STEPS} at run/generated/{made.name}\n'
    assert outcome.stderr == ''
    grid = np.asarray(Image.open(made))
    assert min(grid.shape[:2]) >= 4 * 16 and grid.std() > 0
    after = bytes_under(workdir)
    after.pop(f'generated/{made.name}')
    assert after == before


def sampled(finished_run, tmp_path, **changes):
    """Writes samples with `config.sampling` changed and returns what was made."""
    workdir = tmp_path / 'run'
    if not workdir.exists():
        finished_run.copy(workdir)
    config = tiny_config_of(workdir)
    config.sampling.update(changes)
    before = set((workdir / 'generated').rglob('*'))
    modes.run_sample(config, workdir)
    return sorted(set((workdir / 'generated').rglob('*')) - before)


def test_samples_as_arrays_files_and_grid_are_the_same_images(finished_run, tmp_path, capsys):
    (npz,) = sampled(finished_run, tmp_path, num=5, format='npz')
    folder, *files = sampled(finished_run, tmp_path, num=5, format='images')
    sampled(finished_run, tmp_path, num=5, format='grid')
    with np.load(npz) as loaded:
        arrays = loaded['images']
    assert arrays.shape == (5, 16, 16, 1) and arrays.dtype == np.uint8
    assert [f.name for f in files] == [f'{i:06d}.png' for i in range(5)]
    for array, file in zip(arrays, files, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(file)), array[..., 0])
    assert len({a.tobytes() for a in arrays}) == 5
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [f'5 samples of step {NUM_STEPS} at {out}' for out in (npz, folder)]
    grid = np.asarray(Image.open(said[2].split(' at ')[1]))
    assert arrays[0].tobytes() in [
        grid[y : y + 16, x : x + 16].tobytes() for y in range(4) for x in range(4)
    ]


def test_seed_weights_truncation_and_step_change_the_samples_and_their_file(finished_run, tmp_path):
    made = {}
    for change in (
        {'seed': 0},
        {'seed': 1},
        {'weights': 'raw'},
        {'truncation': 0.5},
        {'step': NUM_STEPS - CHECKPOINT_EVERY},
    ):
        (path,) = sampled(finished_run, tmp_path, num=4, format='npz', **change)
        with np.load(path) as loaded:
            made[path.name] = loaded['images'].tobytes()
    assert len(made) == len(set(made.values())) == 5
    assert 'step110' in ' '.join(made)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'format': 'gif'}, "sampling.format is 'gif': accepted are grid, images, npz"),
        ({'weights': 'emma'}, "sampling.weights is 'emma'"),
        ({'label': 3}, 'sampling.label is 3'),
        ({'truncation': -1.0}, 'truncation -1'),
        ({'num': 0}, 'num 0'),
        ({'num': -4}, 'num -4'),
        ({'step': 119}, 'no checkpoint of step 119'),
        ({'step': -1}, '-1'),
    ],
)
def test_impossible_samples_are_named_and_nothing_is_written(
    finished_run, tmp_path, change, message
):
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)) as error:
        sampled(finished_run, tmp_path, **change)
    assert '\n' not in str(error.value)
    assert not (tmp_path / 'run' / 'generated').exists()


def test_a_damaged_config_is_one_line(launcher, finished_run, tmp_path):
    workdir = finished_run.copy(tmp_path / 'run')
    (workdir / 'config.json').write_text('{"method": ')
    for flags in (['--mode=sample'], TINY):
        outcome = launcher.run(*flags, f'--workdir={workdir}')
        assert outcome.code == 2
        assert 'config.json' in outcome.error_line()
        assert 'Traceback' not in outcome.stderr


# ---- TensorBoard


@pytest.fixture(scope='module')
def two_runs(launcher, finished_run):
    """The folder with the shared run and one of another seed."""
    runs = finished_run.workdir.parent
    launcher.train(runs / 'second', '--config.seed=1')
    return runs


def test_another_seed_is_another_run(two_runs):
    first, second = (metrics(two_runs / name) for name in ('first', 'second'))
    assert [line['step'] for line in first] == [line['step'] for line in second]
    assert first[0]['train/dis_loss'] != second[0]['train/dis_loss']
    grids = [two_runs / run / 'samples' / f'{NUM_STEPS:08d}.png' for run in ('first', 'second')]
    assert grids[0].read_bytes() != grids[1].read_bytes()


def test_event_files_hold_what_the_lines_hold(finished_run):
    expected = {
        (tag, line['step']): np.float32(value)
        for line in metrics(finished_run.workdir)
        for tag, value in line.items()
        if tag not in ('step', 'wall_time')
    }
    scalars = [(tag, step, v) for tag, step, v in events(finished_run.workdir) if v is not None]
    assert len(scalars) == len(expected)
    assert {(tag, step): np.float32(v) for tag, step, v in scalars} == expected


def test_tensorboard_serves_two_runs(two_runs):
    runs = ['first/tensorboard', 'second/tensorboard']
    with serve(two_runs) as url:
        wait_for(lambda: hparams_rows(url), lambda rows: len(rows) == 2)
        assert sorted(ask(url, 'runs')) == runs

        for run, name in zip(runs, ('first', 'second'), strict=True):
            lines = [x for x in metrics(two_runs / name) if 'train/dis_loss' in x]
            for tag in ('train/dis_loss', 'sigma/score', 'perf/steps_per_s'):
                points = wait_for(
                    lambda run=run, tag=tag: scalar_points(url, run, tag),
                    lambda points: len(points) == NUM_STEPS,
                )
                assert points == [(x['step'], pytest.approx(x[tag], rel=1e-6)) for x in lines]

            pictures = ask(url, 'plugin/images/images', run=run, tag='samples', sample=0)
            assert [p['step'] for p in pictures] == list(range(0, NUM_STEPS + 1, SAMPLE_EVERY))
            served = ask_bytes(url, f'plugin/images/individualImage?{pictures[-1]["query"]}')
            assert served == (two_runs / name / 'samples' / f'{NUM_STEPS:08d}.png').read_bytes()

            tags = ask(url, 'plugin/histograms/tags')[run]
            assert {'gen/project/kernel', 'dis/conv1/kernel', 'dis/score/bias'} <= set(tags)
            histogram = ask(url, 'plugin/histograms/histograms', run=run, tag='dis/conv1/kernel')
            assert [step for _, step, _ in histogram] == [60, 120]
            kernel = state(two_runs / name)[1]['dis/params/conv1/kernel']
            buckets = np.array(histogram[-1][2])
            assert buckets[:, 2].sum() == kernel.size
            np.testing.assert_allclose(
                [buckets[0, 0], buckets[-1, 1]], [kernel.min(), kernel.max()], rtol=1e-6
            )

            (text,) = ask(url, 'plugin/text/text', run=run, tag='config')
            assert '&quot;n_dis&quot;: 1' in text['text'] or '"n_dis": 1' in text['text']

        rows = hparams_rows(url)
        assert sorted(rows) == runs
        assert [rows[run]['seed'] for run in runs] == [0, 1]
        for run, name in zip(runs, ('first', 'second'), strict=True):
            assert rows[run]['model.gen_width'] == 4
            assert rows[run]['loss'] == 'hinge'
            assert rows[run]['eval/precision'] == pytest.approx(
                scores(two_runs / name)['scores']['precision'], rel=1e-6
            )
