"""LSGAN on CIFAR-10: least-squares losses (Mao et al. 2017, arXiv:1611.04076).

Published by PyTorch-StudioGAN (50k training images against 50k samples, best checkpoint, another
DCGAN): IS 6.55, FID 40.22.

    python launch.py --config=configs/lsgan_cifar.py

`dcgan_cifar.py` with the losses of eq. 9 of the paper, on logits.
"""

from ml_collections import ConfigDict

from configs import dcgan_cifar


def get_config() -> ConfigDict:
    c = dcgan_cifar.get_config()
    c.update_order = 'gen_first'
    c.loss = 'least_squares'
    return c
