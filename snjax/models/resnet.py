"""The residual generator and discriminator of SNGAN, 16 to 256 px from one implementation.

Miyato et al. 2018 (arXiv:1802.05957), tables 4 (32 px), 5 (48 px) and 6 (128 px); 64 and 256 px as
in the authors' code; 16 and 96 px follow the same pattern and are no published networks. `LAYOUTS`
is all that differs between sizes. `width` is the authors' `ch`: 256 (generator) and 128
(discriminator) at 32 px, 64 at 48 px and above.

Upsampling and pooling are fused into the convolutions next to them, and a 1x1 shortcut runs on the
smaller side of either (`snjax.convolution`); the networks are the published ones up to rounding.
One departure: running variances are those of the batch (Flax), where Chainer multiplies them by
m / (m - 1), m being the values per channel.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from snjax import layers

Factory = Callable[..., Callable[[Array], Array]]

# Glorot's uniform initialisation: gain sqrt(2) in residual branches, gain 1 everywhere else.
residual_init = nn.initializers.variance_scaling(2.0, 'fan_avg', 'uniform')
plain_init = nn.initializers.variance_scaling(1.0, 'fan_avg', 'uniform')


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


def find_layout(image_size: int) -> Layout:
    """The row of `LAYOUTS`; raises ValueError naming the nearest sizes where there is none."""
    if image_size not in LAYOUTS:
        nearest = sorted(sorted(LAYOUTS, key=lambda size: abs(size - image_size))[:2])
        raise ValueError(
            f'image_size is {image_size}: the ResNets take {", ".join(map(str, LAYOUTS))}; '
            f'the nearest are {nearest[0]} and {nearest[1]} (--config.data.image_size)'
        )
    return LAYOUTS[image_size]


def check_images(x: Array, image_size: int) -> None:
    """Refuses images of another size, which global pooling would otherwise let through."""
    if x.ndim != 4 or x.shape[1:3] != (image_size, image_size):
        raise ValueError(
            f'a discriminator of image_size {image_size} was given images {x.shape}: they must be '
            f'(batch, {image_size}, {image_size}, channels)'
        )


def batch_norm(*, train: bool, axis_name: str | None, dtype: Any) -> Factory:
    """Factory of batch-norm layers with Chainer's decay and epsilon; statistics are float32.

    Args:
        train: use the batch's statistics and update the running ones, or only use the latter.
        axis_name: mapped axis that shares the statistics, or None for each device on its own.
        dtype: of the output.
    """
    return functools.partial(
        nn.BatchNorm,
        use_running_average=not train,
        momentum=0.9,
        epsilon=2e-5,
        axis_name=axis_name,
        dtype=dtype,
    )


class UpBlock(nn.Module):
    """Norm-ReLU-[up]-3x3-norm-ReLU-3x3 beside [up]-1x1: doubles height and width.

    Attributes:
        features: output channels, of the hidden layer too.
        conv: layer class with the interface of `snjax.layers.Conv`.
        norm: `norm(name=...)` makes a layer (b, h, w, c) -> (b, h, w, c); the factory of a
            conditional one carries the labels along.
    """

    features: int
    conv: Factory
    norm: Factory

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b 2*h 2*w n']:
        conv3x3 = functools.partial(self.conv, self.features, 3, kernel_init=residual_init)
        h = nn.relu(self.norm(name='norm1')(x))
        h = conv3x3(resample='up', name='conv1')(h)
        h = nn.relu(self.norm(name='norm2')(h))
        h = conv3x3(name='conv2')(h)
        conv1x1 = functools.partial(self.conv, self.features, 1, kernel_init=plain_init)
        return h + conv1x1(resample='up', name='shortcut')(x)


class DownBlock(nn.Module):
    """ReLU-3x3-ReLU-3x3-[average pool] beside 1x1-[average pool].

    Where the output has the shape of the input, the shortcut is the input itself.

    Attributes:
        features: output channels.
        conv: layer class with the interface of `snjax.layers.Conv`.
        down: halve height and width.
        first: the block sees the image: no ReLU before it, and the hidden layer has the output's
            channels instead of the input's. (The official code pools before the 1x1 shortcut here
            and after it elsewhere, which gives the same values.)
    """

    features: int
    conv: Factory
    down: bool = True
    first: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b i j n']:
        resample = 'down' if self.down else None
        hidden = self.features if self.first else x.shape[-1]
        h = x if self.first else nn.relu(x)
        h = self.conv(hidden, 3, kernel_init=residual_init, name='conv1')(h)
        conv2 = functools.partial(self.conv, self.features, 3, kernel_init=residual_init)
        h = conv2(resample=resample, name='conv2')(nn.relu(h))
        if self.down or x.shape[-1] != self.features:
            conv1x1 = functools.partial(self.conv, self.features, 1, kernel_init=plain_init)
            x = conv1x1(resample=resample, name='shortcut')(x)
        return h + x


class ResNetGenerator(nn.Module):
    """Dense, one `UpBlock` per doubling, BN-ReLU-3x3-tanh. Trained on z ~ N(0, I) in R^128.

    Attributes:
        image_size: a key of `LAYOUTS`.
        width: channels of the last block.
        channels: of the image.
        batch_norm_axis: mapped axis that shares batch statistics; None (the official code) keeps
            them per device.
        dtype: compute type, float32 or bfloat16; parameters, statistics and images are float32.
        conv, dense: layer classes, `snjax.layers` or `snjax.spectral`.

    Raises:
        ValueError: when made with an `image_size` that has no layout.
    """

    image_size: int
    width: int
    channels: int = 3
    batch_norm_axis: str | None = None
    dtype: Any = jnp.float32
    conv: Factory = layers.Conv
    dense: Factory = layers.Dense

    def __post_init__(self):
        find_layout(self.image_size)
        super().__post_init__()

    @nn.compact
    def __call__(self, z: Float[Array, 'b dim_z'], *, train: bool) -> Float[Array, 'b s s c']:
        """Images in [-1, 1]; `train` uses the batch's statistics and updates `batch_stats`."""
        bottom, (first, *blocks), *_ = find_layout(self.image_size)
        norm = batch_norm(train=train, axis_name=self.batch_norm_axis, dtype=self.dtype)
        conv = functools.partial(self.conv, dtype=self.dtype)
        dense = functools.partial(self.dense, dtype=self.dtype, kernel_init=plain_init)
        h = dense(bottom * bottom * first * self.width, name='project')(z)
        h = h.reshape(-1, bottom, bottom, first * self.width)
        for i, multiple in enumerate(blocks, start=1):
            h = UpBlock(multiple * self.width, conv, norm, name=f'block{i}')(h)
        h = nn.relu(norm(name='norm_out')(h))
        h = conv(self.channels, 3, kernel_init=plain_init, name='to_image')(h)
        return jnp.tanh(h.astype(jnp.float32))


class ResNetDiscriminator(nn.Module):
    """`DownBlock`s, ReLU, global sum pooling and a dense output (without bias at 32 px).

    Attributes:
        image_size: a key of `LAYOUTS`.
        width: channels of the first block.
        conv, dense: layer classes, `snjax.layers` or `snjax.spectral`.
        dtype: compute type, float32 or bfloat16; parameters, pooling and logits are float32.

    Raises:
        ValueError: when made with an `image_size` that has no layout.
    """

    image_size: int
    width: int
    conv: Factory = layers.Conv
    dense: Factory = layers.Dense
    dtype: Any = jnp.float32

    def __post_init__(self):
        find_layout(self.image_size)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, 'b s s c'], *, train: bool) -> Float[Array, ' b']:
        """Logits; `train` changes nothing: it is there so that all are called alike."""
        check_images(x, self.image_size)
        layout = find_layout(self.image_size)
        conv = functools.partial(self.conv, dtype=self.dtype)
        h = x
        for i, multiple in enumerate(layout.dis):
            h = DownBlock(
                multiple * self.width,
                conv,
                down=i < layout.n_down,
                first=i == 0,
                name=f'block{i + 1}',
            )(h)
        h = jnp.sum(nn.relu(h).astype(jnp.float32), axis=(1, 2))
        score = self.dense(
            1, use_bias=layout.score_bias, kernel_init=plain_init, dtype=jnp.float32, name='score'
        )
        return score(h)[:, 0]
