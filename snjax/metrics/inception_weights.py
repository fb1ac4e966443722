"""Converts Inception's published PyTorch weights to a `.safetensors`; only this needs PyTorch.

    python -m snjax.metrics.inception_weights pt_inception-2015-12-05-6726825d.pth
    inception-2015-12-05.safetensors

The published file is the port of TensorFlow's graph of 2015-12-05 in the releases of pytorch-fid
and torch-fidelity: one file under two names, `inception.WHERE_FROM`. Its state dict is converted as
in the table, for each of the 94 convolutions (`Conv2d_1a_3x3`, `Conv2d_2a_3x3`, `Conv2d_2b_3x3`,
`Conv2d_3b_1x1`, `Conv2d_4a_3x3`, `Mixed_5b.branch1x1`, ... `Mixed_7c.branch_pool`):

| published                                       | here                           | value                     |
|-------------------------------------------------|--------------------------------|---------------------------|
| `Conv2d_1a_3x3.conv.weight` (32, 3, 3, 3), OIHW | `Conv2d_1a_3x3.kernel`, HWIO   | weight * scale            |
| `Conv2d_1a_3x3.bn.weight`, `.running_var` (32,) |                                | in scale                  |
| `Conv2d_1a_3x3.bn.bias`, `.running_mean` (32,)  | `Conv2d_1a_3x3.bias` (32,)     | bias - mean * scale       |
| `fc.weight` (1008, 2048)                        | `fc.kernel` (2048, 1008)       | transposed                |
| `fc.bias` (1008,)                               | `fc.bias` (1008,)              | unchanged                 |

scale = weight / sqrt(var + 0.001), with a weight of 1 if the array is missing: TensorFlow's batch
norms do not scale, and the port stores ones. Counters (`num_batches_tracked`) are left out.
"""

import argparse
import pathlib
import pickle
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file

from snjax.metrics import inception
from snjax.metrics.folding import folded_conv
from snjax.metrics.weight_files import StateDict, file_sha256

_EPSILON = 1e-3
_WHAT = 'Inception of 2015-12-05'


def from_state_dict(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables for `inception.apply` from the published arrays (see the module).

    Raises:
        ValueError: a missing or unknown array, or one of another shape.
    """
    published = StateDict(arrays, _WHAT)
    expected = inception.shapes()
    flat: dict[str, np.ndarray] = {}
    for name in sorted({name.rpartition('.')[0] for name in expected} - {'fc'}):
        for key, value in folded_conv(published, f'{name}.conv', f'{name}.bn', _EPSILON).items():
            flat[f'{name}.{key}'] = np.ascontiguousarray(value)
    flat['fc.kernel'] = np.ascontiguousarray(published['fc.weight'].T, np.float32)
    flat['fc.bias'] = np.ascontiguousarray(published['fc.bias'], np.float32)
    published.check_all_read()
    published.check_shapes(flat, expected)
    return {'params': unflatten_dict(flat, sep='.')}


def save(variables: dict[str, Any], path: str | pathlib.Path, *, source_sha256: str) -> None:
    """Writes variables for `inception.load`, with the sha256 of their source; makes the folder."""
    arrays: Any = flatten_dict(variables['params'], sep='.')
    metadata = {
        'what': f'{_WHAT}, batch norm folded into kernels (HWIO) and biases',
        'source_sha256': source_sha256,
        'source': 'published' if source_sha256 == inception.PUBLISHED_SHA256 else 'unverified',
        'digest': inception.digest(arrays),
    }
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, path, metadata)


def convert(
    source: str | pathlib.Path, target: str | pathlib.Path, *, unverified: bool = False
) -> str:
    """Converts a published `.pth`.

    Args:
        source: the file.
        target: the `.safetensors` to write; its folder is made.
        unverified: also convert another file with the same names; the result is marked.

    Returns:
        The source's sha256.

    Raises:
        FileNotFoundError: no such source.
        ModuleNotFoundError: PyTorch is not installed.
        ValueError: another file, or one that is no state dict of Inception.
    """
    source = pathlib.Path(source)
    if not source.is_file():
        raise FileNotFoundError(f'{source} is not there: take {inception.WHERE_FROM}')
    sha256 = file_sha256(source)
    if sha256 != inception.PUBLISHED_SHA256 and not unverified:
        raise ValueError(
            f'{source} has sha256 {sha256}: expected {inception.WHERE_FROM}; '
            '--unverified converts it all the same'
        )
    save(from_state_dict(_read(source)), target, source_sha256=sha256)
    return sha256


def _read(source: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a PyTorch file by name; runs no code from the file."""
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'converting reads a PyTorch file and needs PyTorch, here alone: pip install torch'
        ) from error
    try:
        state = torch.load(source, map_location='cpu', weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
    ) as error:  # their messages have many lines
        raise ValueError(
            f'{source} is no PyTorch file of arrays only, or cut off ({type(error).__name__})'
        ) from error
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())):
        raise ValueError(f'{source} is no state dict: wanted arrays by name, as in {_WHAT}')
    return {name: value.float().numpy() for name, value in state.items()}


def main(argv: list[str] | None = None) -> None:
    """Runs `convert` from the command line."""
    parser = argparse.ArgumentParser(
        description='Published PyTorch weights of Inception as a .safetensors.'
    )
    parser.add_argument('source', help='the published .pth')
    parser.add_argument('target', help=f'the .safetensors to write, usually {inception.FILE}')
    parser.add_argument('--unverified', action='store_true', help='convert another file too')
    args = parser.parse_args(argv)
    try:
        sha256 = convert(args.source, args.target, unverified=args.unverified)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        sys.exit(f'error: {error}')
    verified = 'published' if sha256 == inception.PUBLISHED_SHA256 else 'unverified'
    print(f'{args.source}: sha256 {sha256} ({verified})\nwrote {args.target}')


if __name__ == '__main__':
    main()
