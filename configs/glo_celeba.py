"""GLO on CelebA at 64 or 128 px: figures 1 to 5 of Bojanowski et al. 2018, compared by eye.

    python launch.py --config=configs/glo_celeba.py
    python launch.py --config=configs/glo_celeba.py:128

Reproduces no row: the paper (arXiv:1707.05776) shows pictures of samples, reconstructions,
interpolations and arithmetic, and no scores. z has 256 dimensions and starts at the principal
components of the pixels. 162,770 images: 25 epochs are 31,800 updates of 128. The table takes 160
MiB. CelebA is the TFDS set `celeb_a`, prepared in array_record files; images are cropped to their
middle square.
"""

from ml_collections import ConfigDict

from configs import glo_cifar


def get_config(argument: str = '') -> ConfigDict:
    if argument not in ('', '64', '128'):
        raise ValueError(f'glo_celeba.py:{argument}: accepted are 64 and 128 (px)')
    c = glo_cifar.get_config('256')
    c.num_steps = 32_000
    c.data.name = 'celeb_a'
    c.data.image_size = int(argument or 64)
    c.glo.initial = 'whitened_pca'
    if c.data.image_size == 128:
        c.glo.levels = 4
    c.checkpoint.keep_every = 8_000
    return c
