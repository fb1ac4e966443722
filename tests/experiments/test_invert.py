"""`--mode=invert`: what it writes through the real launch.py, from a split, from a folder, with
classes; its errors.
"""

import dataclasses
import functools
import json
import re
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from configs.modes import invert as invert_options
from experiments.modes import invert
from helpers import networks
from helpers.launching import NUM_STEPS
from snjax import from_config
from snjax.data.digits import load_digits
from snjax.generate.load import load
from snjax.generate.measurements import OPERATORS, Options
from snjax.metrics.distortion import distortion
from snjax.runs import images

SMALL = {'num': 3, 'restarts': 2, 'steps': 3}
# Every load of a checkpoint makes a module of its own, whose programs are compiled anew.
load_once = functools.cache(load)


@pytest.fixture(scope='module')
def workdir(finished_run, tmp_path_factory):
    return finished_run.copy(tmp_path_factory.mktemp('invert') / 'run')


@pytest.fixture(scope='module')
def conditional(workdir):
    """The run as if it had ten classes, with random weights."""
    plain = load_once(workdir)
    config = {**plain.config, 'model': {**plain.config['model'], 'num_classes': 10}}
    gen = from_config.generator(config)
    z, labels = np.zeros((1, 8), np.float32), np.zeros(1, np.int32)
    raw = networks.filled(gen, z, labels)
    return dataclasses.replace(plain, config=config, gen=gen, raw=raw, ema=None)


@pytest.fixture
def write(monkeypatch, capsys):
    """Runs `run_invert` with some options changed; returns the printed lines and the files by
    suffix.
    """
    monkeypatch.setattr(invert, 'load', load_once)

    def run(workdir, **changes):
        options = invert_options.get_config()
        options.update({**SMALL, **changes})
        before = set(workdir.glob('inverted/*'))
        invert.run_invert(options, workdir)
        files = set(workdir.glob('inverted/*')) - before
        return capsys.readouterr().out.splitlines(), {path.suffix: path for path in files}

    return run


def arrays(path):
    with np.load(path) as loaded:
        return dict(loaded)


def signed(pixels):
    return pixels.astype(np.float32) / 127.5 - 1


# ---- through launch.py


def test_the_launcher_restores_images(launcher, workdir):
    """The real program; it ends with one line if `run_invert` refuses an option."""
    asked = {'operator': 'inpaint', 'mask': 'random', 'fraction': 0.5, 'seed': 1}
    flags = [f'--invert.{key}={value}' for key, value in {**SMALL, **asked}.items()]
    outcome = launcher.run('--mode=invert', f'--workdir={workdir}', *flags)
    assert outcome.code == 0, outcome.stderr
    stem = 'inpaint_random0.5_digits_train_step60_seed1_auto_3'
    check_files(workdir, stem, outcome.stdout.splitlines())
    refused = launcher.run('--mode=invert', f'--workdir={workdir}', *flags, '--invert.fraction=1.5')
    assert refused.code == 2
    assert refused.error_line().startswith(
        'launch.py: invert.fraction is 1.5: a number from 0 to 1'
    )


def test_an_older_checkpoint_is_inverted_by_another_loss(workdir, write):
    asked = {'operator': 'superresolve', 'factor': 2, 'weights': 'raw', 'step': 50, 'loss': 'l1'}
    said, _ = write(workdir, **asked)
    check_files(workdir, 'superresolve_x2_digits_train_step50_seed0_raw_3', said)


def check_files(workdir, stem, said):
    """What is printed, the table, the record, the arrays and the grid say the same."""
    path = workdir / 'inverted' / stem
    made, record = arrays(f'{path}.npz'), json.loads(path.with_name(f'{stem}.json').read_text())
    table = path.with_name(f'{stem}.md').read_text()
    for end in ('.png', '.md', '.json', '.npz'):
        assert any(line.endswith(f'{path}{end}') for line in said), (end, said)
    lines = [line for line in table.splitlines() if line.startswith('|')]
    assert [line for line in said if line.startswith('|')] == lines

    options, digits = record['options'], load_digits(split='train', image_size=16, channels=1)
    assert options['num'] == 3 and options['operator'] == stem.split('_')[0]
    assert record['source'] == {'set': 'digits', 'split': 'train', 'sha256': digits.sha256}
    np.testing.assert_array_equal(made['originals'], digits.images[made['index']])
    assert len(set(made['index'])) == 3 and made['z'].shape == (3, 8)
    run = load(workdir, record['step'])
    assert (record['step'], record['weights']) == (
        (50, 'raw') if options['step'] else (NUM_STEPS, 'ema')
    )
    again = run.generate(made['z'], weights=options['weights'])
    np.testing.assert_allclose(made['images'], again, atol=1e-4)

    real = signed(made['originals'])
    operator = OPERATORS[options['operator']](
        (16, 16, 1), Options(**{key: options[key] for key in Options._fields})
    )
    measured = np.asarray(operator.apply(real))
    difference = np.asarray(operator.apply(made['images'])) - measured
    loss = {'l2': np.square, 'l1': np.abs}[options['loss']](difference).reshape(3, -1).mean(1)
    expected = loss + options['prior_weight'] * np.sum(made['z'] ** 2, 1) / 16
    np.testing.assert_allclose(made['objective'], expected, rtol=1e-3)

    restored = {'restored': made['images']}
    restored |= {name: restore(measured) for name, restore in operator.baselines.items()}
    for name, x in restored.items():
        psnr, ssim = distortion(real, x)
        for i in range(3):
            found = record['images'][i]
            np.testing.assert_allclose(found[name]['psnr'], psnr[i], rtol=1e-4)
            np.testing.assert_allclose(found[name]['ssim'], ssim[i], rtol=1e-3, atol=1e-5)
            assert found['index'] == made['index'][i] and 'label' not in found
        np.testing.assert_allclose(record['means'][name]['psnr'], psnr.mean(), rtol=1e-4)
        (line,) = (x for x in lines if x.startswith(f'| {name} '))
        assert [float(x) for x in line.split('|')[2:4]] == pytest.approx(
            [psnr.mean(), ssim.mean()], abs=6e-3
        )

    shown = [
        made['originals'],
        images.to_uint8(operator.show(measured)),
        images.to_uint8(made['images']),
    ]
    with Image.open(f'{path}.png') as sheet:
        grid = np.asarray(sheet)
    assert grid.shape == (18 * len(record['rows']) - 2, 3 * 18 - 2)
    assert record['rows'][:3] == ['original', 'measurement', 'restored']
    expected = images.grid(np.concatenate(shown), columns=3)[..., 0]
    # Pixels are cut to whole numbers, so that rounding may cost one level.
    np.testing.assert_allclose(grid[:52].astype(float), expected, atol=1)


# ---- which images


def test_a_folder_of_images(workdir, write, tmp_path):
    """Of any size and colour, in the order of their names, and no more than there are."""
    rng = np.random.default_rng(0)
    for name, size in (('b.png', (40, 30)), ('a.jpg', (16, 16)), ('c/d.png', (20, 64))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(tmp_path / name)
    lines, files = write(workdir, path=str(tmp_path), num=9, operator='denoise')
    made, record = arrays(files['.npz']), json.loads(files['.json'].read_text())
    assert files['.npz'].name == 'denoise_0.2_folder_train_step60_seed0_auto_3.npz'
    assert record['source']['set'] == 'folder'
    np.testing.assert_array_equal(made['index'], [0, 1, 2])
    with Image.open(tmp_path / 'a.jpg') as image:
        np.testing.assert_array_equal(made['originals'][0, :, :, 0], np.asarray(image.convert('L')))
    assert made['originals'].shape == (3, 16, 16, 1)
    assert record['rows'] == [
        'original',
        'measurement',
        'restored',
        'total variation',
        'non-local means',
    ]
    assert any('6 of 6 starts' in line for line in lines)


def test_the_first_images_of_a_seed_are_the_same(workdir):
    trained, options = load_once(workdir), invert_options.get_config()

    def index(num, seed):
        options.num, options.seed = num, seed
        return invert.targets_of(options, trained).index

    np.testing.assert_array_equal(index(4, 0), index(9, 0)[:4])
    assert (index(9, 0) != index(9, 1)).any()
    np.testing.assert_array_equal(np.sort(index(5000, 0)), np.arange(1797))


# ---- classes


def test_known_classes_are_given_to_the_generator(conditional, write, workdir, monkeypatch):
    monkeypatch.setattr(invert, 'load', lambda *_: conditional)
    options = invert_options.get_config()
    options.update({**SMALL, 'seed': 2, 'operator': 'compressed_sensing'})
    invert.run_invert(options, workdir)
    path = workdir / 'inverted' / 'compressed_sensing_100_digits_train_step60_seed2_auto_3'
    made, record = (
        arrays(f'{path}.npz'),
        json.loads(path.with_name(f'{path.name}.json').read_text()),
    )
    digits = load_digits(split='train', image_size=16, channels=1)
    np.testing.assert_array_equal(made['labels'], digits.labels[made['index']])
    assert [x['label'] for x in record['images']] == list(made['labels'])
    again = conditional.generate(made['z'], made['labels'])
    np.testing.assert_allclose(made['images'], again, atol=1e-4)
    assert record['rows'] == ['original', 'restored', 'minimum norm']  # numbers are no picture


def test_unknown_classes_are_taken_in_turn(capsys):
    unknown = SimpleNamespace(pixels=np.zeros((2, 4, 4, 1)), labels=None)
    labels = invert.labels_of(unknown, 5, 3)
    np.testing.assert_array_equal(labels, [[0, 1, 2, 0, 1]] * 2)
    assert capsys.readouterr().out == ''
    np.testing.assert_array_equal(invert.labels_of(unknown, 2, 3), [[0, 1]] * 2)
    assert '2 starts try only the first 2 of 3; --invert.restarts=3' in capsys.readouterr().out
    assert invert.labels_of(unknown, 5, 0) is None
    known = SimpleNamespace(pixels=unknown.pixels, labels=np.array([2, 1]))
    np.testing.assert_array_equal(invert.labels_of(known, 3, 3), [[2] * 3, [1] * 3])


def test_classes_count_only_where_there_are_as_many(conditional, workdir, tmp_path):
    for name in ('x/1.png', 'y/2.png'):
        (tmp_path / name).parent.mkdir()
        Image.new('L', (16, 16)).save(tmp_path / name)
    options = invert_options.get_config()
    options.path = str(tmp_path)
    assert invert.targets_of(options, conditional).labels is None
    model = {**conditional.config['model'], 'num_classes': 2}
    two = dataclasses.replace(conditional, config={**conditional.config, 'model': model})
    np.testing.assert_array_equal(invert.targets_of(options, two).labels, [0, 1])


# ---- errors


@pytest.mark.parametrize(
    ('form', 'message'),
    [({'channels': 5}, '5 channels of 8 bits'), ({'channels': 2, 'bits': 16}, '2 channels of 16')],
)
def test_a_folder_for_pixels_that_no_image_file_has_is_refused(workdir, tmp_path, form, message):
    plain, options = load_once(workdir), invert_options.get_config()
    options.path = str(tmp_path)
    config = {**plain.config, 'data': {**plain.config['data'], **form}}
    with pytest.raises(ValueError, match=rf'^invert\.path is .*{message}.*leave it empty') as error:
        invert.targets_of(options, dataclasses.replace(plain, config=config))
    assert '--config' not in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'operator': 'inpant'}, 'did you mean --invert.operator=inpaint?'),
        ({'loss': 'l3'}, "invert.loss is 'l3': accepted are l2, l1"),
        ({'weights': 'best'}, "invert.weights is 'best': accepted are auto, ema, raw"),
        ({'mask': 'center'}, 'did you mean --invert.mask=centre?'),
        ({'num': 0}, 'invert.num is 0'),
        ({'seed': -1}, 'invert.seed is -1'),
        ({'restarts': 0}, 'restarts is 0: a whole number from 1'),
        ({'lr': -0.1}, 'lr is -0.1'),
        ({'operator': 'superresolve', 'factor': 3}, 'factor is 3: a divisor of 16'),
        (
            {'operator': 'compressed_sensing', 'measurements': 0},
            'measurements is 0: a whole number from 1',
        ),
        ({'operator': 'denoise', 'noise': -1.0}, 'noise is -1.0'),
        ({'split': 'test'}, "digits has no split 'test'; accepted: 'train' (all 1,797 images)"),
        ({'split': 'test'}, 'set --invert.split=train'),
        ({'path': 'nowhere'}, 'nowhere is not a folder; set --invert.path'),
        ({'path': 'photos', 'split': 'test'}, 'leave one of them empty'),
        ({'step': 7}, 'step 7'),
    ],
)
def test_impossible_values_are_named_before_anything_is_compiled(
    workdir, write, monkeypatch, change, message
):
    def never(*_, **__):
        raise AssertionError('compiled')

    monkeypatch.setattr(jax, 'jit', never)
    before = set(workdir.rglob('*'))
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)) as error:
        write(workdir, **change)
    assert '\n' not in str(error.value)
    assert set(workdir.rglob('*')) == before
