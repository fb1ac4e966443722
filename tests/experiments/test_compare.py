"""Scores of images of any origin: equal to a run's own, from every kind of file, in one line if not."""

import json

import numpy as np
import pytest
from PIL import Image

from configs.modes import compare as compare_options
from experiments.modes import compare
from snjax import data
from snjax.generate import fakes
from snjax.generate.fakes import Variant
from snjax.generate.load import load
from snjax.metrics import extractors
from snjax.metrics.evaluate import Evaluator
from snjax.metrics.options import Options
from snjax.metrics.protocols import Protocol

NUM = 60


def compared(out='', **changes):
    options = compare_options.get_config()
    options.update(changes)
    return compare.run_compare(options, str(out))


@pytest.fixture(scope='module')
def digits():
    return data.load('digits', image_size=16, channels=1)


@pytest.fixture(scope='module')
def folder(digits, tmp_path_factory):
    """200 real digits as PNG files."""
    path = tmp_path_factory.mktemp('real')
    for i, image in enumerate(digits.images[:200]):
        Image.fromarray(image[..., 0]).save(path / f'{i:03d}.png')
    return path


def test_images_on_disk_have_the_scores_of_the_run_that_made_them(
    finished_run, digits, tmp_path, capsys
):
    trained, variant = load(finished_run.workdir), Variant('raw', 'running')
    evaluator = Evaluator(
        extractors.load('digits'), lambda split: digits, Options(batch_size=20), str(tmp_path)
    )
    protocol = Protocol('train/all/60', 'train', None, NUM)
    expected = evaluator.compare(protocol, evaluator.fakes(trained, variant, NUM))
    made = fakes.fakes(trained, variant, NUM, seed=0, batch_size=20)
    images = np.concatenate([np.asarray(x)[:n] for x, n in made])
    for i, image in enumerate(images):
        (tmp_path / 'fakes').mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(tmp_path / 'fakes' / f'{i:03d}.png')
    np.savez(tmp_path / 'real.npz', images=digits.images)
    out = tmp_path / 'scores.json'
    options = {'extractor': 'digits', 'channels': 1, 'batch_size': 20}
    found = compared(out, fakes=str(tmp_path / 'fakes'), real=str(tmp_path / 'real.npz'), **options)
    for name in ('frechet_distance', 'kernel_distance', 'precision', 'recall', 'coverage'):
        assert found['scores'][name] == pytest.approx(expected[name], rel=1e-9), name
    assert json.loads(out.read_text())['scores'] == found['scores']
    assert found['manifest']['fake_sha256'] and found['manifest']['size'] == '16x16'
    assert 'weights' not in found['manifest']
    assert 'Frechet distance (digits): ' in capsys.readouterr().out
    # As codes write samples: an array without a name.
    np.savez(tmp_path / 'samples.npz', images)
    again = compared(
        fakes=str(tmp_path / 'samples.npz'), real=str(tmp_path / 'real.npz'), **options
    )
    assert again['scores'] == found['scores']


def test_error_bars_and_sizes(folder, capsys):
    found = compared(
        fakes=str(folder),
        real=str(folder),
        extractor='digits',
        channels=1,
        image_size=16,
        half_samples=40,
    )
    low, high = found['intervals']['frechet_distance']
    assert found['scores']['frechet_distance'] == pytest.approx(0, abs=1e-6)
    assert low == 0 < high
    assert 'precision: 1  [0.99' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'fakes': ''}, 'compare.fakes is empty: give a folder, a zip archive'),
        ({'real': ''}, r'compare.real is empty: .* or the name of a set, as cifar10/test'),
        ({'fakes': '/nowhere'}, 'there is no /nowhere'),
        ({'real': 'cifa10', 'image_size': 16}, 'cifa10 is no file or folder, and as the name of a'),
        ({'extractor': 'dogits'}, 'did you mean --compare.extractor=digits'),
        ({'fit': 'cut'}, 'compare.fit is .cut.: accepted are crop, pad, stretch'),
    ],
)
def test_what_cannot_be_scored_is_one_line(folder, changes, message):
    options = {'fakes': str(folder), 'real': str(folder), 'extractor': 'digits', 'channels': 1}
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        compared(**(options | changes))
    assert '\n' not in str(error.value)
