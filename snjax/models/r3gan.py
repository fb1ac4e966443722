"""The residual generator and discriminator of R3GAN (Huang et al. 2024, arXiv:2501.05441, section 4
and their code), 8 px and any further power of 2 from one implementation.

Stages of two residual blocks each, from 4x4 to the image and back. A block is 1x1 to twice the
channels, 3x3 in groups, 1x1 back: convolutions without a bias, a leaky ReLU of slope 0.2 with a
bias before the second and the third, and no normalization. So that the variance stays what it is
without one, kernels start at N(0, g^2 / fan_in) and the last of each block at 0 (fix-up: Zhang et
al. 2019, arXiv:1901.09321), with g^2 = 2 / (1 + 0.2^2) / sqrt(number of blocks) in the others of a
block and 1 elsewhere. Sizes are doubled and halved by the filter [1 3 3 1]; the first feature map
is z, made linear, times a learned 4x4 basis per channel, and the last one is weighed by such a
basis and summed.

`VARIANTS` has both published families: `'paper'` (CIFAR-10, FFHQ) and `'imagenet'`. `width` is the
number of channels next to the image, published: 768 (CIFAR-10), 384 (FFHQ 64), 96 (FFHQ 256) and
1,536 (ImageNet 32 and 64), for both players.

Classes enter G as an embedding of dim_z numbers beside z; D's last features are multiplied by the
class's embedding and summed (`head='projection'`, without a term that all classes share).

Images are not squashed: D in training sees them as they are, and outside it they are cut to [-1,
1]. With bfloat16 the four stages next to the image compute in it, the 4x4 stage never, as in the
authors' code. 1x1 convolutions are dense layers here.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from snjax.image_format import ImageSize, sides
from snjax.models.arguments import bottom_of
from snjax.models.base import Discriminator, Generator
from snjax.models.layer_sets import Layers
from snjax.nn.normalization import Labels, check_labels

BOTTOM = 4  # smaller side of the first feature map
BLOCKS = 2  # per stage
EXPANSION = 2  # of the channels inside a block
SLOPE = 0.2  # of the leaky ReLU


class Variant(NamedTuple):
    """How the published families differ."""

    group: int  # channels in a group of the 3x3 convolutions
    tapers: bool  # whether channels halve with each doubling above 32 px


VARIANTS = {'paper': Variant(group=16, tapers=True), 'imagenet': Variant(group=32, tapers=False)}


def bottom_map(image_size: ImageSize) -> tuple[int, int]:
    """Height and width of the first feature map; raises ValueError for another size."""
    return bottom_of(image_size, BOTTOM, "architecture 'r3gan'")


def widths(image_size: ImageSize, width: int, variant: str) -> list[int]:
    """Channels of every stage, from the first feature map, 4x4 for squares, to the image.

    Raises:
        ValueError: for another size, or a width that does not divide into groups.
    """
    bottom_map(image_size)
    side = min(sides(image_size))
    group, tapers = VARIANTS[variant]
    if width % (group // EXPANSION):
        step = group // EXPANSION
        raise ValueError(
            f"the width of 'r3gan' is {width}: variant {variant!r} takes multiples of {step}, as "
            f'{-(-width // step) * step} (--config.model.gen_width, --config.model.dis_width)'
        )
    sizes = [BOTTOM << i for i in range((side // BOTTOM).bit_length())]
    return [width * max(1, side // max(size, 32)) if tapers else width for size in sizes]


def doubled(x: Float[Array, 'b h w c']) -> Float[Array, 'b 2*h 2*w c']:
    """Twice the size by the filter [1 3 3 1] / 4 along rows and columns; zeros are outside."""
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for axis in (1, 2):
        pairs = [3 * y + _moved(y, axis, by) for by in (1, -1)]
        shape = (*y.shape[:axis], 2 * y.shape[axis], *y.shape[axis + 1 :])
        y = jnp.stack(pairs, axis + 1).reshape(shape) / 4
    return y.astype(x.dtype)


def halved(x: Float[Array, 'b h w c']) -> Float[Array, 'b h/2 w/2 c']:
    """Half the size by the filter [1 3 3 1] / 8 along rows and columns; zeros are outside."""
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for axis in (1, 2):
        pairs = y.reshape(*y.shape[:axis], y.shape[axis] // 2, 2, *y.shape[axis + 1 :])
        first, second = (jnp.take(pairs, i, axis + 1) for i in (0, 1))
        y = (3 * (first + second) + _moved(second, axis, 1) + _moved(first, axis, -1)) / 8
    return y.astype(x.dtype)


def _moved(x, axis, by):
    """`x` moved by one along an axis, forwards or backwards; zeros come in."""
    edges = [(0, 0)] * x.ndim
    edges[axis] = (1, 0) if by > 0 else (0, 1)
    kept = [slice(None)] * x.ndim
    kept[axis] = slice(None, -1) if by > 0 else slice(1, None)
    return jnp.pad(x[tuple(kept)], edges)


def _init(gain: float = 1.0):
    return nn.initializers.variance_scaling(gain**2, 'fan_in', 'normal')


class BiasedLeakyReLU(nn.Module):
    """Adds a bias per channel, then leaky ReLU."""

    @nn.compact
    def __call__(self, x: Float[Array, '... c']) -> Float[Array, '... c']:
        bias = self.param('bias', nn.initializers.zeros_init(), x.shape[-1:])
        return nn.leaky_relu(x + bias.astype(x.dtype), SLOPE)


class Block(nn.Module):
    """x + 1x1(lrelu(3x3 in groups(lrelu(1x1(x))))); the identity at the start.

    Attributes:
        layers: the layer set.
        group: channels in a group.
        num_blocks: of the network, by which the initialization is scaled.
        dtype: compute type.
    """

    layers: Layers
    group: int
    num_blocks: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h w c']:
        inside = EXPANSION * x.shape[-1]
        kwargs = {'use_bias': False, 'dtype': self.dtype}
        init = _init((2 / (1 + SLOPE**2)) ** 0.5 * self.num_blocks**-0.25)
        h = self.layers.dense(inside, kernel_init=init, name='expand', **kwargs)(x)
        h = BiasedLeakyReLU(name='relu1')(h)
        groups = inside // self.group
        mix = functools.partial(self.layers.conv, inside, 3, feature_group_count=groups, **kwargs)
        h = BiasedLeakyReLU(name='relu2')(mix(kernel_init=init, name='mix')(h))
        zeros = nn.initializers.zeros_init()
        return x + self.layers.dense(x.shape[-1], kernel_init=zeros, name='project', **kwargs)(h)


class _Stages:
    """What both players have: the channels of their stages, and the layers that make them."""

    image_size: ImageSize
    width: int
    variant: str
    layers: Layers
    dtype: Any

    @nn.nowrap
    def stages(self) -> list[int]:
        return widths(self.image_size, self.width, self.variant)

    @nn.nowrap
    def dtype_of(self, stage: int) -> Any:
        """Compute type of a stage; 0 is the 4x4 one."""
        return self.dtype if stage and stage >= len(self.stages()) - 4 else jnp.float32

    @nn.nowrap
    def blocks(self, stage: int) -> Sequence[Block]:
        """The blocks of a stage; call it in a compact method."""
        total = BLOCKS * len(self.stages())
        group = VARIANTS[self.variant].group
        dtype, names = self.dtype_of(stage), [f'block{stage}_{i}' for i in range(BLOCKS)]
        return [Block(self.layers, group, total, dtype, name=name) for name in names]

    @nn.nowrap
    def linear(self, features: int, name: str, dtype: Any) -> Any:
        """A dense layer, or 1x1 convolution, without bias."""
        return self.layers.dense(
            features, use_bias=False, kernel_init=_init(), dtype=dtype, name=name
        )


class R3GANGenerator(_Stages, Generator):
    """Stages from 4x4 to the image, which a 1x1 convolution makes. Trained on z ~ N(0, I) in R^64.

    `image_size` is a power of 2, 8 or more, or has one as its smaller side; `width` is a multiple
    of 8, or of 16 for `'imagenet'`. With classes `conditioning` is `'concat'`.
    """

    variants = VARIANTS

    def __post_init__(self):
        super().__post_init__()
        self.stages()
        if (self.num_classes or self.num_conditions) and self.conditioning != 'concat':
            raise ValueError(
                f"gen_conditioning is {self.conditioning!r}, but the architecture 'r3gan' has no batch "
                "norm: 'concat' is accepted (--config.model.gen_conditioning=concat)"
            )

    @nn.compact
    def __call__(
        self, z: Float[Array, 'b dim_z'], labels: Labels | None = None, *, train: bool
    ) -> Float[Array, 'b h w c']:
        """Images; see `Generator`. In training they may leave [-1, 1]."""
        check_labels(labels, self.num_classes, self.num_conditions)
        bottom, (first, *further) = bottom_map(self.image_size), self.stages()
        if labels is not None:
            rows = self.num_classes or self.num_conditions
            init = nn.initializers.normal(rows**-0.5)
            size = rows, z.shape[-1]
            table = self.layers.embed(*size, embedding_init=init, name='embed')
            z = jnp.concatenate([z, table(labels)], -1)
        basis = self.param('basis', nn.initializers.normal(1.0), (*bottom, first))
        h = basis * self.linear(first, 'from_z', jnp.float32)(z)[:, None, None]
        for block in self.blocks(0):
            h = block(h)
        for stage, features in enumerate(further, start=1):
            h = h.astype(self.dtype_of(stage))
            if features != h.shape[-1]:
                h = self.linear(features, f'to{stage}', h.dtype)(h)
            h = doubled(h)
            for block in self.blocks(stage):
                h = block(h)
        images = self.linear(self.channels, 'to_image', h.dtype)(h).astype(jnp.float32)
        return images if train else jnp.clip(images, -1, 1)


class R3GANDiscriminator(_Stages, Discriminator):
    """Stages from the image to 4x4, the basis, and a dense layer without bias.

    `image_size` and `width` are as for `R3GANGenerator`; heads are `'none'` and `'projection'`.
    """

    variants = VARIANTS

    def __post_init__(self):
        super().__post_init__()
        self.stages()
        if self.head not in ('none', 'projection'):
            raise ValueError(
                f"head is {self.head!r}: the architecture 'r3gan' takes none and projection "
                '(--config.model.head=projection)'
            )
        if self.layers.norm is not None:
            raise ValueError(
                "the architecture 'r3gan' has no place for norms of activations in its discriminator: "
                'use another --config.model.normalization, as none'
            )

    @nn.compact
    def __call__(
        self, x: Float[Array, 'b h w c'], labels: Labels | None = None, *, train: bool
    ) -> Float[Array, ' b']:
        """Logits; see `Discriminator`."""
        self.check_images(x)
        channels = self.stages()
        top = len(channels) - 1
        h = self.linear(channels[top], 'from_image', self.dtype_of(top))(x)
        for stage in range(top, 0, -1):
            h = h.astype(self.dtype_of(stage))
            for block in self.blocks(stage):
                h = block(h)
            h = halved(h)
            if channels[stage - 1] != h.shape[-1]:
                h = self.linear(channels[stage - 1], f'to{stage - 1}', h.dtype)(h)
        h = h.astype(jnp.float32)
        for block in self.blocks(0):
            h = block(h)
        bottom = bottom_map(self.image_size)
        init = nn.initializers.normal(math.prod(bottom) ** -0.5)
        basis = self.param('basis', init, (*bottom, channels[0]))
        return self.lipschitz * self._score(jnp.einsum('bijc,ijc->bc', h, basis), labels)

    @nn.nowrap
    def blocks_from_image(self) -> list[list[str]]:
        """Stages with the layer that changes the number of channels; see `Discriminator`."""
        names = []
        for stage in range(len(self.stages()) - 1, -1, -1):
            blocks = [f'block{stage}_{i}' for i in range(BLOCKS)]
            names.append([*blocks, *([f'to{stage - 1}'] if stage else ['basis'])])
        names[0].insert(0, 'from_image')
        return names

    def _score(self, h, labels):
        conditional = self.head == 'projection'
        check_labels(labels, self.num_classes if conditional else 0)
        h = self.linear(h.shape[-1] if conditional else 1, 'score', jnp.float32)(h)
        if not conditional:
            return h[:, 0]
        init = nn.initializers.normal((self.num_classes * h.shape[-1]) ** -0.5)
        size = self.num_classes, h.shape[-1]
        table = self.layers.embed(*size, embedding_init=init, name='embed')
        return jnp.sum(h * table(labels), -1)
