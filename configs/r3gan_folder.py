"""R3GAN on FFHQ at 64 and 256 px, or on your own images: Huang et al. 2024 (arXiv:2501.05441).

Published: FID 1.95 at 64 px and 2.75 at 256 px.

    python launch.py --config=configs/r3gan_folder.py:ffhq64 --workdir=runs/ffhq64
    python launch.py --config=configs/r3gan_folder.py:ffhq256,256 --workdir=runs/ffhq256
    python launch.py --config=configs/r3gan_folder.py:photos,32,laptop    # for two CPU cores

The argument is PATH or PATH,SIZE: a folder, and 32, 64 (default), 128 or 256 px. Unconditional. At
64 and 256 px network and numbers are those for FFHQ; gamma, which grows with the size, is 2 and 150
there, and at 32 and 128 px, which are not published, 0.5 and 15. 22.4 million parameters each at 64
px, 23.1 and 23.0 at 256. `laptop` is untuned. Recipe and departures: `r3gan_cifar.py`; here 200,000
updates are 51 million images. Nobody has trained it to the end here.
"""

from ml_collections import ConfigDict

from configs import base
from configs.r3gan_cifar import laptop, recipe
from configs.sngan_folder import path_and_size

_GAMMA = {32: 0.5, 64: 2.0, 128: 15.0, 256: 150.0}


def get_config(argument: str = '') -> ConfigDict:
    path, size = path_and_size(argument.removesuffix(',laptop'), 'r3gan_folder.py')
    if not isinstance(size, int) or size not in _GAMMA:
        raise ValueError(
            f'r3gan_folder.py:{argument}: the size is {size}; accepted are '
            f'{", ".join(map(str, _GAMMA))}'
        )
    c = base.get_config()
    recipe(c, batch=256, gamma=_GAMMA[size], chance=0.3, ema=5e5)
    c.num_steps = 200_000
    c.model.gen_width = c.model.dis_width = 768 * 32 // size
    c.data.name = 'folder'
    c.data.path = path
    c.data.image_size = size
    if argument.endswith(',laptop'):
        laptop(c)
    return c
