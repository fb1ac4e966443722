"""Tests of benchmarks/spectra.py: singular values of a discriminator's weights as they act."""

import numpy as np

from benchmarks import spectra


def test_a_kernel_is_the_matrix_of_all_its_inputs_and_its_outputs():
    kernel = np.zeros((1, 2, 2, 3))
    kernel[0, 0, 0, 0], kernel[0, 1, 1, 2] = 3.0, 4.0
    assert spectra.singular_values(kernel).tolist() == [4.0, 3.0, 0.0]


def test_weights_are_divided_by_sigma_which_training_has_found(finished_run):
    steps = [int(p.name) for p in (finished_run.workdir / 'checkpoints').iterdir()]
    found = spectra.of_checkpoint(finished_run.workdir, max(steps))
    assert found
    for layer in found.values():
        assert 0.9 < layer['largest'] < 1.2
        assert layer['values'][0] == 1 and layer['values'] == sorted(layer['values'])[::-1]
        assert 1 <= layer['stable_rank'] <= min(layer['shape'])
