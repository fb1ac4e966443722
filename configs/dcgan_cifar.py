"""DCGAN on CIFAR-10 as in the official SNGAN code: SNGAN's CNN, batch norm in both players.

Published by pfnet-research/chainer-gan-lib (50k training images against 10k samples, their
Inception): IS 6.7, FID 34.3. pytorch-gan-collections (50k training images against 50k samples,
another DCGAN): IS 6.01, FID 42.72.

    python launch.py --config=configs/dcgan_cifar.py

Recipe: that library's DCGAN; its discriminator has batch norm without gamma after all convolutions
but the first, and sees real and fake images in separate batches; both players are updated on the
same fakes. Adam's betas are those of Radford et al. 2016 (arXiv:1511.06434); the library's command
has 0 and .9.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.method = 'gan'
    c.num_steps = 100_000
    c.gen_batch_size = 64
    c.n_dis = 1
    c.update_order = 'same_fakes'
    c.loss = 'non_saturating'
    c.model.architecture = 'sngan_cnn'
    c.model.variant = 'code'
    c.model.latent = 'uniform'
    c.model.normalization = 'batch'
    c.model.gen_width = c.model.dis_width = 64
    c.optimizer.beta1 = 0.5
    c.optimizer.beta2 = 0.999
    c.model.running_variance = 'unbiased'
    c.optimizer.eps_form = 'chainer'
    c.data.dequantize = False
    c.checkpoint.keep_every = 20_000
    return c
