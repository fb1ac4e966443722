"""The residual generator and discriminator of SNGAN, 16 to 256 px from one implementation.

Miyato et al. 2018 (arXiv:1802.05957), tables 4 (32 px), 5 (48 px) and 6 (128 px); 64 and 256 px as
in the authors' code; 16 and 96 px follow the same pattern and are no published networks. `LAYOUTS`
is all that differs between sizes. `width` is the authors' `ch`: 256 (generator) and 128
(discriminator) at 32 px, 64 at 48 px and above.

Upsampling and pooling are fused into the convolutions next to them, and a 1x1 shortcut runs on the
smaller side of either (`snjax.nn.convolution`); the networks are the published ones up to rounding.
One departure: running variances are those of the batch (Flax), where Chainer multiplies them by
m / (m - 1), m being the values per channel.

`VARIANTS` holds the WGAN-GP networks (Gulrajani et al. 2017; improved_wgan_training,
gan_cifar_resnet.py) beside them: published at 32 px with `width` 128 for both players. They are the
same blocks with the same initialisation (their He variance 4 / (fan_in + fan_out) is gain sqrt(2)
here); D pools by the mean and its output has a bias, and the generator's epsilon is 1e-5. Their
code normalises samples by their own batch's statistics; here running ones are kept for that.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from snjax.models.heads import Logits, check_head, output_head
from snjax.nn import layers
from snjax.nn.attention import SelfAttention, attended_block
from snjax.nn.blocks import DownBlock, UpBlock, plain_init
from snjax.nn.normalization import EPSILON, Factory, Labels, batch_norm, generator_norms, no_norm

__all__ = [
    'LAYOUTS',
    'VARIANTS',
    'DownBlock',
    'Layout',
    'ResNetDiscriminator',
    'ResNetGenerator',
    'UpBlock',
    'batch_norm',
    'check_images',
    'find_layout',
]


class Layout(NamedTuple):
    """The shape of both players at one image size; widths are multiples of `width`."""

    bottom: int  # height and width of the generator's first feature map
    gen: tuple[int, ...]  # the first feature map, then every up block
    dis: tuple[int, ...]  # every block
    n_down: int  # how many of them, from the first, halve the image
    score_bias: bool = True


LAYOUTS = {
    16: Layout(bottom=4, gen=(1, 1, 1), dis=(1, 1, 1), n_down=2),
    32: Layout(bottom=4, gen=(1, 1, 1, 1), dis=(1, 1, 1, 1), n_down=2, score_bias=False),
    48: Layout(bottom=6, gen=(8, 4, 2, 1), dis=(1, 2, 4, 8, 16), n_down=4),
    64: Layout(bottom=4, gen=(16, 8, 4, 2, 1), dis=(1, 2, 4, 8, 16), n_down=5),
    96: Layout(bottom=6, gen=(16, 8, 4, 2, 1), dis=(1, 2, 4, 8, 16, 16), n_down=5),
    128: Layout(bottom=4, gen=(16, 16, 8, 4, 2, 1), dis=(1, 2, 4, 8, 16, 16), n_down=5),
    256: Layout(bottom=4, gen=(16, 16, 8, 8, 4, 2, 1), dis=(1, 2, 4, 8, 8, 16, 16), n_down=6),
}


class Variant(NamedTuple):
    """What differs between SNGAN's networks and WGAN-GP's."""

    epsilon: float = EPSILON  # of the generator's batch norms
    mean_pool: bool = False  # global pooling in D: the sum otherwise
    score_bias: bool = False  # at every size, not only where `Layout` has it


VARIANTS = {
    'paper': Variant(),
    'code': Variant(),
    'wgan_gp': Variant(epsilon=1e-5, mean_pool=True, score_bias=True),
}


def find_variant(variant: str) -> Variant:
    if variant not in VARIANTS:
        raise ValueError(
            f'variant is {variant!r}: accepted are {", ".join(map(repr, VARIANTS))} '
            '(--config.model.variant)'
        )
    return VARIANTS[variant]


def find_layout(image_size: int) -> Layout:
    """The row of `LAYOUTS`; raises ValueError naming the nearest sizes where there is none."""
    if image_size not in LAYOUTS:
        nearest = sorted(sorted(LAYOUTS, key=lambda size: abs(size - image_size))[:2])
        raise ValueError(
            f'image_size is {image_size}: the ResNets take {", ".join(map(str, LAYOUTS))}; '
            f'the nearest are {nearest[0]} and {nearest[1]} (--config.data.image_size)'
        )
    return LAYOUTS[image_size]


def _attended_up(attention: int, image_size: int) -> int | None:
    bottom, (_, *blocks), *_ = find_layout(image_size)
    heights = [bottom * 2**i for i in range(1, len(blocks) + 1)]
    return attended_block(attention, heights, f'{image_size} px generator')


def _attended_down(attention: int, image_size: int) -> int | None:
    _, _, blocks, n_down, *_ = find_layout(image_size)
    heights = [image_size // 2 ** min(i, n_down) for i in range(1, len(blocks) + 1)]
    return attended_block(attention, heights, f'{image_size} px discriminator')


def check_images(x: Array, image_size: int) -> None:
    """Refuses images of another size, which global pooling would otherwise let through."""
    if x.ndim != 4 or x.shape[1:3] != (image_size, image_size):
        raise ValueError(
            f'a discriminator of image_size {image_size} was given images {x.shape}: they must be '
            f'(batch, {image_size}, {image_size}, channels)'
        )


class ResNetGenerator(nn.Module):
    """Dense, one `UpBlock` per doubling, BN-ReLU-3x3-tanh. Trained on z ~ N(0, I) in R^128.

    With classes the batch norms of the blocks are conditional and the last one is not, as in the
    official code (its b5).

    Attributes:
        image_size: a key of `LAYOUTS`.
        width: channels of the last block.
        channels: of the image.
        batch_norm_axis: mapped axis that shares batch statistics; None (the official code) keeps
            them per device.
        dtype: compute type, float32 or bfloat16; parameters, statistics and images are float32.
        conv, dense: layer classes, `snjax.nn.layers` or `snjax.spectral`.
        num_classes: 0 for an unconditional generator.
        attention: height of the feature map after which `SelfAttention` follows; 0 for none.
        variant: a key of `VARIANTS`.
        remat: forget what a block computes inside and compute it again for the gradient: less
            memory, more work. The same parameters.

    Raises:
        ValueError: when made with an `image_size` that has no layout, or another `attention` or
            `variant` than there are; when applied without labels that it wants, or the reverse.
    """

    image_size: int
    width: int
    channels: int = 3
    batch_norm_axis: str | None = None
    dtype: Any = jnp.float32
    conv: Factory = layers.Conv
    dense: Factory = layers.Dense
    num_classes: int = 0
    attention: int = 0
    variant: str = 'paper'
    remat: bool = False

    def __post_init__(self):
        find_variant(self.variant)
        _attended_up(self.attention, self.image_size)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, z: Float[Array, 'b dim_z'], labels: Labels | None = None, *, train: bool
    ) -> Float[Array, 'b s s c']:
        """Images in [-1, 1]; `train` uses the batch's statistics and updates `batch_stats`."""
        bottom, (first, *blocks), *_ = find_layout(self.image_size)
        norm_out, norm = generator_norms(
            labels,
            self.num_classes,
            train=train,
            axis_name=self.batch_norm_axis,
            dtype=self.dtype,
            epsilon=find_variant(self.variant).epsilon,
        )
        conv = functools.partial(self.conv, dtype=self.dtype)
        dense = functools.partial(self.dense, dtype=self.dtype, kernel_init=plain_init)
        attended = _attended_up(self.attention, self.image_size)
        h = dense(bottom * bottom * first * self.width, name='project')(z)
        h = h.reshape(-1, bottom, bottom, first * self.width)
        block = nn.remat(UpBlock) if self.remat else UpBlock
        for i, multiple in enumerate(blocks):
            h = block(multiple * self.width, conv, norm, name=f'block{i + 1}')(h)
            if i == attended:
                h = SelfAttention(self.conv, self.dtype, name='attention')(h)
        h = nn.relu(norm_out(name='norm_out')(h))
        h = conv(self.channels, 3, kernel_init=plain_init, name='to_image')(h)
        return jnp.tanh(h.astype(jnp.float32))


class ResNetDiscriminator(nn.Module):
    """`DownBlock`s, ReLU, global pooling by the sum and a dense output (without bias at 32 px).

    Attributes:
        image_size: a key of `LAYOUTS`.
        width: channels of the first block.
        conv, dense, embed: layer classes, `snjax.nn.layers` or `snjax.spectral`.
        dtype: compute type, float32 or bfloat16; parameters, pooling and logits are float32.
        norm: `norm(train=..., name=...)` makes a layer that stands before each ReLU inside the
            blocks, so never at the image; None for none. improved_wgan_training has none in the
            whole first block.
        head, num_classes: what is made of labels (`snjax.models.heads`).
        attention: height of the feature map after which `SelfAttention` follows; 0 for none.
        first_stride2: one 4x4 convolution of stride 2, `stem`, in place of the first block, which
            is the dearest one of a big image: every block sees half the resolution or less, and
            the last feature map stays as it was. Of 9 w^2 + (10 c + 3) w parameters, w being
            `width` and c the image's channels, (16 c + 1) w remain. A departure from the paper.
        variant: a key of `VARIANTS`; `'wgan_gp'` pools by the mean.
        lipschitz: factor on the logits.
        remat: as for `ResNetGenerator`.

    Raises:
        ValueError: when made with an `image_size` that has no layout, or another `head`,
            `attention` or `variant` than there are; when applied without labels that it wants, or
            the reverse.
    """

    image_size: int
    width: int
    conv: Factory = layers.Conv
    dense: Factory = layers.Dense
    dtype: Any = jnp.float32
    embed: Factory = layers.Embed
    norm: Factory | None = None
    head: str = 'none'
    num_classes: int = 0
    attention: int = 0
    first_stride2: bool = False
    variant: str = 'paper'
    lipschitz: float = 1.0
    remat: bool = False

    def __post_init__(self):
        find_variant(self.variant)
        check_head(self.head, self.num_classes)
        _attended_down(self.attention, self.image_size)
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
        layout, variant = find_layout(self.image_size), find_variant(self.variant)
        h, attended = x, _attended_down(self.attention, self.image_size)
        for i in range(len(layout.dis)):
            h = self._block(i, train)(h)
            if i == attended:
                h = SelfAttention(self.conv, self.dtype, name='attention')(h)
        pool = jnp.mean if variant.mean_pool else jnp.sum
        return output_head(
            pool(nn.relu(h).astype(jnp.float32), axis=(1, 2)),
            labels,
            head=self.head,
            num_classes=self.num_classes,
            dense=self.dense,
            embed=self.embed,
            init=plain_init,
            score_bias=layout.score_bias or variant.score_bias,
            lipschitz=self.lipschitz,
        )

    def _block(self, i: int, train: bool) -> Callable[[Array], Array]:
        """The block at index `i`, or the stem in place of the first."""
        layout = find_layout(self.image_size)
        features = layout.dis[i] * self.width
        conv = functools.partial(self.conv, dtype=self.dtype)
        if i == 0 and self.first_stride2:
            return conv(features, 4, strides=2, kernel_init=plain_init, name='stem')
        block = nn.remat(DownBlock) if self.remat else DownBlock
        return block(
            features,
            conv,
            down=i < layout.n_down,
            first=i == 0,
            norm=functools.partial(self.norm or no_norm, train=train),
            name=f'block{i + 1}',
        )
