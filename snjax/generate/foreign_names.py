"""How other codes name and lay out the arrays of a generator: for `snjax.generate.published`."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

MIMICRY, PFNET = 'kwotsin/mimicry', 'pfnet-research/sngan_projection'
BIGGAN = 'ajbrock/BigGAN-PyTorch'
_BLOCK = {'c1': 'conv1', 'c2': 'conv2', 'c_sc': 'shortcut'}
_ATTENTION = {'theta': 'query', 'phi': 'key', 'g': 'value', 'o': 'out'}


class Move(NamedTuple):
    """Arrays of a file that make arrays here: `convert(*theirs)` gives as many as `ours`."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    convert: Callable[..., tuple[np.ndarray, ...]]


def of_resnet(source: str, expected: Mapping[str, Any]) -> Iterator[Move]:
    """Every array of a ResNet generator of `MIMICRY` or `PFNET`, from z on."""
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
        yield Move(('params/attention/gamma',), ('attn_block.gamma',), _same)
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

    def layer(self, theirs: str, ours: str, bottom: int = 0) -> Iterator[Move]:
        """A convolution; with `bottom` the dense layer that makes a map of that height."""
        theirs = theirs.replace('/', '.')
        layout = _Layout(bottom)
        kernel, sides = f'params/{ours}/kernel', f'spectral/{ours}'
        if f'{sides}/u' in self._expected:
            names = ('weight_orig', 'weight_u', 'weight_v')
            made = (kernel, *(f'{sides}/{name}' for name in ('u', 'v', 'sigma')))
            yield Move(made, tuple(f'{theirs}.{name}' for name in names), layout.normalized)
        else:
            yield Move((kernel,), (f'{theirs}.weight',), layout.kernel)
        if f'params/{ours}/bias' in self._expected:
            yield Move((f'params/{ours}/bias',), (f'{theirs}.bias',), layout.vector)

    def norm(self, theirs: str, ours: str) -> Move:
        """A batch norm."""
        theirs, inner = theirs.replace('/', '.'), self.inner(ours)
        statistics = tuple(f'batch_stats/{ours}{inner}/{name}' for name in ('mean', 'var'))
        if not inner:
            params = tuple(f'params/{ours}/{name}' for name in ('scale', 'bias'))
            names = ('weight', 'bias', 'running_mean', 'running_var')
            return Move(params + statistics, tuple(f'{theirs}.{name}' for name in names), _same)
        params = tuple(f'params/{ours}/{name}' for name in ('gamma', 'beta'))
        names = ('embed.weight', 'bn.running_mean', 'bn.running_var')
        return Move(params + statistics, tuple(f'{theirs}.{name}' for name in names), _halves)


def of_biggan(expected: Mapping[str, Any], attended: int | None) -> Iterator[Move]:
    """Every array of a BigGAN's or BigGAN-deep's generator.

    Args:
        expected: the arrays of the network here, by name.
        attended: index of the resolution that attention follows.
    """
    blocks = sorted({name.split('/')[1] for name in expected if name.startswith('params/block')})
    if f'batch_stats/{blocks[0]}/norm1/batch_norm/mean' not in expected:
        raise ValueError(
            'the published BigGANs have classes: use a config with --config.model.num_classes'
        )
    if 'params/embed/embedding' in expected:
        yield Move(('params/embed/embedding',), ('shared.weight',), _same)
    channels = expected[f'batch_stats/{blocks[0]}/norm1/batch_norm/mean'].shape[0]
    bottom = round((expected['params/project/bias'].shape[0] / channels) ** 0.5)
    names = _BigGAN(expected)
    yield from names.layer('linear', 'project', bottom)
    for i, block in enumerate(blocks):
        for part in ('conv1', 'conv2', 'conv3', 'conv4', 'shortcut'):
            theirs = 'conv_sc' if part == 'shortcut' else part
            yield from names.layer(f'blocks.{i}.0.{theirs}', f'{block}/{part}')
        for j in range(1, 5):
            yield from names.conditional(f'blocks.{i}.0.bn{j}', f'{block}/norm{j}')
    if attended is not None:
        per_resolution = 2 if '_' in blocks[0] else 1
        last = f'blocks.{per_resolution * (attended + 1) - 1}.1'
        for theirs, ours in _ATTENTION.items():
            yield from names.layer(f'{last}.{theirs}', f'attention/{ours}')
        yield Move(('params/attention/gamma',), (f'{last}.gamma',), _same)
    statistics = tuple(f'batch_stats/norm_out/{name}' for name in ('mean', 'var'))
    ours = ('params/norm_out/scale', 'params/norm_out/bias', *statistics)
    ends = ('gain', 'bias', 'stored_mean', 'stored_var')
    yield Move(ours, tuple(f'output_layer.0.{end}' for end in ends), _same)
    yield from names.layer('output_layer.2', 'to_image')


class _BigGAN(_Torch):
    """The names of ajbrock/BigGAN-PyTorch."""

    def layer(self, theirs: str, ours: str, bottom: int = 0) -> Iterator[Move]:
        """A layer that is there; its singular vectors are found from u by one iteration."""
        layout, kernel, sides = _Layout(bottom), f'params/{ours}/kernel', f'spectral/{ours}'
        if kernel not in self._expected:
            return
        if f'{sides}/u' in self._expected:
            made = (kernel, *(f'{sides}/{name}' for name in ('u', 'v', 'sigma')))
            yield Move(made, (f'{theirs}.weight', f'{theirs}.u0'), layout.iterated)
        else:
            yield Move((kernel,), (f'{theirs}.weight',), layout.kernel)
        if f'params/{ours}/bias' in self._expected:
            yield Move((f'params/{ours}/bias',), (f'{theirs}.bias',), layout.vector)

    def conditional(self, theirs: str, ours: str) -> Iterator[Move]:
        """A batch norm with layers or tables for gain and shift, if it is there."""
        statistics = f'batch_stats/{ours}/batch_norm'
        if f'{statistics}/mean' not in self._expected:
            return
        for end, mine in {'gain': 'gain', 'bias': 'shift'}.items():
            yield from self.layer(f'{theirs}.{end}', f'{ours}/{mine}')
            table = f'params/{ours}/{mine}/embedding'
            if table in self._expected:
                yield Move((table,), (f'{theirs}.{end}.weight',), _same)
        names = tuple(f'{theirs}.stored_{name}' for name in ('mean', 'var'))
        yield Move((f'{statistics}/mean', f'{statistics}/var'), names, _same)


class _Chainer(_Torch):
    """sngan_projection's names."""

    def layer(self, theirs: str, ours: str, bottom: int = 0) -> Iterator[Move]:
        layout = _Layout(bottom)
        yield Move((f'params/{ours}/kernel',), (f'{theirs}/W',), layout.kernel)
        yield Move((f'params/{ours}/bias',), (f'{theirs}/b',), layout.vector)

    def norm(self, theirs: str, ours: str) -> Move:
        inner = self.inner(ours)
        params = ('gamma', 'beta') if inner else ('scale', 'bias')
        made = tuple(f'params/{ours}/{name}' for name in params)
        made += tuple(f'batch_stats/{ours}{inner}/{name}' for name in ('mean', 'var'))
        names = ('gammas/W', 'betas/W') if inner else ('gamma', 'beta')
        return Move(made, tuple(f'{theirs}/{x}' for x in (*names, 'avg_mean', 'avg_var')), _same)


class _Layout(NamedTuple):
    """Channels first turned into channels last.

    Attributes:
        bottom: height of the map that a dense layer makes; 0 for other layers.
    """

    bottom: int

    def kernel(self, w: np.ndarray) -> tuple[np.ndarray, ...]:
        """(out, in, h, w) to (h, w, in, out); (out, in) to (in, out), or (c h w, in) to (in, h w c)."""
        if not self.bottom:
            return (w.transpose(2, 3, 1, 0) if w.ndim == 4 else w.T,)
        maps = w.reshape(-1, self.bottom, self.bottom, w.shape[1])
        return (maps.transpose(3, 1, 2, 0).reshape(w.shape[1], -1),)

    def vector(self, b: np.ndarray) -> tuple[np.ndarray, ...]:
        """The same of one number per output."""
        if not self.bottom:
            return (b,)
        return (b.reshape(-1, self.bottom, self.bottom).transpose(1, 2, 0).ravel(),)

    def iterated(self, w, u) -> tuple[np.ndarray, ...]:
        """`normalized` after one power iteration from u, which BigGAN's code makes at every pass."""
        matrix = w.reshape(len(w), -1).astype(np.float64)
        v = matrix.T @ u.ravel()
        v = v / np.linalg.norm(v)
        u = matrix @ v
        return self.normalized(w, u / np.linalg.norm(u), v)

    def normalized(self, w, u, v) -> tuple[np.ndarray, ...]:
        """Kernel, u, v and sigma = u^T W v of torch's spectral norm."""
        sides = v.reshape(w.shape[1:]).transpose(1, 2, 0).ravel() if w.ndim == 4 else v
        sigma = u @ w.reshape(len(w), -1) @ v
        return *self.kernel(w), *self.vector(u), sides, np.asarray(sigma)


def _same(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return arrays


def _halves(embedding: np.ndarray, *statistics: np.ndarray) -> tuple[np.ndarray, ...]:
    """Gamma and beta of mimicry's conditional norm, side by side in one table."""
    return *np.split(embedding, 2, axis=1), *statistics
