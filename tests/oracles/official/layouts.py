"""Where the official codes keep what snjax keeps: pairs of names of every array."""

from oracles.official import biggan_layouts
from oracles.official.pairs import TO_OURS, TO_THEIRS, Pair, layer, norm, their_shape

__all__ = ['LAYOUTS', 'TO_OURS', 'TO_THEIRS', 'layout', 'their_shape']

_BLOCK = {'c1': 'conv1', 'c2': 'conv2', 'c_sc': 'shortcut'}


def sngan_projection(conditional, score_bias=None):
    """resnet_32.py and snresnet_32.py; mimicry's networks under the same names."""
    yield from layer('gen', 'l1', ('project',), 'to map', 'vector map')
    for i in (1, 2, 3):
        for theirs, ours in _BLOCK.items():
            yield from layer('gen', f'block{i + 1}/{theirs}', (f'block{i}', ours), 'conv')
        for j in (1, 2):
            place = f'block{i + 1}/b{j}', (f'block{i}', f'norm{j}')
            yield from norm('gen', *place, conditional=conditional)
    yield from norm('gen', 'b5', ('norm_out',))
    yield from layer('gen', 'c5', ('to_image',), 'conv')
    for i in (1, 2, 3, 4):
        for theirs, ours in list(_BLOCK.items())[: 3 if i < 3 else 2]:
            place = f'block{i}/{theirs}', (f'block{i}', ours)
            yield from layer('dis', *place, 'conv', spectral=True)
    yield from layer('dis', 'l5', ('score',), 'dense', bias=score_bias, spectral=True)
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
    yield from layer('gen', 'l0', ('project',), 'to map', 'vector map')
    yield from norm('gen', 'bn0', ('norm0',), 'vector map')
    for i in (1, 2, 3):
        yield from layer('gen', f'dc{i}', (f'deconv{i}',), 'deconv')
        yield from norm('gen', f'bn{i}', (f'norm{i}',))
    yield from layer('gen', 'dc4', ('to_image',), 'deconv')
    for i, name in enumerate(_CONVOLUTIONS[model].split()):
        yield from layer('dis', name, (f'conv{i + 1}',), 'conv', spectral=model == 'cnn')
        if model == 'dcgan' and i:
            yield from norm('dis', 'bn' + name[1:], (f'norm{i + 1}',), scale=False)
    yield from layer('dis', 'l4', ('score',), 'from map', spectral=model == 'cnn')


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
                for j, (name, how) in enumerate(
                    (('expand', 'pixel'), ('mix', 'conv'), ('project', 'pixel')), start=1
                ):
                    yield pair(f'{block}/LinearLayer{j}/Layer', 'W', ours, name, 'kernel', how)
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
    **biggan_layouts.LAYOUTS,
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
