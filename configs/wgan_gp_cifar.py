"""WGAN-GP on CIFAR-10, unconditional: Gulrajani et al. 2017, ResNet (table 3) and CNN.

Published: IS 7.86 +- .07 for the ResNet. Ports, 50k training images against 50k samples: mimicry IS
7.33, FID 22.29; w86763777/pytorch-gan-collections IS 7.95, FID 16.95, and 7.66, 19.83 for the CNN.
In SNGAN's paper (table 2, 10,000 test images against 5,000 samples) it scores IS 6.68, FID 40.2
with the standard CNN: `sngan_paper.py:wgan_gp,A`. pfnet-research/chainer-gan-lib, whose network is
its version of that CNN: IS 6.8, FID 28.2 (50k training images against 10k samples).

    python launch.py --config=configs/wgan_gp_cifar.py              # ResNet, 100,000 updates
    python launch.py --config=configs/wgan_gp_cifar.py:resnet,256   # a generator as wide as SNGAN's
    python launch.py --config=configs/wgan_gp_cifar.py:cnn          # 5x5 layers, 200,000 updates
    python launch.py --config=configs/wgan_gp_cifar.py:sngan_cnn    # chainer-gan-lib, 100,000

Recipe: the official code, igul222/improved_wgan_training (gan_cifar_resnet.py, gan_cifar.py); of
sngan_cnn, chainer-gan-lib's wgan_gp, which updates both players on one batch of fakes.
SNGAN's appendix B.2 reports that twice the width hurts this method and helps SN. Cost of the
ResNet, counted: 2.5 TFLOP per generator update as published, 1.6 as rewritten.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(argument: str = 'resnet') -> ConfigDict:
    network, _, width = argument.partition(',')
    if network not in ('resnet', 'cnn', 'sngan_cnn') or not (width or '128').isdigit():
        raise ValueError(
            f'wgan_gp_cifar.py:{argument}: accepted are NETWORK and NETWORK,WIDTH with a network of '
            "resnet, cnn, sngan_cnn and the generator's width, 128 or 256 (sngan_cnn: 64)"
        )
    c = base.get_config()
    c.method = 'wgan_gp'
    c.loss = 'wasserstein'
    c.penalty.gradient = 10.0
    c.update_order = 'dis_first'
    c.optimizer.eps_form = 'chainer'  # TensorFlow's too
    c.model.normalization = 'none'
    c.model.gen_width = int(width or 128)
    c.model.dis_width = 128
    if network == 'resnet':
        c.num_steps = 100_000
        c.model.variant = 'wgan_gp'
        c.optimizer.decay_end = 100_000
        c.optimizer.gen_lead = 1
    elif network == 'sngan_cnn':
        c.num_steps = 100_000
        c.gen_batch_size = 64
        c.update_order = 'same_fakes'
        c.model.architecture = 'sngan_cnn'
        c.model.variant = 'code'
        c.model.latent = 'uniform'
        c.model.gen_width = int(width or 64)
        c.model.dis_width = 64
        c.model.running_variance = 'unbiased'
        c.data.dequantize = False
    else:
        c.num_steps = 200_000
        c.gen_batch_size = 64
        c.model.architecture = 'wgan_gp_cnn'
        c.optimizer.lr = 1e-4
        c.optimizer.beta1 = 0.5
        c.data.dequantize = False
    c.checkpoint.keep_every = 20_000
    return c
