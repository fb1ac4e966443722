"""Published generators of other codes as variables of this one, by the names of their arrays.

* kwotsin/mimicry, `netG_100000_steps.pth`: SNGAN, cGAN-PD, WGAN-GP (32, 48, 64, 128 px) and SAGAN
  (32, 128 px). Their network is `model.variant=mimicry`; SAGAN has `gen_normalization=spectral` and
  `attention` 16 at 32 px and 32 at 128 px.
* pfnet-research/sngan_projection, `ResNetGenerator_50000.npz`: with and without classes, 32, 64, 128
  and 256 px, `model.variant=paper`.

No code of a file is run: `snjax.generate.torch_file`, `snjax.data.npz_file`.
"""

import hashlib
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from snjax.data import npz_file
from snjax.from_config import generator
from snjax.generate import torch_file
from snjax.generate.load import expected_arrays
from snjax.image_format import canonical, words

Arrays = dict[str, np.ndarray]
MIMICRY, PFNET = 'kwotsin/mimicry', 'pfnet-research/sngan_projection'
_BLOCK = {'c1': 'conv1', 'c2': 'conv2', 'c_sc': 'shortcut'}
_ATTENTION = {'theta': 'query', 'phi': 'key', 'g': 'value', 'o': 'out'}


class Published(NamedTuple):
    """A generator from elsewhere.

    Attributes:
        source: `MIMICRY` or `PFNET`.
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
    size = generator(config).image_size
    if not isinstance(canonical(size), int):
        raise ValueError(
            f'data.image_size is {words(size)}: the published generators make squares '
            '(--config.data.image_size)'
        )
    source = PFNET if path.suffix == '.npz' else MIMICRY
    arrays, step = _of_chainer(path) if source == PFNET else _of_torch(path)
    expected = flatten_dict(expected_arrays(config), sep='/')
    unread, found = dict(arrays), {}
    try:
        for move in _moves(source, expected):
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
    ignored = ('num_batches_tracked', '/N')
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
            'model_state_dict'
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


# ---- names and layouts


class _Move(NamedTuple):
    """Arrays of a file that make arrays here: `convert(*theirs)` gives as many as `ours`."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    convert: Callable[..., tuple[np.ndarray, ...]]


def _moves(source: str, expected: Mapping[str, Any]) -> Iterator[_Move]:
    """Every array of a ResNet generator, from z on."""
    num = max(
        (int(found[1]) for name in expected if (found := re.match(r'params/block(\d+)', name))),
        default=0,
    )
    if not num:
        raise ValueError(
            'the published generators are ResNets: use a config with --config.model.architecture='
            'resnet'
        )
    names = _Chainer(expected) if source == PFNET else _Torch(expected)
    # The dense layer makes a square feature map with as many channels as the first norm has.
    channels = expected['batch_stats/block1/norm1' + names.inner('block1/norm1') + '/mean'].shape[0]
    bottom = round((expected['params/project/bias'].shape[0] / channels) ** 0.5)
    yield from names.layer('l1', 'project', bottom)
    for i in range(1, num + 1):
        for theirs, ours in _BLOCK.items():
            yield from names.layer(f'block{i + 1}/{theirs}', f'block{i}/{ours}')
        for j in (1, 2):
            yield names.norm(f'block{i + 1}/b{j}', f'block{i}/norm{j}')
    if 'params/attention/gamma' in expected:
        for theirs, ours in _ATTENTION.items():
            yield from names.layer(f'attn_block/{theirs}', f'attention/{ours}')
        yield _Move(('params/attention/gamma',), ('attn_block.gamma',), _same)
    yield names.norm(f'b{num + 2}', 'norm_out')
    # sngan_projection calls its last layer c5 at 32 px, and l6, l7 or l8 elsewhere.
    letter = 'l' if source == PFNET and num > 3 else 'c'
    yield from names.layer(f'{letter}{num + 2}', 'to_image')


class _Torch:
    """mimicry's names.

    Args:
        expected: the arrays of the network here, by name.
    """

    def __init__(self, expected: Mapping[str, Any]):
        self._expected = expected

    def inner(self, ours: str) -> str:
        """What a conditional norm puts between its own name and those of its statistics."""
        return '/batch_norm' if f'params/{ours}/gamma' in self._expected else ''

    def layer(self, theirs: str, ours: str, bottom: int = 0) -> Iterator[_Move]:
        """A convolution; with `bottom` the dense layer that makes a map of that height."""
        theirs = theirs.replace('/', '.')
        layout = _Layout(bottom)
        kernel, sides = f'params/{ours}/kernel', f'spectral/{ours}'
        if f'{sides}/u' in self._expected:
            names = ('weight_orig', 'weight_u', 'weight_v')
            made = (kernel, *(f'{sides}/{name}' for name in ('u', 'v', 'sigma')))
            yield _Move(made, tuple(f'{theirs}.{name}' for name in names), layout.normalized)
        else:
            yield _Move((kernel,), (f'{theirs}.weight',), layout.kernel)
        if f'params/{ours}/bias' in self._expected:
            yield _Move((f'params/{ours}/bias',), (f'{theirs}.bias',), layout.vector)

    def norm(self, theirs: str, ours: str) -> _Move:
        """A batch norm."""
        theirs, inner = theirs.replace('/', '.'), self.inner(ours)
        statistics = tuple(f'batch_stats/{ours}{inner}/{name}' for name in ('mean', 'var'))
        if not inner:
            params = tuple(f'params/{ours}/{name}' for name in ('scale', 'bias'))
            names = ('weight', 'bias', 'running_mean', 'running_var')
            return _Move(params + statistics, tuple(f'{theirs}.{name}' for name in names), _same)
        params = tuple(f'params/{ours}/{name}' for name in ('gamma', 'beta'))
        names = ('embed.weight', 'bn.running_mean', 'bn.running_var')
        return _Move(params + statistics, tuple(f'{theirs}.{name}' for name in names), _halves)


class _Chainer(_Torch):
    """sngan_projection's names."""

    def layer(self, theirs: str, ours: str, bottom: int = 0) -> Iterator[_Move]:
        layout = _Layout(bottom)
        yield _Move((f'params/{ours}/kernel',), (f'{theirs}/W',), layout.kernel)
        yield _Move((f'params/{ours}/bias',), (f'{theirs}/b',), layout.vector)

    def norm(self, theirs: str, ours: str) -> _Move:
        inner = self.inner(ours)
        params = ('gamma', 'beta') if inner else ('scale', 'bias')
        made = tuple(f'params/{ours}/{name}' for name in params)
        made += tuple(f'batch_stats/{ours}{inner}/{name}' for name in ('mean', 'var'))
        names = ('gammas/W', 'betas/W') if inner else ('gamma', 'beta')
        return _Move(made, tuple(f'{theirs}/{x}' for x in (*names, 'avg_mean', 'avg_var')), _same)


class _Layout(NamedTuple):
    """Channels first turned into channels last.

    Attributes:
        bottom: height of the map that a dense layer makes; 0 for a convolution.
    """

    bottom: int

    def kernel(self, w: np.ndarray) -> tuple[np.ndarray, ...]:
        """(out, in, h, w) to (h, w, in, out); (c h w, in) to (in, h w c)."""
        if not self.bottom:
            return (w.transpose(2, 3, 1, 0),)
        maps = w.reshape(-1, self.bottom, self.bottom, w.shape[1])
        return (maps.transpose(3, 1, 2, 0).reshape(w.shape[1], -1),)

    def vector(self, b: np.ndarray) -> tuple[np.ndarray, ...]:
        """The same of one number per output."""
        if not self.bottom:
            return (b,)
        return (b.reshape(-1, self.bottom, self.bottom).transpose(1, 2, 0).ravel(),)

    def normalized(self, w, u, v) -> tuple[np.ndarray, ...]:
        """Kernel, u, v and sigma = u^T W v of torch's spectral norm."""
        sides = v if self.bottom else v.reshape(w.shape[1:]).transpose(1, 2, 0).ravel()
        sigma = u @ w.reshape(len(w), -1) @ v
        return *self.kernel(w), *self.vector(u), sides, np.asarray(sigma)


def _same(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return arrays


def _halves(embedding: np.ndarray, *statistics: np.ndarray) -> tuple[np.ndarray, ...]:
    """Gamma and beta of mimicry's conditional norm, side by side in one table."""
    return *np.split(embedding, 2, axis=1), *statistics
