"""SNGAN on your own images, of any size: a folder and its subfolders, a zip archive, Parquet, .npz.

    python launch.py --config=configs/sngan_folder.py:photos --workdir=runs/photos
    python launch.py --config=configs/sngan_folder.py:photos,128 --workdir=runs/photos128
    python launch.py --config=configs/sngan_folder.py:photos,laptop       # without an accelerator
    python launch.py --config=configs/sngan_folder.py:photos,32,laptop    # smaller pictures

The argument is PATH or PATH,SIZE with a size of 32, 48, 64 (default), 96, 128, 256 or 512 px, or
HEIGHTxWIDTH of which the smaller is one of these, as 48x64; images are resized and cropped to it,
or as --config.data.fit says. `laptop` is a budget for two CPU cores (the function below), 48 px
unless said. Reproduces no row of a paper: the ResNets of Miyato et al. 2018 (tables 4 to 6) and
their hinge recipe, with mirrored images and a moving average of the generator.
"""

from ml_collections import ConfigDict

from configs import base
from snjax.data import sets
from snjax.image_format import canonical, sides


def laptop(c: ConfigDict) -> None:
    """Changes a CIFAR-10 or folder recipe to what two CPU cores train: 12,000 small updates.

    Width 32, or 16 above 32 px, where the published networks widen inside by up to 16 times; one
    discriminator update for each of the generator, a moving average, learning rates that fall in
    the second half. With so few updates the hinge loss at the published rates repeats motifs; the
    relativistic loss, and rates of 4e-4 and 8e-4, reach more of the set. docs/results/laptop.md
    shows what was tried, and what this gives.
    """
    c.num_steps = 12_000
    c.model.gen_width = c.model.dis_width = 32 if min(sides(c.data.image_size)) <= 32 else 16
    c.batch_size = c.gen_batch_size = 32
    c.n_dis = 1
    c.loss = 'relativistic_pairing'
    c.optimizer.lr, c.optimizer.dis_lr = 4e-4, 8e-4
    c.optimizer.decay_start, c.optimizer.decay_end = 6_000, 12_000
    c.optimizer.ema_decay = 0.999
    c.data.flip = True
    c.checkpoint.keep_every = 4_000
    c.sampling.every = 250  # a first picture after about a minute


def path_and_size(argument: str, name: str, default: int = 64) -> tuple[str, int | tuple[int, int]]:
    """PATH and SIZE, or (HEIGHT, WIDTH), of the argument of the config `name`; the size is `default`
    unless said.
    """
    path, _, size = argument.partition(',')
    numbers = (size or str(default)).split('x')
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise ValueError(
            f'{name}:{argument}: accepted are PATH, PATH,SIZE and PATH,HEIGHTxWIDTH, whose sizes are '
            'in pixels'
        )
    return path, canonical([int(numbers[0]), int(numbers[-1])])


def get_config(argument: str = '') -> ConfigDict:
    budget = argument.endswith(',laptop')
    path, size = path_and_size(
        argument.removesuffix(',laptop'), 'sngan_folder.py', 48 if budget else 64
    )
    c = base.get_config()
    c.num_steps = 50_000
    c.data.name = sets.name_of(path)
    c.data.path = path
    c.data.image_size = size
    c.data.flip = True
    if min(sides(size)) > 32:
        c.model.gen_width = c.model.dis_width = 64
    c.optimizer.decay_end = 50_000
    c.optimizer.ema_decay = 0.999
    c.checkpoint.keep_every = 10_000
    if budget:
        laptop(c)
    return c
