"""Where the official codes keep what snjax keeps: pairs of names, and how an array is turned.

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
    'pixel': lambda k: k.T[:, :, None, None],
    'basis': lambda k: k.transpose(2, 0, 1),
    'weighing basis': lambda k: k.transpose(2, 0, 1)[:, None],
}


def their_shape(how, shape):
    """Shape in the official layout of an array that has `shape` in snjax's."""
    return TO_THEIRS[how](np.empty(shape)).shape


def _layer(player, theirs, ours, how, bias='same', spectral=False):
    yield Pair(f'{player}/{theirs}/W', (player, 'params', *ours, 'kernel'), how)
    if bias:
        yield Pair(f'{player}/{theirs}/b', (player, 'params', *ours, 'bias'), bias)
    if spectral:
        yield Pair(f'{player}/{theirs}/u', (player, 'spectral', *ours, 'u'), 'u')


def _norm(player, theirs, ours, how='same', conditional=False, scale=True):
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


_BLOCK = {'c1': 'conv1', 'c2': 'conv2', 'c_sc': 'shortcut'}


def sngan_projection(conditional, score_bias=None):
    """resnet_32.py and snresnet_32.py; mimicry's networks under the same names."""
    yield from _layer('gen', 'l1', ('project',), 'to map', 'vector map')
    for i in (1, 2, 3):
        for theirs, ours in _BLOCK.items():
            yield from _layer('gen', f'block{i + 1}/{theirs}', (f'block{i}', ours), 'conv')
        for j in (1, 2):
            place = f'block{i + 1}/b{j}', (f'block{i}', f'norm{j}')
            yield from _norm('gen', *place, conditional=conditional)
    yield from _norm('gen', 'b5', ('norm_out',))
    yield from _layer('gen', 'c5', ('to_image',), 'conv')
    for i in (1, 2, 3, 4):
        for theirs, ours in list(_BLOCK.items())[: 3 if i < 3 else 2]:
            place = f'block{i}/{theirs}', (f'block{i}', ours)
            yield from _layer('dis', *place, 'conv', spectral=True)
    yield from _layer('dis', 'l5', ('score',), 'dense', bias=score_bias, spectral=True)
    if conditional:
        yield Pair('dis/l_y/W', ('dis', 'params', 'embed', 'embedding'), 'same')
        yield Pair('dis/l_y/u', ('dis', 'spectral', 'embed', 'u'), 'u')


_CONVOLUTIONS = {
    'cnn': 'c0_0 c0_1 c1_0 c1_1 c2_0 c2_1 c3_0',
    'dcgan': 'c0_0 c0_1 c1_0 c1_1 c2_0 c2_1 c3_0',
    'wgangp': 'c0 c1 c1_0 c2 c2_0 c3 c3_0',
}


def chainer_gan_lib(model):
    """common/net.py."""
    yield from _layer('gen', 'l0', ('project',), 'to map', 'vector map')
    yield from _norm('gen', 'bn0', ('norm0',), 'vector map')
    for i in (1, 2, 3):
        yield from _layer('gen', f'dc{i}', (f'deconv{i}',), 'deconv')
        yield from _norm('gen', f'bn{i}', (f'norm{i}',))
    yield from _layer('gen', 'dc4', ('to_image',), 'deconv')
    for i, name in enumerate(_CONVOLUTIONS[model].split()):
        yield from _layer('dis', name, (f'conv{i + 1}',), 'conv', spectral=model == 'cnn')
        if model == 'dcgan' and i:
            yield from _norm('dis', 'bn' + name[1:], (f'norm{i + 1}',), scale=False)
    yield from _layer('dis', 'l4', ('score',), 'from map', spectral=model == 'cnn')


def improved_wgan_training(conditional):
    """gan_cifar_resnet.py. It keeps no running statistics."""

    def layer(theirs, player, ours, how='same', bias='same'):
        weight, vector = ('Filters', 'Biases') if how == 'same' else ('W', 'b')
        yield Pair(f'{theirs}.{weight}', (player, 'params', *ours, 'kernel'), how)
        yield Pair(f'{theirs}.{vector}', (player, 'params', *ours, 'bias'), bias)

    def dense(theirs, ours):
        yield Pair(f'{theirs}.W', ('dis', 'params', ours, 'kernel'), 'same')
        yield Pair(f'{theirs}.b', ('dis', 'params', ours, 'bias'), 'same')

    def norm(theirs, ours, conditional):
        names = {'scale': 'gamma', 'offset': 'beta'} if conditional else {}
        names = names or {'scale': 'scale', 'offset': 'bias'}
        for name, mine in names.items():
            yield Pair(f'{theirs}.{name}', ('gen', 'params', *ours, mine), 'same')

    parts = {'Conv1': 'conv1', 'Conv2': 'conv2', 'Shortcut': 'shortcut'}
    name = 'Generator.Input', 'gen', ('project',)
    yield from layer(*name, 'to map, columns', 'vector map')
    for i in (1, 2, 3):
        for theirs, ours in parts.items():
            yield from layer(f'Generator.{i}.{theirs}', 'gen', (f'block{i}', ours))
        for j in (1, 2):
            yield from norm(f'Generator.{i}.N{j}', (f'block{i}', f'norm{j}'), conditional)
    yield from norm('Generator.OutputN', ('norm_out',), False)
    yield from layer('Generator.Output', 'gen', ('to_image',))
    for i in (1, 2, 3, 4):
        for theirs, ours in list(parts.items())[: 3 if i < 3 else 2]:
            yield from layer(f'Discriminator.{i}.{theirs}', 'dis', (f'block{i}', ours))
    yield from dense('Discriminator.Output', 'score')
    if conditional:
        yield from dense('Discriminator.ACGANOutput', 'classify')


def minimal_glo():
    """glo.py."""
    for i, name in enumerate(['project', 'deconv1', 'deconv2', 'deconv3', 'to_image']):
        how = 'deconv' if i else 'map deconv'
        yield Pair(f'dcnn.{3 * i}.weight', ('gen', 'params', name, 'kernel'), how)
        if i == 4:
            break
        for theirs, ours in {'weight': 'scale', 'bias': 'bias'}.items():
            name = f'dcnn.{3 * i + 1}.{theirs}'
            yield Pair(name, ('gen', 'params', f'norm{i}', ours), 'same')
        for theirs, ours in {'running_mean': 'mean', 'running_var': 'var'}.items():
            name = f'dcnn.{3 * i + 1}.{theirs}'
            yield Pair(name, ('gen', 'batch_stats', f'norm{i}', ours), 'same')


def r3gan():
    """R3GAN/Networks.py, two stages of one width; D's come in the opposite order."""

    def pair(theirs, end, *ours_and_how):
        *ours, how = ours_and_how
        return Pair(f'{theirs}/{end}', (theirs.partition('/')[0], 'params', *ours), how)

    for player in ('gen', 'dis'):
        yield pair(f'{player}/EmbeddingLayer', 'W', 'embed', 'embedding', 'dense')
        for stage in (0, 1):
            for i in (0, 1):
                ours, block = f'block{stage}_{i}', f'{player}/MainLayers/{1 - stage}/Layers/{i}'
                if player == 'gen':
                    block = f'{player}/MainLayers/{stage}/Layers/{i + 1}'
                for j, (layer, how) in enumerate(
                    (('expand', 'pixel'), ('mix', 'conv'), ('project', 'pixel')), start=1
                ):
                    yield pair(f'{block}/LinearLayer{j}/Layer', 'W', ours, layer, 'kernel', how)
                for j in (1, 2):
                    yield pair(f'{block}/NonLinearity{j}', 'b', ours, f'relu{j}', 'bias', 'same')
    first, last = 'gen/MainLayers/0/Layers/0', 'dis/MainLayers/1/Layers/2'
    yield pair(first, 'basis', 'basis', 'basis')
    yield pair(f'{first}/LinearLayer', 'W', 'from_z', 'kernel', 'dense')
    yield pair('gen/AggregationLayer/Layer', 'W', 'to_image', 'kernel', 'pixel')
    yield pair('dis/ExtractionLayer/Layer', 'W', 'from_image', 'kernel', 'pixel')
    yield pair(f'{last}/Basis', 'W', 'basis', 'weighing basis')
    yield pair(f'{last}/LinearLayer', 'W', 'score', 'kernel', 'dense')


LAYOUTS = {
    'r3gan': r3gan,
    'resnet': lambda: sngan_projection(False),
    'cgan': lambda: sngan_projection(True),
    'cnn': lambda: chainer_gan_lib('cnn'),
    'dcgan': lambda: chainer_gan_lib('dcgan'),
    'wgangp': lambda: chainer_gan_lib('wgangp'),
    'acgan': lambda: improved_wgan_training(True),
    'wgangp_resnet': lambda: improved_wgan_training(False),
    'mimicry': lambda: sngan_projection(False, 'same'),
    'mimicry_cgan': lambda: sngan_projection(True, 'same'),
    'collections': lambda: sngan_projection(False),
    'glo_l2': minimal_glo,
    'glo_lap1': minimal_glo,
}


def layout(model) -> list[Pair]:
    """All pairs of a model."""
    return list(LAYOUTS[model]())
