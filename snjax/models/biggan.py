"""The networks of BigGAN and BigGAN-deep (Brock et al. 2019, arXiv:1809.11096, appendix B and their
PyTorch code), 32 to 256 px from one implementation.

BigGAN is SNGAN's ResNet (`snjax.models.resnet`) with more channels, and with these changes:

* every batch norm of G's blocks has a gain 1 + A c and a shift B c, with A and B matrices without a
  bias and c the class's embedding, which all of them share, beside a part of z;
* z is cut into one part per block and one for the dense layer (skip-z, hierarchical latents): its
  length is a multiple of `slots`, published: 120 at 128 px, 140 at 256 px;
* D's blocks are wide, as SAGAN's: the hidden layer has the output's channels;
* kernels and tables start orthonormal, biases at 0.

Spectral normalization of both players and self-attention at 64x64 are arguments, as for the ResNet.
The shared embedding is never normalized, as in their code.

BigGAN-deep has two blocks per resolution, each a bottleneck: 1x1 to a quarter of the channels, two
3x3, 1x1 to the output. Shortcuts have no weights but where D's channels grow, which are beside the
input's: G drops the last ones of its own. All of z, beside the embedding, goes to the dense layer
and to every norm.

`VARIANTS`: `'paper'`, and `'cifar'`, the authors' run on CIFAR-10 (launch_cifar_ema.sh), where gain
and shift are tables with a row per class, z enters the dense layer alone and kernels start at
N(0, 0.02). `width`, published: 96 (BigGAN at 128 and 256 px), 128 (deep), for both players, and 256
on CIFAR-10, which is four times the code's `ch` there; G's at 64 px is twice its `ch`. Without
classes c is the part of z, or with `'cifar'` nothing, and the norms are plain.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from snjax.models import resnet
from snjax.models.layer_sets import Layers, started
from snjax.models.resnet import Layout, ResNetDiscriminator, ResNetGenerator, find_layout
from snjax.nn import convolution, layers
from snjax.nn.blocks import plain_init
from snjax.nn.normalization import Factory, Labels, check_labels, no_norm

SHARED = 128  # numbers in the embedding of a class
RATIO = 4  # of a deep block's output to its bottleneck
# 16 px follows the pattern and is not published.
LAYOUTS = {
    16: Layout(bottom=4, gen=(1, 1, 1), dis=(1, 1, 1), n_down=2),
    32: Layout(bottom=4, gen=(1, 1, 1, 1), dis=(1, 1, 1, 1), n_down=2),
    64: Layout(bottom=4, gen=(8, 8, 4, 2, 1), dis=(1, 2, 4, 8, 16), n_down=4),
    128: resnet.LAYOUTS[128],
    256: resnet.LAYOUTS[256],
}


class Variant(NamedTuple):
    """How the paper's networks and those of the authors' run on CIFAR-10 differ."""

    init: Any  # of kernels and tables
    shares: bool  # the norms of G share an embedding of the class, and each has a part of z


VARIANTS = {
    'paper': Variant(nn.initializers.orthogonal(), shares=True),
    'cifar': Variant(nn.initializers.normal(0.02), shares=False),
}


class _BigGAN:
    """What both players have."""

    image_size: Any
    layers: Layers
    variant: str

    @nn.nowrap
    def layout(self) -> Layout:
        return find_layout(self.image_size, LAYOUTS, 'BigGANs')

    @nn.nowrap
    def traits(self) -> resnet.Variant:
        return resnet.Variant(epsilon=1e-5, score_bias=True, wide=True)

    @nn.nowrap
    def started(self) -> Layers:
        return started(self.layers, VARIANTS[self.variant].init)


class BigGANGenerator(_BigGAN, ResNetGenerator):
    """The `ResNetGenerator` whose norms see the class's embedding and parts of z. Trained on z ~
    N(0, I).

    `image_size` is a key of `LAYOUTS`, or two sides of which the smaller is. With classes
    `conditioning` is `'batch_norm'`.
    """

    variants = VARIANTS

    def __post_init__(self):
        super().__post_init__()
        if self.conditioning == 'concat':
            raise ValueError(
                "gen_conditioning is 'concat', but BigGAN's classes enter its batch norms: "
                "'batch_norm' is accepted (--config.model.gen_conditioning=batch_norm)"
            )
        if self.num_conditions:
            raise ValueError(
                f'num_conditions is {self.num_conditions}, but BigGAN takes classes alone: use '
                '--config.model.architecture=resnet'
            )

    @nn.nowrap
    def slots(self) -> int:
        """Parts that z is cut into."""
        return len(self.layout().gen) if VARIANTS[self.variant].shares else 1

    @nn.nowrap
    def conditions(
        self, z: Float[Array, 'b dim_z'], labels: Labels | None, *, train: bool
    ) -> tuple[Float[Array, 'b n'], list[Factory], Factory]:
        """See `ResNetGenerator`."""
        check_labels(labels, self.num_classes)
        if z.shape[-1] % self.slots():
            down = max(z.shape[-1] // self.slots(), 1) * self.slots()
            raise ValueError(
                f'dim_z is {z.shape[-1]}: this BigGAN cuts z into {self.slots()} equal parts; the '
                f'nearest are {down} and {down + self.slots()} (--config.model.dim_z)'
            )
        z, *parts = jnp.split(z, self.slots(), -1)
        seen = self.embedded(labels)
        given = [seen if part is None else beside(seen, part) for part in parts or [None]]
        norms = [self._norms(c, train) for c in given]
        by_block = [conditional for _, conditional in norms]
        num = len(self.layout().gen) - 1
        return z, by_block * (num // len(by_block)), norms[0][0]

    @nn.nowrap
    def embedded(self, labels: Labels | None) -> Any:
        """What the norms see of the classes: the embedding, or the labels themselves."""
        variant = VARIANTS[self.variant]
        if labels is None or not variant.shares:
            return labels
        options = {'embedding_init': variant.init, 'name': 'embed'}
        return layers.Embed(self.num_classes, SHARED, **options)(labels)

    @nn.nowrap
    def _norms(self, condition: Any, train: bool) -> tuple[Factory, Factory]:
        if VARIANTS[self.variant].shares:
            maps = functools.partial(self.started().dense, use_bias=False, dtype=jnp.float32)
        else:
            init = VARIANTS[self.variant].init
            maps = functools.partial(layers.Embed, self.num_classes, embedding_init=init)
        return self.norms(condition, train=train, epsilon=self.traits().epsilon, maps=maps)


def beside(seen: Any, part: Float[Array, 'b n']) -> Float[Array, 'b m']:
    """The embedding beside a part of z, or that alone without classes."""
    return part if seen is None else jnp.concatenate([seen, part], -1)


class BigGANDiscriminator(_BigGAN, ResNetDiscriminator):
    """The `ResNetDiscriminator` with wide blocks; its head is meant to be `'projection'`.

    `image_size` is as for `BigGANGenerator`.
    """

    variants = VARIANTS

    @nn.nowrap
    def head_init(self) -> Any:
        return VARIANTS[self.variant].init


# ---- BigGAN-deep


class DeepBlock(nn.Module):
    """1x1-3x3-3x3-1x1 with a norm and a ReLU before each, beside the input.

    Attributes:
        features: output channels.
        hidden: channels of the bottleneck.
        conv: layer class with the interface of `snjax.nn.layers.Conv`.
        norm: `norm(name=...)` makes a layer that is applied before each ReLU.
        resample: `'up'` before the first 3x3, `'down'` at the last ReLU, or None.
    """

    features: int
    hidden: int
    conv: Factory
    norm: Factory = no_norm
    resample: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b i j n']:
        conv = functools.partial(self.conv, kernel_init=plain_init)
        up, down = (self.resample if self.resample == way else None for way in ('up', 'down'))
        h = conv(self.hidden, 1, name='conv1')(nn.relu(self.norm(name='norm1')(x)))
        h = nn.relu(self.norm(name='norm2')(h))
        h = conv(self.hidden, 3, resample=up, name='conv2')(h)
        h = conv(self.hidden, 3, name='conv3')(nn.relu(self.norm(name='norm3')(h)))
        h = nn.relu(self.norm(name='norm4')(h))
        h = conv(self.features, 1, resample=down, name='conv4')(h)
        new = self.features - x.shape[-1]
        beyond = [conv(new, 1, resample=down, name='shortcut')(x)] if new > 0 else []
        x = x[..., : self.features]
        if self.resample:
            x = {'up': convolution.upsample, 'down': convolution.average_pool}[self.resample](x)
        return h + jnp.concatenate([x, *beyond], -1)


class _Deep:
    """What both deep players have."""

    remat: bool

    @nn.nowrap
    def pair(
        self,
        index: int,
        features: tuple[int, int],
        hidden: tuple[int, int],
        resample: tuple[str | None, str | None],
        **options: Any,
    ) -> Any:
        """The two blocks of a resolution, one after the other; call it in a compact method."""
        block = nn.remat(DeepBlock) if self.remat else DeepBlock
        made = [
            block(*of_one[:2], resample=of_one[2], name=f'block{index}_{j}', **options)
            for j, of_one in enumerate(zip(features, hidden, resample, strict=True))
        ]
        return nn.Sequential(made)


class BigGANDeepGenerator(_Deep, BigGANGenerator):
    """BigGAN-deep's generator: two bottleneck blocks per resolution, the second of which doubles.

    z is of any length, published: 128.
    """

    variants = ('paper',)

    @nn.nowrap
    def slots(self) -> int:
        return 1

    @nn.nowrap
    def conditions(
        self, z: Float[Array, 'b dim_z'], labels: Labels | None, *, train: bool
    ) -> tuple[Float[Array, 'b n'], list[Factory], Factory]:
        """See `ResNetGenerator`."""
        check_labels(labels, self.num_classes)
        condition = beside(self.embedded(labels), z)
        plain, conditional = self._norms(condition, train)
        return condition, [conditional] * (len(self.layout().gen) - 1), plain

    def _block(self, i: int, features: int, conv: Factory, norm: Factory) -> Any:
        width = self.layout().gen[i] * self.width
        hidden = max(1, width // RATIO)
        options = {'conv': conv, 'norm': norm}
        return self.pair(i + 1, (width, features), (hidden, hidden), (None, 'up'), **options)


class BigGANDeepDiscriminator(_Deep, BigGANDiscriminator):
    """BigGAN-deep's discriminator: a convolution, then two bottleneck blocks per resolution."""

    variants = ('paper',)

    def __post_init__(self):
        super().__post_init__()
        if self.first_stride2:
            raise ValueError(
                'first_stride2 is on, but BigGAN-deep begins with a convolution of its own: leave it '
                'off (--config.model.first_stride2=false)'
            )

    def _block(self, i: int, train: bool) -> Any:
        features = self.layout().dis[i] * self.width
        conv = functools.partial(self.started().conv, dtype=self.dtype)
        if i == 0:
            return conv(features, 3, kernel_init=plain_init, name='from_image')
        hidden = max(1, features // RATIO)
        down = 'down' if i <= self.layout().n_down else None
        options = {'conv': conv, 'norm': self.norm(train=train)}
        return self.pair(i, (features, features), (hidden, hidden), (down, None), **options)

    @nn.nowrap
    def halvings(self) -> list[int]:
        """How often the output of the stem and of each pair has been halved."""
        return [min(i, self.layout().n_down) for i in range(len(self.layout().dis))]

    @nn.nowrap
    def blocks_from_image(self) -> list[list[str]]:
        attended = self.attended()
        pairs = [[f'block{i}_0', f'block{i}_1'] for i in range(1, len(self.layout().dis))]
        names = [['from_image'], *pairs]
        if attended is not None:
            names[attended].append('attention')
        return names
