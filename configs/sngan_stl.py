"""SNGAN on STL-10 at 48 px, ResNet, hinge loss: Miyato et al. 2018, table 2, last block.

Published (10,000 test images against 5,000 samples, several seeds): IS 9.10 +- .04, FID 40.1 +-
.50.

    python launch.py --config=configs/sngan_stl.py

Trains on the 100,000 unlabelled images, reduced from 96 px. Recipe: appendix B.2 and table 5;
everything else as in `sngan_cifar.py`, with the paper's 100,000 generator updates.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.num_steps = 100_000
    c.model.gen_width = c.model.dis_width = 64
    c.data.name = 'stl10'
    c.data.split = 'unlabelled'
    c.data.image_size = 48
    c.model.running_variance = 'unbiased'
    c.optimizer.eps_form = 'chainer'
    c.optimizer.decay_end = 100_000
    c.checkpoint.keep_every = 20_000
    return c
