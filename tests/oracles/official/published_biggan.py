"""Random generators of ajbrock/BigGAN-PyTorch's own code, saved by its own `save_weights`.

    TORCH_PYTHON published_biggan.py --checkouts=DIR --out=FOLDER

For every network a folder NAME with `G_ema.pth` and `made.npz`: z, y and the images in evaluation
mode. Statistics, biases and the gamma of attention are randomized, because those of a new network
are 0 and 1.
"""

import argparse
import os

import biggan
import numpy as np
import torch
import torch_peers

CLASSES, IMAGES = 3, 4
# Module, size, channels, length of z, attention, options. The channels next to the image are those
# of snjax but at 32 px (4 times as many) and 64 px (twice).
NETWORKS = {
    'biggan_cifar': ('BigGAN', 32, 2, 8, '0', {'G_shared': False}),
    'biggan_32': ('BigGAN', 32, 4, 8, '16', {'hier': True}),
    'biggan_64': ('BigGAN', 64, 4, 10, '32', {'hier': True}),
    'biggan_128': ('BigGAN', 128, 4, 12, '64', {'hier': True}),
    'biggan_256': ('BigGAN', 256, 4, 14, '64', {'hier': True}),
    'deep_128': ('BigGANdeep', 128, 8, 8, '64', {'hier': True}),
    'deep_256': ('BigGANdeep', 256, 8, 8, '64', {'hier': True}),
}


def randomize(network, random):
    for name, value in network.state_dict().items():
        if name.endswith('stored_var'):
            value.uniform_(0.5, 2, generator=random)
        elif name.endswith(('stored_mean', 'gamma', '.bias')) or name == 'output_layer.0.gain':
            value.uniform_(-0.5, 0.5, generator=random)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--checkouts', required=True)
    parser.add_argument('--out', required=True)
    a = parser.parse_args()
    module = biggan.load(os.path.join(a.checkouts, 'BigGAN-PyTorch'), torch_peers.stub)
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(1)
    for name, (code, size, channels, dim_z, attention, options) in NETWORKS.items():
        shared = {'G_shared': True, 'shared_dim': 128}
        common = {'n_classes': CLASSES, 'resolution': size, **shared, **options}
        made = module(code)
        net = made.Generator(G_ch=channels, dim_z=dim_z, G_attn=attention, **common)
        dis = made.Discriminator(D_ch=4, D_attn='0', **common)
        y = torch.arange(IMAGES) % CLASSES
        with torch.no_grad():
            z = torch.randn(IMAGES, net.dim_z, generator=random)
            net(z, net.shared(y))  # u moves
            randomize(net, random)
            net.eval()
            images = net(z, net.shared(y)).permute(0, 2, 3, 1)
        os.makedirs(os.path.join(a.out, name))
        module('utils').save_weights(net, dis, {}, a.out, name, G_ema=net)
        arrays = {'z': z.numpy(), 'y': y.numpy(), 'images': images.numpy()}
        np.savez(os.path.join(a.out, name, 'made.npz'), **arrays)


if __name__ == '__main__':
    main()
