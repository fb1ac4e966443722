"""The classifier that is fitted to a run's own images."""

import dataclasses

import numpy as np
import pytest

from snjax import data
from snjax.metrics import comparison, extractors, fitted


@pytest.fixture(scope='module')
def digits():
    return data.find('digits', image_size=16, channels=1, split='train').read()


@pytest.fixture(scope='module')
def found(digits, tmp_path_factory):
    """The extractor, fitted by few updates, and the folder of its cache."""
    folder = tmp_path_factory.mktemp('fitted')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitted, '_UPDATES', 30)
        load = extractors.load('fitted', training_set=lambda: digits, cache_dir=str(folder))
    return load, folder


def test_it_recognizes_what_it_was_fitted_to(digits, found):
    extractor, _ = found
    assert extractor.about['held_out_accuracy'] > 0.8
    out = extractor.of(extractors.batches_of(digits.images[:200], 100))
    assert out.features.shape == (200, 128) and out.logits.shape == (200, 10)
    assert np.mean(out.logits.argmax(1) == digits.labels[:200]) > 0.8
    assert extractor.about['fitted_to'] == digits.sha256
    assert comparison.title(extractor) == 'Frechet distance (classifier of digits)'


def test_it_is_fitted_once(digits, found):
    extractor, folder = found
    (file,) = folder.iterdir()
    written = file.stat().st_mtime_ns
    again = extractors.load('fitted', training_set=lambda: digits, cache_dir=str(folder))
    assert again.sha256 == extractor.sha256 and file.stat().st_mtime_ns == written


def test_larger_images_are_resized(found):
    extractor, _ = found
    large = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 1), np.uint8)
    features, _ = extractor(large)
    assert features.shape == (4, 128)


def test_a_set_without_classes_is_refused(digits):
    unlabelled = dataclasses.replace(digits, class_names=())
    with pytest.raises(ValueError, match=r'digits has no classes .*extractor=patches'):
        extractors.load('fitted', training_set=lambda: unlabelled)
