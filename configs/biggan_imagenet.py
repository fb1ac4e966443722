"""BigGAN on ImageNet at 64, 128 and 256 px, 1,000 classes: Brock et al. 2019 (arXiv:1809.11096).

Published (table 2, no truncation): FID 8.7, IS 98.8 at 128 px and FID 8.7, IS 142.3 at 256 px;
BigGAN-deep FID 5.7, IS 124.5 and FID 6.9, IS 171.4. Those of 256 px and of BigGAN-deep were not
checked against the paper's text. The authors' PyTorch code: IS 97.35 at 128 px.

    python launch.py --config=configs/biggan_imagenet.py            # 128 px
    python launch.py --config=configs/biggan_imagenet.py:256
    python launch.py --config=configs/biggan_imagenet.py:64
    python launch.py --config=configs/biggan_imagenet.py:128,code   # launch_BigGAN_bs256x8.sh
    python launch.py --config=configs/biggan_imagenet.py:128,deep   # BigGAN-deep, 128 and 256 px

Batches of 2,048 in 8 parts, each with batch norm of its own, as in the code; the paper normalizes
over the whole batch, on 128 TPU cores and more (`--config.accumulate=1`). Rates, 2 discriminator
updates and orthogonal regularization are the paper's (appendix C). `code` is the authors' script
for 8 GPUs: 1e-4 and 4e-4, one discriminator update, no regularization, a moving average from update
20,000. 64 px is the code's network, which nobody published a score of.

Million parameters: 70.4 and 45.5 at 64 px, 70.4 and 88.0 at 128, 82.2 and 99.2 at 256; deep 50.2
and 34.6, 55.7 and 38.2. The images are streamed as for `sngan_imagenet.py`; those of 64 px are
TFDS's `imagenet_resized/64x64`, which has to be prepared by hand. Its power iterations advance in
every pass: `--config.model.spectral_updates=per_joint_forward`. Nobody has trained it here.
"""

from ml_collections import ConfigDict

from configs import base
from configs.biggan_cifar import recipe

# Length of z and height of the feature map with attention, by the size; at 64 px D has no map of 64.
SIZES = {'64': (120, 32), '128': (120, 64), '256': (140, 64)}


def get_config(argument: str = '128') -> ConfigDict:
    size, _, kind = argument.partition(',')
    if size not in SIZES or kind not in ('', 'code', 'deep') or (size, kind) == ('64', 'deep'):
        raise ValueError(
            f'biggan_imagenet.py:{argument}: accepted are the sizes 64, 128 and 256, SIZE,code, and '
            '128,deep and 256,deep'
        )
    c = base.get_config()
    recipe(c, 1000)
    c.num_steps = 150_000
    c.batch_size = c.gen_batch_size = 2048
    c.accumulate = 8
    c.n_dis = 2
    c.model.dim_z, c.model.attention = SIZES[size]
    c.model.gen_width = 192 if size == '64' else 96
    c.model.dis_width = 96
    c.penalty.gen_orthogonal = 1e-4
    c.optimizer.lr, c.optimizer.dis_lr = 5e-5, 2e-4
    c.data.name = 'imagenet_resized/64x64' if size == '64' else 'imagenet2012'
    c.data.image_size = int(size)
    c.checkpoint.every = 5000
    c.checkpoint.keep_every = 50_000
    c.log.histograms_every = 5000
    c.sampling.every = 5000
    if kind == 'code':
        c.n_dis = 1
        c.penalty.gen_orthogonal = 0.0
        c.optimizer.lr, c.optimizer.dis_lr = 1e-4, 4e-4
        c.optimizer.eps = 1e-6
        c.optimizer.ema_start = 20_000
    if kind == 'deep':
        c.model.architecture = 'biggan_deep'
        c.model.dim_z = c.model.gen_width = c.model.dis_width = 128
        if size == '256':
            c.optimizer.lr = c.optimizer.dis_lr = 2.5e-5
    return c
