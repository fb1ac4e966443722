"""Generators and discriminators by name: the published networks, built from a chosen layer set.

dis = make_discriminator(architecture='resnet', image_size=32, dis_width=128, layers=SPECTRAL)
variables = dis.init(rng, images, train=True)
logits = dis.apply(variables, images, train=True)
"""

from typing import Any

import jax.numpy as jnp

from snjax.image_format import ImageSize
from snjax.models.arguments import at_least, choose, positive
from snjax.models.base import Discriminator, Generator, check_conditioning
from snjax.models.biggan import (
    BigGANDeepDiscriminator,
    BigGANDeepGenerator,
    BigGANDiscriminator,
    BigGANGenerator,
)
from snjax.models.layer_sets import (
    BATCH_NORM,
    LAYER_NORM,
    PLAIN,
    SPECTRAL,
    TRACKED,
    WEIGHT_NORM,
    Layers,
    orthogonal_start,
    spectral_norm,
    started,
    tracked,
)
from snjax.models.r3gan import R3GANDiscriminator, R3GANGenerator
from snjax.models.radford import RadfordGenerator
from snjax.models.resnet import ResNetDiscriminator, ResNetGenerator
from snjax.models.sngan_cnn import SNGANCNNDiscriminator, SNGANCNNGenerator
from snjax.models.wgan_gp_cnn import WGANGPCNNDiscriminator, WGANGPCNNGenerator
from snjax.nn.normalization import RUNNING_VARIANCES

__all__ = [
    'BATCH_NORM',
    'LAYER_NORM',
    'PLAIN',
    'RENAMED',
    'SPECTRAL',
    'TRACKED',
    'WEIGHT_NORM',
    'BigGANDeepDiscriminator',
    'BigGANDeepGenerator',
    'BigGANDiscriminator',
    'BigGANGenerator',
    'Discriminator',
    'Generator',
    'Layers',
    'R3GANDiscriminator',
    'R3GANGenerator',
    'RadfordGenerator',
    'ResNetDiscriminator',
    'ResNetGenerator',
    'SNGANCNNDiscriminator',
    'SNGANCNNGenerator',
    'WGANGPCNNDiscriminator',
    'WGANGPCNNGenerator',
    'check_architecture',
    'check_conditioning',
    'make_discriminator',
    'make_generator',
    'orthogonal_start',
    'spectral_norm',
    'started',
    'tracked',
]

_GENERATORS = {
    'resnet': ResNetGenerator,
    'sngan_cnn': SNGANCNNGenerator,
    'wgan_gp_cnn': WGANGPCNNGenerator,
    'radford': RadfordGenerator,
    'r3gan': R3GANGenerator,
    'biggan': BigGANGenerator,
    'biggan_deep': BigGANDeepGenerator,
}
_DISCRIMINATORS = {
    'resnet': ResNetDiscriminator,
    'sngan_cnn': SNGANCNNDiscriminator,
    'wgan_gp_cnn': WGANGPCNNDiscriminator,
    'r3gan': R3GANDiscriminator,
    'biggan': BigGANDiscriminator,
    'biggan_deep': BigGANDeepDiscriminator,
}
# Old names of architectures.
RENAMED: dict[str, str] = {'standard': 'sngan_cnn', 'dcgan': 'wgan_gp_cnn'}
_DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


def make_generator(
    *,
    architecture: str,
    image_size: ImageSize,
    gen_width: int,
    layers: Layers = PLAIN,
    channels: int = 3,
    variant: str = 'paper',
    num_classes: int = 0,
    num_conditions: int = 0,
    gen_conditioning: str = 'batch_norm',
    attention: int = 0,
    batch_norm_axis: str | None = None,
    running_variance: str = 'biased',
    dtype: str = 'float32',
    remat: bool = False,
) -> Generator:
    """A generator: `apply(variables, z, labels, train=...)` maps z (b, dim_z) to images (b, h, w,
    c).

    Images are float32 in [-1, 1]. Labels are classes (b,) or float weights (b, num_classes) that
    mix classes; with conditions they are numbers (b, num_conditions); without both they are left
    out.

    Args:
        architecture: `'resnet'` (`snjax.models.resnet`), `'sngan_cnn'`, `'wgan_gp_cnn'`, `'r3gan'`,
            `'biggan'`, `'biggan_deep'`, or `'radford'`, which has no discriminator.
        image_size: pixels of a square's side, or (height, width); each architecture says which it
            takes.
        gen_width: channels of the last hidden layer; published: 256 for the ResNet at 32 px, 128
            for both networks of WGAN-GP, those of `snjax.models.r3gan` and `snjax.models.biggan`, 64
            everywhere else.
        layers: the layer set; `SPECTRAL` normalizes every kernel, as SAGAN does.
        channels: of the image.
        variant: `'paper'` or `'code'`, which differ for `'sngan_cnn'` alone, a ResNet's
            `'wgan_gp'`, `'mimicry'` or `'pytorch'`, `'imagenet'` of `'r3gan'`, or `'cifar'` of
            `'biggan'`.
        num_classes: 0 for an unconditional generator.
        num_conditions: numbers per image in place of classes; 0 for none.
        gen_conditioning: where classes enter: `'batch_norm'` or `'concat'` (see `Generator`).
        attention: height of the feature map after which self-attention follows (ResNet and BigGAN);
            0 for none.
        batch_norm_axis: mapped axis over which batch statistics are shared, or None.
        running_variance: `'biased'`, or `'unbiased'` as Chainer and PyTorch have it
            (`snjax.nn.normalization`).
        dtype: compute type, `'float32'` or `'bfloat16'`.
        remat: recomputes each block's activations in the backward pass, to save memory (ResNet and
            BigGAN).

    Raises:
        ValueError: a name, size, width or count is not accepted.
    """
    check_architecture(architecture, _GENERATORS)
    network = _GENERATORS[architecture]
    return network(
        image_size=image_size,
        width=at_least(1, 'gen_width', gen_width),
        channels=at_least(1, 'channels', channels),
        layers=layers,
        num_classes=at_least(0, 'num_classes', num_classes),
        num_conditions=at_least(0, 'num_conditions', num_conditions),
        conditioning=gen_conditioning,
        batch_norm_axis=batch_norm_axis,
        running_variance=choose('running_variance', running_variance, RUNNING_VARIANCES),
        dtype=_DTYPES[choose('dtype', dtype, _DTYPES)],
        variant=choose('variant', variant, network.variants),
        **_residual_only(network, attention=attention, remat=remat),
    )


def make_discriminator(
    *,
    architecture: str,
    image_size: ImageSize,
    dis_width: int,
    layers: Layers = SPECTRAL,
    variant: str = 'paper',
    num_classes: int = 0,
    head: str = 'none',
    attention: int = 0,
    first_stride2: bool = False,
    batch_norm_axis: str | None = None,
    dis_lipschitz: float = 1.0,
    dtype: str = 'float32',
    remat: bool = False,
    num_conditions: int = 0,
    dim_embed: int = 512,
) -> Discriminator:
    """A discriminator: `apply(variables, x, labels, train=...)` maps images (b, h, w, c) to logits
    (b,).

    Labels are classes (b,) or float weights (b, num_classes), for a head that takes them.

    Args:
        architecture, image_size, variant, batch_norm_axis, dtype, remat: as for `make_generator`.
        dis_width: channels of the first block or layer; published: 128 for the ResNet at 32 px and
            both networks of WGAN-GP, those of `snjax.models.r3gan` and `snjax.models.biggan`, 64
            everywhere else.
        layers: the layer set: how weights or activations are normalized, in shortcuts, embeddings
            and the output too.
        num_classes, head: `'none'`, `'projection'` or `'acgan'`, which gives the pair (logits (b,),
            class logits (b, num_classes)), `'contragan'` or `'reacgan'`; see `snjax.models.heads`.
        attention: height of the feature map after which self-attention follows (ResNet and BigGAN);
            0 for none.
        first_stride2: a convolution of stride 2 in place of the first block (ResNet and BigGAN).
        dis_lipschitz: fixed factor on the logits.
        num_conditions: numbers per image in place of classes: `'projection'` maps them to the space
            of the features.
        dim_embed: length of the embeddings of `'contragan'` and `'reacgan'`.

    Raises:
        ValueError: a name, size, width, count or factor is not accepted.
    """
    check_architecture(architecture, _DISCRIMINATORS)
    network = _DISCRIMINATORS[architecture]
    return network(
        image_size=image_size,
        width=at_least(1, 'dis_width', dis_width),
        layers=layers,
        num_classes=at_least(0, 'num_classes', num_classes) or num_conditions,
        head=head,
        dim_embed=at_least(1, 'dim_embed', dim_embed),
        lipschitz=positive('dis_lipschitz', dis_lipschitz),
        batch_norm_axis=batch_norm_axis,
        dtype=_DTYPES[choose('dtype', dtype, _DTYPES)],
        variant=choose('variant', variant, network.variants),
        **_residual_only(network, attention=attention, first_stride2=first_stride2, remat=remat),
    )


def check_architecture(name: str, accepted: Any = _GENERATORS) -> None:
    """Raises ValueError for an old name or an unknown one; by default of all generators."""
    if name in RENAMED:
        raise ValueError(
            f'architecture is {name!r}, which is called {RENAMED[name]!r} now '
            f'(--config.model.architecture={RENAMED[name]})'
        )
    choose('architecture', name, accepted)


def _residual_only(network: type, **options: int) -> dict[str, int]:
    """The options of the residual family of `snjax.models.resnet`; {} for other networks, where they
    must be off."""
    if issubclass(network, ResNetGenerator | ResNetDiscriminator):
        return options
    for key, value in options.items():
        if value:
            raise ValueError(
                f"{key} is {value!r}: of the architectures only 'resnet', 'biggan' and 'biggan_deep' "
                f'have it; elsewhere it is {type(value)()!r} (--config.model.{key})'
            )
    return {}
