"""The DCGAN generator of Radford et al. 2016 (arXiv:1511.06434), which GLO trains (Bojanowski et
al. 2018).

At 64 px with `width` 64: z to 4x4x512, then 256, 128 and 64 channels, the size doubling each time,
then the image. 4x4 transposed convolutions of stride 2, batch norm and ReLU after all but the last,
tanh, no biases; 3,576,704 parameters for z of 100. Other sizes have more or fewer layers, and
`width` channels before the last. Weights start at N(0, 0.02). The first layer, a transposed
convolution of one pixel, is a dense layer. Strided layers run in the equal forms of
`snjax.nn.convolution`.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from snjax.image_format import sides
from snjax.models.arguments import bottom_of
from snjax.models.base import Generator
from snjax.nn.normalization import Labels

BOTTOM = 4  # smaller side of the first feature map
EPSILON = 1e-5  # of the batch norms
_init = nn.initializers.normal(0.02)


class RadfordGenerator(Generator):
    """Dense, then 4x4 transposed convolutions of stride 2 up to the image.

    `image_size` is a power of 2, 8 or more, or has one as its smaller side; `width` is 64 in the
    paper. With classes, the batch norms after the transposed convolutions are conditional.
    """

    width: int = 64

    def __post_init__(self):
        self._bottom()
        super().__post_init__()

    @nn.compact
    def __call__(
        self, z: Float[Array, 'b dim_z'], labels: Labels | None = None, *, train: bool
    ) -> Float[Array, 'b h w c']:
        """Images; see `Generator`."""
        layers = self.layers
        kwargs = {'use_bias': False, 'kernel_init': _init, 'dtype': self.dtype}
        z, labels = self.place_labels(z, labels)
        dense_norm, norm = self.norms(labels, train=train, epsilon=EPSILON)
        bottom = self._bottom()
        doublings = (min(sides(self.image_size)) // BOTTOM).bit_length() - 1
        features = self.width * 2 ** (doublings - 1)
        h = layers.dense(math.prod(bottom) * features, name='project', **kwargs)(z)
        h = nn.relu(dense_norm(name='norm0')(h.reshape(-1, *bottom, features)))
        for i in range(1, doublings):
            features //= 2
            h = layers.conv_transpose(features, 4, strides=2, name=f'deconv{i}', **kwargs)(h)
            h = nn.relu(norm(name=f'norm{i}')(h))
        h = layers.conv_transpose(self.channels, 4, strides=2, name='to_image', **kwargs)(h)
        return jnp.tanh(h.astype(jnp.float32))

    @nn.nowrap
    def _bottom(self) -> tuple[int, int]:
        """Height and width of the first feature map."""
        return bottom_of(self.image_size, BOTTOM, "architecture 'radford'")
