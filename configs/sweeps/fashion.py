"""Thirteen methods on Fashion-MNIST at 32 px, one length, 3 seeds.

    python launch.py --mode=sweep --sweep=configs/sweeps/fashion.py --workdir=sweeps/fashion
    python launch.py --mode=evaluate --workdir='sweeps/fashion/runs/*' --evaluate.extractor=fitted \
        --evaluate.num_samples=10000
    python launch.py --mode=report --workdir=sweeps/fashion

The argument is a setting of Adam and n_dis, A to F of `configs/sngan_cifar_cnn.py`; the default C
is that of SN's official example. The discriminators are those of `configs/sngan_paper.py` and, from
DRAGAN on, of the configs of their names, on the same standard CNN at a quarter of its width. GLO
has no discriminator: it sees each image 5 times. Seeds are the outer loop, so a sweep that is
stopped early has compared all methods; docs/results/fashion.md has the first seed.
"""

from configs.sngan_cifar_cnn import SETTINGS
from configs.sngan_paper import METHODS
from experiments.settings.recipes import RECIPES

GLO = {
    'name': 'GLO',
    'config': 'configs/glo_cifar.py:64',
    'data.name': 'fashion_mnist',
    'data.channels': 1,
    'model.gen_width': 16,
    'num_steps': 2345,  # 5 epochs of 60,000 images in batches of 128
    'checkpoint.every': 469,
    'sampling.every': 469,
    'log.every': 67,
}


def get_sweep(h, setting='C'):
    if setting not in SETTINGS:
        raise ValueError(f'fashion.py:{setting}: accepted are {", ".join(SETTINGS)}')
    files = {m: f'configs/sngan_paper.py:{m},{setting},fashion' for m in METHODS}
    runs = [{'name': m, 'config': file} for m, file in files.items()]
    batch_norm = {'config': files['batch_norm']}
    plain = batch_norm | {'model.normalization': 'none'}
    runs += [
        {'name': 'dragan', **batch_norm, **RECIPES['dragan']},
        {'name': 'lsgan', **batch_norm, **RECIPES['lsgan']},
        {'name': 'r3gan', **plain, **RECIPES['r3gan']},
        GLO,
    ]
    return h.product({'seed': range(3)}, runs)
