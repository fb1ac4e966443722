"""Published generators of other codes as variables of this one, by the names of their arrays.

* kwotsin/mimicry, `netG_100000_steps.pth`: SNGAN, cGAN-PD, WGAN-GP (32, 48, 64, 128 px) and SAGAN
  (32, 128 px). Their network is `model.variant=mimicry`; SAGAN has `gen_normalization=spectral` and
  `attention` 16 at 32 px and 32 at 128 px.
* pfnet-research/sngan_projection, `ResNetGenerator_50000.npz`: with and without classes, 32, 64, 128
  and 256 px, `model.variant=paper`.
* ajbrock/BigGAN-PyTorch, `G_ema.pth`: BigGAN and BigGAN-deep, `model.architecture=biggan` or
  `biggan_deep`, whose batch norms are the code's default.

No code of a file is run: `snjax.generate.torch_file`, `snjax.data.npz_file`.
"""

import hashlib
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from snjax.data import npz_file
from snjax.from_config import generator
from snjax.generate import torch_file
from snjax.generate.foreign_names import BIGGAN, MIMICRY, PFNET, of_biggan, of_resnet
from snjax.generate.load import expected_arrays
from snjax.image_format import canonical, words
from snjax.models import BigGANGenerator

Arrays = dict[str, np.ndarray]


class Published(NamedTuple):
    """A generator from elsewhere.

    Attributes:
        source: `MIMICRY`, `PFNET` or `BIGGAN` of `snjax.generate.foreign_names`.
        variables: for the generator of the config.
        step: generator updates, where the file or its name says so; else None.
        sha256: of the file.
    """

    source: str
    variables: dict[str, Any]
    step: int | None
    sha256: str


def read(path: pathlib.Path, config: Mapping[str, Any]) -> Published:
    """Reads a published generator.

    Args:
        path: of the file.
        config: nested, of a run with the same network.

    Raises:
        FileNotFoundError: no such file.
        ValueError: of one line: the file is damaged, of another code, or does not fit the config.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path} is not there: give a published generator')
    gen = generator(config)
    size, is_biggan = gen.image_size, isinstance(gen, BigGANGenerator)
    if not isinstance(canonical(size), int):
        raise ValueError(
            f'data.image_size is {words(size)}: the published generators make squares '
            '(--config.data.image_size)'
        )
    source = PFNET if path.suffix == '.npz' else BIGGAN if is_biggan else MIMICRY
    arrays, step = _of_chainer(path) if source == PFNET else _of_torch(path)
    expected = flatten_dict(expected_arrays(config), sep='/')
    unread, found = dict(arrays), {}
    try:
        by_name = of_resnet(source, expected)
        if source == BIGGAN:
            by_name = of_biggan(expected, gen.attended())
        for move in by_name:
            made = move.convert(*(unread.pop(name) for name in move.theirs))
            found |= zip(move.ours, (x.astype(np.float32) for x in made), strict=True)
    except KeyError as error:
        raise ValueError(
            f'{path} does not fit this config: the file has no {error.args[0]}, but '
            f'{", ".join(list(arrays)[:3])}, ...; look at data.image_size and, of model, '
            'num_classes, attention and gen_normalization'
        ) from error
    except (ValueError, IndexError, TypeError) as error:
        raise ValueError(
            f'{path} does not fit this config: {" ".join(str(error).split())}'
        ) from error
    ignored = ('num_batches_tracked', '/N', '.sv0')
    extra = sorted(name for name in unread if not name.endswith(ignored))
    if extra:
        raise ValueError(
            f'{path} does not fit this config: the network has no place for {extra[0]}'
            + (f' and {len(extra) - 1} more' if extra[1:] else '')
        )
    _check_shapes(path, found, expected)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Published(source, unflatten_dict(found, sep='/'), step, digest)


def _of_torch(path: pathlib.Path) -> tuple[Arrays, int | None]:
    tree = torch_file.read(path)
    state = tree.get('model_state_dict', tree) if isinstance(tree, dict) else None
    if not isinstance(state, dict) or not all(isinstance(x, np.ndarray) for x in state.values()):
        raise ValueError(
            f'{path} has no arrays by name: give a netG_..._steps.pth of mimicry, which has them as '
            'model_state_dict, or a G_ema.pth of BigGAN-PyTorch'
        )
    step = tree.get('global_step')
    return state, step if isinstance(step, int) else None


def _of_chainer(path: pathlib.Path) -> tuple[Arrays, int | None]:
    try:
        arrays, _ = npz_file.read(path)
    except ValueError as error:
        raise ValueError(
            f'{path} is no .npz, or a damaged one ({error}): give a ResNetGenerator_....npz of '
            'sngan_projection'
        ) from error
    step = re.search(r'_(\d+)$', path.stem)
    return arrays, int(step[1]) if step else None


def _check_shapes(path: pathlib.Path, found: Arrays, expected: Mapping[str, Any]) -> None:
    for name, needed in expected.items():
        if name not in found or found[name].shape != needed.shape:
            there = found[name].shape if name in found else 'missing'
            raise ValueError(
                f'{path} does not fit this config: {name} is {there} in the file and '
                f'{needed.shape} in the network; look at data.image_size and, of model, gen_width, '
                'dim_z, num_classes, attention and gen_normalization'
            )
