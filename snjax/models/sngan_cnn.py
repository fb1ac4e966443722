"""The "standard CNN" generator and discriminator of SNGAN, a DCGAN with 3x3 layers in between.

Miyato et al. 2018 (arXiv:1802.05957), table 3, M = 32 or 48 px; other multiples of 8 follow the
same pattern. The paper and the authors' code disagree, and `VARIANTS` names both:

* `'paper'`: table 3 as printed. D widens at its 3x3 layers, leaky slope 0.1; no norm and no ReLU
  after G's dense layer (3,812,355 parameters at 32 px). Trained on z ~ N(0, I).
* `'code'`: D widens at its 4x4 layers, leaky slope 0.2 (Chainer's default); after G's dense layer
  come a batch norm over all its features, with its own statistics for every position, and ReLU
  (3,828,739). Trained on z ~ U(-1, 1).

(A batch norm over the 512 channels there, 3,813,379 parameters, is compare_gan's.) z has 128
dimensions. Weights start at N(0, 0.02), biases at 0. The code's G ends in a 3x3 transposed
convolution of stride 1, which is a 3x3 convolution with the kernel turned by 180 degrees, so one
layer stands for both. Strided layers run in the faster equal forms of `snjax.nn.convolution`.

With classes, the three batch norms after the transposed convolutions are conditional: each belongs
to a doubling, like the batch norms in a ResNet's up block. The norm after the code's dense layer is
not: its tables would hold a value for every class, position and channel. (No conditional standard
CNN has been published.)
"""

import functools
import math
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from snjax.image_format import ImageSize, said, sides
from snjax.models.base import Discriminator, Generator
from snjax.models.heads import Logits
from snjax.nn.normalization import Labels

DEPTH = 3  # halvings in D, doublings in G
_init = nn.initializers.normal(0.02)


class Variant(NamedTuple):
    """How the paper and its code differ."""

    dense_norm: bool  # batch norm and ReLU after G's dense layer
    leaky_slope: float
    dis: tuple[int, ...]  # multiples of `width`: 3x3, 4x4, 3x3, 4x4, 3x3, 4x4, 3x3


VARIANTS = {
    'paper': Variant(dense_norm=False, leaky_slope=0.1, dis=(1, 1, 2, 2, 4, 4, 8)),
    'code': Variant(dense_norm=True, leaky_slope=0.2, dis=(1, 2, 2, 4, 4, 8, 8)),
}


def check_size(image_size: ImageSize, network: str) -> None:
    """Raises ValueError for a size that `DEPTH` halvings do not divide; names the nearest."""
    stride = 2**DEPTH
    for side in sides(image_size):
        if side < 2 * stride or side % stride:
            below = max(side // stride, 2) * stride
            raise ValueError(
                f'image_size is {said(image_size)}: the {network} takes multiples of {stride} from '
                f'{2 * stride}; the nearest are {below} and {below + stride} '
                '(--config.data.image_size)'
            )


def bottom_of(image_size: ImageSize) -> tuple[int, int]:
    """Height and width of the generator's first feature map."""
    height, width = sides(image_size)
    return height // 2**DEPTH, width // 2**DEPTH


class SNGANCNNGenerator(Generator):
    """Dense, three 4x4 transposed convolutions of stride 2 with BN and ReLU, 3x3, tanh.

    Sides are multiples of 8, 16 or more; `width` is 64 in the paper. `variant` also says
    which z it is trained on (module docstring).
    """

    width: int = 64

    variants = VARIANTS

    def __post_init__(self):
        check_size(self.image_size, 'CNN of SNGAN')
        super().__post_init__()

    @nn.compact
    def __call__(
        self, z: Float[Array, 'b dim_z'], labels: Labels | None = None, *, train: bool
    ) -> Float[Array, 'b h w c']:
        """Images; see `Generator`."""
        layers, kwargs = self.layers, {'dtype': self.dtype, 'kernel_init': _init}
        z, labels = self.place_labels(z, labels)
        dense_norm, norm = self.norms(labels, train=train)
        bottom, features = bottom_of(self.image_size), self.width * 2**DEPTH
        h = layers.dense(math.prod(bottom) * features, name='project', **kwargs)(z)
        if VARIANTS[self.variant].dense_norm:
            h = nn.relu(dense_norm(name='norm0')(h))
        h = h.reshape(-1, *bottom, features)
        for i in range(1, DEPTH + 1):
            features //= 2
            h = layers.conv_transpose(features, 4, strides=2, name=f'deconv{i}', **kwargs)(h)
            h = nn.relu(norm(name=f'norm{i}')(h))
        h = layers.conv(self.channels, 3, name='to_image', **kwargs)(h)
        return jnp.tanh(h.astype(jnp.float32))


class SNGANCNNDiscriminator(Discriminator):
    """3x3 and 4x4-of-stride-2 convolutions in turn, leaky ReLU after each, and one dense output.

    A norm of activations follows each convolution but the first, as in the code's DCGAN.
    Sides are multiples of 8, 16 or more; `width` is 64 in the paper.
    """

    width: int = 64

    variants = VARIANTS

    def __post_init__(self):
        check_size(self.image_size, 'CNN of SNGAN')
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
        _, leaky_slope, multiples = VARIANTS[self.variant]
        conv = functools.partial(self.layers.conv, kernel_init=_init, dtype=self.dtype)
        norm = self.norm(train=train)
        h = x
        for i, multiple in enumerate(multiples):
            size, stride = (4, 2) if i % 2 else (3, 1)
            h = conv(multiple * self.width, size, strides=stride, name=f'conv{i + 1}')(h)
            h = norm(name=f'norm{i + 1}')(h) if i else h
            h = nn.leaky_relu(h, leaky_slope)
        return self.logits(h.reshape(h.shape[0], -1), labels, init=_init)

    @nn.nowrap
    def blocks_from_image(self) -> list[list[str]]:
        """Each convolution with its norm; see `Discriminator`."""
        return [[f'conv{i + 1}', f'norm{i + 1}'] for i in range(len(VARIANTS[self.variant][2]))]
