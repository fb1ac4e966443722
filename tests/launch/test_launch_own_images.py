"""Trainings on one set in every form in which a user may have it end in the same bits."""

import shutil

import numpy as np
import pytest

from configs import cgan_anime
from experiments.modes import train
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
