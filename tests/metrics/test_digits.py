"""The yardstick of digits: real ones pass; noise, Gaussians and collapsed generators do not."""

import json
import time

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from snjax.metrics import digits, extractors


@pytest.fixture(scope='module')
def yardstick():
    return digits.DigitsYardstick()


def as_images(pixels):
    """(N, 64) in [0, 1] to (N, 8, 8, 1) in [-1, 1]."""
    return (2 * pixels - 1).reshape(-1, 8, 8, 1)


def enlarge(pixels, resample, size=16):
    """(N, 64) in [0, 1] to uint8 (N, size, size, 1)."""
    small = np.round(255 * pixels).astype(np.uint8).reshape(-1, 8, 8)
    large = [np.asarray(Image.fromarray(image).resize((size, size), resample)) for image in small]
    return np.stack(large)[..., None]


def gaussian_like(images, num, seed):
    """Samples of the Gaussian with the images' mean and covariance, clipped to [-1, 1]."""
    flat = images.reshape(len(images), -1)
    covariance = np.cov(flat, rowvar=False) + 1e-6 * np.eye(flat.shape[1])
    rng = np.random.default_rng(seed)
    drawn = rng.multivariate_normal(flat.mean(axis=0), covariance, size=num, method='cholesky')
    return drawn.clip(-1, 1).reshape(num, *images.shape[1:])


def test_split_is_fixed_and_disjoint(yardstick):
    assert yardstick.train.shape == (1297, 64) and yardstick.held_out.shape == (500, 64)
    both = np.concatenate([yardstick.train_indices, yardstick.held_out_indices])
    np.testing.assert_array_equal(np.sort(both), np.arange(1797))
    data = load_digits().data / 16
    np.testing.assert_array_equal(yardstick.held_out, data[yardstick.held_out_indices])
    # A digest, so that another split of another library version cannot pass for this one.
    digest = yardstick.references['noise'].manifest['split_sha256']
    assert digest == '5e282ad5411ecabb57069f634fb325d382e54969cc81ae6eca1155d20c5f478c'


def test_classifier_names_at_least_95_percent_of_held_out_digits(yardstick):
    named = yardstick.classify(as_images(yardstick.held_out))
    accuracy = np.mean(named == load_digits().target[yardstick.held_out_indices])
    assert 0.95 <= accuracy <= 1
    assert yardstick.held_out_accuracy == pytest.approx(accuracy, abs=1e-12)


def test_held_out_digits_pass(yardstick):
    score = yardstick.score(as_images(yardstick.held_out))
    assert digits.passes(score)
    assert score.classes_found == 10
    assert score.smallest_class_share > 0.07
    assert 0.85 < score.precision < 0.97
    assert 0.85 < score.recall < 0.97
    counts = np.bincount(yardstick.held_out_labels, minlength=10) / 500
    np.testing.assert_allclose(score.class_shares, counts, atol=0.01)


@pytest.mark.parametrize('size', [8, 16])
def test_gaussian_fitted_to_the_pixels_fails(yardstick, size):
    real = enlarge(yardstick.train, Image.Resampling.NEAREST, size) / 127.5 - 1
    score = yardstick.score(gaussian_like(real, 1000, seed=1))
    assert not digits.passes(score)
    assert 0.1 < score.precision < 0.35


@pytest.mark.parametrize('size', [8, 16, 20])
def test_uniform_noise_fails(yardstick, size):
    noise = np.random.default_rng(1).uniform(-1, 1, size=(1000, size, size, 1))
    score = yardstick.score(noise.astype(np.float32))
    assert not digits.passes(score)
    assert score.precision < 0.01 and score.recall < 0.01


def test_constant_output_fails(yardstick):
    score = yardstick.score(np.repeat(as_images(yardstick.held_out[:1]), 1000, axis=0))
    assert not digits.passes(score)
    assert score.classes_found == 1 and score.smallest_class_share == 0
    assert score.class_shares[yardstick.held_out_labels[0]] == 1
    assert score.recall < 0.01


def test_one_class_fails_though_its_digits_are_real(yardstick):
    threes = yardstick.held_out[yardstick.held_out_labels == 3]
    score = yardstick.score(as_images(threes))
    assert not digits.passes(score)
    assert score.precision > 0.8 and score.recall < 0.2
    # One or two threes may be read as another digit.
    assert score.classes_found <= 3 and score.class_shares[3] > 0.95


def test_a_missing_class_fails_and_is_counted(yardstick):
    kept = yardstick.train[yardstick.train_labels != 8]
    score = yardstick.score(as_images(kept))
    assert score.precision == 1.0
    assert score.classes_found == 9 and score.class_shares[8] == 0
    assert not digits.passes(score)


@pytest.mark.parametrize(
    ('shares', 'precision', 'expected'),
    [
        ([0.03] * 9 + [0.73], 0.5, True),
        ([0.03] * 9 + [0.73], 0.499, False),
        ([0.029] + [0.1] * 8 + [0.171], 0.9, False),
        ([0.0] + [0.1] * 8 + [0.2], 0.9, False),
    ],
)
def test_the_criterion_at_its_limits(shares, precision, expected):
    score = digits.DigitsScore(tuple(shares), precision, 0.5, {'fake_count': 1000})
    assert digits.passes(score) is expected


@pytest.mark.parametrize('resample', [Image.Resampling.NEAREST, Image.Resampling.BICUBIC])
def test_enlarged_digits_come_back(yardstick, resample):
    images = enlarge(yardstick.held_out, resample)
    back = digits.pixel_features(images)
    rms = np.sqrt(np.mean((back - yardstick.held_out) ** 2))
    # Nearest is undone up to the rounding to uint8 (1/510 at most); bicubic loses contrast.
    if resample == Image.Resampling.NEAREST:
        np.testing.assert_allclose(back, yardstick.held_out, atol=1 / 510 + 1e-9)
    assert rms < 0.07
    score = yardstick.score(images)
    assert digits.passes(score) and 0.85 < score.precision < 0.98


def test_area_average_by_hand():
    ramp = np.zeros((1, 16, 16, 1), np.float32) - 1
    ramp[0, 0, 0] = 1
    ramp[0, 0, 1] = 0
    expected = np.zeros((1, 64))
    expected[0, 0] = (1 + 0.5) / 4
    np.testing.assert_allclose(digits.pixel_features(ramp), expected, atol=1e-12)
    # 12 -> 8: a cell spans 1.5 pixels. Pixel (1, 0) is half in cell (0, 0) and half in cell (1, 0),
    # and 1 wide.
    straddling = np.zeros((1, 12, 8, 1), np.float32) - 1
    straddling[0, 1, 0] = 1
    expected[:] = 0
    expected[0, 0] = expected[0, 8] = 0.5 / 1.5
    np.testing.assert_allclose(digits.pixel_features(straddling), expected, atol=1e-12)


@pytest.mark.parametrize('size', [8, 9, 13, 16, 28, 32, 57])
def test_reduction_keeps_the_mean(size):
    images = np.random.default_rng(size).uniform(-1, 1, size=(5, size, size + 3, 1))
    means = (images.mean(axis=(1, 2, 3)) + 1) / 2
    np.testing.assert_allclose(digits.pixel_features(images).mean(axis=1), means, atol=1e-12)
    white = digits.pixel_features(np.ones((1, size, size, 1)))
    np.testing.assert_allclose(white, 1, atol=1e-12)


def test_channels_types_and_ranges_agree(yardstick):
    grey = enlarge(yardstick.held_out[:50], Image.Resampling.NEAREST)
    features = digits.pixel_features(grey)
    np.testing.assert_allclose(features, digits.pixel_features(grey.repeat(3, -1)), atol=1e-12)
    signed = (grey / 127.5 - 1).astype(np.float32)
    np.testing.assert_allclose(features, digits.pixel_features(signed), atol=1e-6)
    np.testing.assert_allclose(features, digits.pixel_features(jnp.asarray(signed)), atol=1e-6)
    half = jnp.asarray(signed, jnp.bfloat16)
    np.testing.assert_allclose(features, digits.pixel_features(half), atol=4e-3)
    assert features.dtype == np.float64 and features.min() >= 0 and features.max() <= 1


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        (np.zeros((5, 16, 16)), 'shape'),
        (np.zeros((5, 16, 16, 2)), 'shape'),
        (np.zeros((5, 7, 16, 1)), 'at least 8'),
        (np.zeros((5, 16, 16, 1), np.int64), 'int64'),
        (np.full((5, 16, 16, 1), 1.1), r'1\.1.*\[-1, 1\]'),
        (np.full((5, 16, 16, 1), np.nan), 'NaN'),
        (np.zeros((3, 16, 16, 1)), '3 points'),
        (np.zeros((0, 16, 16, 1)), 'shape'),
    ],
)
def test_errors_are_one_line(own_errors, yardstick, images, message):
    with pytest.raises(ValueError, match=message) as error:
        yardstick.score(images)
    assert '\n' not in str(error.value)


def test_deterministic_and_fast(yardstick):
    rng = np.random.default_rng(2)
    picked = yardstick.train[rng.integers(0, 1297, size=1000)]
    images = as_images((picked + rng.normal(size=picked.shape) * 0.1).clip(0, 1))
    first = yardstick.score(images)
    start = time.process_time()
    fresh = digits.DigitsYardstick()
    second = fresh.score(images)
    assert time.process_time() - start < 3
    assert first.to_dict() == second.to_dict()
    assert first.to_dict() == yardstick.score(images).to_dict()


def test_printed_and_stored_forms(yardstick):
    score = yardstick.score(as_images(yardstick.held_out))
    lines = str(score).split('\n')
    assert len(lines) == 4 and max(map(len, lines)) <= 100
    assert lines[0].split() == '500 samples held-out digits Gaussian noise'.split()
    shown = lines[2].split()
    assert shown[:3] == ['precision', f'{score.precision:.2f}', f'{score.precision:.2f}']
    assert shown[3] == f'{score.references["Gaussian"].precision:.2f}'
    assert f'10/10 ({100 * score.smallest_class_share:.1f} %)' in lines[1]
    stored = json.loads(json.dumps(score.to_dict()))
    assert stored['precision'] == score.precision and stored['classes_found'] == 10
    manifest = stored['manifest']
    assert (manifest['real_count'], manifest['fake_count'], manifest['k']) == (1297, 500, 3)
    assert manifest['held_out_accuracy'] == yardstick.held_out_accuracy
    assert manifest['resize'] == 'area average to 8x8' and manifest['image_shape'] == [8, 8, 1]
    assert set(stored['references']) == {'held-out digits', 'Gaussian', 'noise'}


def test_the_extractor_of_digits_has_the_yardstick_as_data(yardstick):
    """A second score of grey images, with the references' precision in its details."""
    found = extractors.load('digits').yardstick
    assert (found.name, found.channels) == ('digits yardstick', (1,))
    images = as_images(yardstick.held_out)
    score, expected = found.score(images), yardstick.score(images)
    assert score.lines() == expected.lines()
    assert score.values == {
        'classes_found': 10.0,
        'smallest_class_share': expected.smallest_class_share,
        'precision': expected.precision,
        'recall': expected.recall,
    }
    assert score.details['class_shares'] == list(expected.class_shares)
    references = score.details['references']
    assert references['held-out digits'] == expected.precision
    assert references['noise'] < 0.01 < references['Gaussian'] < 0.5
