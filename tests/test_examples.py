"""The examples run, and do what they say."""

import importlib.util

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from helpers.launching import ROOT


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / 'examples' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_minimal_sngan_is_as_short_as_it_says():
    text = (ROOT / 'examples' / 'minimal_sngan.py').read_text()
    code = [line for line in text.partition('"""\n\n')[2].splitlines() if line.strip()]
    assert len(code) <= 60


@pytest.mark.slow
def test_the_minimal_sngan_draws_most_digits():
    images = load('minimal_sngan').train(num_steps=1000)
    assert images.shape == (256, 8, 8, 1) and np.abs(images).max() <= 1
    digits = load_digits()
    neighbours = KNeighborsClassifier(5).fit(digits.data / 8 - 1, digits.target)
    found = np.bincount(neighbours.predict(images.reshape(256, -1)), minlength=10)
    assert (found >= 3).sum() >= 7
    distances, _ = neighbours.kneighbors(images.reshape(256, -1), 1)
    noise = np.random.default_rng(0).uniform(-1, 1, (256, 64))
    assert distances.mean() < 0.6 * neighbours.kneighbors(noise, 1)[0].mean()
