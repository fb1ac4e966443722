"""BigGAN on CIFAR-10, conditional: Brock et al. 2019 (arXiv:1809.11096) by the authors' code.

Published: IS 9.22, FID 14.73 in the paper, which does not say with which network; PyTorch-StudioGAN
reports IS 9.97, FID 4.16 for its own recipe (50k training images against 50k samples).

    python launch.py --config=configs/biggan_cifar.py          # launch_cifar_ema.sh of their code
    python launch.py --config=configs/biggan_cifar.py:shared   # with ImageNet's embedding and skip-z
    python launch.py --config=configs/biggan_cifar.py:laptop   # smaller, on two CPU cores

The recipe of ajbrock/BigGAN-PyTorch: batches of 50, 4 discriminator updates, 2e-4 for both players,
kernels that start at N(0, 0.02), 500 epochs, which are 125,000 updates of the generator. There the
batch is cut over two GPUs, whose batch norms know nothing of each other;
`--config.model.sync_batch_norm=false` on two devices does the same. 4.30 and 4.21 million
parameters, `shared` 4.37 and 4.21. Its power iterations advance in every pass:
`--config.model.spectral_updates=per_joint_forward`. Nobody has trained it to the end here.

`laptop` is the budget of `sngan_folder.py`, and untuned for this network.
"""

from ml_collections import ConfigDict

from configs import base
from configs.sngan_folder import laptop


def recipe(c: ConfigDict, classes: int) -> None:
    """What all runs of the authors' code share."""
    c.method = 'biggan'
    c.loss = 'hinge'
    c.update_order = 'dis_first'
    c.model.architecture = 'biggan'
    c.model.gen_normalization = 'spectral'
    c.model.num_classes = classes
    c.model.head = 'projection'
    c.model.embed_u = 'rows'
    c.model.running_variance = 'unbiased'
    c.optimizer.beta1, c.optimizer.beta2 = 0.0, 0.999
    c.optimizer.ema_decay = 0.9999
    c.data.dequantize = False


def get_config(kind: str = 'published') -> ConfigDict:
    if kind not in ('published', 'shared', 'laptop'):
        raise ValueError(f'biggan_cifar.py:{kind}: accepted are published, shared, laptop')
    c = base.get_config()
    recipe(c, 10)
    c.num_steps = 125_000
    c.batch_size = c.gen_batch_size = 50
    c.n_dis = 4
    c.model.variant = 'paper' if kind == 'shared' else 'cifar'
    c.model.gen_width = c.model.dis_width = 256
    c.optimizer.ema_start = 1000
    c.checkpoint.keep_every = 25_000
    if kind == 'laptop':
        laptop(c)
        c.model.fake_classes = (
            'real'  # a relativistic loss pairs a fake with a real image of its class
        )
        c.optimizer.ema_start = 0
    return c
