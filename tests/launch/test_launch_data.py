"""Images that are moved, exchanged or removed between the starts of a run, in every mode."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from configs import glo_digits, sngan_digits
from configs.modes import diagnose as configs_of_diagnose
from configs.modes import evaluate, invert, sample
from experiments.modes import diagnose, train
from experiments.modes.evaluate import run_evaluate
from experiments.modes.invert import run_invert
from experiments.modes.sample import run_sample
from helpers.launching import bytes_under

NUM = 12


def config_of(module, images, **changes):
    """A tiny run of one update on a folder of images."""
    c = module.get_config()
    c.num_steps = 1
    c.batch_size = 4
    c.model.gen_width, c.model.dim_z = 4, 4
    c.data.name, c.data.path, c.data.channels = 'folder', str(images), 3
    c.eval.extractor, c.eval.every = '', 0
    c.checkpoint.every = c.sampling.every = c.log.histograms_every = 0
    c.log.every = 1
    if module is sngan_digits:
        c.gen_batch_size = c.model.dis_width = 4
    c.update_from_flattened_dict(changes)
    return c.lock()


@pytest.fixture(scope='module', params=[sngan_digits, glo_digits], ids=['gan', 'glo'])
def trained(request, tmp_path_factory):
    """(config module, folder with a finished run and its images), which no test may change."""
    base = tmp_path_factory.mktemp('base')
    rng = np.random.default_rng(0)
    for i in range(NUM):
        path = base / 'images' / 'ab'[i % 2] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(path)
    train.run_train(config_of(request.param, base / 'images'), base / 'run')
    return request.param, base


@pytest.fixture
def there(trained, tmp_path):
    """(config module, run, images): a copy whose images have moved to another folder."""
    module, base = trained
    shutil.copytree(base / 'run', tmp_path / 'run')
    shutil.copytree(base / 'images', tmp_path / 'moved')
    path = tmp_path / 'run' / 'config.json'
    config = json.loads(path.read_text())
    assert config['data']['path'] == str(base / 'images')
    config['data']['path'] = str(tmp_path / 'images')  # where they were, and are no more
    path.write_text(json.dumps(config))
    return module, tmp_path / 'run', tmp_path / 'moved'


def neighbours():
    c = sample.get_config()
    c.what, c.rows, c.neighbours = 'neighbours', 2, 2
    return c


def few_images():
    c = invert.get_config()
    c.num, c.restarts, c.steps = 2, 1, 1
    return c


def patch_scores():
    c = evaluate.get_config()
    c.extractor, c.num_samples, c.neighbour_num = 'patches', 12, 12
    return c


MODES = {
    'train': lambda module, run, places: train.run_train(
        config_of(module, places['path'], **accepted(places)), run
    ),
    'sample': lambda module, run, places: run_sample(neighbours(), run, places),
    'invert': lambda module, run, places: run_invert(few_images(), run, places),
    'evaluate': lambda module, run, places: run_evaluate(
        patch_scores(), config_of(module, places['path']), run, places
    ),
}


def accepted(places):
    return {'data.accept_changed': True} if 'accept_changed' in places else {}


def test_the_first_start_writes_down_what_it_is_trained_on(trained):
    _, base = trained
    record = json.loads((base / 'run' / 'set.json').read_text())
    assert (record['num_images'], record['names'][0]) == (NUM, 'a/0.png')


@pytest.mark.parametrize('mode', MODES)
def test_moved_images_are_found_by_their_new_path(there, mode):
    module, run, images = there
    MODES[mode](module, run, {'path': f'{images}/'})


@pytest.mark.parametrize('mode', MODES)
def test_exchanged_images_are_named_and_refused_unless_they_are_accepted(there, mode, caplog):
    module, run, images = there
    Image.new('RGB', (16, 16)).save(images / 'b' / '3.png')
    places = {'path': str(images)}
    with pytest.raises(ValueError, match=r'another set: 1 with other pixels: b/3\.png.*accept_ch'):
        MODES[mode](module, run, places)
    MODES[mode](module, run, places | {'accept_changed': True})
    assert '1 with other pixels: b/3.png' in caplog.text


def test_a_diagnosis_is_of_the_set_that_the_run_was_trained_on(there):
    module, run, images = there
    if module is glo_digits:
        pytest.skip('a GLO has no discriminator')
    Image.new('RGB', (16, 16)).save(images / 'b' / '3.png')
    places, options = {'path': str(images)}, configs_of_diagnose.get_config()
    config = config_of(module, images)
    with pytest.raises(ValueError, match=r'another set: 1 with other pixels: b/3\.png.*accept_ch'):
        diagnose.run_diagnose(options, config, run, places)
    accepted_places = places | {'accept_changed': True}
    accepted = diagnose._image_set(config, accepted_places, accepted_in=run)
    assert len(accepted.images) == NUM


def test_a_missing_image_is_named_and_a_latent_of_glo_keeps_its_image(there):
    module, run, images = there
    (images / 'b' / '3.png').unlink()
    before = bytes_under(run)
    with pytest.raises(ValueError, match=r'12 images then, 11 now, 1 missing: b/3\.png'):
        MODES['train'](module, run, {'path': str(images)})
    assert bytes_under(run).keys() - before.keys() == {'.lock'} - before.keys()
    places = {'path': str(images), 'accept_changed': True}
    if module is glo_digits:
        with pytest.raises(ValueError, match=r'missing: b/3\.png .*a latent for each image'):
            MODES['train'](module, run, places)
    else:
        MODES['train'](module, run, places)


def test_a_run_of_an_older_version_goes_on_and_learns_its_set(there, monkeypatch):
    module, run, images = there
    (run / 'set.json').unlink()
    images.rename(images.parent / 'images')
    monkeypatch.chdir(images.parent)
    MODES['train'](module, run, {'path': 'images/'})
    assert (run / 'set.json').exists()


def test_another_path_of_an_older_version_is_refused(there):
    module, run, images = there
    (run / 'set.json').unlink()
    with pytest.raises(ValueError, match=r'another config: data\.path: '):
        MODES['train'](module, run, {'path': str(images)})
