"""SNGAN on CIFAR-10, ResNet, hinge loss, unconditional: Miyato et al. 2018, table 2, last block.

Published (10,000 test images against 5,000 samples, several seeds): IS 8.22 +- .05, FID 21.7 +-
.21. Another protocol gives the same weights another FID: mimicry reports 16.8 for 50k training
images against 50k samples.

    python launch.py --config=configs/sngan_cifar.py          # 50,000 updates, as the official code
    python launch.py --config=configs/sngan_cifar.py:100k     # 100,000 updates, as the paper
    python launch.py --config=configs/sngan_cifar.py:laptop   # smaller, on two CPU cores
    python launch.py --config=configs/sngan_cifar.py:mimicry  # as mimicry: network, order, batches
    python launch.py --config=configs/sngan_cifar.py:collections  # as pytorch-gan-collections

Cost on paper: 2.84 TFLOP per generator update, and about a quarter more for its batch of 128.
Recipe: appendix B.2 and table 4; order, batches, decay and the place of eps from the official code
(pfnet-research/sngan_projection). `--config.model.spectral_updates=per_forward` is the schedule of
power iterations in that code; the default advances once per discriminator update.
"""

from ml_collections import ConfigDict

from configs import base
from configs.sngan_folder import laptop


def get_config(length: str = '50k') -> ConfigDict:
    lengths = {
        '50k': 50_000,
        '100k': 100_000,
        'mimicry': 100_000,
        'collections': 100_000,
        'laptop': 12_000,
    }
    if length not in lengths:
        raise ValueError(f'sngan_cifar.py:{length}: accepted are {", ".join(lengths)}')
    c = base.get_config()
    c.num_steps = lengths[length]
    c.model.running_variance = 'unbiased'
    c.optimizer.eps_form = 'chainer'
    c.optimizer.decay_end = lengths[length]  # from 2e-4 at the first update to 0 at the last
    c.checkpoint.keep_every = 10_000
    if length == 'mimicry':
        c.gen_batch_size = 64
        c.update_order = 'dis_first'
        c.model.variant = 'mimicry'
        c.optimizer.eps_form = 'adam'
        c.data.dequantize = False
    if length == 'collections':
        c.update_order = 'dis_first'
        c.model.variant = 'pytorch'
        c.optimizer.eps_form = 'adam'
    if length == 'laptop':
        laptop(c)
    return c
