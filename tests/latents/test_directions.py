"""SeFa's directions, and what a picture of them and of truncation holds."""

import numpy as np
import pytest

from snjax.latents import directions


def test_directions_are_the_eigenvectors_of_the_first_layer_by_falling_eigenvalue():
    rng = np.random.default_rng(0)
    kernel = (rng.normal(size=(6, 6)) * [5, 4, 3, 2, 1, 0.5]) @ rng.normal(size=(6, 40))
    found = directions.of_kernel(kernel, 4)
    values, vectors = np.linalg.eigh(kernel @ kernel.T)  # A = kernel^T, so A^T A
    np.testing.assert_allclose(found.lengths, np.sqrt(values[::-1][:4]), rtol=1e-9)
    np.testing.assert_allclose(
        np.abs(np.sum(found.vectors.T * vectors[:, ::-1][:, :4], 0)), 1, rtol=1e-9
    )
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(4), atol=1e-12)
    # A step of length 1 moves the layer's output as far as no other direction does.
    moved = np.linalg.norm(found.vectors @ kernel, axis=1)
    np.testing.assert_allclose(moved, found.lengths)
    others = rng.normal(size=(1000, 6))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    assert np.linalg.norm(others @ kernel, axis=1).max() <= moved[0]
    # The same sign on every machine.
    assert (
        np.take_along_axis(found.vectors, np.abs(found.vectors).argmax(1)[:, None], 1) > 0
    ).all()


@pytest.mark.parametrize(('shape', 'num', 'most'), [((6, 9), 0, 6), ((6, 9), 7, 6), ((6, 4), 5, 4)])
def test_other_numbers_of_directions_are_refused(shape, num, most):
    with pytest.raises(ValueError, match=rf'{num} directions of a first layer .*: 1 to {most}$'):
        directions.of_kernel(np.ones(shape), num)


def test_z_beside_classes_has_the_first_rows_of_the_kernel():
    kernel = np.arange(24.0).reshape(8, 3)
    params = {'project': {'kernel': kernel}, 'block1': {}}
    np.testing.assert_array_equal(directions.first_kernel(params, 5), kernel[:5])
    for other in ({}, {'project': {'kernel': kernel[:4]}}, {'project': {'kernel': kernel[0]}}):
        with pytest.raises(ValueError, match='no single first layer'):
            directions.first_kernel(other, 5)
