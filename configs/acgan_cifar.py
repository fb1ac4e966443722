"""AC-GAN on CIFAR-10, ResNet, WGAN-GP: Gulrajani et al. 2017, table 3 (supervised); and ContraGAN
and ReACGAN.

Published: IS 8.42 +- .10 for AC-GAN; for ContraGAN FID 8.06 against the test images, in the log of
PyTorch-StudioGAN's run of 2020-10-04.

    python launch.py --config=configs/acgan_cifar.py
    python launch.py --config=configs/acgan_cifar.py:contragan    # Kang and Park 2020
    python launch.py --config=configs/acgan_cifar.py:reacgan      # Kang et al. 2021

Recipe: improved_wgan_training, gan_cifar_resnet.py with its default values: `wgan_gp_cifar.py` with
a classifier in the discriminator, weight 1 on real images and 0.1 on fakes, and conditional batch
norm in the generator.

`contragan` and `reacgan` have the values of PyTorch-StudioGAN (947b35e, src/configs/CIFAR10) on the
BigGAN of this repository, `shared` of `biggan_cifar.py` with attention at 16x16, which has as many
parameters as that log says, 9,416,196 and 2,517,186. Nothing else of the networks and of their power
iterations was compared, and nobody has trained these two here.
"""

from ml_collections import ConfigDict

from configs import biggan_cifar, wgan_gp_cifar


def get_config(head: str = 'acgan') -> ConfigDict:
    if head not in ('acgan', 'contragan', 'reacgan'):
        raise ValueError(f'acgan_cifar.py:{head}: accepted are acgan, contragan, reacgan')
    c = wgan_gp_cifar.get_config() if head == 'acgan' else _studio_gan(head)
    c.method = 'acgan'
    c.model.num_classes = 10
    c.model.head = head
    return c


def _studio_gan(head: str) -> ConfigDict:
    c = biggan_cifar.get_config('shared')
    c.num_steps = 100_000
    c.n_dis = 5
    c.batch_size = c.gen_batch_size = 64
    c.model.gen_width, c.model.dis_width = 384, 192
    c.model.dim_z = 80
    c.model.attention = 16
    c.optimizer.beta1 = 0.5
    c.optimizer.eps = 1e-6
    c.data.flip = True
    c.acgan.dis_weight = c.acgan.gen_weight = 1.0
    if head == 'reacgan':
        c.batch_size = c.gen_batch_size = 128
        c.optimizer.lr = 2e-4 * 2**0.5
        c.acgan.dis_weight = c.acgan.gen_weight = 0.5
        c.acgan.temperature = 0.5
    return c
