"""What a loaded run tells and shows: `snjax.load` on a run that launch.py made, and `snjax.show`."""

import dataclasses
import re
import sys

import numpy as np
import pytest

import snjax
from helpers.launching import CHECKPOINT_EVERY, NUM_STEPS, metrics, state
from snjax.generate import measurements


@pytest.fixture(scope='module')
def run(finished_run):
    return snjax.load(finished_run.workdir)


def test_a_run_is_five_lines(run, finished_run):
    first, second, third, fourth, fifth = repr(run).splitlines()
    assert first == f'sngan on digits, 16x16x1, no classes: {finished_run.workdir}'
    assert second == f'  step {NUM_STEPS} of {NUM_STEPS}, seed 0; weights: EMA and raw'
    assert re.fullmatch(r'  generator: wgan_gp_cnn, [\d,]+ parameters; z: 8 values, normal', third)
    kept = ', '.join(map(str, run.checkpoints))
    assert fourth.startswith(f'  checkpoints: {kept}; best: ')
    how = rf'\(digits, train/all/200, step {NUM_STEPS}\)'
    assert re.fullmatch(rf'  frechet distance: [\d.e+]+ {how}', fifth)
    alone = dataclasses.replace(run, workdir=None)
    assert repr(alone).splitlines()[-1] == '  no scores' and alone.checkpoints == []


def test_logs_and_scores_are_those_of_the_files(run, finished_run):
    assert run.checkpoints == [NUM_STEPS - i * CHECKPOINT_EVERY for i in (2, 1, 0)]
    steps, values = run.curve('train/dis_loss')
    logged = [x for x in metrics(finished_run.workdir) if 'train/dis_loss' in x]
    assert steps.tolist() == [x['step'] for x in logged]
    assert values.tolist() == [x['train/dis_loss'] for x in logged]
    with pytest.raises(ValueError, match=r"tag 'loss': this run has .*train/dis_loss"):
        run.curve('loss')
    (row,) = [row for row in run.scores if row['protocol'] == 'train/all/200']
    assert row['extractor'] == 'digits' and row['precision'] >= 0


def test_metrics_are_a_frame_of_pandas_or_say_what_is_missing(run, monkeypatch):
    pandas = pytest.importorskip('pandas', reason='not in this environment: pip install pandas')
    wide = run.metrics().pivot(index='step', columns='tag', values='value')
    steps, values = run.curve('train/dis_loss')
    assert wide['train/dis_loss'].dropna().index.tolist() == steps.tolist()
    assert wide['train/dis_loss'].dropna().tolist() == values.tolist()
    assert len(pandas.DataFrame(run.scores)) == len(run.scores)


def test_without_pandas_one_line_says_so(run, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pandas', None)
    with pytest.raises(ModuleNotFoundError, match='pip install pandas'):
        run.metrics()


def test_sigmas_are_those_of_the_checkpoint(run, finished_run):
    _, leaves = state(finished_run.workdir)
    found = run.sigmas()
    assert found and all(
        value == leaves[f'dis/model_state/spectral/{name}/sigma'] for name, value in found.items()
    )
    with pytest.raises(ValueError, match=r'load it by snjax\.load'):
        dataclasses.replace(run, workdir=None).sigmas()


def test_the_training_set_as_images_like_those_of_the_generator(run):
    real = run.training_set()
    assert real.images.dtype == np.uint8
    floats = real.floats([0, 5])
    assert floats.dtype == np.float32 and floats.shape == (2, 16, 16, 1)
    np.testing.assert_array_equal(floats, real.images[[0, 5]].astype(np.float32) / 127.5 - 1)
    assert real.floats().min() == -1 and real.floats().max() == 1


def test_images_are_encoded_and_measurements_inverted(run):
    images = run.sample(2, seed=3)
    found = run.invert(images, num_restarts=1, num_steps=3)
    assert found.images.shape == images.shape and found.z.shape == (2, 8)
    operator = measurements.inpaint((16, 16, 1), measurements.Options(mask='half', fraction=0.5))
    measured = np.asarray(operator.apply(images))
    other = run.invert(measured, operator, num_restarts=1, num_steps=3)
    assert other.images.shape == images.shape and not np.array_equal(found.z, other.z)


def test_pictures_are_grids_of_at_least_400_pixels(run):
    images = run.sample(4)
    picture = run.show(images)
    assert picture.size == (408, 408) and picture.mode == 'L'  # 34 pixels, times 12
    cell = np.asarray(picture)[: 16 * 12 : 12, : 16 * 12 : 12]
    expected = np.clip(127.5 * images[0, ..., 0] + 127.5, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(cell, expected)
    assert run.show(6, columns=6).width > 5 * run.show(1).height // 25
    colours = np.zeros((3, 300, 200, 3), np.uint8)
    assert snjax.show(colours, columns=1).size == (400, 1808)
    assert snjax.show(colours[0]).mode == 'RGB'
    with pytest.raises(ValueError, match=r'\(H, W, C\) is needed'):
        snjax.show(np.zeros((4, 4)))
