"""Tests of experiments.modes.sample_files: latents that other programs wrote."""

import numpy as np
import pytest

from configs.modes import sample
from experiments.modes.sample_files import encoded_corners


def corners(path):
    options = sample.get_config()
    options.latents = str(path)
    return encoded_corners(options, 2, 4)


def test_latents_are_read_in_pairs(tmp_path):
    z = np.arange(20, dtype=np.float32).reshape(5, 4)
    np.savez(tmp_path / 'z.npz', z=z, other=np.array([print], object))
    np.testing.assert_array_equal(corners(tmp_path / 'z.npz'), z[:4].reshape(2, 2, 4))


@pytest.mark.parametrize(
    ('arrays', 'words'),
    [
        ({'z': np.array([print], object)}, 'pickled, which is never loaded'),
        ({'z': np.array(['a'])}, 'whose z are <U1: floats are needed'),
        ({'y': np.zeros((2, 4))}, r'whose z have the shape \(0, 0\)'),
    ],
)
def test_other_latents_are_named(tmp_path, arrays, words):
    np.savez(tmp_path / 'z.npz', **arrays)
    with pytest.raises(ValueError, match=words) as caught:
        corners(tmp_path / 'z.npz')
    assert 'allow_pickle' not in str(caught.value) and '\n' not in str(caught.value)


def test_a_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / 'z.npz').write_bytes(b'nothing')
    with pytest.raises(
        ValueError, match=r'which is no \.npz of --mode=invert: it is no zip archive'
    ):
        corners(tmp_path / 'z.npz')
