"""Scores of images of any origin: equal to a run's own, from every kind of file, in one line if not."""

import json
import pathlib
import types

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
        ({'channels': 2}, "compare.extractor is 'digits', which sees images of 1 or 3 channels"),
        ({'image_size': (48, 64, 3)}, 'or height,width as 48,64, is accepted; change --compare.im'),
        ({'batch_size': 3}, '^compare.batch_size is 3: at least 6'),
        ({'extractor': 'fitted'}, 'no classes .*: use --compare.extractor=patches'),
        ({'extrapolate': True}, '^compare.extrapolate: protocol train/all/200 has 200 fakes'),
        ({'half_samples': 9}, 'at least 40 are needed .compare.half_samples'),
        ({'real': 'mnis/a/train', 'image_size': 8}, "name of a set: unknown image set 'mnis/a'"),
    ],
)
def test_what_cannot_be_scored_is_one_line(folder, changes, message):
    options = {'fakes': str(folder), 'real': str(folder), 'extractor': 'digits', 'channels': 1}
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        compared(**(options | changes))
    assert '\n' not in str(error.value)


def test_the_size_of_the_first_fake_is_that_of_the_upright_image(folder, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    image = Image.fromarray(np.zeros((16, 24, 3), np.uint8))
    for i in range(6):
        image.save(tmp_path / f'{i}.jpg', exif=exif)
    options = {'fakes': str(tmp_path), 'real': str(folder), 'extractor': 'patches'}
    assert compared(**options)['manifest']['size'] == '24x16'
    assert compared(image_size=(16, 24), **options)['manifest']['size'] == '16x24'


def test_a_workdir_is_refused_and_not_ignored():
    with pytest.raises(ValueError, match=r'--workdir=runs/x: .* without a run; leave it out'):
        compare.main(types.SimpleNamespace(workdir='runs/x'), pathlib.Path('runs/x'))


def test_fakes_without_a_size_are_one_line(folder, tmp_path):
    (tmp_path / '0.png').write_bytes(b'no image')
    np.savez(tmp_path / 'scalar.npz', images=np.uint8(3))
    for name, message in [('', '0.png cannot be decoded'), ('scalar.npz', r'have shape \(\): ')]:
        with pytest.raises(ValueError, match=message):
            compared(fakes=str(tmp_path / name), real=str(folder), extractor='patches')
