"""Runs on rectangles, on four channels and on 16 bits: quickly by shapes, slowly end to end."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import from_workdir, sngan_folder
from configs.modes import evaluate, invert, sample
from experiments import build
from experiments.modes import sweep
from experiments.modes.evaluate import run_evaluate
from experiments.modes.invert import run_invert
from experiments.modes.report import run_report
from experiments.modes.sample import run_sample
from experiments.modes.train import run_train
from experiments.settings import keys
from helpers.launching import scores
from snjax import from_config
from snjax.data import sampler
from snjax.runs.config_file import read_config

# By name: size, channels, bits.
FORMS = {'rectangle': ((16, 24), 3, 8), 'rgba': (16, 4, 8), 'deep': (16, 1, 16)}


def config_of(form, path='photos', **changes):
    size, channels, bits = FORMS[form]
    c = sngan_folder.get_config(f'{path},16x24' if form == 'rectangle' else f'{path},16')
    assert c.data.image_size == size
    c.data.channels, c.data.bits = channels, bits
    c.num_steps, c.batch_size, c.gen_batch_size, c.n_dis = 2, 4, 4, 1
    c.model.gen_width = c.model.dis_width = c.model.dim_z = 4
    c.checkpoint.every = c.sampling.every = c.log.every = c.diagnostics.every = 2
    c.checkpoint.keep_every = 0
    c.sampling.num = 6
    c.data.augment = 'color,translation,cutout'
    c.eval.extractor, c.eval.num_samples, c.eval.batch_size = 'patches', 8, 8
    c.update_from_flattened_dict(changes)
    return c.lock()


@pytest.mark.parametrize('form', FORMS)
def test_a_step_sees_images_of_the_form(form):
    size, channels, bits = FORMS[form]
    plan = build.plan(config_of(form))
    like = from_config.images_shape(plan.record, 8)
    assert like.dtype == {8: np.uint8, 16: np.uint16}[bits]
    draw = functools.partial(sampler.draw, num_batches=1, batch_size=4, flip=True, dequantize=True)
    data = {'image': sampler.Rows.of(like), 'label': jax.ShapeDtypeStruct((8,), jnp.int32)}
    found = jax.eval_shape(draw, data, jax.random.key(0), jnp.int32(0), jnp.arange(4))
    height, width = (size, size) if isinstance(size, int) else size
    assert found['image'].shape == (1, 4, height, width, channels)
    assert plan.method.image_shape == (height, width, channels)
    assert json.loads(json.dumps(plan.record))['data']['image_size'] == (
        size if isinstance(size, int) else list(size)
    )


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_dequantized_pixels_fill_the_range(dtype):
    most = np.iinfo(dtype).max
    image = jnp.array([0, most // 2, most], dtype).reshape(1, 3, 1)
    keys_ = jax.random.split(jax.random.key(0), 200)
    make = functools.partial(sampler.to_float, flip=False, dequantize=True)
    x = np.asarray(jax.vmap(lambda key: make(image, key))(keys_))[:, 0, :, 0]
    step = 2 / (most + 1)
    low = np.asarray(image).ravel() * step - 1
    assert (x >= low - 1e-7).all() and (x <= low + step + 1e-7).all()
    np.testing.assert_allclose(x.mean(0) - low, step / 2, rtol=0.25)
    plain = sampler.to_float(image, keys_[0], flip=False, dequantize=False)
    np.testing.assert_allclose(np.asarray(plain).ravel()[[0, 2]], [-1, 1])


def test_a_recorded_rectangle_is_the_rectangle_that_was_asked_for():
    record = build.plan(config_of('rectangle')).record
    read = json.loads(json.dumps(record))
    assert keys.computed(read) == keys.computed(record)
    assert keys.hparams(read)['data.image_size'] == '16x24'
    assert not keys.mistyped(keys.upgraded(read))
    square = config_of('rgba')
    square.data.image_size = (16, 16)
    assert build.plan(square).record['data']['image_size'] == 16


@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
def test_the_command_line_and_sweeps_say_height_and_width_with_a_comma():
    item = {'config': 'configs/sngan_digits.py'}
    assert sweep.resolve(item | {'data.image_size': '48,64'})['data']['image_size'] == (48, 64)
    assert sweep.resolve(item | {'data.image_size': 48})['data']['image_size'] == 48


@pytest.mark.parametrize('value', ['16x24', (16, 24, 3), (16, 0), 16.0, True])
@pytest.mark.usefixtures('own_errors')
def test_what_is_no_size_is_refused(value):
    config = config_of('rgba')
    config.data.image_size = value
    with pytest.raises(ValueError, match=r'data\.image_size is .*') as error:
        build.plan(config)
    assert '\n' not in str(error.value) and '--config.data.image_size' in str(error.value)


@pytest.mark.parametrize(('form', 'extractor'), [('rgba', 'inception'), ('deep', 'cifar_resnet56')])
@pytest.mark.usefixtures('own_errors')
def test_a_published_network_refuses_what_it_does_not_see(form, extractor):
    with pytest.raises(ValueError, match='use patches') as error:
        build.plan(config_of(form, **{'eval.extractor': extractor}))
    assert '\n' not in str(error.value)


# ---- end to end


def write_images(folder, form):
    """Twelve images whose form is that of the run; no two are alike."""
    size, channels, bits = FORMS[form]
    height, width = (size, size) if isinstance(size, int) else size
    folder.mkdir()
    rng = np.random.default_rng(0)
    dtype = np.uint8 if bits == 8 else np.uint16
    for i in range(12):
        image = rng.integers(0, 2**bits, (height, width, channels), dtype)
        image[: height // 2] //= 2  # the upper half is darker
        Image.fromarray(image[..., 0] if channels == 1 else image).save(folder / f'{i:02d}.png')
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('form', FORMS)
def test_a_run_trains_resumes_and_is_drawn_inverted_scored_and_reported(form, tmp_path):
    size, channels, bits = FORMS[form]
    height, width = (size, size) if isinstance(size, int) else size
    images, run = write_images(tmp_path / 'images', form), tmp_path / 'run'
    config = config_of(form, images, **{'data.cache_dir': str(tmp_path)})
    run_train(config, run)
    again = from_workdir.get_config(str(run))
    assert again.data.image_size == size
    again.num_steps = 4
    run_train(again.lock(), run)
    assert read_config(run / 'config.json')['num_steps'] == 4
    assert scores(run, 'train/all/8')['scores']['swd'] > 0
    grids = sorted((run / 'samples').glob('*.png'))
    shown = 1 if channels == 1 else 3
    for grid in grids:
        with Image.open(grid) as sheet:
            assert sheet.size == (3 * width + 4, 2 * height + 2) and len(sheet.getbands()) == shown

    for changes in (
        {'num': 4, 'format': 'images'},
        {'num': 4, 'format': 'npz'},
        {'num': 4, 'format': 'grid'},
        {'what': 'interpolation', 'rows': 2, 'frames': 3, 'format': 'gif'},
        {'what': 'neighbours', 'rows': 2, 'neighbours': 2},
    ):
        options = sample.get_config()
        options.update(changes)
        run_sample(options.lock(), run)
    (folder,) = (path for path in (run / 'generated').iterdir() if path.is_dir())
    (arrays,) = (run / 'generated').glob('*.npz')
    kept = np.load(arrays)['images']
    assert kept.shape == (4, height, width, channels) and 8 * kept.itemsize == bits
    for path, image in zip(sorted(folder.iterdir()), kept, strict=True):
        with Image.open(path) as file:
            np.testing.assert_array_equal(np.asarray(file).reshape(image.shape), image)

    for operator in ('inpaint', 'superresolve', 'compressed_sensing'):
        options = invert.get_config()
        options.update({'operator': operator, 'num': 2, 'steps': 2, 'restarts': 1, 'factor': 4})
        run_invert(options.lock(), run)
    for record in (run / 'inverted').glob('*.npz'):
        originals = np.load(record)['originals']
        assert originals.shape == (2, height, width, channels) and 8 * originals.itemsize == bits

    options = evaluate.get_config()
    options.update({'num_samples': 8, 'variants': 'raw/batch', 'batch_size': 8})
    run_evaluate(options.lock(), again, run)
    run_report(run)
    assert 'data:image/png' in (run / 'report.html').read_text()
