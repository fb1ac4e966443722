"""Projection cGAN on numbers per image: attributes, several at once, or quantities such as an angle.

    python launch.py --config=configs/cgan_conditions.py:faces --workdir=runs/faces
    python launch.py --config=configs/cgan_conditions.py:faces,32,laptop --workdir=runs/faces32

The argument is that of `sngan_folder.py`. PATH has a table conditions.csv or conditions.json with a
row of numbers for each image, or is an .npz with an array of them; a table of another name needs
two flags more (docs/usage/howto/conditions.md). Reproduces no row of a paper: the recipe of
`cgan_cifar.py`, where batch norm's gamma and beta are affine maps of the numbers, and the projection
an inner product with a linear map of them. Fakes have the numbers of the real images of their
batch. Images are not mirrored, which a number such as an angle may not survive.
"""

from ml_collections import ConfigDict

from configs import sngan_folder
from snjax.data.sets import condition_names


def get_config(argument: str = '') -> ConfigDict:
    try:
        c = sngan_folder.get_config(argument)
    except ValueError as error:
        raise ValueError(str(error).replace('sngan_folder.py', 'cgan_conditions.py')) from None
    c.method = 'cgan'
    c.model.head = 'projection'
    # 1 where no table is found, until flags say which it is and how many of its columns.
    c.model.num_conditions = max(1, len(condition_names(c.data.name, c.data.path)))
    c.model.fake_classes = 'real'
    c.gen_batch_size = c.batch_size
    c.data.flip = False
    return c
