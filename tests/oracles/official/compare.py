"""How far one trajectory is from another, or from a fixture, relative to what moved.

    python -m oracles.official.compare A.npz B.npz      # a table, one row per checkpoint

`moved` is |a - b| / |b - start| over all weights of a player; left out are biases before a batch
norm, whose gradient is rounding noise that Adam blows up to full steps in every implementation (in
images they cancel). `worst` is the largest single array. B may be a fixture, which has signed sums
in place of arrays (`inputs.summary`): the same ratios of sums estimate those of arrays.
"""

import re
import sys

import numpy as np

from oracles.official import inputs as feed

# Biases whose gradient is zero but for rounding: a batch norm follows, after a block's shortcut the
# last one.
DEAD = re.compile(
    r'gen/(block\d/c(1|2|_sc)|l0|dc[123])/b$|Generator\.\d\.(Conv1|Conv2|Shortcut)\.Biases$'
)
# Of BigGAN, whose attention sees biases before it but for those that a norm in their block follows.
DEAD_IN_BIGGAN = {
    'biggan_cifar': re.compile(r'gen/blocks/\d/0/conv\w+/b$'),
    'biggan': re.compile(r'gen/blocks/(\d/0/conv1|3/0/conv\w+)/b$'),
    'biggan_deep': re.compile(r'gen/blocks/\d/0/conv\w+/b$'),
}
DEAD_IN_DCGAN = re.compile(DEAD.pattern + r'|dis/c(0_1|[123]_[01])/b$')
STATISTICS = re.compile(r'avg_(mean|var)$|running_(mean|var)$')
LOOKED = ('images', 'images_train', 'images_whole', 'logits', 'classes')


def sums(name, array):
    """The signed sums of an array; of a summary, those that it holds."""
    return feed.summary(name, array)[-4:]


def player(name):
    return 'dis' if name.startswith(('dis', 'Discriminator')) else 'gen'


def _loss(arrays, name, t):
    """A loss of the first t steps, penalty included: the mean of a step's updates."""
    loss = arrays[f'trace/{name}']
    if name == 'dis_loss':
        loss = loss + arrays.get('trace/penalty', 0)  # chainer-gan-lib reports it by itself
        loss = loss.reshape(len(arrays['trace/gen_loss']), -1).mean(1)
    return loss[:t]


def errors(model, a, b, t):
    """The errors after t updates by name: gen, gen worst, dis, ..., and their largest arrays.

    Args:
        model: name in `inputs.MODELS`, or a GLO.
        a: trajectory, whole.
        b: the reference: whole, or a fixture.
    """
    here = f't{t}/'
    names = [k[len(here) :] for k in b if k.startswith(here)]
    dead = {'dcgan': DEAD_IN_DCGAN, **DEAD_IN_BIGGAN}.get(model, DEAD)
    found, parts = {}, []
    for side in ('gen', 'dis'):
        wrong = moved = 0.0
        for name in names:
            if name in LOOKED or name.endswith(('/u', '/sigma')) or STATISTICS.search(name):
                continue
            if player(name) != side or dead.search(name):
                continue
            ours = a[here + name]
            start = feed.start(name, ours.shape).astype('float64')
            if name == 'Z':
                start = feed.glo_inputs(1)['Z']
                start = start / np.maximum(np.linalg.norm(start, axis=1, keepdims=True), 1)
            theirs = b[here + name]
            if theirs.shape == ours.shape:
                error, way = (ours - theirs).ravel(), (theirs - start).ravel()
            else:
                error, way = sums(name, ours) - theirs[-4:], theirs[-4:] - sums(name, start)
                error, way = error / 2, way / 2
            e, m = np.linalg.norm(error), np.linalg.norm(way)
            parts.append((e / m if m else e, name))
            wrong, moved = wrong + e * e, moved + m * m
        if moved:
            found[side] = np.sqrt(wrong / moved)
            found[side + ' worst'] = max(e for e, name in parts if player(name) == side)
    for name in names:
        if name.endswith('/sigma') or (here + name.replace('_whole', '')) not in a:
            continue
        ours, theirs = a[here + name.replace('images_whole', 'images')], b[here + name]
        ours = ours[:2] if name == 'images_whole' else ours
        if name.endswith('/u'):
            weight, value = name[:-2] + '/W', b.get(here + name[:-2] + '/sigma')
            value = feed.sigma(b[here + weight], theirs) if value is None else value
            off = abs(feed.sigma(a[here + weight], ours) / value - 1)
            found['sigma'] = max(found.get('sigma', 0), off)
            ours = ours / np.linalg.norm(ours)
            angle = np.linalg.norm(ours - theirs.reshape(ours.shape) / np.linalg.norm(theirs))
            found['u'] = max(found.get('u', 0), angle)
            continue
        if STATISTICS.search(name):
            if player(name) == 'dis':  # nothing ever reads those of a discriminator
                continue
            key = 'mean' if name.endswith('mean') else 'var'
        elif name in LOOKED:
            key = name.replace('_whole', '')
        else:
            continue
        if theirs.shape != ours.shape:
            ours = feed.summary(name, ours)
        off = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        found[key] = max(found.get(key, 0), off)
    for name in ('gen_loss', 'dis_loss', 'rec_loss'):
        if f'trace/{name}' in a and f'trace/{name}' in b:
            ours, theirs = _loss(a, name, t), _loss(b, name, t)
            found[name] = np.abs(ours - theirs).max() / max(1, np.abs(theirs).max())
    return found, sorted(parts, reverse=True)


def table(model, a, b):
    """The errors of every checkpoint that both have, as lines of Markdown."""
    times = sorted({int(k[1:].split('/')[0]) for k in b if re.match(r't\d+/', k)})
    times = [t for t in times if any(k.startswith(f't{t}/') for k in a)]
    rows = {t: errors(model, a, b, t)[0] for t in times}
    columns = list(rows[times[0]])
    yield '| updates | ' + ' | '.join(columns) + ' |'
    yield '|' + '---|' * (len(columns) + 1)
    for t, row in rows.items():
        yield f'| {t} | ' + ' | '.join(f'{row[c]:.1e}' for c in columns) + ' |'


def main():
    paths = [a for a in sys.argv[1:] if not a.startswith('-')]
    a, b = (dict(np.load(path)) for path in paths)
    model = paths[0].rpartition('/')[2].partition('.')[0]
    print(*table(model, a, b), sep='\n')
    if '--worst' in sys.argv:
        for t in {t for t in (1, 20) if any(k.startswith(f't{t}/') for k in a)}:
            print(t, [(f'{e:.1e}', n) for e, n in errors(model, a, b, t)[1][:6]])


if __name__ == '__main__':
    main()
