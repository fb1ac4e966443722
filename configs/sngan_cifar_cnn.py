"""SNGAN on CIFAR-10, standard CNN: Miyato et al. 2018, tables 1 to 3.

Published (10,000 test images against 5,000 samples): IS 7.58 +- .12, FID 25.5 with the hinge loss;
IS 7.42 +- .08, FID 29.3 with the non-saturating loss (the best of the settings A to F).

    python launch.py --config=configs/sngan_cifar_cnn.py:C     # network of the paper, hinge
    python launch.py --config=configs/sngan_cifar_cnn.py:C,code,non_saturating  # official example

The argument is SETTING,VARIANT,LOSS; VARIANT and LOSS default to paper and hinge. Paper and code
disagree on the network: 'paper' is table 3 (slope 0.1, normal z), 'code' is
pfnet-research/chainer-gan-lib (wider 4x4 layers, slope 0.2, uniform z). Cost on paper: 0.55 TFLOP
per generator update with n_dis 5.
"""

from ml_collections import ConfigDict

from configs import base

# Table 1: learning rate, beta1, beta2, n_dis.
SETTINGS = {
    'A': (1e-4, 0.5, 0.9, 5),
    'B': (1e-4, 0.5, 0.999, 1),
    'C': (2e-4, 0.5, 0.999, 1),
    'D': (1e-3, 0.5, 0.9, 5),
    'E': (1e-3, 0.5, 0.999, 5),
    'F': (1e-3, 0.9, 0.999, 5),
}
LATENTS = {'paper': 'normal', 'code': 'uniform'}


def get_config(argument: str = 'C') -> ConfigDict:
    given = argument.split(',')
    setting, variant, loss = (given + ['C', 'paper', 'hinge'][len(given) :])[:3]
    if len(given) > 3 or setting not in SETTINGS or variant not in LATENTS:
        raise ValueError(
            f'sngan_cifar_cnn.py:{argument}: accepted are SETTING,VARIANT,LOSS with a setting of '
            f'{", ".join(SETTINGS)} and a variant of {", ".join(LATENTS)}'
        )
    c = base.get_config()
    c.num_steps = 100_000
    c.gen_batch_size = 64
    c.loss = loss
    c.optimizer.lr, c.optimizer.beta1, c.optimizer.beta2, c.n_dis = SETTINGS[setting]
    if variant == 'code':
        c.model.running_variance = 'unbiased'
        c.optimizer.eps_form = 'chainer'
    c.model.architecture = 'sngan_cnn'
    c.model.variant = variant
    c.model.latent = LATENTS[variant]
    c.model.gen_width = c.model.dis_width = 64
    c.data.dequantize = False  # images are x / 127.5 - 1 in that code
    c.checkpoint.keep_every = 20_000
    return c
