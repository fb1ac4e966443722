"""SAGAN on ImageNet at 128 px, 1,000 classes: Zhang et al. 2019, tables 1 and 2.

Published: IS 52.52, FID 18.65, intra-class FID 83.7 after one million generator updates.

    python launch.py --config=configs/sagan_imagenet.py

The projection cGAN of `cgan_imagenet.py` with self-attention over 32x32 positions, a normalized
generator, batches of 256, two learning rates and one discriminator update. The images are streamed
as for `sngan_imagenet.py`, 256 a generator update instead of 320.
"""

from ml_collections import ConfigDict

from configs import cgan_imagenet
from configs.sagan_cifar import two_rates


def get_config() -> ConfigDict:
    c = cgan_imagenet.get_config()
    c.batch_size = 256
    two_rates(c)
    c.num_steps = 1_000_000
    c.model.attention = 32
    return c
