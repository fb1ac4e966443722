"""The "standard CNN" generator and discriminator of SNGAN, a DCGAN with 3x3 layers in between.

Miyato et al. 2018 (arXiv:1802.05957), table 3, M = 32 or 48 px; other multiples of 8 follow the
same pattern. The paper and the authors' code disagree, and `VARIANTS` names both:

* `'paper'`: table 3 as printed. D widens at its 3x3 layers, leaky slope 0.1; no norm and no ReLU
  after G's dense layer (3,812,355 parameters at 32 px). Trained on z ~ N(0, I).
* `'code'`: D widens at its 4x4 layers, leaky slope 0.2 (Chainer's default); after G's dense layer
  a batch norm over all its features, so with statistics for every position apart, and ReLU
  (3,828,739). Trained on z ~ U(-1, 1).

(A batch norm over the 512 channels there, 3,813,379 parameters, is compare_gan's.) z has 128
dimensions. Weights start at N(0, 0.02), biases at 0. The code's G ends in a 3x3 transposed
convolution of stride 1, which is a 3x3 convolution with the kernel turned by 180 degrees, so one
layer stands for both. Strided layers run in the faster equal forms of `snjax.nn.convolution`. Running
variances are Flax's (see `snjax.models.resnet`).

With classes the batch norms after the transposed convolutions are conditional, all three: each
belongs to a doubling, as those of a ResNet's up block do. The one after the code's dense layer is
not: its tables would hold a value for every class, position and channel. (No conditional standard
CNN is published.)
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from snjax.models.heads import Logits, check_head, output_head
from snjax.models.resnet import check_images
from snjax.nn import layers
from snjax.nn.normalization import Factory, Labels, generator_norms, no_norm

DEPTH = 3  # halvings in D, doublings in G
_init = nn.initializers.normal(0.02)


class Variant(NamedTuple):
    """What differs between the paper and its code."""

    dense_norm: bool  # batch norm and ReLU after G's dense layer
    leaky_slope: float
    dis: tuple[int, ...]  # multiples of `width`: 3x3, 4x4, 3x3, 4x4, 3x3, 4x4, 3x3


VARIANTS = {
    'paper': Variant(dense_norm=False, leaky_slope=0.1, dis=(1, 1, 2, 2, 4, 4, 8)),
    'code': Variant(dense_norm=True, leaky_slope=0.2, dis=(1, 2, 2, 4, 4, 8, 8)),
}


def _check(image_size: int, variant: str) -> None:
    if variant not in VARIANTS:
        raise ValueError(
            f'variant is {variant!r}: accepted are {", ".join(map(repr, VARIANTS))} '
            '(--config.model.variant)'
        )
    check_size(image_size, 'standard CNN')


def check_size(image_size: int, network: str) -> None:
    """Raises ValueError, naming the nearest sizes, where `DEPTH` halvings do not divide `image_size`."""
    stride = 2**DEPTH
    if image_size < 2 * stride or image_size % stride:
        below = max(image_size // stride, 2) * stride
        raise ValueError(
            f'image_size is {image_size}: the {network} takes multiples of {stride} from '
            f'{2 * stride}; the nearest are {below} and {below + stride} (--config.data.image_size)'
        )


class StandardGenerator(nn.Module):
    """Dense, three 4x4 transposed convolutions of stride 2 with BN and ReLU, 3x3, tanh.

    Attributes:
        image_size: a multiple of 8, 16 or more.
        width: channels of the last hidden layer, 64 in the paper.
        channels: of the image.
        variant: `'paper'` or `'code'`; also tells what z was drawn from (module docstring).
        batch_norm_axis: mapped axis that shares batch statistics; None keeps them per device.
        dtype: compute type, float32 or bfloat16; parameters, statistics and images are float32.
        conv, conv_transpose, dense: layer classes, `snjax.nn.layers` or `snjax.spectral`.
        num_classes: 0 for an unconditional generator.

    Raises:
        ValueError: when made with another `image_size` or `variant`; when applied without labels
            that it wants, or the reverse.
    """

    image_size: int
    width: int = 64
    channels: int = 3
    variant: str = 'paper'
    batch_norm_axis: str | None = None
    dtype: Any = jnp.float32
    conv: Factory = layers.Conv
    conv_transpose: Factory = layers.ConvTranspose
    dense: Factory = layers.Dense
    num_classes: int = 0

    def __post_init__(self):
        _check(self.image_size, self.variant)
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
        )
        kwargs = {'dtype': self.dtype, 'kernel_init': _init}
        bottom, features = self.image_size // 2**DEPTH, self.width * 2**DEPTH
        h = self.dense(bottom * bottom * features, name='project', **kwargs)(z)
        if VARIANTS[self.variant].dense_norm:
            h = nn.relu(dense_norm(name='norm0')(h))
        h = h.reshape(-1, bottom, bottom, features)
        for i in range(1, DEPTH + 1):
            features //= 2
            h = self.conv_transpose(features, 4, strides=2, name=f'deconv{i}', **kwargs)(h)
            h = nn.relu(norm(name=f'norm{i}')(h))
        h = self.conv(self.channels, 3, name='to_image', **kwargs)(h)
        return jnp.tanh(h.astype(jnp.float32))


class StandardDiscriminator(nn.Module):
    """3x3 and 4x4-of-stride-2 convolutions in turn, leaky ReLU after each, and one dense output.

    Attributes:
        image_size: a multiple of 8, 16 or more.
        width: channels of the first layer, 64 in the paper.
        variant: `'paper'` or `'code'` (module docstring).
        conv, dense, embed: layer classes, `snjax.nn.layers` or `snjax.spectral`.
        dtype: compute type, float32 or bfloat16; parameters and logits are float32.
        norm: `norm(train=..., name=...)` makes a layer that stands after each convolution but the
            first, as in the code's DCGAN; None for none.
        head, num_classes: what is made of labels (`snjax.models.heads`).
        lipschitz: factor on the logits.

    Raises:
        ValueError: when made with another `image_size`, `variant` or `head`; when applied without
            labels that it wants, or the reverse.
    """

    image_size: int
    width: int = 64
    variant: str = 'paper'
    conv: Factory = layers.Conv
    dense: Factory = layers.Dense
    dtype: Any = jnp.float32
    embed: Factory = layers.Embed
    norm: Factory | None = None
    head: str = 'none'
    num_classes: int = 0
    lipschitz: float = 1.0

    def __post_init__(self):
        _check(self.image_size, self.variant)
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
        _, leaky_slope, multiples = VARIANTS[self.variant]
        conv = functools.partial(self.conv, kernel_init=_init, dtype=self.dtype)
        norm = functools.partial(self.norm or no_norm, train=train)
        h = x
        for i, multiple in enumerate(multiples):
            size, stride = (4, 2) if i % 2 else (3, 1)
            h = conv(multiple * self.width, size, strides=stride, name=f'conv{i + 1}')(h)
            h = norm(name=f'norm{i + 1}')(h) if i else h
            h = nn.leaky_relu(h, leaky_slope)
        return output_head(
            h.reshape(h.shape[0], -1),
            labels,
            head=self.head,
            num_classes=self.num_classes,
            dense=self.dense,
            embed=self.embed,
            init=_init,
            lipschitz=self.lipschitz,
        )
