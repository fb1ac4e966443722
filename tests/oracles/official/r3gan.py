"""The run of brownvc/R3GAN, for `torch_peers.py`: its `training_loop` on the CPU, as it stands.

Changed from outside: images and z come from `inputs.py`; the networks, made by its own classes for 8
px, begin with its numbers, and their stages compute in the run's type; the augmentation is a mirror
image times a number per image, which its probability scales, so that where gradients are taken
shows. CUDA's devices, clocks and memory are the CPU's or nothing, as are the pictures, the
statistics' files and the packages for pickles, downloads and scores. float32 where it says so is
the run's type, but in the filters, whose taps are exact.
"""

import importlib
import os
import sys
import tempfile
import types
from typing import ClassVar

import inputs as feed
import numpy as np
import torch

# Its names under those of `layouts.py`.
ENDS = {'weight': 'W', 'Bias': 'b', 'Basis': 'basis'}
# What `ours.py` does with the augmentation's draws: for D's real images and fakes, then G's fakes
# and real images.
SHIFTS = (0.0, 0.25, 0.5, 0.75)


class Anything:
    """Does nothing, and is a number where one is needed."""

    def __init__(self, *args, **kwargs):
        pass

    def __getattr__(self, name):
        return lambda *args, **kwargs: 0


class Torch:
    """torch with other members."""

    def __init__(self, **members):
        self.__dict__.update(members)

    def __getattr__(self, name):
        return getattr(torch, name)


class Images:
    """Its data set, by its shape alone."""

    image_shape, label_shape = (3, 8, 8), (feed.CLASSES,)
    label_dim, resolution, has_labels = feed.CLASSES, 8, True

    def __len__(self):
        return 1


class Pipe(torch.nn.Module):
    """The augmentation; `factors` has those of the next calls."""

    factors: ClassVar[list] = []

    def __init__(self):
        super().__init__()
        self.register_buffer('p', torch.ones([]))

    def forward(self, x):
        return x.flip(3) * (1 + self.p * (self.factors.pop(0) - 1))[:, None, None, None]


def load(checkout, stub, dtype):
    """Its training loop, with its other modules in place."""

    def version(text):
        return [int(part) for part in text.split('+')[0].rstrip('a').split('.')]

    stub('pkg_resources', parse_version=version)
    stub('psutil', Process=lambda pid: types.SimpleNamespace(memory_info=Anything))
    for name in ('PIL', 'PIL.Image', 'requests', 'legacy', 'metrics', 'metrics.metric_main'):
        stub(name)
    Anything.rss = 0
    stub('oracle', Images=Images, Pipe=Pipe)
    sys.path.insert(0, checkout)
    loop = importlib.import_module('training.training_loop')
    importlib.import_module('training.loss').torch = Torch(float32=dtype)
    loop.misc.InfiniteSampler = Anything
    loop.misc.print_module_summary = loop.save_image_grid = Anything
    return loop


def run(a, dtype, stub):
    """`training_loop`; returns the trajectory.

    Args:
        stub: of `torch_peers.py`.
    """
    torch.set_default_dtype(torch.float32)  # of the filters
    loop = load(os.path.join(a.checkouts, 'R3GAN'), stub, dtype)
    fed = feed.inputs(a.model, a.steps)
    fed = {k: torch.as_tensor(v).to(dtype if v.dtype.kind == 'f' else None) for k, v in fed.items()}
    one_hot = torch.eye(feed.CLASSES, dtype=dtype)
    players, averages, out = {}, [], {}
    traces = {'gen_loss': [], 'dis_loss': []}

    def arrays():
        return {
            f'{player}/{path.replace(".", "/")}/{ENDS[end]}': value.data
            for player, network in players.items()
            for path, _, end in (n.rpartition('.') for n, _ in network.Model.named_parameters())
            for value in [network.Model.get_parameter(f'{path}.{end}')]
        }

    construct = loop.dnnlib.util.construct_class_by_name

    def constructed(*args, class_name, **kwargs):
        if not class_name.startswith('training.networks'):
            return construct(*args, class_name=class_name, **kwargs)
        made = construct(*args, class_name=class_name, **kwargs).to(dtype)
        player = 'gen' if class_name.endswith('Generator') else 'dis'
        players[player] = made
        for stage in made.Model.MainLayers:
            stage.DataType = dtype
        for name, buffer in made.named_buffers():
            assert name.endswith('Kernel')
            buffer.data = buffer.data.float()
        for name, value in arrays().items():
            if name.startswith(player):
                value.copy_(torch.as_tensor(feed.start(name, tuple(value.shape))))
        return made

    def copied(network):
        averages.append(loop_copy.deepcopy(network))
        return averages[-1]

    def batches():
        for t in range(a.steps):
            draws = fed['alpha'][t, 0]
            Pipe.factors[:] = [draws + shift for shift in SHIFTS]
            for i in (0, 1):  # D's and G's
                yield (fed['real'][t, i] + 1) * 127.5, one_hot[fed['label'][t, i].long()]

    latents = [fed['fixed_z'][:1]]  # of its first pictures
    for t in range(a.steps):
        latents += [fed['dis_z'][t, 0], fed['gen_z'][t]]

    def look(kimg, total):
        t = len(traces['gen_loss'])
        if t not in (*feed.KEPT, feed.LAST, a.steps):
            return
        y = one_hot[fed['fixed_y'].long()]
        with torch.no_grad():
            here = {
                **arrays(),
                'images': averages[0](fed['fixed_z'], y).clamp(-1, 1),
                'images_train': players['gen'](fed['fixed_z'], y),
                'logits': players['dis'](fed['fixed_x'], y),
            }
        out.update({f't{t}/{k}': v.numpy().astype('float64') for k, v in here.items()})

    trainer = importlib.import_module('R3GAN.Trainer').AdversarialTraining
    of_gen, of_dis = (
        getattr(trainer, f'Accumulate{player}Gradients')
        for player in ('Generator', 'Discriminator')
    )

    def gen_gradients(self, *args):
        found = of_gen(self, *args)
        traces['gen_loss'].append(found[0].mean().item())
        return found

    def dis_gradients(self, noise, real, conditions, gamma, *args):
        found = of_dis(self, noise, real, conditions, gamma, *args)
        loss, _, r1, r2 = found
        traces['dis_loss'].append((loss + gamma / 2 * (r1 + r2)).mean().item())
        return found

    trainer.AccumulateGeneratorGradients = gen_gradients
    trainer.AccumulateDiscriminatorGradients = dis_gradients
    loop.dnnlib.util.construct_class_by_name = constructed
    loop_copy, loop.copy = loop.copy, types.SimpleNamespace(deepcopy=copied)
    grid = np.zeros((1, feed.CLASSES), a.dtype)
    loop.setup_snapshot_image_grid = lambda training_set: ((1, 1), np.zeros((1, 3, 8, 8)), grid)
    torch.utils.data.DataLoader = lambda **kwargs: batches()
    cuda = types.SimpleNamespace(Event=Anything)
    for name in ('current_stream', 'max_memory_allocated', 'max_memory_reserved'):
        setattr(cuda, name, lambda *args: 0)
    cuda.reset_peak_memory_stats = Anything
    loop.torch = Torch(
        cuda=cuda,
        float32=dtype,
        device=lambda *args: torch.device('cpu'),
        randn=lambda *args, **kwargs: latents.pop(0),
    )
    torch.set_default_dtype(dtype)
    network = {
        'WidthPerStage': [feed.R3GAN_WIDTH] * 2,
        'CardinalityPerStage': [feed.R3GAN_WIDTH // 8] * 2,
        'BlocksPerStage': [2, 2],
        'ExpansionFactor': 2,
        'FP16Stages': [],
    }
    gen = {'NoiseDimension': 64, 'ConditionEmbeddingDimension': 64}
    adam = {'class_name': 'torch.optim.Adam', 'betas': [0.0, 0.0], 'eps': 1e-8}

    def schedule(start, end):
        return {'base_value': start, 'final_value': end, 'total_nimg': feed.R3GAN_BURN_IN}

    with tempfile.TemporaryDirectory() as folder:
        loop.training_loop(
            run_dir=folder,
            training_set_kwargs={'class_name': 'oracle.Images'},
            G_kwargs={'class_name': 'training.networks.Generator', **network, **gen},
            D_kwargs={
                'class_name': 'training.networks.Discriminator',
                **network,
                'ConditionEmbeddingDimension': feed.R3GAN_WIDTH,
            },
            G_opt_kwargs=adam,
            D_opt_kwargs=adam,
            loss_kwargs={'class_name': 'training.loss.R3GANLoss'},
            augment_kwargs={'class_name': 'oracle.Pipe'},
            lr_scheduler=schedule(2e-4, 5e-5),
            beta2_scheduler=schedule(0.9, 0.99),
            gamma_scheduler=schedule(0.05, 0.005),
            ema_scheduler=schedule(0, feed.R3GAN_HALF_LIFE),
            aug_scheduler=schedule(0, 0.55),
            batch_size=feed.BATCH,
            g_batch_gpu=feed.BATCH,
            d_batch_gpu=feed.BATCH,
            total_kimg=(a.steps * feed.BATCH - 0.5) / 1000,
            kimg_per_tick=0,
            image_snapshot_ticks=None,
            network_snapshot_ticks=None,
            progress_fn=look,
        )
    return out, traces
