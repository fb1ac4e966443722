"""Directions of a generator's latent space along which its images change most, in closed form.

SeFa (Shen and Zhou 2021, arXiv:2007.06600, eq. 3 to 6): a generator's first layer maps z to
y = A z + b, so a step n of length 1 moves y by A n, most along the eigenvectors of A^T A with the
largest eigenvalues. No image is drawn and nothing is trained.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Float


class Directions(NamedTuple):
    """Directions by falling eigenvalue.

    Attributes:
        vectors: of length 1; the entry of largest size is positive.
        lengths: |A n|, how far the first layer's output moves for a step of length 1; with spectral
            normalization, before the division by sigma, which is one number for all.
    """

    vectors: Float[np.ndarray, 'k d']
    lengths: Float[np.ndarray, ' k']


def of_kernel(kernel: Float[np.ndarray, 'd n'], num: int) -> Directions:
    """The `num` directions that the layer `z @ kernel + b` moves most along.

    Raises:
        ValueError: more directions than the layer has, or none.
    """
    kernel = np.asarray(kernel, np.float64)
    most = min(kernel.shape)
    if not 1 <= num <= most:
        raise ValueError(f'{num} directions of a first layer {kernel.shape}: 1 to {most}')
    vectors, lengths, _ = np.linalg.svd(kernel, full_matrices=False)
    vectors = vectors.T[:num]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], axis=1)
    return Directions(vectors * np.sign(largest), lengths[:num])


def first_kernel(params: Mapping[str, Any], dim_z: int) -> Float[np.ndarray, 'd n']:
    """The kernel of the layer that z enters, `project` of the generators here; of one that takes
    further inputs beside z, the rows of z.

    Raises:
        ValueError: z enters this generator elsewhere, too, or otherwise.
    """
    kernel: Any = flatten_dict(params).get(('project', 'kernel'))
    if kernel is None or np.ndim(kernel) != 2 or len(kernel) < dim_z:
        raise ValueError(
            'this generator has no single first layer `project` that all of z enters, which '
            'directions in closed form need'
        )
    return np.asarray(kernel)[:dim_z]
