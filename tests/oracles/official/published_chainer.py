"""Random generators of pfnet-research/sngan_projection's own code, saved as its trainer saves them.

    CHAINER_PYTHON published_chainer.py --checkouts=DIR --out=FOLDER

For every size, with and without classes, a folder NAME with `ResNetGenerator_7.npz` and `made.npz`:
z, y and the images in evaluation mode, from random statistics. The interpreter is that of
`chainer_peers.py`.
"""

import argparse
import importlib
import os
import sys

import chainer
import numpy as np

CLASSES, DIM_Z, IMAGES = 3, 8, 4
MODULES = {32: 'resnet_32', 64: 'resnet_64', 128: 'resnet', 256: 'resnet_256'}


def randomize(network, rng):
    for name, param in sorted(network.namedparams()):
        if name.endswith(('/b', '/beta', '/betas/W')):
            param.data[...] = rng.uniform(-0.5, 0.5, param.shape)
        elif name.endswith(('/gamma', '/gammas/W')):
            param.data[...] = rng.uniform(0.5, 1.5, param.shape)
    for _, link in sorted(network.namedlinks()):
        if getattr(link, 'avg_mean', None) is not None:
            link.avg_mean[...] = rng.uniform(-0.5, 0.5, link.avg_mean.shape)
            link.avg_var[...] = rng.uniform(0.5, 2, link.avg_var.shape)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--checkouts', required=True)
    parser.add_argument('--out', required=True)
    a = parser.parse_args()
    sys.path.insert(0, os.path.join(a.checkouts, 'sngan_projection'))
    rng = np.random.RandomState(0)
    for size, module in MODULES.items():
        for classes in (0, CLASSES):
            nets = importlib.import_module(f'gen_models.{module}')
            np.random.seed(1)  # noqa: NPY002 (Chainer draws its weights from it)
            net = nets.ResNetGenerator(ch=4, dim_z=DIM_Z, n_classes=classes)
            randomize(net, rng)
            folder = os.path.join(a.out, f'pfnet_{size}_{classes}')
            os.makedirs(folder)
            chainer.serializers.save_npz(os.path.join(folder, 'ResNetGenerator_7.npz'), net)
            z = rng.normal(size=(IMAGES, DIM_Z)).astype('float32')
            y = (np.arange(IMAGES) % CLASSES).astype('int32') if classes else None
            with chainer.using_config('train', False), chainer.no_backprop_mode():
                images = net(IMAGES, z=z, y=y).data.transpose(0, 2, 3, 1)
            kept = np.zeros(0, int) if y is None else y
            np.savez(os.path.join(folder, 'made.npz'), z=z, y=kept, images=images)


if __name__ == '__main__':
    main()
