"""Singular values of the weights of a trained discriminator, as figure 3 of SNGAN's paper shows
them.

    python -m benchmarks.spectra WORKDIR STEP OUT.json

Where a run normalizes its weights spectrally, they are divided by sigma, as in the network. A
kernel is taken as the matrix (height x width x inputs, outputs), an embedding as (classes,
features).
"""

import json
import pathlib
import sys
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from snjax.runs.checkpoint import load_tree
from snjax.runs.config_file import read_config

_SHOWN = 64  # values of a layer, evenly spaced in their order


def singular_values(weight: np.ndarray) -> np.ndarray:
    """The singular values of a kernel (..., inputs, outputs) as a matrix, the largest first."""
    matrix = np.asarray(weight, np.float64).reshape(-1, weight.shape[-1])
    return np.linalg.svd(matrix, compute_uv=False)


def of_checkpoint(workdir: pathlib.Path, step: int) -> dict[str, Any]:
    """The spectrum of each layer of the discriminator; {} for a run without one.

    Returns:
        For each layer by its path: the `shape` of its matrix, its `largest` singular value, its
        `stable_rank`, and at most 64 singular `values`, divided by the largest, whose places in the
        order are `at`.
    """
    config = read_config(workdir / 'config.json')
    _, tree = load_tree(workdir / 'checkpoints', step)
    if 'dis' not in tree:
        return {}
    dis = tree['dis']
    sigmas = {}
    if config['model']['normalization'] == 'spectral':
        state = flatten_dict(dis['model_state']['spectral'])
        sigmas = {path[:-1]: float(x) for path, x in state.items() if path[-1] == 'sigma'}
    found = {}
    for path, weight in flatten_dict(dis['params']).items():
        if weight.ndim < 2:
            continue
        values = singular_values(weight) / sigmas.get(path[:-1], 1.0)
        at = np.unique(
            np.linspace(0, len(values) - 1, min(_SHOWN, len(values))).round().astype(int)
        )
        found['/'.join(path[:-1])] = {
            'shape': [int(weight.size // weight.shape[-1]), int(weight.shape[-1])],
            'largest': _short(values[0]),
            'stable_rank': _short(float((values**2).sum() / values[0] ** 2)),
            'at': at.tolist(),
            'values': [_short(v) for v in values[at] / values[0]],
        }
    return found


def _short(value) -> float:
    return float(f'{value:.4g}')


if __name__ == '__main__':
    folder, number, out = sys.argv[1:]
    text = json.dumps(of_checkpoint(pathlib.Path(folder), int(number)))
    pathlib.Path(out).write_text(text + '\n')
