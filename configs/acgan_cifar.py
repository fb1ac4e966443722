"""AC-GAN on CIFAR-10, ResNet, WGAN-GP: Gulrajani et al. 2017, table 3 (supervised).

Published: IS 8.42 +- .10.

    python launch.py --config=configs/acgan_cifar.py

Recipe: improved_wgan_training, gan_cifar_resnet.py with its default values: `wgan_gp_cifar.py` with
a classifier in the discriminator, weight 1 on real images and 0.1 on fakes, and conditional batch
norm in the generator.
"""

from ml_collections import ConfigDict

from configs import wgan_gp_cifar


def get_config() -> ConfigDict:
    c = wgan_gp_cifar.get_config()
    c.method = 'acgan'
    c.model.num_classes = 10
    c.model.head = 'acgan'
    return c
