"""GLO on CIFAR-10: the recipe and DCGAN of Bojanowski et al. 2018 (arXiv:1707.05776) at 32 px.

    python launch.py --config=configs/glo_cifar.py
    python launch.py --config=configs/glo_cifar.py:512 --config.glo.initial=pca

The argument is the length of z; the default is 100. Reproduces no row: the paper has no CIFAR-10
and no scores. Batches of 128 and 25 epochs without decay come from the port tneumann/minimal_glo,
SGD with the rates 1 and 10 from the paper. Cost, counted: 0.014 TFLOP per update.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(argument: str = '') -> ConfigDict:
    if argument and not argument.isdecimal():
        raise ValueError(
            f'glo_cifar.py:{argument}: accepted is the length of z, as glo_cifar.py:512'
        )
    c = base.get_config()
    c.method = 'glo'
    c.num_steps = 10_000  # 25.6 epochs
    c.batch_size = 128

    c.model.architecture = 'radford'
    c.model.gen_width = 64
    c.model.dim_z = int(argument or 100)
    c.model.running_variance = 'unbiased'  # PyTorch's

    c.data.dequantize = False

    c.optimizer.name = 'sgd'
    c.optimizer.lr = 1.0
    return c
