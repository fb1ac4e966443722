"""Generators and discriminators by name: the published networks, with the layers a run asks for."""

import difflib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from snjax.models import resnet
from snjax.models.heads import HEADS
from snjax.models.layer_classes import (
    DIS_INITS,
    DIS_NORMALIZATIONS,
    GEN_NORMALIZATIONS,
    OPERATORS,
    discriminator_layers,
    generator_layers,
)
from snjax.models.radford import RadfordGenerator
from snjax.models.resnet import ResNetDiscriminator, ResNetGenerator
from snjax.models.sngan_cnn import VARIANTS, StandardDiscriminator, StandardGenerator
from snjax.models.wgan_gp_cnn import DCGANDiscriminator, DCGANGenerator

__all__ = [
    'DCGANDiscriminator',
    'DCGANGenerator',
    'RadfordGenerator',
    'ResNetDiscriminator',
    'ResNetGenerator',
    'StandardDiscriminator',
    'StandardGenerator',
    'make_discriminator',
    'make_generator',
]

_GENERATORS = {
    'resnet': ResNetGenerator,
    'standard': StandardGenerator,
    'dcgan': DCGANGenerator,
    'radford': RadfordGenerator,
}
_DISCRIMINATORS = {
    'resnet': ResNetDiscriminator,
    'standard': StandardDiscriminator,
    'dcgan': DCGANDiscriminator,
}
_VARIANTS = {
    'resnet': resnet.VARIANTS,
    'standard': VARIANTS,
    'dcgan': VARIANTS,
    'radford': VARIANTS,
}
_DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


def make_generator(
    *,
    architecture: str,
    image_size: int,
    gen_width: int,
    channels: int = 3,
    variant: str = 'paper',
    num_classes: int = 0,
    normalization: str = 'none',
    attention: int = 0,
    batch_norm_axis: str | None = None,
    n_power_iterations: int = 1,
    n_warmup_iterations: int = 0,
    dtype: str = 'float32',
    remat: bool = False,
) -> nn.Module:
    """A generator: `apply(variables, z, labels, train=...)` maps z (b, dim_z) to images (b, s, s, c).

    Images are float32 in [-1, 1]. Labels are classes (b,) or float weights (b, num_classes) that mix
    them, and are left out where there are no classes.

    Args:
        architecture: `'resnet'` (`snjax.models.resnet`), `'standard'` (`snjax.models.sngan_cnn`),
            `'dcgan'` (`snjax.models.wgan_gp_cnn`) or `'radford'` (`snjax.models.radford`, which has no
            discriminator).
        image_size: height and width in pixels; each architecture says which it takes.
        gen_width: channels of the last hidden layer; published: 256 for the ResNet at 32 px, 128
            for both networks of WGAN-GP, 64 everywhere else.
        channels: of the image.
        variant: `'paper'` or `'code'`, which differ for `'standard'` alone (of the others there is
            one form), or `'wgan_gp'`, WGAN-GP's ResNet.
        num_classes: for conditional batch norms; 0 for an unconditional generator.
        normalization: `'none'`, or `'spectral'`, of every kernel (SAGAN).
        attention: height of the feature map after which self-attention follows (ResNet alone); 0
            for none.
        batch_norm_axis: mapped axis over which batch statistics are shared, or None.
        n_power_iterations, n_warmup_iterations: as for `make_discriminator`.
        dtype: compute type, `'float32'` or `'bfloat16'`.
        remat: compute the inside of each block again for the gradient, to save memory (ResNet
            alone).

    Raises:
        ValueError: for a name, size, width or count that is not accepted.
    """
    network = _choose('architecture', architecture, _GENERATORS)
    spectral_kwargs = _iterations(n_power_iterations, n_warmup_iterations)
    _choose('normalization', normalization, GEN_NORMALIZATIONS)
    return network(
        image_size=image_size,
        width=_at_least(1, 'gen_width', gen_width),
        channels=_at_least(1, 'channels', channels),
        num_classes=_at_least(0, 'num_classes', num_classes),
        batch_norm_axis=batch_norm_axis,
        dtype=_choose('dtype', dtype, _DTYPES),
        **_variant(architecture, variant),
        **_fields(network, generator_layers(normalization, spectral_kwargs)),
        **_resnet_only(network, attention=attention, remat=remat),
    )


def make_discriminator(
    *,
    architecture: str,
    image_size: int,
    dis_width: int,
    variant: str = 'paper',
    num_classes: int = 0,
    head: str = 'none',
    normalization: str = 'spectral',
    init: str = 'published',
    attention: int = 0,
    first_stride2: bool = False,
    batch_norm_axis: str | None = None,
    norm_scale: bool = False,
    n_power_iterations: int = 1,
    n_warmup_iterations: int = 0,
    sn_operator: str = 'reshaped',
    sn_scale: bool = False,
    lipschitz: float = 1.0,
    dis_lipschitz: float = 1.0,
    dtype: str = 'float32',
    remat: bool = False,
) -> nn.Module:
    """A discriminator: `apply(variables, x, labels, train=...)` maps images (b, s, s, c) to logits (b,).

    Labels are classes (b,), for a head that takes them.

    Args:
        architecture, image_size, variant, batch_norm_axis, dtype, remat: as for `make_generator`.
        dis_width: channels of the first block or layer; published: 128 for the ResNet at 32 px and
            both networks of WGAN-GP, 64 everywhere else.
        num_classes, head: `'none'`, `'projection'` or `'acgan'`, which gives the pair (logits (b,),
            class logits (b, num_classes)); see `snjax.models.heads`.
        normalization: of every kernel (shortcuts, embeddings and the dense output too):
            `'spectral'`, `'weight'`, or `'tracked'`, which follows sigma and divides by nothing; of
            activations, with plain kernels: `'layer'` or `'batch'`; or `'none'`.
        init: of kernels: `'published'`, or `'orthogonal'`, as SNGAN's comparison starts orthonormal
            regularisation.
        attention: height of the feature map after which self-attention follows (ResNet alone); 0
            for none.
        first_stride2: a convolution of stride 2 in place of the first block (ResNet alone).
        norm_scale: give `'weight'`, `'layer'` and `'batch'` the multiplier gamma that SNGAN's
            comparison leaves out.
        n_power_iterations: each time u advances (`snjax.spectral.SpectralNorm`).
        n_warmup_iterations: further ones at `init`.
        sn_operator: what sigma is the norm of: `'reshaped'`, `'bidirectional'`, `'convolution'`.
        sn_scale: with `'spectral'`, a learned factor gamma on each weight.
        lipschitz: with `'spectral'`, a fixed factor on each weight.
        dis_lipschitz: fixed factor on the logits.

    Raises:
        ValueError: for a name, size, width, count or factor that is not accepted.
    """
    network = _choose('architecture', architecture, _DISCRIMINATORS)
    spectral_kwargs = _iterations(n_power_iterations, n_warmup_iterations)
    spectral_kwargs['operator'] = _choose('sn_operator', sn_operator, OPERATORS)
    spectral_kwargs['learnable_scale'] = sn_scale
    spectral_kwargs['lipschitz'] = _positive('lipschitz', lipschitz)
    _choose('normalization', normalization, DIS_NORMALIZATIONS)
    compute_type = _choose('dtype', dtype, _DTYPES)
    layer_classes = discriminator_layers(
        normalization,
        spectral_kwargs,
        init=_choose('dis_init', init, DIS_INITS),
        use_scale=norm_scale,
        axis_name=batch_norm_axis,
        dtype=compute_type,
    )
    return network(
        image_size=image_size,
        width=_at_least(1, 'dis_width', dis_width),
        num_classes=_at_least(0, 'num_classes', num_classes),
        head=_choose('head', head, HEADS),
        lipschitz=_positive('dis_lipschitz', dis_lipschitz),
        dtype=compute_type,
        **_variant(architecture, variant),
        **layer_classes,
        **_resnet_only(network, attention=attention, first_stride2=first_stride2, remat=remat),
    )


def _variant(architecture: str, variant: str) -> dict[str, str]:
    _choose('variant', variant, _VARIANTS[architecture])
    return _fields(_GENERATORS[architecture], {'variant': variant})


def _iterations(n_power_iterations: int, n_warmup_iterations: int) -> dict[str, Any]:
    return {
        'n_power_iterations': _at_least(1, 'n_power_iterations', n_power_iterations),
        'n_warmup_iterations': _at_least(0, 'n_warmup_iterations', n_warmup_iterations),
    }


def _fields(network: type[nn.Module], values: dict[str, Any]) -> dict[str, Any]:
    """Those of `values` that the network has an attribute for: a ResNet has no `conv_transpose`, say."""
    return {key: value for key, value in values.items() if key in network.__dataclass_fields__}


def _resnet_only(network: type[nn.Module], **values: int) -> dict[str, int]:
    """Arguments that the ResNets alone take; elsewhere they must be left at 0."""
    for key, value in values.items():
        if value and key not in network.__dataclass_fields__:
            raise ValueError(
                f"{key} is {value!r}: of the architectures only 'resnet' has it; elsewhere it is "
                f'{type(value)()!r} (--config.model.{key})'
            )
    return _fields(network, values)


def _choose(key: str, name: Any, accepted: Any) -> Any:
    """`accepted[name]` of a mapping, `name` itself of a sequence."""
    if name not in accepted:
        nearest = difflib.get_close_matches(str(name), accepted, n=1, cutoff=0)[0]
        raise ValueError(
            f'{key} is {name!r}: accepted are {", ".join(map(repr, accepted))}; '
            f'the nearest is {nearest!r} (--config.model.{key}={nearest})'
        )
    return accepted[name] if isinstance(accepted, Mapping) else name


def _at_least(least: int, key: str, value: int) -> int:
    if not isinstance(value, int) or value < least:
        raise ValueError(
            f'{key} is {value!r}: whole numbers from {least} are accepted (--config.model.{key})'
        )
    return value


def _positive(key: str, value: float) -> float:
    if not 0 < value < float('inf'):
        raise ValueError(f'{key} is {value!r}: numbers above 0 are accepted (--config.model.{key})')
    return value
