"""The run of w86763777/pytorch-gan-collections' SNGAN ResNet, for `torch_peers.py`.

`train` of its `sngan.py` on the CPU, as it stands. Changed from outside: the widths 256 and 128 in
the text of its networks; what it imports for data, progress and TensorBoard; its images and z come
from `inputs.py`. The picture that it draws after the first update, in training mode, is drawn in
evaluation, so that it moves no running statistics.
"""

import importlib
import os
import sys
import tempfile
import types

import inputs as feed
import torch

# Its names under sngan_projection's, whose networks these are.
NAMES = {
    'gen': {
        'linear': 'l1',
        'output.0': 'b5',
        'output.2': 'c5',
        **{f'blocks.{i}.shortcut.1': f'block{i + 2}.c_sc' for i in range(3)},
        **{
            f'blocks.{i}.residual.{k}': f'block{i + 2}.{name}'
            for i in range(3)
            for k, name in ((0, 'b1'), (3, 'c1'), (4, 'b2'), (6, 'c2'))
        },
    },
    'dis': {
        'linear': 'l5',
        'model.0.shortcut.1': 'block1.c_sc',
        'model.1.shortcut.0': 'block2.c_sc',
        'model.0.residual.0': 'block1.c1',
        'model.0.residual.2': 'block1.c2',
        **{
            f'model.{i}.residual.{k}': f'block{i + 1}.{name}'
            for i in (1, 2, 3)
            for k, name in ((1, 'c1'), (3, 'c2'))
        },
    },
}


class Anything:
    """A function, a writer or a data set that is called and does nothing."""

    def __init__(self, *args, **kwargs):
        pass

    def __getattr__(self, name):
        return Anything


class Steps:
    """Its bar over all steps: hands out each step's draws before it, and looks after it."""

    def __init__(self, steps, before, after):
        self.steps, self.before, self.after = steps, before, after

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def set_postfix(self, **kwargs):
        pass

    def __iter__(self):
        for t in range(1, self.steps + 1):
            self.before(t)
            yield t
            self.after(t)


def script(checkout, stub):
    """Its `sngan.py` with narrow networks, and its flags."""
    flags = types.SimpleNamespace(flags_into_string=str)

    def define(name, default, *rest):
        setattr(flags, name, default)

    kinds = ('enum', 'integer', 'float', 'multi_float', 'string', 'bool')
    stub('absl')
    stub('absl.flags', FLAGS=flags, **{f'DEFINE_{kind}': define for kind in kinds})
    stub('absl.app')
    stub('torchvision', datasets=Anything(), transforms=Anything())
    stub('torchvision.utils', make_grid=lambda images: images, save_image=Anything)
    stub('tensorboardX', SummaryWriter=Anything)
    stub('tqdm', trange=None)
    stub('pytorch_gan_metrics', get_inception_score_and_fid=None)
    sys.path.insert(0, checkout)
    module = importlib.import_module('sngan')
    with open(module.models.__file__) as file:
        text = file.read()
    for width in ('256', '128'):
        text = text.replace(width, str(feed.WIDTH))
    exec(compile(text, module.models.__file__, 'exec'), module.models.__dict__)
    module.net_G_models['res32'] = module.models.ResGenerator32
    module.net_D_models['res32'] = module.models.ResDiscriminator32
    flags.batch_size, flags.record, flags.logdir = feed.BATCH, False, tempfile.mkdtemp()
    return module, flags


def run(a, dtype, stub, chainer_name):
    """`train`; returns the trajectory.

    Args:
        stub, chainer_name: of `torch_peers.py`.
    """
    module, flags = script(os.path.join(a.checkouts, 'pytorch-gan-collections'), stub)
    fed = feed.inputs(a.model, a.steps, flags.z_dim)
    fed = {k: torch.as_tensor(v).to(dtype if v.dtype.kind == 'f' else None) for k, v in fed.items()}
    players, drawn, first = {}, [], torch.zeros(flags.sample_size, flags.z_dim)
    out, traces = {}, {'gen_loss': [], 'dis_loss': []}

    def arrays():
        found = {}
        for player, network in players.items():
            for name, value in network.state_dict().items():
                path, _, end = name.rpartition('.')
                if end not in ('num_batches_tracked', 'weight_v'):
                    name = chainer_name(f'{NAMES[player][path]}.{end}', value.shape)
                    found[f'{player}/{name}'] = value
        return found

    def choose_mode(gen, z):
        """Evaluation for its picture alone."""
        gen.train(z[0] is not first)

    def made(player, kind):
        def make(*args):
            players[player] = kind(*args)
            for name, value in arrays().items():
                if name.startswith(player):
                    value.copy_(torch.as_tensor(feed.start(name, tuple(value.shape))))
            if player == 'gen':
                players[player].register_forward_pre_hook(choose_mode)
            return players[player]

        return make

    for kinds, player in ((module.net_G_models, 'gen'), (module.net_D_models, 'dis')):
        kinds['res32'] = made(player, kinds['res32'])

    def look():
        gen, dis = players['gen'], players['dis']
        before = {k: v.clone() for k, v in arrays().items()}
        seen = {}
        with torch.no_grad():
            for name, train in (('images', False), ('images_train', True)):
                gen.train(train)
                seen[name] = gen.output(
                    gen.blocks(gen.linear(fed['fixed_z']).view(-1, feed.WIDTH, 4, 4))
                )
            seen['logits'] = dis(fed['fixed_x'])[:, 0].clone()
            for name, value in arrays().items():
                value.copy_(before[name])
        return seen

    def before(t):
        drawn.extend([*fed['dis_z'][t - 1], fed['gen_z'][t - 1]])

    def after(t):
        if t in (*feed.KEPT, feed.LAST, a.steps):
            here = {**arrays(), **look()}
            out.update({f't{t}/{k}': v.numpy().astype('float64') for k, v in here.items()})

    class Loss(module.losses.Hinge):
        def forward(self, real, fake=None):
            found = super().forward(real, fake)
            traces['gen_loss' if fake is None else 'dis_loss'].append(found.item())
            return found

    module.loss_fns['hinge'] = Loss
    module.device = torch.device('cpu')
    module.trange = lambda *args, **kwargs: Steps(a.steps, before, after)
    batches = [(images, None) for images in fed['real'].flatten(0, 1)]
    torch.utils.data.DataLoader = lambda *args, **kwargs: batches
    torch.randn = lambda *shape: drawn.pop(0) if drawn else first
    module.train()
    return out, traces
