"""Random generators of kwotsin/mimicry's own code, saved by its own `save_checkpoint`.

    TORCH_PYTHON published_torch.py --checkouts=DIR --out=FOLDER

For every network and size a folder NAME with `netG_7_steps.pth`, the same in the format of PyTorch
before 1.6 (`older.pth`), and `made.npz`: z, y and the images in evaluation mode. The statistics are
randomized, because those of a new network are 0 and 1.
"""

import argparse
import importlib
import os
import sys
import types

import numpy as np
import torch

CLASSES, DIM_Z, IMAGES = 3, 8, 4
SIZES = {'sngan': (32, 48, 64, 128), 'wgan_gp': (32, 48, 64, 128)}
SIZES.update(cgan_pd=(32, 128), sagan=(32, 128))
PREFIX = {'sngan': 'SNGAN', 'wgan_gp': 'WGANGP', 'cgan_pd': 'CGANPD', 'sagan': 'SAGAN'}


def randomize(network, generator):
    for name, value in network.state_dict().items():
        if name.endswith('running_var'):
            value.uniform_(0.5, 2, generator=generator)
        elif name.endswith(('running_mean', 'bias', 'gamma')):
            value.uniform_(-0.5, 0.5, generator=generator)
        elif name.endswith('embed.weight'):
            value.add_(0.3 * torch.randn(value.shape, generator=generator))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--checkouts', required=True)
    parser.add_argument('--out', required=True)
    a = parser.parse_args()
    root = os.path.join(a.checkouts, 'mimicry')
    sys.path.insert(0, root)
    for name in ('torch_mimicry', 'torch_mimicry.nets', 'torch_mimicry.training'):
        package = types.ModuleType(name)  # their __init__ imports TensorFlow and torchvision
        package.__path__ = [os.path.join(root, *name.split('.'))]
        sys.modules[name] = package
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(1)
    for kind, sizes in SIZES.items():
        for size in sizes:
            nets = importlib.import_module(f'torch_mimicry.nets.{kind}.{kind}_{size}')
            widest = 8 if size == 32 else 64  # ngf is the first width; snjax's, the last
            options = {'nz': DIM_Z, 'ngf': widest}
            if kind in ('cgan_pd', 'sagan'):
                options['num_classes'] = CLASSES
            net = getattr(nets, f'{PREFIX[kind]}Generator{size}')(**options)
            with torch.no_grad():
                net(torch.randn(4, DIM_Z, generator=random), *classes(options, 4))  # u and v move
                randomize(net, random)
                net.eval()
                folder = os.path.join(a.out, f'{kind}_{size}', 'netG')
                net.save_checkpoint(folder, 7)
                path = os.path.join(folder, 'netG_7_steps.pth')
                older = os.path.join(folder, 'older.pth')
                torch.save(torch.load(path), older, _use_new_zipfile_serialization=False)
                z = torch.randn(IMAGES, DIM_Z, generator=random)
                y = classes(options, IMAGES)
                images = net(z, *y).permute(0, 2, 3, 1)
            arrays = {'z': z.numpy(), 'images': images.numpy()}
            arrays.update(y=y[0].numpy() if y else np.zeros(0, int))
            np.savez(os.path.join(folder, 'made.npz'), **arrays)


def classes(options, num):
    return [torch.arange(num) % CLASSES] if 'num_classes' in options else []


if __name__ == '__main__':
    main()
