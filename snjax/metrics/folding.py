"""Batch norm folded into the convolution before it, for networks that are only evaluated."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float


def folded_conv(
    arrays: Mapping[str, np.ndarray], conv: str, norm: str, epsilon: float
) -> dict[str, Float[np.ndarray, '...']]:
    """Folds the batch norm after a bias-free convolution into its kernel and a bias.

    Args:
        arrays: a PyTorch state dict as arrays.
        conv: name of the convolution, whose `.weight` is (out, in, kh, kw).
        norm: name of the batch norm, with `.running_mean`, `.running_var`, `.bias` and, unless its
            scale is fixed at 1, `.weight`.
        epsilon: added to the variance.

    Returns:
        `kernel` (kh, kw, in, out) and `bias` (out,), float32.

    Raises:
        KeyError: an array is missing.
    """
    weight = arrays[f'{conv}.weight'].astype(np.float64)
    variance = arrays[f'{norm}.running_var'].astype(np.float64)
    scale = 1 / np.sqrt(variance + epsilon)
    if f'{norm}.weight' in arrays:
        scale = scale * arrays[f'{norm}.weight']
    bias = arrays[f'{norm}.bias'] - arrays[f'{norm}.running_mean'] * scale
    kernel = weight.transpose(2, 3, 1, 0) * scale
    return {'kernel': kernel.astype(np.float32), 'bias': bias.astype(np.float32)}
