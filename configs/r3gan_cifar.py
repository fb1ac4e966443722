"""R3GAN on CIFAR-10, conditional: Huang et al. 2024 (arXiv:2501.05441).

Published: FID 1.96, 50,000 samples against the training images.

    python launch.py --config=configs/r3gan_cifar.py                # their network and recipe
    python launch.py --config=configs/r3gan_cifar.py:unconditional  # without classes
    python launch.py --config=configs/r3gan_cifar.py:laptop         # smaller, for two CPU cores
    python launch.py --config=configs/r3gan_cifar.py:resnet         # on SNGAN's ResNet

Network, batch, optimizer and the burn-in of 20 million images (39,062.5 updates) are those of the
authors' code (brownvc/R3GAN, `train.py`), in bfloat16 where theirs is. Two things are not:

* their pipeline of augmentations is that of StyleGAN2-ADA, of which 13 kinds are on; here it is
  `color,translation,cutout`, each with their probability, which grows to 0.55. Untuned, so the
  score may differ;
* their command has no end; here it is 100,000 updates, 51 million images.

20.8 and 21.3 million parameters. Nobody has trained it to the end here.

`resnet` reproduces no row of a paper: R3GAN's loss and penalties, with constant weights and rates,
on the network of `sngan_cifar.py` without normalization in the discriminator. It compares
objectives on one network, and costs 1.5 TFLOP per generator update as published, 1.0 as rewritten.
"""

from ml_collections import ConfigDict

from configs import base, sngan_cifar


def recipe(
    c: ConfigDict, *, batch: int, gamma: float, chance: float, ema: float, images: float = 2e7
) -> None:
    """What all published runs share.

    Args:
        c: changed in place.
        batch: images in a batch, of both players.
        gamma: weight of R1 and R2 at the start; at the end a tenth of it.
        chance: probability of each augmentation at the end.
        ema: half-life of the moving average at the end, in images.
        images: length of the burn-in, in images.
    """
    c.method = 'r3gan'
    c.loss = 'relativistic_pairing'
    c.update_order = 'dis_first'
    c.n_dis = 1
    c.batch_size = c.gen_batch_size = batch
    c.penalty.r1 = c.penalty.r2 = gamma
    c.penalty.through_augment = True
    c.model.architecture = 'r3gan'
    c.model.normalization = 'none'
    c.model.dim_z = 64
    c.model.dtype = 'bfloat16'
    c.optimizer.beta1, c.optimizer.beta2 = 0.0, 0.9
    c.optimizer.eps_form = 'adam'
    c.optimizer.lr = 2e-4
    c.optimizer.ema_decay = 0.5 ** (batch / ema)
    c.burn_in.steps = images / batch
    c.burn_in.lr = 5e-5
    c.burn_in.beta2 = 0.99
    c.burn_in.gamma = gamma / 10
    c.burn_in.ema = c.burn_in.augment = True
    c.data.flip = True
    c.data.dequantize = False
    c.data.augment = 'color,translation,cutout'
    c.data.augment_chance = chance
    c.num_steps = 100_000
    c.checkpoint.keep_every = 10_000


def classes(c: ConfigDict, num: int) -> None:
    """Makes both players conditional: pairs of a real image and a fake have one class."""
    c.model.num_classes = num
    c.model.head = 'projection'
    c.model.gen_conditioning = 'concat'
    c.model.fake_classes = 'real'


def laptop(c: ConfigDict) -> None:
    """Changes a recipe to what two CPU cores train in about an hour. Untuned, and not yet trained.

    At 32 px an update takes 1.5 s of one core (an AMD EPYC with other work on it, jax 0.10.2,
    2026-11-30), and compiling the step a minute.
    """
    c.num_steps = 5_000
    c.batch_size = c.gen_batch_size = 32
    c.model.gen_width = c.model.dis_width = 16
    c.model.dtype = 'float32'
    c.burn_in.steps = 2_500.0
    c.optimizer.ema_decay = 0.999
    c.checkpoint.keep_every = 1_000


def get_config(kind: str = 'published') -> ConfigDict:
    kinds = ('published', 'unconditional', 'laptop', 'resnet')
    if kind not in kinds:
        raise ValueError(f'r3gan_cifar.py:{kind}: accepted are {", ".join(kinds)}')
    if kind == 'resnet':
        return _on_the_resnet()
    c = base.get_config()
    recipe(c, batch=512, gamma=0.05, chance=0.55, ema=5e6)
    c.model.gen_width = c.model.dis_width = 768
    if kind != 'unconditional':
        classes(c, 10)
    if kind == 'laptop':
        laptop(c)
    return c


def _on_the_resnet() -> ConfigDict:
    """One discriminator update, Adam without momentum as in the other ResNet runs, gamma 0.05, a
    moving average."""
    c = sngan_cifar.get_config('100k')
    c.method = 'r3gan'
    c.loss = 'relativistic_pairing'
    c.n_dis = 1
    c.gen_batch_size = c.batch_size
    c.penalty.r1 = 0.05
    c.penalty.r2 = 0.05
    c.model.normalization = 'none'
    c.optimizer.ema_decay = 0.999
    c.optimizer.eps_form = 'adam'  # R3GAN's code is PyTorch
    return c
