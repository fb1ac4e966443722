"""The CNN of WGAN-GP's code: a DCGAN of 5x5 layers (igul222/improved_wgan_training, gan_cifar.py).

Gulrajani et al. 2017 (arXiv:1704.00028) at 32 px with `width` 128 for both players; other multiples
of 8 follow the same pattern. Trained on z ~ N(0, I) in R^128. The generator's first batch norm is
over all features of the dense layer, so with statistics for every position apart, and its last
layer is a transposed convolution. Kernels of 5x5 start uniform with variance
4 / (fan_in + fan_out), where a stride of 2 divides by 4 the fan_out of a convolution and the fan_in
of a transposed one; those of dense layers with half of that (Glorot). Strided layers run in the
equal forms of `snjax.nn.convolution`. (Their code normalises samples by their own batch's statistics;
here running ones are kept for that.)

With classes the batch norms after the transposed convolutions are conditional, as in
`snjax.models.sngan_cnn`; no such network is published. WGAN-GP's ResNet is a variant of
`snjax.models.resnet`.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from snjax.models.heads import Logits, check_head, output_head
from snjax.models.resnet import check_images
from snjax.models.sngan_cnn import DEPTH, check_size
from snjax.nn import layers
from snjax.nn.normalization import Factory, Labels, generator_norms, no_norm

EPSILON = 1e-5  # of the batch norms
LEAKY_SLOPE = 0.2
KERNEL = 5
glorot_init = nn.initializers.variance_scaling(1.0, 'fan_avg', 'uniform')


def strided_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """The code's He initialisation of a convolution of stride 2, kernel (height, width, in, out)."""
    return _he_uniform(key, shape, dtype, shape[-2], shape[-1] / 4)


def transposed_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """The code's He initialisation of a transposed convolution of stride 2, kernel as above."""
    return _he_uniform(key, shape, dtype, shape[-2] / 4, shape[-1])


def _he_uniform(key, shape, dtype, channels_in, channels_out):
    variance = 4 / (np.prod(shape[:-2]) * (channels_in + channels_out))
    limit = float(np.sqrt(3 * variance))
    return jax.random.uniform(key, shape, dtype, -limit, limit)


class DCGANGenerator(nn.Module):
    """Dense, BN, ReLU, three 5x5 transposed convolutions of stride 2 with BN and ReLU between, tanh.

    Attributes:
        image_size: a multiple of 8, 16 or more.
        width: channels of the last hidden layer, 128 in the code.
        channels: of the image.
        batch_norm_axis: mapped axis that shares batch statistics; None keeps them per device.
        dtype: compute type, float32 or bfloat16; parameters, statistics and images are float32.
        conv_transpose, dense: layer classes, `snjax.nn.layers` or `snjax.spectral`.
        num_classes: 0 for an unconditional generator.

    Raises:
        ValueError: when made with another `image_size`; when applied without labels that it wants,
            or the reverse.
    """

    image_size: int
    width: int = 128
    channels: int = 3
    batch_norm_axis: str | None = None
    dtype: Any = jnp.float32
    conv_transpose: Factory = layers.ConvTranspose
    dense: Factory = layers.Dense
    num_classes: int = 0

    def __post_init__(self):
        check_size(self.image_size, 'DCGAN')
        super().__post_init__()

    @nn.compact
    def __call__(
        self, z: Float[Array, 'b dim_z'], labels: Labels | None = None, *, train: bool
    ) -> Float[Array, 'b s s c']:
        """Images in [-1, 1]; `train` uses the batch's statistics and updates `batch_stats`."""
        dense_norm, norm = generator_norms(
            labels,
            self.num_classes,
            train=train,
            axis_name=self.batch_norm_axis,
            dtype=self.dtype,
            epsilon=EPSILON,
        )
        deconv = functools.partial(
            self.conv_transpose,
            kernel_size=KERNEL,
            strides=2,
            kernel_init=transposed_init,
            dtype=self.dtype,
        )
        bottom, features = self.image_size // 2**DEPTH, self.width * 2 ** (DEPTH - 1)
        dense = functools.partial(self.dense, kernel_init=glorot_init, dtype=self.dtype)
        h = dense(bottom * bottom * features, name='project')(z)
        h = nn.relu(dense_norm(name='norm0')(h)).reshape(-1, bottom, bottom, features)
        for i in range(1, DEPTH):
            features //= 2
            h = nn.relu(norm(name=f'norm{i}')(deconv(features, name=f'deconv{i}')(h)))
        h = deconv(self.channels, name='to_image')(h)
        return jnp.tanh(h.astype(jnp.float32))


class DCGANDiscriminator(nn.Module):
    """Three 5x5 convolutions of stride 2, leaky ReLU (0.2) after each, and one dense output.

    Attributes:
        image_size: a multiple of 8, 16 or more.
        width: channels of the first layer, 128 in the code.
        conv, dense, embed: layer classes, `snjax.nn.layers` or `snjax.spectral`.
        dtype: compute type, float32 or bfloat16; parameters and logits are float32.
        norm: `norm(train=..., name=...)` makes a layer that stands after each convolution but the
            first, as the code's batch norm with weight clipping; None for none, as with the
            gradient penalty.
        head, num_classes: what is made of labels (`snjax.models.heads`).
        lipschitz: factor on the logits.

    Raises:
        ValueError: when made with another `image_size` or `head`; when applied without labels that
            it wants, or the reverse.
    """

    image_size: int
    width: int = 128
    conv: Factory = layers.Conv
    dense: Factory = layers.Dense
    dtype: Any = jnp.float32
    embed: Factory = layers.Embed
    norm: Factory | None = None
    head: str = 'none'
    num_classes: int = 0
    lipschitz: float = 1.0

    def __post_init__(self):
        check_size(self.image_size, 'DCGAN')
        check_head(self.head, self.num_classes)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, 'b s s c'],
        labels: Int[Array, ' b'] | None = None,
        *,
        train: bool,
    ) -> Logits:
        """Logits; `train` matters to normalised activations alone."""
        check_images(x, self.image_size)
        conv = functools.partial(
            self.conv, kernel_size=KERNEL, strides=2, kernel_init=strided_init, dtype=self.dtype
        )
        norm = functools.partial(self.norm or no_norm, train=train)
        h = x
        for i in range(DEPTH):
            h = conv(2**i * self.width, name=f'conv{i + 1}')(h)
            h = norm(name=f'norm{i + 1}')(h) if i else h
            h = nn.leaky_relu(h, LEAKY_SLOPE)
        return output_head(
            h.reshape(h.shape[0], -1),
            labels,
            head=self.head,
            num_classes=self.num_classes,
            dense=self.dense,
            embed=self.embed,
            init=glorot_init,
            lipschitz=self.lipschitz,
        )
