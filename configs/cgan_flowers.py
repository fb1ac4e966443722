"""Projection cGAN on Oxford 102 Flowers at 128 px: 102 classes of 40 to 258 images.

Reproduces no row of a paper: the networks of Miyato et al. 2018 (table 6) and Miyato and Koyama
2018, with the discriminator's first convolution at stride 2 and 50,000 generator updates.

    python launch.py --config=configs/cgan_flowers.py

All 8,189 images, training, validation and test, mirrored at random. Needs the TFDS set
`oxford_flowers102` prepared in array_record files.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.method = 'cgan'
    c.num_steps = 50_000
    c.model.gen_width = c.model.dis_width = 64
    c.model.num_classes = 102
    c.model.head = 'projection'
    c.model.first_stride2 = True
    c.data.name = 'oxford_flowers102'
    c.data.split = 'train+validation+test'
    c.data.image_size = 128
    c.data.flip = True
    c.optimizer.decay_end = 50_000
    c.optimizer.ema_decay = 0.999
    c.checkpoint.keep_every = 10_000
    return c
