"""The comparison of SNGAN's paper: 8 methods, settings A to F, CIFAR-10 and STL-10.

Figures 1 and 2 and table 2 of Miyato et al. 2018.

    python launch.py --config=configs/sngan_paper.py:sngan,C,cifar
    python launch.py --config=configs/sngan_paper.py:layer_norm,F,stl

The argument is METHOD,SETTING,SET; the defaults are sngan, C and cifar. Two sets are not in the
paper: digits and fashion (Fashion-MNIST at 32 px) show the comparison on a CPU, at a quarter of the
width and in short runs. `sweeps/paper_settings.py`, `sweeps/paper_table2.py` and
`sweeps/fashion.py` run whole comparisons. Published, each at its best setting (10,000 test images
against 5,000 samples; IS / FID):

    method           CIFAR-10       STL-10
    weight_clipping  6.41 / 42.6    7.57 / 64.2
    gan_gp           6.93 / 37.7
    wgan_gp          6.68 / 40.2    8.42 / 55.1
    batch_norm       6.27 / 56.3
    layer_norm       7.19 / 33.9    7.61 / 75.6
    weight_norm      6.84 / 34.7    7.16 / 73.4
    orthonormal      7.40 / 29.0    8.56 / 46.7
    sngan            7.42 / 29.3    8.28 / 53.1
    sngan_hinge      7.58 / 25.5

The standard CNN of table 3 throughout; only the discriminator differs, and no normalizer has a
multiplier gamma (section 4.1). Clipping at 0.01, gradient penalties at 10. Losses are
non-saturating except for wgan_gp and sngan_hinge; for weight_clipping this is our reading: the
paper says only that its constant follows Arjovsky et al. 2017, who clip every parameter. The weight
of the orthonormal penalty is not in the paper: 1e-4 is from Brock et al. 2016. For STL-10 the paper
found setting B the best for SN.
"""

from ml_collections import ConfigDict

from configs import base
from configs.sngan_cifar_cnn import SETTINGS
from experiments.settings.recipes import RECIPES

# The methods of the paper's comparison, in the order of its table 2.
METHODS = {
    name: RECIPES[name]
    for name in (
        'weight_clipping',
        'gan_gp',
        'wgan_gp',
        'batch_norm',
        'layer_norm',
        'weight_norm',
        'orthonormal',
        'sngan',
        'sngan_hinge',
    )
}
# What two CPU cores train in minutes.
_SMALL = {
    'data.channels': 1,
    'model.gen_width': 16,
    'model.dis_width': 16,
    'model.dim_z': 64,
    'batch_size': 32,
    'gen_batch_size': 32,
    'log.every': 50,
    'log.histograms_every': 200,
}
SETS = {
    'cifar': {'data.name': 'cifar10', 'data.split': 'train', 'data.image_size': 32},
    'stl': {'data.name': 'stl10', 'data.split': 'unlabelled', 'data.image_size': 48},
    'fashion': _SMALL
    | {
        'data.name': 'fashion_mnist',
        'data.image_size': 32,
        'num_steps': 2000,
        'checkpoint.every': 500,
        'checkpoint.keep_every': 1000,
        'sampling.every': 500,
    },
    'digits': _SMALL
    | {
        'data.name': 'digits',
        'data.image_size': 16,
        'num_steps': 1000,
        'checkpoint.every': 200,
        'checkpoint.keep_every': 0,
        'sampling.every': 200,
        'eval.extractor': 'digits',
        'eval.every': 200,
    },
}


def get_config(argument: str = 'sngan') -> ConfigDict:
    given = argument.split(',')
    method, setting, image_set = (given + ['sngan', 'C', 'cifar'][len(given) :])[:3]
    known = method in METHODS and setting in SETTINGS and image_set in SETS
    if len(given) > 3 or not known:
        raise ValueError(
            f'sngan_paper.py:{argument}: accepted are METHOD,SETTING,SET with a method of '
            f'{", ".join(METHODS)}, a setting of {", ".join(SETTINGS)} and a set of {", ".join(SETS)}'
        )
    c = base.get_config()
    c.num_steps = 100_000
    c.gen_batch_size = 64
    c.method = 'gan'
    c.loss = 'non_saturating'
    c.model.architecture = 'sngan_cnn'
    c.model.normalization = 'none'
    c.model.gen_width = c.model.dis_width = 64
    c.optimizer.lr, c.optimizer.beta1, c.optimizer.beta2, c.n_dis = SETTINGS[setting]
    c.data.dequantize = False
    c.checkpoint.keep_every = 20_000
    c.update_from_flattened_dict(METHODS[method] | SETS[image_set])
    return c
