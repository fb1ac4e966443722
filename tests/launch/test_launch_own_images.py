"""Trainings on one set in every form in which a user may have it end in the same bits."""

import shutil

import numpy as np
import pytest

from configs import cgan_anime
from configs.modes import sample
from experiments.modes import train
from experiments.modes.sample import run_sample
from experiments.report import runs as report_runs
from experiments.report import samples
from experiments.report.groups import groups_of
from helpers import own_images
from helpers.launching import state


def config_of(path, **changes):
    """Three updates of `cgan_anime`'s recipe with a tiny network that takes images of 32 px."""
    c = cgan_anime.get_config(f'{path},32')
    c.num_steps, c.batch_size, c.gen_batch_size, c.n_dis = 3, 4, 4, 1
    c.model.architecture = 'wgan_gp_cnn'
    c.model.gen_width = c.model.dis_width = c.model.dim_z = 4
    c.eval.extractor, c.eval.every = '', 0
    c.checkpoint.every = c.sampling.every = c.log.histograms_every = 0
    c.log.every = 1
    c.update_from_flattened_dict(changes)
    return c.lock()


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, leaf in found.items():
        np.testing.assert_array_equal(leaf, expected[name], err_msg=name, strict=True)


@pytest.fixture(scope='module')
def of_folders(tmp_path_factory):
    """(folder, workdir, state) of a finished run on images in folders."""
    base = tmp_path_factory.mktemp('folders')
    images = own_images.in_folders(base / 'images')
    train.run_train(config_of(images), base / 'run')
    return images, base / 'run', state(base / 'run')[1]


@pytest.mark.slow
@pytest.mark.parametrize('form', [form for form in own_images.FORMS if form != 'folders'])
def test_every_form_trains_to_the_same_bits(of_folders, tmp_path, form):
    path = own_images.FORMS[form](tmp_path / 'images')
    train.run_train(config_of(path), tmp_path / 'run')
    step, found = state(tmp_path / 'run')
    assert step == 3
    assert_same_bits(found, of_folders[2])


@pytest.mark.slow
def test_the_names_of_the_classes_are_said_beside_grids(of_folders, tmp_path, capsys):
    options = sample.get_config()
    options.num = 8
    run_sample(options, of_folders[1])
    assert ', columns: ant, bee, bee-2, cow' in capsys.readouterr().out
    shutil.copytree(of_folders[1], tmp_path / 'run')
    grid = tmp_path / 'run' / 'samples' / '00000003.png'
    grid.parent.mkdir(exist_ok=True)
    shutil.copy(next((of_folders[1] / 'generated').glob('*.png')), grid)
    runs, _ = report_runs.read([tmp_path / 'run'])
    (section,) = samples.samples(groups_of(runs))
    assert section.blocks[0].caption.endswith(' Columns: ant, bee, bee-2, cow.')


@pytest.mark.slow
def test_classes_enter_the_state_that_is_compared(of_folders, tmp_path):
    """The test above would fail for other labels."""
    path = own_images.flat_csv(tmp_path / 'images')
    table = (path / 'labels.csv').read_text()
    swapped = table.replace('cow', 'x').replace('ant', 'cow').replace('x', 'ant')
    (path / 'labels.csv').write_text(swapped)
    train.run_train(config_of(path), tmp_path / 'run')
    with pytest.raises(AssertionError):
        assert_same_bits(state(tmp_path / 'run')[1], of_folders[2])


@pytest.mark.slow
def test_a_run_goes_on_with_its_folder_packed_or_sorted_by_a_table(of_folders, tmp_path):
    ends = {}
    for form in ('folders', 'zip of a folder', 'csv'):
        run, path = tmp_path / f'run {form}', own_images.FORMS[form](tmp_path / form)
        shutil.copytree(of_folders[1], run)
        labels = 'labels.csv' if form == 'csv' else ''
        train.run_train(config_of(path, num_steps=5, **{'data.labels': labels}), run)
        ends[form] = state(run)
    for step, found in ends.values():
        assert step == 5
        assert_same_bits(found, ends['folders'][1])
