"""Runs official and ported PyTorch code itself.

    TORCH_PYTHON torch_peers.py MODEL --checkouts=DIR --out=FILE [--dtype=float64] [--steps=50]

MODEL: glo_l2 or glo_lap1, `main` of tneumann/minimal_glo on images in memory. Changed from outside,
because the code is of PyTorch 0.3: `loss.data[0]` of a number; the kernel of its pyramid, which is
computed in float32, in a float64 run; z, images and their order come from `inputs.py`. After each
epoch the code draws pictures in training mode, which moves its running statistics; they are put
back. mimicry or mimicry_cgan, kwotsin/mimicry's SNGAN-32 and cGAN-PD-32: `train_step` of both
networks and the scheduler, in the order of its trainer, whose packages import TensorFlow.
collections, pytorch-gan-collections' SNGAN ResNet: `gan_collections.py`. r3gan: `r3gan.py`. biggan
and its kin: `biggan.py`.
"""

import argparse
import importlib
import importlib.machinery
import os
import sys
import types

import biggan
import gan_collections
import inputs as feed
import numpy as np
import r3gan
import torch


class Quiet:
    """A progress bar that shows nothing."""

    def __init__(self, *args, **kwargs):
        self.update = self.close = self.set_postfix = lambda *args, **kwargs: None


class Wide:
    """NumPy whose float32 is float64."""

    def __getattr__(self, name):
        return np.float64 if name == 'float32' else getattr(np, name)


def stub(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules[name] = module
    parent, _, child = name.rpartition('.')
    if parent:
        setattr(sys.modules[parent], child, module)


def run_glo(a, dtype):
    """`main`; returns the trajectory."""
    nothing = lambda *args, **kwargs: None  # noqa: E731
    stub('torchvision')
    stub('torchvision.datasets', LSUN=lambda *args, **kwargs: range(feed.GLO_IMAGES))
    names = ('Compose', 'Resize', 'CenterCrop', 'ToTensor', 'Normalize')
    stub('torchvision.transforms', **dict.fromkeys(names, nothing))
    stub('torchvision.utils', make_grid=lambda x, nrow: x[0])
    stub('PIL', Image=None)
    stub('plac')
    stub('tqdm', tqdm=Quiet)
    sys.path.insert(0, os.path.join(a.checkouts, 'minimal_glo'))
    glo = importlib.import_module('glo')
    if a.dtype == 'float64':
        glo.np = Wide()
    torch.FloatTensor = lambda x: torch.as_tensor(np.asarray(x)).to(dtype)
    fed, per_epoch = feed.glo_inputs(a.steps), feed.GLO_IMAGES // feed.GLO_BATCH
    images = torch.as_tensor(fed['images']).to(dtype)
    batches = [(images[i], None, torch.as_tensor(i)) for i in fed['order']]

    class Loader:
        dataset, batch_size = range(feed.GLO_IMAGES), feed.GLO_BATCH
        epoch = -1

        def __len__(self):
            return per_epoch

        def __iter__(self):
            Loader.epoch += 1
            return iter(batches[Loader.epoch * per_epoch :][:per_epoch])

    torch.utils.data.DataLoader = lambda *args, shuffle, **kwargs: (
        Loader() if shuffle else batches[:1]
    )
    out, traces, made, table, kept = {}, [], [], [], {}
    build, project = glo.Generator.__init__, glo.project_l2_ball

    def generator(g, dim):
        build(g, dim, n_filter=feed.GLO_WIDTH)
        made.append(g)
        arrays = {k: v for k, v in g.state_dict().items() if 'num_batches' not in k}
        new = {k: torch.as_tensor(feed.start(k, tuple(v.shape))) for k, v in arrays.items()}
        g.load_state_dict({k: v.to(dtype) for k, v in new.items()}, strict=False)

    def look(t):
        g = made[0]
        arrays = {k: v.numpy().copy() for k, v in g.state_dict().items() if 'num_batches' not in k}
        kept.update(arrays)
        if t in (*feed.KEPT, feed.LAST, a.steps):
            g.eval()
            with torch.no_grad():
                arrays['images'] = g(torch.as_tensor(fed['fixed_z']).to(dtype)).numpy()
            g.train()
            arrays['Z'] = table[0].copy()
            out.update({f't{t}/{k}': np.asarray(v, 'float64') for k, v in arrays.items()})

    def projected(z):
        """The first call is of the whole table, which `main` drew; later ones are of its rows."""
        if not table:
            table.append(project(fed['Z'].astype(a.dtype)))
            return table[0].copy()
        rows = project(z)
        t = len(traces)
        table[0][fed['order'][t - 1]] = rows
        look(t)
        return rows

    def traced(loss):
        def forward(self, ours, theirs):
            found = loss(self, ours, theirs)
            traces.append(found.item())
            return found.reshape(1)

        return forward

    def restored(name, array):
        if made and kept:
            made[0].load_state_dict({k: torch.as_tensor(v) for k, v in kept.items()}, strict=False)

    for loss in (torch.nn.MSELoss, glo.LapLoss):
        loss.forward = traced(loss.forward)
    glo.Generator.__init__, glo.project_l2_ball, glo.imsave = generator, projected, restored
    glo.main(
        '',
        code_dim=fed['Z'].shape[1],
        epochs=a.steps // per_epoch,
        batch_size=feed.GLO_BATCH,
        init='random',
        loss={'glo_l2': 'l2', 'glo_lap1': 'lap_l1'}[a.model],
    )
    return out, {'rec_loss': traces}


def chainer_name(name, shape):
    """mimicry's name of an array as sngan_projection has it, whose links it took."""
    path, _, end = name.rpartition('.')
    path = path.replace('.', '/').replace('/bn', '').replace('/embed', '')
    ends = {'weight': 'W', 'weight_orig': 'W', 'bias': 'b', 'weight_u': 'u', 'sn_u': 'u'}
    ends.update(running_mean='avg_mean', running_var='avg_var')
    if path.endswith(('b1', 'b2', 'b5')):
        ends.update(weight='gamma' if len(shape) == 1 else 'gammas and betas', bias='beta')
    return f'{path}/{ends[end]}'


def run_mimicry(a, dtype):
    """Its networks' own train_step in its trainer's order; returns the trajectory."""
    sys.path.insert(0, os.path.join(a.checkouts, 'mimicry'))
    for name in ('torch_mimicry', 'torch_mimicry.nets', 'torch_mimicry.training'):
        package = types.ModuleType(name)  # their __init__ imports TensorFlow and torchvision
        package.__path__ = [os.path.join(a.checkouts, 'mimicry', *name.split('.'))]
        sys.modules[name] = package
    conditional = a.model == 'mimicry_cgan'
    kind, prefix = ('cgan_pd', 'CGANPD') if conditional else ('sngan', 'SNGAN')
    nets = importlib.import_module(f'torch_mimicry.nets.{kind}.{kind}_32')
    schedule = importlib.import_module('torch_mimicry.training.scheduler')
    classes = {'num_classes': feed.CLASSES} if conditional else {}
    gen = getattr(nets, f'{prefix}Generator32')(ngf=feed.WIDTH, **classes)
    dis = getattr(nets, f'{prefix}Discriminator32')(ndf=feed.WIDTH, **classes)

    def arrays():
        found = {}
        for player, network in (('gen', gen), ('dis', dis)):
            for name, value in network.state_dict().items():
                if name.endswith(('num_batches_tracked', 'weight_v', 'sn_sigma')):
                    continue
                name = f'{player}/{chainer_name(name, value.shape)}'
                if name.endswith('gammas and betas'):
                    halves = value[:, : value.shape[1] // 2], value[:, value.shape[1] // 2 :]
                    for end, half in zip(('gammas/W', 'betas/W'), halves):
                        found[name.replace('gammas and betas', end)] = half
                else:
                    found[name] = value
        return found

    for network in (gen, dis):
        network.to(dtype)
    for name, value in arrays().items():
        value.copy_(torch.as_tensor(feed.start(name, tuple(value.shape))))
    fed, out, traces = feed.inputs(a.model, a.steps), {}, {'gen_loss': [], 'dis_loss': []}
    fed = {k: torch.as_tensor(v).to(dtype if v.dtype.kind == 'f' else None) for k, v in fed.items()}
    now = {}

    class Log:
        def add_metric(self, name, value, **kwargs):
            if name in ('errG', 'errD'):
                traces['gen_loss' if name == 'errG' else 'dis_loss'].append(float(value))

    torch.randn = lambda shape, **kwargs: now['z']
    torch.randint = lambda **kwargs: now['y'].long()
    optimizers = {n: torch.optim.Adam(n.parameters(), 2e-4, betas=(0.0, 0.9)) for n in (dis, gen)}
    decay = schedule.LRScheduler('linear', optimizers[dis], optimizers[gen], num_steps=100_000)

    def look():
        y = (fed['fixed_y'].long(),) if conditional else ()
        before = {k: v.clone() for k, v in arrays().items()}
        seen = {}
        with torch.no_grad():
            for name, train in (('images', False), ('images_train', True)):
                gen.train(train)
                seen[name] = gen(fed['fixed_z'], *y).clone()
            seen['logits'] = dis(fed['fixed_x'], *y)[:, 0].clone()
            for name, value in arrays().items():
                value.copy_(before[name])
        return seen

    for t in range(1, a.steps + 1):
        for k in range(5):
            labels = fed['label'][t - 1, k].long()
            batch = fed['real'][t - 1, k], labels
            now.update(z=fed['dis_z'][t - 1, k], y=fed['dis_y'][t - 1, k])
            dis.train_step(batch, netG=gen, optD=optimizers[dis], log_data=Log(), device='cpu')
        now.update(z=fed['gen_z'][t - 1], y=fed['gen_y'][t - 1])
        gen.train_step(batch, netD=dis, optG=optimizers[gen], log_data=Log(), device='cpu')
        decay.step(Log(), t)
        if t in (*feed.KEPT, feed.LAST, a.steps):
            now_there = {**arrays(), **look()}
            out.update({f't{t}/{k}': v.numpy().astype('float64') for k, v in now_there.items()})
    return out, traces


def main():
    parser = argparse.ArgumentParser()
    models = ['glo_l2', 'glo_lap1', 'mimicry', 'mimicry_cgan', 'collections', 'r3gan', *biggan.RUNS]
    parser.add_argument('model', choices=models)
    parser.add_argument('--checkouts', required=True)
    parser.add_argument('--out', required=True)
    parser.add_argument('--dtype', default='float64', choices=['float32', 'float64'])
    parser.add_argument('--steps', type=int, default=feed.LAST)
    a = parser.parse_args()
    dtype = getattr(torch, a.dtype)
    torch.set_default_dtype(dtype)
    torch.set_num_threads(1)
    if a.model == 'collections':
        out, traces = gan_collections.run(a, dtype, stub, chainer_name)
    elif a.model in biggan.RUNS:
        out, traces = biggan.run(a, dtype, stub)
    elif a.model == 'r3gan':
        out, traces = r3gan.run(a, dtype, stub)
    else:
        out, traces = (run_glo if a.model.startswith('glo') else run_mimicry)(a, dtype)
    out.update({'trace/' + name: np.array(v) for name, v in traces.items()})
    versions = f'PyTorch {torch.__version__}, NumPy {np.__version__}'
    out['about'] = f'{versions}, Python {sys.version.split()[0]}, {a.dtype}'
    np.savez_compressed(a.out, **out)
    print(a.model, a.dtype, {k: v[-1] for k, v in traces.items()})


if __name__ == '__main__':
    main()
