"""Labels while classes are brought in, by hand."""

import jax.numpy as jnp
import numpy as np

from snjax.training.adversarial import linear_rise, soft_labels


def test_soft_labels_by_hand():
    weights = soft_labels(jnp.array([2, 0]), 4, jnp.float32(0.2))
    np.testing.assert_allclose(weights, [[0.2, 0.2, 0.4, 0.2], [0.4, 0.2, 0.2, 0.2]], rtol=1e-6)


def test_soft_labels_begin_even_and_end_as_one_hot():
    labels = jnp.array([2, 0])
    np.testing.assert_array_equal(soft_labels(labels, 4, jnp.float32(0)), np.full((2, 4), 0.25))
    np.testing.assert_array_equal(soft_labels(labels, 4, jnp.float32(1)), np.eye(4)[[2, 0]])


def test_linear_rise_by_hand():
    share = linear_rise(10, 20)
    assert [float(share(jnp.int32(i))) for i in (0, 10, 13, 20, 99)] == [
        0, 0, np.float32(0.3), 1, 1
    ]  # fmt: skip
