"""Batch norm folded into the convolution before it: what a network that only looks needs of its statistics."""

import hashlib
import pathlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

Arrays = Mapping[str, np.ndarray]


def folded_conv(
    arrays: Arrays, conv: str, norm: str, epsilon: float
) -> dict[str, Float[np.ndarray, '...']]:
    """`{'kernel': (kh, kw, in, out), 'bias': (out,)}` of a bias-free convolution and the batch norm after it.

    Args:
        arrays: a PyTorch state dict as arrays.
        conv: name of the convolution, whose `.weight` is (out, in, kh, kw).
        norm: name of the batch norm: `.running_mean`, `.running_var`, `.bias` and, where it scales, `.weight`.
        epsilon: added to the variance.

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


def check_names(arrays: Arrays, used: set[str], what: str) -> None:
    """Raises a ValueError for arrays that a network does not know; counters of batches are no part of it."""
    left = sorted(n for n in arrays if n not in used and not n.endswith('num_batches_tracked'))
    if left:
        raise ValueError(
            f'these are not the weights of {what}: it has no {left[0]!r}'
            + (f' and {len(left) - 1} more' if left[1:] else '')
        )


class Used(Mapping):
    """A state dict that remembers what was asked of it, and says in one line what is missing."""

    def __init__(self, arrays: Arrays, what: str):
        self._arrays, self._what, self.names = arrays, what, set()

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            raise ValueError(f'these are not the weights of {self._what}: {name!r} is missing')
        self.names.add(name)
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self):
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def file_sha256(path: pathlib.Path) -> str:
    """Hex digest of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
