"""What the networks are made of, by the name of a normalisation: layer classes, and a norm of activations."""

import functools
from typing import Any

import flax.linen as nn

from snjax import spectral
from snjax.nn import layers
from snjax.nn.normalization import activation_batch_norm, activation_layer_norm

GEN_NORMALIZATIONS = ('none', 'spectral')
DIS_NORMALIZATIONS = ('spectral', 'none', 'weight', 'layer', 'batch', 'tracked')
DIS_INITS = ('published', 'orthogonal')
OPERATORS = ('reshaped', 'bidirectional', 'convolution')

_PLAIN = {
    'conv': layers.Conv,
    'conv_transpose': layers.ConvTranspose,
    'dense': layers.Dense,
    'embed': layers.Embed,
}
_SPECTRAL = {
    'conv': spectral.SNConv,
    'conv_transpose': spectral.SNConvTranspose,
    'dense': spectral.SNDense,
    'embed': spectral.SNEmbed,
}


def orthogonal(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """The layer with its kernel, as the matrix (everything but the last axis, outputs), orthonormal at the start."""
    return layer(*args, **kwargs | {'kernel_init': nn.initializers.orthogonal()})


def generator_layers(normalization: str, spectral_kwargs: dict[str, Any]) -> dict[str, Any]:
    """`conv`, `conv_transpose`, `dense` and `embed` of a name of `GEN_NORMALIZATIONS`.

    Args:
        normalization: the name.
        spectral_kwargs: of `snjax.spectral.SpectralNorm`.
    """
    return _bind(_SPECTRAL, **spectral_kwargs) if normalization == 'spectral' else dict(_PLAIN)


def discriminator_layers(
    normalization: str,
    spectral_kwargs: dict[str, Any],
    *,
    init: str,
    use_scale: bool,
    axis_name: str | None,
    dtype: Any,
) -> dict[str, Any]:
    """`conv`, `dense`, `embed` and `norm` of a name of `DIS_NORMALIZATIONS`; `norm` is None for none.

    Args:
        normalization: the name.
        spectral_kwargs: of `snjax.spectral.SpectralNorm`.
        init: a name of `DIS_INITS`, for the kernels of convolutions and dense layers.
        use_scale: with the multiplier gamma of the weight, layer or batch norm.
        axis_name: mapped axis that shares the statistics of a batch norm.
        dtype: compute type.
    """
    norm, classes = None, dict(_PLAIN)
    if normalization == 'spectral':
        classes = _bind(_SPECTRAL, **spectral_kwargs)
    elif normalization == 'tracked':
        kwargs = {k: spectral_kwargs[k] for k in spectral_kwargs if k not in _FACTORS}
        classes = _bind(_SPECTRAL, **kwargs, divide=False)
    elif normalization == 'weight':
        from snjax.nn import weight_norm

        names = {'conv': 'WNConv', 'dense': 'WNDense', 'embed': 'WNEmbed'}
        classes = {kind: getattr(weight_norm, name) for kind, name in names.items()}
        classes = _bind(classes, learnable_scale=use_scale)
    elif normalization == 'layer':
        norm = functools.partial(activation_layer_norm, dtype=dtype, use_scale=use_scale)
    elif normalization == 'batch':
        norm = functools.partial(
            activation_batch_norm, axis_name=axis_name, dtype=dtype, use_scale=use_scale
        )
    if init == 'orthogonal':
        classes |= {k: functools.partial(orthogonal, classes[k]) for k in ('conv', 'dense')}
    return {**{kind: classes[kind] for kind in ('conv', 'dense', 'embed')}, 'norm': norm}


_FACTORS = ('learnable_scale', 'lipschitz')  # on a weight that has been divided
_DEFAULTS = {'operator': 'reshaped', 'learnable_scale': False, 'lipschitz': 1.0}


def _bind(classes: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """The classes with `kwargs` given, all but what the default already says."""
    kwargs = {k: v for k, v in kwargs.items() if k not in _DEFAULTS or v != _DEFAULTS[k]}
    return {kind: functools.partial(cls, **kwargs) for kind, cls in classes.items()}
