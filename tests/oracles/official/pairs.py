"""How an array of an official code is turned into snjax's: pairs of names, and layouts.

Chainer and PyTorch have channels first: a kernel (out, in, h, w), a transposed one (in, out, h, w)
turned by 180 degrees, maps flattened as (c, h, w). TensorFlow's kernels are snjax's own.
"""

from typing import NamedTuple

import numpy as np

BOTTOM = 4  # height of the maps that dense layers make and read


class Pair(NamedTuple):
    """An array under both names.

    Attributes:
        theirs: name in a trajectory of the official code.
        ours: player, collection and path.
        how: key of `TO_OURS`.
    """

    theirs: str
    ours: tuple[str, ...]
    how: str


def _conv(w):
    return w.transpose(2, 3, 1, 0)


def _deconv(w):
    return w[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)


def _to_map(w):  # dense weight (outputs c h w, inputs)
    return w.reshape(-1, BOTTOM, BOTTOM, w.shape[1]).transpose(3, 1, 2, 0).reshape(w.shape[1], -1)


def _to_map_columns(w):  # the same as TensorFlow has it: (inputs, outputs c h w)
    return _to_map(w.T)


def _from_map(w):  # dense weight (outputs, inputs c h w)
    return w.reshape(w.shape[0], -1, BOTTOM, BOTTOM).transpose(2, 3, 1, 0).reshape(-1, w.shape[0])


def _vector_map(v):
    return v.reshape(-1, BOTTOM, BOTTOM).transpose(1, 2, 0).ravel()


def _map_deconv(w):  # transposed convolution of one pixel (inputs, out, h, w)
    return w.transpose(0, 2, 3, 1).reshape(w.shape[0], -1)


TO_OURS = {
    'same': lambda w: w,
    'conv': _conv,
    'deconv': _deconv,
    'dense': lambda w: w.T,
    'to map': _to_map,
    'to map, columns': _to_map_columns,
    'from map': _from_map,
    'vector map': _vector_map,
    'map deconv': _map_deconv,
    'u': lambda u: u.reshape(-1),
    'u of a map': lambda u: _vector_map(u.reshape(-1)),
    'pixel': lambda w: w[:, :, 0, 0].T,
    'basis': lambda w: w.transpose(1, 2, 0),
    'weighing basis': lambda w: w[:, 0].transpose(1, 2, 0),
}
TO_THEIRS = {
    'same': lambda w: w,
    'conv': lambda k: k.transpose(3, 2, 0, 1),
    'deconv': lambda k: k.transpose(2, 3, 0, 1)[:, :, ::-1, ::-1],
    'dense': lambda k: k.T,
    'to map': lambda k: (
        k.reshape(k.shape[0], BOTTOM, BOTTOM, -1).transpose(3, 1, 2, 0).reshape(-1, k.shape[0])
    ),
    'to map, columns': lambda k: TO_THEIRS['to map'](k).T,
    'from map': lambda k: (
        k.reshape(BOTTOM, BOTTOM, -1, k.shape[1]).transpose(3, 2, 0, 1).reshape(k.shape[1], -1)
    ),
    'vector map': lambda v: v.reshape(BOTTOM, BOTTOM, -1).transpose(2, 0, 1).ravel(),
    'map deconv': lambda k: k.reshape(k.shape[0], BOTTOM, BOTTOM, -1).transpose(0, 3, 1, 2),
    'u': lambda u: u.reshape(1, -1),
    'u of a map': lambda u: TO_THEIRS['vector map'](u).reshape(1, -1),
    'pixel': lambda k: k.T[:, :, None, None],
    'basis': lambda k: k.transpose(2, 0, 1),
    'weighing basis': lambda k: k.transpose(2, 0, 1)[:, None],
}


def their_shape(how, shape):
    """Shape in the official layout of an array that has `shape` in snjax's."""
    return TO_THEIRS[how](np.empty(shape)).shape


def layer(player, theirs, ours, how, bias='same', spectral=False):
    yield Pair(f'{player}/{theirs}/W', (player, 'params', *ours, 'kernel'), how)
    if bias:
        yield Pair(f'{player}/{theirs}/b', (player, 'params', *ours, 'bias'), bias)
    if spectral:
        vector = 'u' if spectral is True else spectral
        yield Pair(f'{player}/{theirs}/u', (player, 'spectral', *ours, 'u'), vector)


def norm(player, theirs, ours, how='same', conditional=False, scale=True):
    params, statistics = (player, 'params', *ours), (player, 'batch_stats', *ours)
    if conditional:
        statistics = (*statistics, 'batch_norm')
        yield Pair(f'{player}/{theirs}/gammas/W', (*params, 'gamma'), 'same')
        yield Pair(f'{player}/{theirs}/betas/W', (*params, 'beta'), 'same')
    else:
        if scale:
            yield Pair(f'{player}/{theirs}/gamma', (*params, 'scale'), how)
        yield Pair(f'{player}/{theirs}/beta', (*params, 'bias'), how)
    yield Pair(f'{player}/{theirs}/avg_mean', (*statistics, 'mean'), how)
    yield Pair(f'{player}/{theirs}/avg_var', (*statistics, 'var'), how)
