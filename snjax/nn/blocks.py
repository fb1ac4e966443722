"""Residual blocks of SNGAN (Miyato et al. 2018, arXiv:1802.05957) and their initialization."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from snjax.nn.normalization import Factory, no_norm

# Glorot's uniform initialization: gain sqrt(2) in residual branches, gain 1 everywhere else.
residual_init = nn.initializers.variance_scaling(2.0, 'fan_avg', 'uniform')
plain_init = nn.initializers.variance_scaling(1.0, 'fan_avg', 'uniform')


class UpBlock(nn.Module):
    """Norm-ReLU-[up]-3x3-norm-ReLU-3x3 beside [up]-1x1: doubles height and width.

    Attributes:
        features: output channels, of the hidden layer too.
        conv: layer class with the interface of `snjax.nn.layers.Conv`.
        norm: `norm(name=...)` makes a layer (b, h, w, c) -> (b, h, w, c); a conditional factory
            already holds the labels.
        bilinear: doubles by bilinear interpolation, as mimicry, where the paper repeats pixels.
    """

    features: int
    conv: Factory
    norm: Factory
    bilinear: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b 2*h 2*w n']:
        conv3x3 = functools.partial(self.conv, self.features, 3, kernel_init=residual_init)
        h = nn.relu(self.norm(name='norm1')(x))
        resample = 'up'
        if self.bilinear:
            h, x = _bilinear(h), _bilinear(x)
            resample = None
        h = conv3x3(resample=resample, name='conv1')(h)
        h = nn.relu(self.norm(name='norm2')(h))
        h = conv3x3(name='conv2')(h)
        conv1x1 = functools.partial(self.conv, self.features, 1, kernel_init=plain_init)
        return h + conv1x1(resample=resample, name='shortcut')(x)


def _bilinear(x: Float[Array, 'b h w c']) -> Float[Array, 'b 2*h 2*w c']:
    b, h, w, c = x.shape
    # What `jax.image.resize` calls; converters to ONNX take this form with a batch of any size.
    return jax.image.scale_and_translate(
        x, (b, 2 * h, 2 * w, c), (1, 2), jnp.full(2, 2.0), jnp.zeros(2), 'bilinear'
    )


class DownBlock(nn.Module):
    """ReLU-3x3-ReLU-3x3-[average pool] beside 1x1-[average pool].

    The shortcut is the input itself where the output has its shape.

    Attributes:
        features: output channels.
        conv: layer class with the interface of `snjax.nn.layers.Conv`.
        down: halve height and width.
        first: the block sees the image: no ReLU before it, and the hidden layer has the output's
            channels instead of the input's. (The official code pools before the 1x1 shortcut here
            and after it elsewhere, which gives the same values.)
        norm: `norm(name=...)` makes a layer that is applied before each ReLU.
        relu_shortcut: the shortcut begins after the first ReLU, which mimicry applies in place.
        wide: the hidden layer has the output's channels in every block (SAGAN, BigGAN).
    """

    features: int
    conv: Factory
    down: bool = True
    first: bool = False
    norm: Factory = no_norm
    relu_shortcut: bool = False
    wide: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b i j n']:
        resample = 'down' if self.down else None
        hidden = self.features if self.first or self.wide else x.shape[-1]
        h = x if self.first else nn.relu(self.norm(name='norm1')(x))
        x = h if self.relu_shortcut else x
        h = self.conv(hidden, 3, kernel_init=residual_init, name='conv1')(h)
        conv2 = functools.partial(self.conv, self.features, 3, kernel_init=residual_init)
        h = conv2(resample=resample, name='conv2')(nn.relu(self.norm(name='norm2')(h)))
        if self.down or x.shape[-1] != self.features:
            conv1x1 = functools.partial(self.conv, self.features, 1, kernel_init=plain_init)
            x = conv1x1(resample=resample, name='shortcut')(x)
        return h + x
