"""Where ajbrock/BigGAN-PyTorch keeps what snjax keeps: `layouts.py` of BigGAN.py and BigGANdeep.py."""

from oracles.official.pairs import Pair, layer, norm


def _conditional_norm(theirs, ours, shared):
    for end, mine in {'gain': 'gain', 'bias': 'shift'}.items():
        place = f'{theirs}/{end}', (*ours, mine)
        if shared:
            yield from layer('gen', *place, 'dense', bias=False, spectral=True)
        else:
            yield Pair(f'gen/{place[0]}/W', ('gen', 'params', *place[1], 'embedding'), 'same')
    for name in ('mean', 'var'):
        path = 'gen', 'batch_stats', *ours, 'batch_norm', name
        yield Pair(f'gen/{theirs}/avg_{name}', path, 'same')


def _attention(player, theirs):
    for end, mine in {'theta': 'query', 'phi': 'key', 'g': 'value', 'o': 'out'}.items():
        yield from layer(player, f'{theirs}/{end}', ('attention', mine), 'conv', False, True)
    yield Pair(f'{player}/{theirs}/gamma', (player, 'params', 'attention', 'gamma'), 'same')


_PARTS = {'conv1': 'conv1', 'conv2': 'conv2', 'conv_sc': 'shortcut'}


def biggan(gen_blocks, dis_blocks, shared=True, attention=(None, None), norms=(1, 2)):
    """BigGAN.py and BigGANdeep.py. Blocks are given as theirs: ours, with the layers that they have;
    attention follows a block of G and one of D."""
    for theirs, (ours, parts) in gen_blocks.items():
        for end in parts:
            place = f'blocks/{theirs}/0/{end}', (ours, _PARTS.get(end, end))
            yield from layer('gen', *place, 'conv', spectral=True)
        for j in norms:
            yield from _conditional_norm(f'blocks/{theirs}/0/bn{j}', (ours, f'norm{j}'), shared)
    if shared:
        yield Pair('gen/shared/W', ('gen', 'params', 'embed', 'embedding'), 'same')
    yield from layer('gen', 'linear', ('project',), 'to map', 'vector map', 'u of a map')
    yield from norm('gen', 'output_layer/0', ('norm_out',))
    yield from layer('gen', 'output_layer/2', ('to_image',), 'conv', spectral=True)
    for theirs, (ours, parts) in dis_blocks.items():
        for end in parts:
            place = f'{theirs}/{end}', (ours, _PARTS.get(end, end))
            yield from layer('dis', *place, 'conv', spectral=True)
    if len(norms) == 4:  # deep
        yield from layer('dis', 'input_conv', ('from_image',), 'conv', spectral=True)
    yield from layer('dis', 'linear', ('score',), 'dense', spectral=True)
    yield Pair('dis/embed/W', ('dis', 'params', 'embed', 'embedding'), 'same')
    yield Pair('dis/embed/u', ('dis', 'spectral', 'embed', 'u'), 'u')
    for player, block in zip(('gen', 'dis'), attention, strict=True):
        if block is not None:
            yield from _attention(player, f'blocks/{block}/1')


def _blocks(num, num_dis, without_shortcut):
    gen = {i: (f'block{i + 1}', list(_PARTS)) for i in range(num)}
    dis = {
        f'blocks/{i}/0': (f'block{i + 1}', list(_PARTS)[: 2 if i in without_shortcut else 3])
        for i in range(num_dis)
    }
    return gen, dis


def _deep_blocks():
    parts = [f'conv{j}' for j in (1, 2, 3, 4)]
    gen = {2 * i + j: (f'block{i + 1}_{j}', parts) for i in range(3) for j in (0, 1)}
    dis = {f'blocks/{i}/{j}': (f'block{i + 1}_{j}', parts) for i in range(3) for j in (0, 1)}
    return gen, dis


LAYOUTS = {
    'biggan_cifar': lambda: biggan(*_blocks(3, 4, (2, 3)), shared=False),
    'biggan': lambda: biggan(*_blocks(4, 5, ()), attention=(2, 0)),
    'biggan_deep': lambda: biggan(*_deep_blocks(), norms=(1, 2, 3, 4)),
}
