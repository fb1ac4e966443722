"""Projection cGAN on ImageNet at 128 px, 1,000 classes: Miyato and Koyama 2018.

Published: IS 29.7, intra-class FID 103.1 after 450,000 generator updates; IS 36.8, intra-class FID
92.4, FID 27.62 after 850,000.

    python launch.py --config=configs/cgan_imagenet.py

`sngan_imagenet.py` with classes, and streamed in the same way. Recipe:
pfnet-research/sngan_projection, sn_projection.yml, whose batch of 64 is spread over 4 GPUs with
batch norm on each: `--config.model.sync_batch_norm=false` on 4 devices does the same.
"""

from ml_collections import ConfigDict

from configs import sngan_imagenet


def get_config() -> ConfigDict:
    c = sngan_imagenet.get_config()
    c.method = 'cgan'
    c.model.num_classes = 1000
    c.model.head = 'projection'
    c.model.embed_u = 'rows'
    return c
