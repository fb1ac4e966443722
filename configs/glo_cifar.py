"""GLO on CIFAR-10: Bojanowski et al. 2018 (arXiv:1707.05776), their DCGAN and recipe at 32 px.

python launch.py --config=configs/glo_cifar.py
python launch.py --config=configs/glo_cifar.py:512 --config.glo.initial=pca
"""

from ml_collections import ConfigDict

from configs import base


def get_config(argument: str = '') -> ConfigDict:
    c = base.get_config()
    c.method = 'glo'
    c.num_steps = 9_750  # 25 epochs
    c.batch_size = 128

    c.model.architecture = 'radford'
    c.model.gen_width = 64
    c.model.dim_z = int(argument or 100)

    c.data.dequantize = False

    c.optimizer.name = 'sgd'
    c.optimizer.lr = 1.0
    return c
