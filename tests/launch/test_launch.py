"""Tests of launch.py, started as users start it: what a run leaves, and where."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from configs import sngan_digits
from helpers.launching import (
    CHECKPOINT_EVERY,
    LOG_EVERY,
    NUM_STEPS,
    ROOT,
    SAMPLE_EVERY,
    checkpoints,
    metrics,
    scores,
    state,
)
from snjax.runs.best import best_scores
from snjax.runs.checkpoint import load_tree

SCORE = 'eval/digits/train-all-200'
SN_LAYERS = ['conv1', 'conv2', 'conv3', 'score']
CONFIGS = ROOT / 'configs'


# ---- what a run leaves


def test_the_end_says_how_good_it_is_and_where_everything_lies(finished_run):
    out, workdir = finished_run.outcome.stdout, finished_run.workdir
    assert f'workdir {workdir}' in out
    assert f'trained to step {NUM_STEPS} in ' in out
    assert re.search(r'^classes .*\b\d+/10', out, re.MULTILINE)
    assert re.search(r'^precision\s+\d\.\d\d', out, re.MULTILINE)
    assert f'{workdir}/samples/{NUM_STEPS:08d}.png' in out
    assert f'tensorboard --logdir {workdir.parent}' in out
    assert re.search('^how it went  .*distance .* at the end', out, re.MULTILINE)
    assert 'resuming' not in out


def test_cost_and_compiler_are_told_at_the_start(finished_run):
    out = finished_run.outcome.stdout
    assert re.search(
        r"^compiled the training step in [\d.]+ s; [\d,.]+ GFLOP an update by XLA's count; "
        r'memory of a device: state and images [\d,]+ MB, step [\d,]+ MB$',
        out,
        re.MULTILINE,
    )
    assert re.search(r'^compiler options: xla_cpu_', out, re.MULTILINE)


def test_nothing_but_progress_is_on_stderr(finished_run):
    for line in finished_run.outcome.stderr.splitlines():
        assert re.match(
            rf'step \d+/{NUM_STEPS}  [\d.]+ it/s  ETA \d+:\d\d:\d\d  dis_loss ', line
        ), line


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
    signs = {f'sentinel/{name}' for name in ('diversity', 'saturation', 'dis_accuracy')}
    for line in training:
        assert set(line) == expected | (signs if line['step'] == 50 else set())
        assert all(np.isfinite(value) for value in line.values())
        assert all(line[f'sigma/{name}'] > 0 for name in SN_LAYERS)
        assert line['train/lr'] == np.float32(5e-4)
        assert line['train/epoch'] == pytest.approx(line['step'] / (1797 // 8))  # whole batches
        assert line['perf/images_per_s'] == pytest.approx(8 * line['perf/steps_per_s'])
    # The hinge loss at initialization is about 2, and this run has learnt something.
    assert 1.5 < training[0]['train/dis_loss'] < 2.5
    scored = [line for line in lines if 'train/dis_loss' not in line]
    assert [line['step'] for line in scored] == [20, 40, 60, 60]
    for line in scored:
        assert all(k.startswith(f'{SCORE}/') for k in line if k not in ('step', 'wall_time'))
    quick = {'frechet_distance', 'classifier_score', 'classifier_score_std'}
    quick |= {'classes_found', 'smallest_class_share'}
    assert all(
        {f'{SCORE}/{k}' for k in quick} == line.keys() - {'step', 'wall_time'}
        for line in scored[:3]
    )
    # The last state's scores are those of the checkpoint, and there are more of them.
    values = scores(finished_run.workdir)['scores']
    assert {f'{SCORE}/{k}' for k in values} == {k for line in scored[2:] for k in line if '/' in k}
    for name in quick:
        assert scored[2][f'{SCORE}/{name}'] == pytest.approx(values[name], rel=1e-6)


def test_the_best_is_kept_beside_the_last(finished_run):
    found = {
        line['step']: line[f'{SCORE}/frechet_distance']
        for line in metrics(finished_run.workdir)
        if f'{SCORE}/frechet_distance' in line
    }
    best = min(found, key=found.get)
    assert best_scores(finished_run.workdir / 'best') == {best: found[best]}
    # It is the checkpoint of that step, whole and verified.
    step, tree = load_tree(finished_run.workdir / 'best')
    assert step == tree['step'] == best
    assert checkpoints(finished_run.workdir)[-1] == NUM_STEPS


def test_sigmas_are_those_of_the_state(finished_run):
    """One power iteration an update follows the largest singular value from below, as the weights
    move on.
    """
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
        f'launch.command_line.parse([sys.argv[0], "--config={CONFIGS}/{argument}"])\n'
        'print(launch.command_line.workdir())\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == f'runs/{expected}\n'
