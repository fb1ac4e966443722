"""The objective of R3GAN (Huang et al. 2024, arXiv:2501.05441) on SNGAN's ResNet, CIFAR-10.

A modern yardstick. Reproduces no row of a paper: R3GAN's scores need its own network and far longer
training. Here its loss and its two penalties are compared with the other methods on one network,
without normalization in the discriminator.

    python launch.py --config=configs/r3gan_cifar.py

One discriminator update, Adam without momentum as in the other ResNet runs, gamma 0.05, and a
moving average of the generator. No score is published for this combination. Cost, counted: 1.5
TFLOP per generator update as published, 1.0 as rewritten.
"""

from ml_collections import ConfigDict

from configs import sngan_cifar


def get_config() -> ConfigDict:
    c = sngan_cifar.get_config('100k')
    c.method = 'r3gan'
    c.loss = 'relativistic_pairing'
    c.n_dis = 1
    c.gen_batch_size = c.batch_size
    c.penalty.r1 = 0.05
    c.penalty.r2 = 0.05
    c.model.normalization = 'none'
    c.optimizer.ema_decay = 0.999
    c.optimizer.eps_form = 'adam'  # R3GAN's code is PyTorch
    return c
