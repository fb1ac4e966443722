"""The residual generator and discriminator of SNGAN, 16 to 512 px from one implementation.

Miyato et al. 2018 (arXiv:1802.05957), tables 4 (32 px), 5 (48 px) and 6 (128 px); 64 and 256 px as
in the authors' code; 16, 96 and 512 px follow the same pattern and are not published. `LAYOUTS`
holds all that differs between sizes; rectangles have the depth of their smaller side. `width` is
the authors' `ch`: 256 (generator) and 128 (discriminator) at 32 px, 64 at 48 px and above.

Upsampling and pooling are fused into the convolutions next to them, and a 1x1 shortcut runs on the
smaller side of either (`snjax.nn.convolution`); the networks are the published ones up to rounding.
Running variances are Chainer's with `running_variance='unbiased'`.

`VARIANTS` adds the WGAN-GP networks (Gulrajani et al. 2017; improved_wgan_training,
gan_cifar_resnet.py), published at 32 px with `width` 128 for both players. Blocks and
initialization are the same (their He variance 4 / (fan_in + fan_out) is gain sqrt(2) here); D pools
by the mean, its output has a bias, and the generator's epsilon is 1e-5. Their code normalizes
samples by their own batch's statistics; here running statistics are kept for that. `'mimicry'` is
kwotsin/mimicry's port of SNGAN's networks, whose scores are quoted most: bilinear upsampling, a
bias in D's output, PyTorch's epsilon, and shortcuts in D that begin after the first ReLU, which
mimicry applies in place. `'pytorch'` is SNGAN's networks with PyTorch's epsilon alone, as
w86763777/pytorch-gan-collections has them.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from snjax.image_format import ImageSize, canonical, said, sides
from snjax.models.arguments import check_multiples
from snjax.models.base import Discriminator, Generator
from snjax.models.heads import Logits
from snjax.models.layer_sets import Layers
from snjax.nn.attention import SelfAttention, attended_block
from snjax.nn.blocks import DownBlock, UpBlock, plain_init
from snjax.nn.normalization import EPSILON, Factory, Labels


class Layout(NamedTuple):
    """The shape of both players at one image size; widths are multiples of `width`."""

    bottom: int  # the smaller side of the generator's first feature map
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
    512: Layout(
        bottom=4, gen=(16, 16, 16, 8, 8, 4, 2, 1), dis=(1, 2, 4, 8, 8, 16, 16, 16), n_down=7
    ),
}


class Variant(NamedTuple):
    """How SNGAN's networks and WGAN-GP's differ."""

    epsilon: float = EPSILON  # of the generator's batch norms
    mean_pool: bool = False  # global pooling in D: the sum otherwise
    score_bias: bool = False  # at every size, not only where `Layout` has it
    bilinear: bool = False  # upsampling in the generator: nearest otherwise
    relu_shortcut: bool = False  # in D: shortcuts begin after the block's first ReLU
    wide: bool = False  # in D: hidden layers have their block's output channels


VARIANTS = {
    'paper': Variant(),
    'code': Variant(),
    'wgan_gp': Variant(epsilon=1e-5, mean_pool=True, score_bias=True),
    'mimicry': Variant(epsilon=1e-5, score_bias=True, bilinear=True, relu_shortcut=True),
    'pytorch': Variant(epsilon=1e-5),
}


def find_layout(
    image_size: ImageSize, layouts: Mapping[int, Layout] = LAYOUTS, networks: str = 'ResNets'
) -> Layout:
    """The row of `layouts` of the smaller side.

    Raises:
        ValueError: there is none, or a side is no multiple of what the networks reduce it by; the
            message names the nearest sizes.
    """
    side = min(sides(image_size))
    if side not in layouts:
        nearest = sorted(sorted(layouts, key=lambda size: abs(size - side))[:2])
        of = '' if isinstance(canonical(image_size), int) else ' as the smaller side'
        raise ValueError(
            f'image_size is {said(image_size)}: the {networks} take {", ".join(map(str, layouts))}{of}; '
            f'the nearest are {nearest[0]} and {nearest[1]} (--config.data.image_size)'
        )
    layout = layouts[side]
    factor = max(side // layout.bottom, 2**layout.n_down)
    check_multiples(image_size, factor, networks.removesuffix('s'))
    return layout


class _Residual:
    """What both players have, and where a family that is built alike differs (`models.biggan`)."""

    image_size: ImageSize
    layers: Layers
    variant: str

    @nn.nowrap
    def layout(self) -> Layout:
        return find_layout(self.image_size)

    @nn.nowrap
    def traits(self) -> Variant:
        return VARIANTS[self.variant]

    @nn.nowrap
    def started(self) -> Layers:
        """The layer set, with another start than the blocks ask for where a family has one."""
        return self.layers


class ResNetGenerator(_Residual, Generator):
    """Dense, one `UpBlock` per doubling, BN-ReLU-3x3-tanh. Trained on z ~ N(0, I) in R^128.

    `image_size` is a key of `LAYOUTS`, or two sides of which the smaller is. With classes, the
    batch norms of the blocks are conditional and the last one is not, as in the official code (its
    b5).

    Attributes:
        attention: height of the feature map after which `SelfAttention` follows; 0 for none.
        remat: recomputes each block's activations in the backward pass instead of keeping them:
            less memory, more work, the same parameters.
    """

    attention: int = 0
    remat: bool = False

    variants = VARIANTS

    def __post_init__(self):
        self.attended()
        super().__post_init__()

    @nn.compact
    def __call__(
        self, z: Float[Array, 'b dim_z'], labels: Labels | None = None, *, train: bool
    ) -> Float[Array, 'b h w c']:
        """Images; see `Generator`."""
        first, *blocks = self.layout().gen
        bottom, attended = self._bottom(), self.attended()
        z, norms, norm_out = self.conditions(z, labels, train=train)
        conv = functools.partial(self.started().conv, dtype=self.dtype)
        dense = functools.partial(self.started().dense, dtype=self.dtype, kernel_init=plain_init)
        h = dense(math.prod(bottom) * first * self.width, name='project')(z)
        h = h.reshape(-1, *bottom, first * self.width)
        for i, (multiple, norm) in enumerate(zip(blocks, norms, strict=True)):
            h = self._block(i, multiple * self.width, conv, norm)(h)
            if i == attended:
                h = SelfAttention(self.started().conv, self.dtype, name='attention')(h)
        h = nn.relu(norm_out(name='norm_out')(h))
        h = conv(self.channels, 3, kernel_init=plain_init, name='to_image')(h)
        return jnp.tanh(h.astype(jnp.float32))

    @nn.nowrap
    def conditions(
        self, z: Float[Array, 'b dim_z'], labels: Labels | None, *, train: bool
    ) -> tuple[Float[Array, 'b n'], Sequence[Factory], Factory]:
        """Input of the dense layer, and the factories of each block's norms and of the last one;
        call it in a compact method."""
        z, labels = self.place_labels(z, labels)
        plain, conditional = self.norms(labels, train=train, epsilon=self.traits().epsilon)
        return z, [conditional] * (len(self.layout().gen) - 1), plain

    def _block(self, i: int, features: int, conv: Factory, norm: Factory) -> Any:
        """The block at index `i`, which doubles the map."""
        block = nn.remat(UpBlock) if self.remat else UpBlock
        return block(features, conv, norm, self.traits().bilinear, name=f'block{i + 1}')

    @nn.nowrap
    def _bottom(self) -> tuple[int, int]:
        """Height and width of the first feature map."""
        height, width = sides(self.image_size)
        factor = min(height, width) // self.layout().bottom
        return height // factor, width // factor

    @nn.nowrap
    def attended(self) -> int | None:
        """Index of the block that `SelfAttention` follows."""
        height, width = self._bottom()
        maps = [(height * 2**i, width * 2**i) for i in range(1, len(self.layout().gen))]
        return attended_block(self.attention, maps, f'{said(self.image_size)} px generator')


class ResNetDiscriminator(_Residual, Discriminator):
    """`DownBlock`s, ReLU, global pooling by the sum and a dense output (without bias at 32 px).

    `image_size` is as for `ResNetGenerator`. A norm of activations precedes each ReLU inside the blocks,
    so that the image itself is never normalized. (improved_wgan_training has no norm in the first
    block.)

    Attributes:
        attention: height of the feature map after which `SelfAttention` follows; 0 for none.
        first_stride2: one 4x4 convolution of stride 2, `stem`, in place of the first block, which
            is the most expensive one for a big image: every block sees half the resolution or less,
            and the last feature map keeps its size. Of 9 w^2 + (10 c + 3) w parameters, w being
            `width` and c the image's channels, (16 c + 1) w remain. A departure from the paper.
        remat: as for `ResNetGenerator`.
    """

    attention: int = 0
    first_stride2: bool = False
    remat: bool = False

    variants = VARIANTS

    def __post_init__(self):
        self.attended()
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
        h, attended = x, self.attended()
        for i in range(len(self.layout().dis)):
            h = self._block(i, train)(h)
            if i == attended:
                h = SelfAttention(self.started().conv, self.dtype, name='attention')(h)
        pool = jnp.mean if self.traits().mean_pool else jnp.sum
        return self.logits(
            pool(nn.relu(h).astype(jnp.float32), axis=(1, 2)),
            labels,
            init=self.head_init(),
            score_bias=self.layout().score_bias or self.traits().score_bias,
        )

    @nn.nowrap
    def head_init(self) -> Any:
        """Initializer of the kernels and the embedding in the head."""
        return plain_init

    @nn.nowrap
    def blocks_from_image(self) -> list[list[str]]:
        """One list for each block, with the attention that follows it; see `Discriminator`."""
        num, attended = len(self.layout().dis), self.attended()
        names = [[f'block{i + 1}', *(['attention'] if i == attended else [])] for i in range(num)]
        if self.first_stride2:
            names[0][0] = 'stem'
        return names

    def _block(self, i: int, train: bool) -> Callable[[Array], Array]:
        """The block at index `i`, or the stem in place of the first."""
        layout = self.layout()
        features = layout.dis[i] * self.width
        conv = functools.partial(self.started().conv, dtype=self.dtype)
        if i == 0 and self.first_stride2:
            return conv(features, 4, strides=2, kernel_init=plain_init, name='stem')
        block = nn.remat(DownBlock) if self.remat else DownBlock
        return block(
            features,
            conv,
            down=i < layout.n_down,
            first=i == 0,
            norm=self.norm(train=train),
            relu_shortcut=self.traits().relu_shortcut,
            wide=self.traits().wide,
            name=f'block{i + 1}',
        )

    @nn.nowrap
    def halvings(self) -> list[int]:
        """How often each block's output has been halved."""
        layout = self.layout()
        return [min(i, layout.n_down) for i in range(1, len(layout.dis) + 1)]

    @nn.nowrap
    def attended(self) -> int | None:
        """Index of the block that `SelfAttention` follows."""
        height, width = sides(self.image_size)
        maps = [(height // 2**n, width // 2**n) for n in self.halvings()]
        return attended_block(self.attention, maps, f'{said(self.image_size)} px discriminator')
