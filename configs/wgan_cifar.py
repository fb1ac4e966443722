"""WGAN on CIFAR-10 with clipped weights: Arjovsky et al. 2017 (arXiv:1701.07875), Algorithm 1.

Published by pytorch-gan-collections (50k training images against 50k samples): IS 6.62, FID 40.03.

    python launch.py --config=configs/wgan_cifar.py

RMSProp at 5e-5, 5 critic updates, every parameter of the critic within 0.01; network and batch norm
in the critic as in improved_wgan_training (gan_cifar.py, mode wgan), without its multiplier gamma.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.method = 'gan'
    c.num_steps = 200_000
    c.gen_batch_size = 64
    c.update_order = 'dis_first'
    c.loss = 'wasserstein'
    c.clip = 0.01
    c.model.architecture = 'wgan_gp_cnn'
    c.model.normalization = 'batch'
    c.model.gen_width = c.model.dis_width = 128
    c.optimizer.name = 'rmsprop'
    c.optimizer.lr = 5e-5
    c.optimizer.beta2 = 0.9  # TensorFlow's default decay, as in that code
    c.data.dequantize = False
    c.checkpoint.keep_every = 20_000
    return c
