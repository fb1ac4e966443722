"""Diagnostics of a GAN: what is measured, the mode, and that a training is not changed by them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import from_workdir, glo_digits
from configs.modes import diagnose as diagnose_options
from experiments import build
from experiments.modes import diagnose
from experiments.modes.measure_gan import Effort, Measurement, upper_bound
from experiments.modes.training_diagnostics import fixed_images, measurement
from helpers import tiny_gan
from snjax import parallel
from snjax.data.image_set import ImageSet
from snjax.training.loop import Trainer
from snjax.training.step import Options

EFFORT = Effort(num=6, starts=2, ascent_steps=3, norm_steps=12)
PIXELS = np.random.default_rng(0).integers(0, 256, (6, *tiny_gan.IMAGE)).astype(np.uint8)


@pytest.fixture(scope='module')
def measured():
    """A tiny GAN's state and what is measured of it."""
    gan = tiny_gan.make_gan()
    state = jax.tree.map(jnp.asarray, tiny_gan.filled(gan))
    return gan, state, Measurement(gan, PIXELS, np.zeros(6, np.int32), EFFORT)(state)


def test_logits_and_slopes_are_those_of_the_discriminator(measured):
    gan, state, found = measured
    score = lambda x: gan.dis.apply(state.dis.variables, x, train=False)  # noqa: E731
    real = jnp.asarray(PIXELS, jnp.float32) / 127.5 - 1
    logits = np.asarray(score(real))
    assert found['logits/real'] == pytest.approx(logits.mean(), rel=1e-4)
    assert found['logits/real_max'] == pytest.approx(logits.max(), rel=1e-4)
    assert found['hinge/real_active'] == pytest.approx((logits < 1).mean())
    gradients = np.asarray(jax.vmap(jax.grad(lambda x: score(x[None])[0]))(real))
    slopes = np.linalg.norm(gradients.reshape(6, -1), axis=1)
    assert found['slope/real'] == pytest.approx(slopes.mean(), rel=1e-4)
    assert found['slope/real_max'] == pytest.approx(slopes.max(), rel=1e-4)
    assert found['lipschitz/lower'] >= slopes.max() * (1 - 1e-5)
    # sigma and its exact value come from the same weight.
    kernel = np.asarray(state.dis.params['hidden']['kernel'])
    kept = jax.tree.map(np.asarray, state.dis.model_state['spectral']['hidden'])
    exact = np.linalg.norm(kernel, 2)
    expected = kept['v'] @ kernel @ kept['u'] / exact - 1
    assert found['sigma_error/hidden'] == pytest.approx(expected, abs=1e-4)


def test_what_reaches_the_generator_is_the_slope_of_the_hinge_loss(measured):
    _, _, found = measured
    # G's hinge loss is minus the mean logit: each image gets D's slope there.
    assert found['gen/image_gradient'] == pytest.approx(found['slope/fake'], rel=1e-4)
    assert 0 < found['gen/image_gradient_min'] <= found['gen/image_gradient']
    # A step down the gradient raises D, by less than the steepest way would.
    assert 0 < found['gen/slope_along_move'] <= found['lipschitz/lower'] * 1.001
    assert found['gen/move'] > 0 and found['gen/parameter_gradient'] > 0
    # A network that is none of snjax.models has no product bound.
    assert 'lipschitz/upper' not in found and upper_bound(tiny_gan.Discriminator(), found) == {}


def trained(workdir, diagnose, every):
    options = Options(
        num_steps=4,
        steps_per_call=2,
        log_every=2,
        histogram_every=0,
        sample_every=0,
        num_samples=0,
        checkpoint_every=4,
        keep=1,
        keep_every=0,
        flip=False,
        dequantize=False,
        seed=0,
        diagnose_every=every,
    )
    labels = np.zeros(6, np.int32)
    run = Trainer(
        tiny_gan.make_gan(),
        options,
        PIXELS,
        labels,
        workdir,
        {},
        diagnose=diagnose,
        say=lambda line: None,
    )
    return jax.tree.map(np.asarray, parallel.first_replica(run.run()))


@pytest.mark.slow
def test_a_training_logs_them_and_computes_the_same_bits(tmp_path):
    gan = tiny_gan.make_gan()
    image_set = ImageSet('noise', 'train', PIXELS, np.zeros(6, np.int32), (), '')
    assert measurement(gan, 0, image_set) is None
    measure = Measurement(gan, *fixed_images(image_set, 6), EFFORT)
    with_them = trained(tmp_path / 'with', measure, 4)
    without = trained(tmp_path / 'without', None, 0)
    for a, b in zip(jax.tree.leaves(with_them), jax.tree.leaves(without), strict=True):
        np.testing.assert_array_equal(a, b)
    text = (tmp_path / 'with' / 'metrics.jsonl').read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    (found,) = [line for line in lines if 'diagnostics/lipschitz/lower' in line]
    assert found['step'] == 4
    assert found['diagnostics/logits/real'] == pytest.approx(
        measure(jax.tree.map(jnp.asarray, with_them))['logits/real'], rel=1e-5
    )


def test_fixed_images_are_spread_over_the_set():
    labels = np.arange(6, dtype=np.int32)
    pixels, classes = fixed_images(ImageSet('noise', 'train', PIXELS, labels, (), ''), 4)
    assert classes.tolist() == [0, 1, 3, 4]
    np.testing.assert_array_equal(pixels, PIXELS[classes])


def test_a_method_without_a_discriminator_is_refused():
    config = glo_digits.get_config()
    with pytest.raises(ValueError, match='GLO has no discriminator'):
        config.diagnostics.every = 5
        build.method(config)
    config.diagnostics.every = 0
    with pytest.raises(ValueError, match='holds a run of glo, which trains no discriminator'):
        diagnose.run_diagnose(diagnose_options.get_config(), config, 'runs/x')


@pytest.mark.parametrize(
    ('key', 'value'), [('num', 0), ('ascent_steps', 0), ('gram_iterations', -1)]
)
def test_impossible_options_are_named(key, value):
    options = diagnose_options.get_config()
    options[key] = value
    with pytest.raises(ValueError, match=f'diagnose.{key} is {value}: a whole number from'):
        diagnose.run_diagnose(options, glo_digits.get_config(), 'runs/x')


def test_the_mode_writes_a_page_a_record_and_figures(finished_run, tmp_path):
    workdir = finished_run.copy(tmp_path / 'run')
    options = diagnose_options.get_config()
    options.update(num=4, starts=2, ascent_steps=3, norm_steps=16)
    said = []
    config = from_workdir.get_config(str(workdir))
    diagnose.run_diagnose(options, config, workdir, say=said.append)
    folder = workdir / 'diagnosis'
    steps = sorted(int(p.name) for p in (workdir / 'checkpoints').iterdir())
    stem = f'step{steps[-1]}'
    names = {f'{stem}.txt', f'{stem}.json'}
    names |= {f'{a}.{b}' for a in (f'spectra_{stem}', 'sigma') for b in ('svg', 'pdf', 'png')}
    assert {path.name for path in folder.iterdir()} == names
    record = json.loads((folder / f'{stem}.json').read_text())
    assert set(map(int, record['sigma_error'])) == set(steps)
    network = record['network']
    assert network['lipschitz/lower'] <= network['lipschitz/upper'] * 1.001
    assert network['lipschitz/upper'] <= network['lipschitz/certain'] * 1.001
    for layer in record['layers'].values():
        # Each layer is divided by its sigma: as a matrix its norm is exact / sigma.
        assert layer['spectrum'][0] == pytest.approx(layer['exact'] / layer['sigma'], rel=1e-3)
        assert layer['operator'] <= layer['bound'] * 1.001
        assert 1 <= layer['stable_rank'] <= len(layer['spectrum'])
    page = (folder / f'{stem}.txt').read_text().splitlines()
    assert page == said[: len(page)] and page[0] == f'discriminator of step {steps[-1]}'
    assert f'wrote {folder / stem}.json' in said
    assert any(line.startswith('conv1') for line in page)
