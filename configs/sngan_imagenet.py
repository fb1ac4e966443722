"""SNGAN on ImageNet at 128 px, ResNet, hinge loss, unconditional.

The networks of Miyato et al. 2018, table 6, with the schedule of their official conditional runs
(pfnet-research/sngan_projection, sn_projection.yml); the unconditional model on this set is
mimicry's: IS 13.05, FID 65.74 by its protocol (50k training images against 50k samples).

    python launch.py --config=configs/sngan_imagenet.py

Cost on paper: 21 TFLOP per generator update, and more for its batch of 128. On a small GPU
`--config.accumulate=4` splits each batch into four parts, and `--config.model.remat=true` keeps
fewer activations (docs/usage/train.md). Needs ImageNet prepared as the TFDS set `imagenet2012` in
array_record files. The 1.28 million images are streamed from a file of 63 GB, which is prepared
once in `data.cache_dir`. `--config.data.stream=decode` needs no such file, but a core for every few
hundred images a second (docs/usage/data.md). A device with more than twice that memory holds the
images itself.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.num_steps = 450_000
    c.model.gen_width = c.model.dis_width = 64
    c.data.name = 'imagenet2012'
    c.data.image_size = 128
    c.model.running_variance = 'unbiased'
    c.optimizer.eps_form = 'chainer'
    c.optimizer.decay_start = 400_000
    c.optimizer.decay_end = 450_000
    c.checkpoint.every = 5000
    c.checkpoint.keep_every = 50_000
    c.log.histograms_every = 5000
    c.sampling.every = 5000
    return c
