"""Projection cGAN on your own classes, such as anime characters: subfolders, or a table of labels.

    python launch.py --config=configs/cgan_anime.py:faces --workdir=runs/faces
    python launch.py --config=configs/cgan_anime.py:faces,32 --workdir=runs/faces32

The argument is PATH or PATH,SIZE with a size of 32, 48, 64 (default), 96, 128 or 256 px; PATH as
for `sngan_folder.py`. Each subfolder with an image is a class, or each name in labels.csv or
labels.json (docs/usage/howto/labels.md). Reproduces no row of a paper: the recipe of `cgan_cifar.py` with
the ResNets for that size. Images are mirrored and, because such classes are small, everything the
discriminator sees is augmented (Zhao et al. 2020).
"""

from ml_collections import ConfigDict

from configs import sngan_folder
from snjax.data.sets import class_names


def get_config(argument: str = '') -> ConfigDict:
    try:
        c = sngan_folder.get_config(argument)
    except ValueError as error:
        raise ValueError(str(error).replace('sngan_folder.py', 'cgan_anime.py')) from None
    c.method = 'cgan'
    c.model.head = 'projection'
    c.model.num_classes = len(class_names(c.data.name, c.data.path))
    c.data.augment = 'color,translation,cutout'
    return c
