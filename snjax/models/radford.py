"""The DCGAN generator of Radford et al. 2016 (arXiv:1511.06434), which GLO trains (Bojanowski et al. 2018).

At 64 px with `width` 64: z to 4x4x512, then 256, 128, 64 channels at twice the size each, then the image: 4x4
transposed convolutions of stride 2, batch norm and ReLU after all but the last, tanh, no biases; 3,576,704 parameters
for z of 100. Other sizes have more or fewer layers, and `width` channels before the last. Weights start at N(0, 0.02).
The first layer, a transposed convolution of one pixel, is a dense layer. Strided layers run in the equal forms of
`snjax.nn.convolution`.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from snjax.nn import layers
from snjax.nn.normalization import Factory, Labels, generator_norms

BOTTOM = 4
EPSILON = 1e-5  # of the batch norms
_init = nn.initializers.normal(0.02)


class RadfordGenerator(nn.Module):
    """Dense, then 4x4 transposed convolutions of stride 2 up to the image.

    Attributes:
        image_size: 8, 16, 32, ...
        width: channels of the last hidden layer, 64 in the paper.
        channels: of the image.
        batch_norm_axis: mapped axis that shares batch statistics; None keeps them per device.
        dtype: compute type, float32 or bfloat16; parameters, statistics and images are float32.
        conv_transpose, dense: layer classes, `snjax.nn.layers` or `snjax.spectral`.
        num_classes: for conditional batch norms after the transposed convolutions; 0 for an unconditional generator.

    Raises:
        ValueError: when made with another `image_size`; when applied without labels that it wants, or the reverse.
    """

    image_size: int
    width: int = 64
    channels: int = 3
    batch_norm_axis: str | None = None
    dtype: Any = jnp.float32
    conv_transpose: Factory = layers.ConvTranspose
    dense: Factory = layers.Dense
    num_classes: int = 0

    def __post_init__(self):
        size = self.image_size
        if size < 2 * BOTTOM or size & (size - 1):
            lower = max(2 * BOTTOM, 2 ** (max(size, 1).bit_length() - 1))
            raise ValueError(
                f"image_size is {size}: the architecture 'radford' takes powers of 2 from {2 * BOTTOM}; the nearest "
                f'are {lower} and {2 * lower} (--config.data.image_size)'
            )
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
        kwargs = {'use_bias': False, 'kernel_init': _init, 'dtype': self.dtype}
        doublings = (self.image_size // BOTTOM).bit_length() - 1
        features = self.width * 2 ** (doublings - 1)
        h = self.dense(BOTTOM * BOTTOM * features, name='project', **kwargs)(z)
        h = nn.relu(dense_norm(name='norm0')(h.reshape(-1, BOTTOM, BOTTOM, features)))
        for i in range(1, doublings):
            features //= 2
            h = self.conv_transpose(features, 4, strides=2, name=f'deconv{i}', **kwargs)(h)
            h = nn.relu(norm(name=f'norm{i}')(h))
        h = self.conv_transpose(self.channels, 4, strides=2, name='to_image', **kwargs)(h)
        return jnp.tanh(h.astype(jnp.float32))
