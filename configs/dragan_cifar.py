"""DRAGAN on CIFAR-10: a gradient penalty around the data (Kodali et al. 2017, arXiv:1705.07215).

Published by pfnet-research/chainer-gan-lib (50k training images against 10k samples, their
Inception): IS 7.1, FID 31.5.

    python launch.py --config=configs/dragan_cifar.py

`dcgan_cifar.py` with the penalty at weight 10 (the paper's lambda).
"""

from ml_collections import ConfigDict

from configs import dcgan_cifar


def get_config() -> ConfigDict:
    c = dcgan_cifar.get_config()
    c.update_order = 'gen_first'
    c.penalty.dragan = 10.0
    return c
