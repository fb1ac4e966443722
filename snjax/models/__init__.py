"""Generators and discriminators by name: the published networks, with the layers a run asks for."""

import difflib
import functools
from collections.abc import Mapping
from typing import Any, TypeVar

import flax.linen as nn
import jax.numpy as jnp

from snjax import layers, spectral
from snjax.models.dcgan import VARIANTS, StandardDiscriminator, StandardGenerator
from snjax.models.resnet import ResNetDiscriminator, ResNetGenerator

__all__ = [
    'ResNetDiscriminator',
    'ResNetGenerator',
    'StandardDiscriminator',
    'StandardGenerator',
    'make_discriminator',
    'make_generator',
]

T = TypeVar('T')

_GENERATORS = {'resnet': ResNetGenerator, 'standard': StandardGenerator}
_DISCRIMINATORS = {'resnet': ResNetDiscriminator, 'standard': StandardDiscriminator}
_DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


def make_generator(
    *,
    architecture: str,
    image_size: int,
    gen_width: int,
    channels: int = 3,
    variant: str = 'paper',
    batch_norm_axis: str | None = None,
    dtype: str = 'float32',
) -> nn.Module:
    """A generator: `apply(variables, z, train=...)` maps z (b, dim_z) to images (b, s, s, c).

    Images are float32 in [-1, 1].

    Args:
        architecture: `'resnet'` (`snjax.models.resnet`) or `'standard'` (`snjax.models.dcgan`).
        image_size: height and width in pixels; each architecture says which it takes.
        gen_width: channels of the last hidden layer; published: 256 for the ResNet at 32 px, 64
            everywhere else.
        channels: of the image.
        variant: `'paper'` or `'code'`. They differ for `'standard'` alone: the ResNets of paper and
            code are the same.
        batch_norm_axis: mapped axis over which batch statistics are shared, or None.
        dtype: compute type, `'float32'` or `'bfloat16'`.

    Raises:
        ValueError: for a name, size or width that is not accepted.
    """
    network = _choose('architecture', architecture, _GENERATORS)
    return network(
        image_size=image_size,
        width=_at_least(1, 'gen_width', gen_width),
        channels=_at_least(1, 'channels', channels),
        batch_norm_axis=batch_norm_axis,
        dtype=_choose('dtype', dtype, _DTYPES),
        **_variant(architecture, variant),
    )


def make_discriminator(
    *,
    architecture: str,
    image_size: int,
    dis_width: int,
    variant: str = 'paper',
    normalization: str = 'spectral',
    n_power_iterations: int = 1,
    n_warmup_iterations: int = 0,
    dtype: str = 'float32',
) -> nn.Module:
    """A discriminator: `apply(variables, x, train=...)` maps images (b, s, s, c) to logits (b,).

    Args:
        architecture, image_size, variant, dtype: as for `make_generator`.
        dis_width: channels of the first block or layer; published: 128 for the ResNet at 32 px, 64
            everywhere else.
        normalization: `'spectral'`, of every kernel (shortcuts and the dense output too), or
            `'none'`.
        n_power_iterations: each time u advances (`snjax.spectral.SpectralNorm`).
        n_warmup_iterations: further ones at `init`.

    Raises:
        ValueError: for a name, size, width or count that is not accepted.
    """
    spectral_kwargs = {
        'n_power_iterations': _at_least(1, 'n_power_iterations', n_power_iterations),
        'n_warmup_iterations': _at_least(0, 'n_warmup_iterations', n_warmup_iterations),
    }
    classes = {
        'spectral': {
            'conv': functools.partial(spectral.SNConv, **spectral_kwargs),
            'dense': functools.partial(spectral.SNDense, **spectral_kwargs),
        },
        'none': {'conv': layers.Conv, 'dense': layers.Dense},
    }
    network = _choose('architecture', architecture, _DISCRIMINATORS)
    return network(
        image_size=image_size,
        width=_at_least(1, 'dis_width', dis_width),
        dtype=_choose('dtype', dtype, _DTYPES),
        **_choose('normalization', normalization, classes),
        **_variant(architecture, variant),
    )


def _variant(architecture: str, variant: str) -> dict[str, str]:
    _choose('variant', variant, VARIANTS)
    return {'variant': variant} if architecture == 'standard' else {}


def _choose(key: str, name: Any, accepted: Mapping[str, T]) -> T:
    if name not in accepted:
        nearest = difflib.get_close_matches(str(name), accepted, n=1, cutoff=0)[0]
        raise ValueError(
            f'{key} is {name!r}: accepted are {", ".join(map(repr, accepted))}; '
            f'the nearest is {nearest!r} (--config.model.{key}={nearest})'
        )
    return accepted[name]


def _at_least(least: int, key: str, value: int) -> int:
    if not isinstance(value, int) or value < least:
        raise ValueError(
            f'{key} is {value!r}: whole numbers from {least} are accepted (--config.model.{key})'
        )
    return value
