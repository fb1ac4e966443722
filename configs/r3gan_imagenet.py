"""R3GAN on ImageNet at 32 and 64 px, 1,000 classes: Huang et al. 2024 (arXiv:2501.05441).

Published: FID 1.27 at 32 px and 2.09 at 64 px.

    python launch.py --config=configs/r3gan_imagenet.py     # 32 px
    python launch.py --config=configs/r3gan_imagenet.py:64

The argument is the size. The images are TFDS's `imagenet_resized`, which has to be prepared by
hand. Batches of 4,096, on 32 and 64 GPUs in the paper: use `--config.accumulate` on fewer. 83 and
87 million parameters at 32 px, 104 and 107 at 64. Recipe and departures: `r3gan_cifar.py`. Nobody
has trained it here.
"""

from ml_collections import ConfigDict

from configs import base
from configs.r3gan_cifar import classes, recipe


def get_config(size: str = '32') -> ConfigDict:
    found = {'32': (0.5, 0.5), '64': (1.0, 0.4)}
    if size not in found:
        raise ValueError(f'r3gan_imagenet.py:{size}: accepted sizes are 32 and 64')
    gamma, chance = found[size]
    c = base.get_config()
    recipe(c, batch=4096, gamma=gamma, chance=chance, ema=5e7, images=2e8)
    classes(c, 1000)
    c.model.variant = 'imagenet'
    c.model.gen_width = c.model.dis_width = 1536
    c.data.name = f'imagenet_resized/{size}x{size}'
    c.data.image_size = int(size)
    return c
