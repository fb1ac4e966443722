"""What the official codes and snjax are fed, and what is kept of a trajectory. NumPy alone.

The official codes run in interpreters of their own (Python 3.7 and 3.8), so this file keeps to
what they know. Every number comes from sums, products, roots and rounding of `RandomState`'s
uniform draws, which are the same bits everywhere; normal draws are rounded to multiples of 2^-12,
which no library's logarithm moves.
"""

import zlib

import numpy as np

CLASSES = 10
# Generator updates after which a fixture keeps something; the tables go on to the last.
KEPT, LAST = (1, 2, 5, 10, 20), 50
KEPT_OF_MANY = dict.fromkeys(('biggan', 'biggan_deep'), (1, 2, 20))  # of networks with many layers
WIDTH, BATCH = 4, 4
GLO_IMAGES, GLO_BATCH, GLO_WIDTH = 40, 8, 8  # every row is trained ten times in 50 updates
# R3GAN's width, the length of its burn-in and the half-life of its average, both in images.
R3GAN_WIDTH, R3GAN_BURN_IN, R3GAN_HALF_LIFE = 16, 60, 40
BIGGAN_DECAY = 0.9  # of its moving average
FIXED = 8  # images and latents that are looked at, not trained on
IMAGE = (3, 32, 32)

# name: (official code, generator's batch over the discriminator's, n_dis, latent)
MODELS = {
    'resnet': ('sngan_projection', 2, 5, 'normal'),
    'cgan': ('sngan_projection', 2, 5, 'normal'),
    'cnn': ('chainer-gan-lib', 1, 1, 'uniform'),
    'dcgan': ('chainer-gan-lib', 1, 1, 'uniform'),
    'wgangp': ('chainer-gan-lib', 1, 5, 'uniform'),
    'acgan': ('improved_wgan_training', 2, 5, 'normal'),
    'wgangp_resnet': ('improved_wgan_training', 2, 5, 'normal'),
    'mimicry': ('mimicry', 1, 5, 'normal'),
    'mimicry_cgan': ('mimicry', 1, 5, 'normal'),
    'collections': ('pytorch-gan-collections', 2, 5, 'normal'),
    'r3gan': ('R3GAN', 1, 1, 'normal'),
    'biggan_cifar': ('BigGAN-PyTorch', 1, 4, 'normal'),
    'biggan': ('BigGAN-PyTorch', 1, 2, 'normal'),
    'biggan_deep': ('BigGAN-PyTorch', 1, 2, 'normal'),
}


def stream(name):
    """Random numbers that depend on a name alone."""
    return np.random.RandomState(zlib.crc32(name.encode()))


def normal(rng, *shape):
    return np.round(rng.standard_normal(shape) * 4096) / 4096


def uniform(rng, *shape):
    return rng.random_sample(shape) * 2 - 1


def images(rng, labels):
    """Blocks of colour with noise, a palette per class: (n, 3, 32, 32) in [-1, 1], eighth bits."""
    palettes = uniform(np.random.RandomState(99), CLASSES, 3, 8, 8)
    blocks = palettes[labels] + uniform(rng, len(labels), 3, 8, 8)
    blocks = np.repeat(np.repeat(blocks, 4, axis=2), 4, axis=3)
    noisy = blocks + 0.25 * uniform(rng, len(labels), *IMAGE)
    return np.round(np.clip(0.6 * noisy, -1, 1) * 128) / 128


def inputs(model, steps, dim_z=128):
    """Everything that a run of a GAN draws, float64 and int32, in the official layouts (NCHW); the
    first steps of a longer run are the same."""
    _, factor, n_dis, latent = MODELS[model]
    draw, b = normal if latent == 'normal' else uniform, BATCH
    if model == 'r3gan':  # z is shorter, and G sees real images of its own
        dim_z, num_real = 64, n_dis + 1
    else:
        num_real = n_dis
    if model == 'biggan':  # a part for each of 4 blocks, and one more
        dim_z = 120

    def step(rng):
        label = rng.randint(0, CLASSES, (num_real, b)).astype('int32')
        return {
            'real': images(rng, label.ravel()).reshape((num_real, b, *IMAGE)),
            'label': label,
            'gen_z': draw(rng, b * factor, dim_z),
            'dis_z': draw(rng, n_dis, b, dim_z),
            'gen_y': rng.randint(0, CLASSES, b * factor).astype('int32'),
            'dis_y': rng.randint(0, CLASSES, (n_dis, b)).astype('int32'),
            'alpha': rng.random_sample((n_dis, b)),
        }

    steps = [step(stream(f'{model}, step {t}')) for t in range(steps)]
    fed = {name: np.stack([s[name] for s in steps]) for name in steps[0]}
    fixed = stream('fixed inputs')
    fed['fixed_y'] = np.arange(FIXED, dtype='int32') % CLASSES
    fed['fixed_x'] = images(fixed, fed['fixed_y'])
    fed['fixed_z'] = draw(fixed, FIXED, dim_z)
    if model == 'acgan':  # its discriminator's fakes have the classes of its real images
        fed['dis_y'] = fed['label']
    if model == 'r3gan':  # 8 px, where it has two stages
        fed.update({k: fed[k][..., ::4, ::4] for k in ('real', 'fixed_x')})
    if model == 'biggan':  # 64 px, where both players have attention at 32x32
        fed.update({k: fed[k].repeat(2, -1).repeat(2, -2) for k in ('real', 'fixed_x')})
    return fed


def glo_inputs(steps, dim_z=100):
    """The training set of a GLO run at 64 px, the rows of its batches and the first table; the
    first steps of a longer run are the same."""
    rng = stream('inputs of glo')
    small = images(rng, np.arange(GLO_IMAGES) % CLASSES)
    noise = uniform(rng, GLO_IMAGES, 3, 64, 64) / 8
    wide = np.repeat(np.repeat(small, 2, axis=2), 2, axis=3) + noise
    orders = [rng.permutation(GLO_IMAGES).reshape(-1, GLO_BATCH) for _ in range(steps)]
    return {
        'images': np.round(np.clip(wide, -1, 1) * 128) / 128,
        'order': np.concatenate(orders)[:steps],
        'Z': normal(stream('Z of glo'), GLO_IMAGES, dim_z) / 10,  # half are outside the unit ball
        'fixed_z': normal(stream('fixed z of glo'), FIXED, dim_z) / 10,
    }


# Endings of names of arrays, in Chainer's, TensorFlow's and PyTorch's words.
ENDINGS = (
    ('around one', ('gammas/W', 'gamma', 'avg_var', 'scale', 'running_var')),
    ('small', ('betas/W', 'beta', '/b', '.b', 'bias', 'Biases', 'offset', 'avg_mean', '_mean')),
    ('direction', ('/u', 'sn_u')),
)


def start(name, shape):
    """The first value of an array, a float32 number each: biases, scales and statistics too are
    random, so that one that an implementation does not use shows."""
    kind = [kind for kind, endings in ENDINGS if name.endswith(endings)]
    draw = uniform(stream(name), *shape)
    if 'around one' in kind or (name.endswith('weight') and len(shape) == 1):
        draw = 1 + 0.1 * draw
    elif 'small' in kind:
        draw = 0.1 * draw
    elif 'direction' not in kind:
        inputs_of_one = shape[1:] if len(shape) != 4 or shape[0] > shape[2] else shape[:-1]
        gain = 0.3 if name.startswith('dcnn') else 3.0  # GLO's rate of 1 is for small weights
        draw = draw * np.sqrt(gain / int(np.prod(inputs_of_one)))
    return draw.astype('float32')


def summary(name, array):
    """What a fixture keeps of an array: its norm, up to 6 entries, and 4 sums with random signs.

    The sums see every entry: the mean square of their errors is the squared norm of the error.
    """
    flat = np.asarray(array, 'float64').ravel()
    rng = stream('signs of ' + name)
    signs = 2.0 * rng.randint(0, 2, (4, flat.size)) - 1
    entries = flat[np.unique(np.linspace(0, flat.size - 1, 6).astype(int))]
    return np.concatenate([[np.sqrt((flat * flat).sum())], entries, (signs * flat).sum(1)])


def sigma(weight, u):
    """The largest singular value of an official weight (outputs, ...) by one more half step of u;
    tables (rows, features) are their own matrix."""
    matrix, u = weight.reshape(len(weight), -1), u.reshape(1, -1)
    v = u.dot(matrix)
    return np.linalg.norm((v / np.linalg.norm(v)).dot(matrix.T))


def kept_whole(name):
    """Whether a fixture keeps an array of a checkpoint whole."""
    return name in ('logits', 'classes') or name.endswith('/u')


def kept(model):
    """The updates of a model after which its fixture keeps something."""
    return KEPT_OF_MANY.get(model, KEPT)


def reduced(model, arrays):
    """A trajectory as its fixture keeps it; images of the first two fixed z whole, at update 20."""
    found = {}
    for name, array in arrays.items():
        time, _, rest = name.partition('/')
        if name.startswith('trace/'):
            found[name] = array
        elif time.lstrip('t').isdigit() and int(time[1:]) in kept(model):
            found[name] = array if kept_whole(rest) else summary(rest, array)
            if rest.endswith('/u'):
                found[name[:-2] + '/sigma'] = sigma(arrays[name[:-2] + '/W'], array)
            if int(time[1:]) == KEPT[-1] and rest == 'images':
                found[time + '/images_whole'] = array[:2]
    return found
