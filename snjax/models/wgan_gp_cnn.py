"""The CNN of WGAN-GP's code, a DCGAN of 5x5 layers (igul222/improved_wgan_training, gan_cifar.py).

Gulrajani et al. 2017 (arXiv:1704.00028) at 32 px with `width` 128 for both players; other multiples
of 8 follow the same pattern. Trained on z ~ N(0, I) in R^128. The generator's first batch norm is
over all features of the dense layer, with its own statistics for every position, and its last layer
is a transposed convolution. Kernels of 5x5 start uniform with variance 4 / (fan_in + fan_out),
where a stride of 2 divides by 4 the fan_out of a convolution and the fan_in of a transposed one;
kernels of dense layers start with half of that variance (Glorot). Strided layers run in the equal
forms of `snjax.nn.convolution`. (Their code normalizes samples by their own batch's statistics;
here running statistics are kept for that.)

With classes, the batch norms after the transposed convolutions are conditional, as in
`snjax.models.sngan_cnn`; no such network has been published. WGAN-GP's ResNet is a variant of
`snjax.models.resnet`.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from snjax.models.base import Discriminator, Generator
from snjax.models.heads import Logits
from snjax.models.sngan_cnn import DEPTH, bottom_of, check_size
from snjax.nn.normalization import Labels

EPSILON = 1e-5  # of the batch norms
LEAKY_SLOPE = 0.2
KERNEL = 5
glorot_init = nn.initializers.variance_scaling(1.0, 'fan_avg', 'uniform')


def strided_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """He initialization of the code for convolutions of stride 2; kernel (k, k, in, out)."""
    return _he_uniform(key, shape, dtype, shape[-2], shape[-1] / 4)


def transposed_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """He initialization of the code for transposed convolutions of stride 2, same kernel shape."""
    return _he_uniform(key, shape, dtype, shape[-2] / 4, shape[-1])


def _he_uniform(key, shape, dtype, channels_in, channels_out):
    variance = 4 / (np.prod(shape[:-2]) * (channels_in + channels_out))
    limit = float(np.sqrt(3 * variance))
    return jax.random.uniform(key, shape, dtype, -limit, limit)


class WGANGPCNNGenerator(Generator):
    """Dense, BN, ReLU, three 5x5 transposed convolutions of stride 2 with BN and ReLU between,
    tanh.

    Sides are multiples of 8, 16 or more; `width` is 128 in the code.
    """

    width: int = 128

    def __post_init__(self):
        check_size(self.image_size, 'CNN of WGAN-GP')
        super().__post_init__()

    @nn.compact
    def __call__(
        self, z: Float[Array, 'b dim_z'], labels: Labels | None = None, *, train: bool
    ) -> Float[Array, 'b h w c']:
        """Images; see `Generator`."""
        z, labels = self.place_labels(z, labels)
        dense_norm, norm = self.norms(labels, train=train, epsilon=EPSILON)
        deconv = functools.partial(
            self.layers.conv_transpose,
            kernel_size=KERNEL,
            strides=2,
            kernel_init=transposed_init,
            dtype=self.dtype,
        )
        bottom, features = bottom_of(self.image_size), self.width * 2 ** (DEPTH - 1)
        dense = functools.partial(self.layers.dense, kernel_init=glorot_init, dtype=self.dtype)
        h = dense(math.prod(bottom) * features, name='project')(z)
        h = nn.relu(dense_norm(name='norm0')(h)).reshape(-1, *bottom, features)
        for i in range(1, DEPTH):
            features //= 2
            h = nn.relu(norm(name=f'norm{i}')(deconv(features, name=f'deconv{i}')(h)))
        h = deconv(self.channels, name='to_image')(h)
        return jnp.tanh(h.astype(jnp.float32))


class WGANGPCNNDiscriminator(Discriminator):
    """Three 5x5 convolutions of stride 2, leaky ReLU (0.2) after each, and one dense output.

    A norm of activations follows each convolution but the first, like the batch norm that the code
    has with weight clipping. Sides are multiples of 8, 16 or more; `width` is 128 in the code.
    """

    width: int = 128

    def __post_init__(self):
        check_size(self.image_size, 'CNN of WGAN-GP')
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, 'b h w c'],
        labels: Labels | None = None,
        *,
        train: bool,
    ) -> Logits:
        """Logits; see `Discriminator`."""
        self.check_images(x)
        conv = functools.partial(
            self.layers.conv,
            kernel_size=KERNEL,
            strides=2,
            kernel_init=strided_init,
            dtype=self.dtype,
        )
        norm = self.norm(train=train)
        h = x
        for i in range(DEPTH):
            h = conv(2**i * self.width, name=f'conv{i + 1}')(h)
            h = norm(name=f'norm{i + 1}')(h) if i else h
            h = nn.leaky_relu(h, LEAKY_SLOPE)
        return self.logits(h.reshape(h.shape[0], -1), labels, init=glorot_init)

    @nn.nowrap
    def blocks_from_image(self) -> list[list[str]]:
        """Each convolution with its norm; see `Discriminator`."""
        return [[f'conv{i + 1}', f'norm{i + 1}'] for i in range(DEPTH)]
