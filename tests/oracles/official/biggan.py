"""The run of ajbrock/BigGAN-PyTorch, for `torch_peers.py`: its `GAN_training_function` on the CPU.

Changed from outside: images, z and classes come from `inputs.py`; networks, of few channels, begin
with its numbers, and so do their statistics. The settings are its parser's, from the flags of its
scripts and what `train.py` adds to them. Its data sets and torchvision are stubs. The moving average
has singular vectors of G itself, where the code averages them, too: an average of directions is
none, and snjax keeps the newest.
"""

import copy
import importlib
import os
import sys

import inputs as feed
import torch

# The flags of its scripts that touch the arithmetic, and small numbers: `ours.py` has the same keys.
CIFAR = '--num_D_steps 4 --G_lr 2e-4 --D_lr 2e-4 --G_attn 0 --D_attn 0 --ema --ema_start 1000'
SHARED = '--hier --G_shared --shared_dim 128 --SN_eps 1e-6 --BN_eps 1e-5 --adam_eps 1e-6'
RATES = '--G_lr 5e-5 --D_lr 2e-4 --num_D_steps 2 --ema'
RUNS = {
    'biggan_cifar': (CIFAR, 'BigGAN', 32, 1),
    'biggan': (
        f'{SHARED} {RATES} --G_attn 32 --D_attn 32 --dim_z 120 --G_ortho 1e-4 --ema_start 3',
        'BigGAN',
        64,
        8,
    ),
    'biggan_deep': (
        f'{SHARED} {RATES} --G_attn 0 --D_attn 0 --dim_z 128 --G_depth 2 --D_depth 2',
        'BigGANdeep',
        32,
        4,
    ),
}


def load(checkout, stub):
    """Its modules by name, with stubs of what it reads images by."""
    names = ('ImageFolder', 'ILSVRC_HDF5', 'CIFAR10', 'CIFAR100')
    stub('datasets', **dict.fromkeys(names))
    stub('torchvision')
    stub('torchvision.transforms')
    stub('tqdm', tqdm=None)
    sys.path.insert(0, checkout)
    return importlib.import_module


def their_name(name, value):
    """Its name of an array, with the endings that `inputs.py` and `layouts.py` know."""
    path, _, end = name.rpartition('.')
    ends = {
        'weight': 'W',
        'bias': 'b',
        'u0': 'u',
        'stored_mean': 'avg_mean',
        'stored_var': 'avg_var',
    }
    if path == 'output_layer.0':
        ends.update(gain='gamma', bias='beta')
    return f'{path.replace(".", "/")}/{ends.get(end, end)}'


def settings(module, model):
    """What its `train.py` gives the networks and the training function."""
    flags, network, size, channels = RUNS[model]
    utils = module('utils')
    config = vars(utils.prepare_parser().parse_args(flags.split()))
    relu = utils.activation_dict
    return network, dict(
        config,
        resolution=size,
        n_classes=feed.CLASSES,
        batch_size=feed.BATCH,
        ema_decay=feed.BIGGAN_DECAY,
        G_ch=channels,
        D_ch=channels,
        G_activation=relu[config['G_nl']],
        D_activation=relu[config['D_nl']],
        skip_init=True,
    )


def run(a, dtype, stub):
    """Returns the trajectory; `stub` is of `torch_peers.py`."""
    module = load(os.path.join(a.checkouts, 'BigGAN-PyTorch'), stub)
    network, config = settings(module, a.model)
    made, utils = module(network), module('utils')
    gen = made.Generator(**config).to(dtype)
    dis = made.Discriminator(**config).to(dtype)
    average = made.Generator(**dict(config, no_optim=True)).to(dtype)
    players = {'gen': gen, 'dis': dis}

    def arrays():
        return {
            f'{player}/{their_name(name, value)}': value
            for player, network in players.items()
            for name, value in network.state_dict().items()
            if not name.endswith('sv0')
        }

    for name, value in arrays().items():
        value.copy_(torch.as_tensor(feed.start(name, tuple(value.shape))))
    ema = utils.ema(gen, average, config['ema_decay'], config['ema_start'])
    state = {'itr': 0}
    fed = feed.inputs(a.model, a.steps)
    fed = {k: torch.as_tensor(v).to(dtype if v.dtype.kind == 'f' else None) for k, v in fed.items()}
    z, y = utils.prepare_z_y(feed.BATCH, gen.dim_z, feed.CLASSES, device='cpu')
    z, drawn = z.to(dtype), {'z': [], 'y': []}
    z.sample_ = lambda: z.data.copy_(drawn['z'].pop(0))
    y.sample_ = lambda: y.data.copy_(drawn['y'].pop(0))
    train = module('train_fns').GAN_training_function(
        gen, dis, made.G_D(gen, dis), z, y, ema, state, config
    )
    out, traces = {}, {'gen_loss': [], 'dis_loss': []}
    losses = module('losses')
    hinge = losses.discriminator_loss

    def traced(fake, real):
        found = hinge(fake, real)
        traces['dis_loss'].append(sum(found).item())
        return found

    losses.discriminator_loss = traced

    def look():
        """Images and logits; nothing moves."""
        y = fed['fixed_y'].long()
        shown, trained, judge = (copy.deepcopy(network) for network in (average, gen, dis))
        newest = gen.state_dict()
        for name, value in shown.state_dict().items():
            if name.endswith('u0'):
                value.copy_(newest[name])
        shown.eval()
        with torch.no_grad():
            return {
                'images': shown(fed['fixed_z'], shown.shared(y)),
                'images_train': trained(fed['fixed_z'], trained.shared(y)),
                'logits': judge(fed['fixed_x'], y)[:, 0],
            }

    for t in range(1, a.steps + 1):
        state['itr'] += 1
        gen.train(), dis.train(), average.train()
        drawn['z'] = [*fed['dis_z'][t - 1], fed['gen_z'][t - 1]]
        drawn['y'] = [*fed['dis_y'][t - 1], fed['gen_y'][t - 1]]
        real, label = fed['real'][t - 1], fed['label'][t - 1].long()
        metrics = train(real.flatten(0, 1), label.flatten())
        traces['gen_loss'].append(metrics['G_loss'])
        if t in (*feed.KEPT, feed.LAST, a.steps):
            here = {**arrays(), **look()}
            out.update({f't{t}/{k}': v.numpy().astype('float64') for k, v in here.items()})
    return out, traces
