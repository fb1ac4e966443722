"""`--mode=sample` of launch.py on the shared run: grids, files and arrays, and what is refused."""

import re

import numpy as np
import pytest
from PIL import Image

from configs.modes import sample as sample_options
from experiments.modes.sample import run_sample
from helpers.launching import CHECKPOINT_EVERY, NUM_STEPS, bytes_under


def test_samples_need_nothing_but_the_workdir(launcher, finished_run, tmp_path):
    workdir = finished_run.copy(tmp_path / 'run')
    before = bytes_under(workdir)
    outcome = launcher.run('--mode=sample', '--workdir=run', cwd=tmp_path)
    assert outcome.code == 0, outcome.stderr
    (made,) = (workdir / 'generated').iterdir()
    assert outcome.stdout == f'100 samples of step {NUM_STEPS} at run/generated/{made.name}\n'
    assert outcome.stderr == ''
    grid = np.asarray(Image.open(made))
    assert min(grid.shape[:2]) >= 4 * 16 and grid.std() > 0
    after = bytes_under(workdir)
    after.pop(f'generated/{made.name}')
    assert after == before


def sampled(finished_run, tmp_path, **changes):
    """Writes samples with some options changed and returns the new files."""
    workdir = tmp_path / 'run'
    if not workdir.exists():
        finished_run.copy(workdir)
    options = sample_options.get_config()
    options.update(changes)
    before = set((workdir / 'generated').rglob('*'))
    run_sample(options, workdir)
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
    assert f'step{NUM_STEPS - CHECKPOINT_EVERY}' in ' '.join(made)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'format': 'gif'}, "sample.format is 'gif': accepted are grid, images, npz"),
        ({'weights': 'emma'}, "sample.weights is 'emma'"),
        ({'label': 3}, 'sample.label is 3'),
        ({'truncation': -1.0}, 'truncation is -1'),
        ({'num': 0}, 'num is 0'),
        ({'num': -4}, 'num is -4'),
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
