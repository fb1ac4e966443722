"""Fakes under each batch statistic, on a generator whose statistics can be computed by hand."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny_gan
from snjax.generate import fakes
from snjax.generate.fakes import Variant
from snjax.generate.trained import TrainedGenerator
from snjax.runs import images

CONFIG = {'model': {'dim_z': tiny_gan.DIM_Z, 'latent': 'normal', 'num_classes': 0}}


@pytest.fixture(scope='module', name='trained')
def trained_fixture():
    return make_trained()


def make_trained():
    """A run whose EMA has other weights, and whose running statistics are of nothing it makes."""
    gen = tiny_gan.Generator(batch_norm_axis=None)
    raw, ema = (
        jax.device_get(gen.init(jax.random.key(i), jnp.zeros((2, tiny_gan.DIM_Z)), train=False))
        for i in (0, 1)
    )
    stats = {'norm': {'mean': np.full(12, 0.3, np.float32), 'var': np.full(12, 2.0, np.float32)}}
    return TrainedGenerator(
        CONFIG, 7, gen, raw | {'batch_stats': stats}, ema | {'batch_stats': stats}
    )


def pixels(batches):
    return np.concatenate([np.asarray(x)[:count] for x, count in batches])


def by_hand(variables, z, mean, var):
    """The generator in NumPy, with these statistics."""
    p = variables['params']
    h = z @ p['project']['kernel'] + p['project']['bias']
    h = (h - mean) / np.sqrt(var + 2e-5) * p['norm']['scale'] + p['norm']['bias']
    x = np.tanh(np.maximum(h, 0) @ p['to_image']['kernel'] + p['to_image']['bias'])
    return images.to_uint8(x.reshape(-1, 8, 8, 1).astype(np.float32))


def hidden(variables, z):
    p = variables['params']['project']
    return (z @ p['kernel'] + p['bias']).astype(np.float64)


def assert_close(got, expected):
    """Equal but for rounding across a pixel's edge."""
    difference = np.abs(got.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize('weights', ['raw', 'ema'])
def test_running_statistics_and_pixels_are_those_of_sample(trained, weights):
    got = pixels(fakes.fakes(trained, Variant(weights, 'running'), 23, seed=3, batch_size=10))
    assert got.shape == (23, 8, 8, 1)
    expected = images.to_uint8(trained.sample(23, seed=3, weights=weights))
    assert_close(got, expected)


def test_batch_statistics_are_of_full_batches_also_in_the_last(trained):
    got = pixels(fakes.fakes(trained, Variant('ema', 'batch'), 23, seed=3, batch_size=10))
    z = trained.latents(30, seed=3).astype(np.float64)
    expected = []
    for start in (0, 10, 20):
        h = hidden(trained.ema, z[start : start + 10])
        expected.append(by_hand(trained.ema, z[start : start + 10], h.mean(0), h.var(0)))
    assert_close(got, np.concatenate(expected)[:23])


def test_reestimated_statistics_are_those_of_all_batches_as_one(trained):
    variant = Variant('raw', 'reestimated')
    got = pixels(fakes.fakes(trained, variant, 23, seed=3, batch_size=10))
    seen = trained.latents(160, seed=3 + 1_000_003).astype(np.float64)
    h = hidden(trained.raw, seen)
    z = trained.latents(23, seed=3).astype(np.float64)
    assert_close(got, by_hand(trained.raw, z, h.mean(0), h.var(0)))


def test_the_first_fakes_do_not_depend_on_how_many_follow(trained):
    few, many = (
        pixels(fakes.fakes(trained, Variant('ema', 'running'), n, batch_size=10)) for n in (7, 40)
    )
    assert_close(many[:7], few)


def test_variants(trained):
    text = 'raw/batch, ema/reestimated'
    assert list(map(str, fakes.variants(text, trained))) == ['raw/batch', 'ema/reestimated']
    assert list(map(str, fakes.variants('auto', trained))) == ['ema/running']
    assert len(fakes.variants('grid', trained)) == 6
    alone = TrainedGenerator(CONFIG, 7, trained.gen, {'params': trained.raw['params']}, None)
    assert list(map(str, fakes.variants('grid', alone))) == ['raw/running']
    for text, message in (('ema', "'ema/'"), ('best/running', 'accepted are auto, grid')):
        with pytest.raises(ValueError, match=message):
            fakes.variants(text, trained)
    with pytest.raises(ValueError, match='no moving average'):
        fakes.variants('ema/running', alone)


_ON_DEVICES = """
import sys
sys.path[:0] = ['tests', 'tests/generate', '.']
import jax, numpy as np
import test_fakes as t
from snjax.generate import fakes
from snjax.generate.fakes import Variant
from snjax.metrics import extractors

assert jax.device_count() == int(sys.argv[1])
extractor = extractors.load('digits')
found = {}
for statistics in fakes.STATISTICS:
    variant = Variant('ema', statistics)
    run = t.make_trained()
    found[statistics] = t.pixels(fakes.fakes(run, variant, 22, batch_size=8))
    features = extractor.of(fakes.fakes(run, variant, 22, batch_size=8))
    found[statistics + '_features'] = features.features
np.savez(sys.argv[2], **found)
"""


@pytest.mark.slow
def test_fakes_and_features_do_not_depend_on_the_number_of_devices(tmp_path):
    """Batch statistics too are of the whole batch."""
    found = []
    for num in (1, 4):
        out = tmp_path / f'{num}.npz'
        flags = f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count={num}'
        subprocess.run(
            [sys.executable, '-c', _ON_DEVICES, str(num), str(out)],
            cwd=Path(__file__).parents[2],
            env=os.environ | {'XLA_FLAGS': flags},
            check=True,
        )
        found.append(dict(np.load(out)))
    for statistics in fakes.STATISTICS:
        assert_close(found[1][statistics], found[0][statistics].astype(int))
        features = f'{statistics}_features'
        assert found[0][features].std() > 0.1
        np.testing.assert_allclose(found[1][features], found[0][features], atol=0.02)


@pytest.mark.parametrize(
    ('z', 'words'),
    [
        (np.zeros(tiny_gan.DIM_Z), r'z has the shape \(4,\): \(n, 4\) is needed, as z\[None\]'),
        (np.zeros((2, 3)), 'z has 3 entries: this generator takes 4'),
        (np.array([[0, np.nan, np.inf, 0]]), '2 of 4 values of z are not finite'),
    ],
)
def test_z_without_meaning_is_named(trained, z, words, own_errors):
    with pytest.raises(ValueError, match=words):
        trained.generate(z)
