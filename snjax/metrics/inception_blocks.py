"""Blocks of Inception v3 for inference, as the FID network of 2015-12-05 has them (`inception`).

After Figures 5 to 7 and 10 of Szegedy et al. 2016 (arXiv:1512.00567), with the names of the PyTorch
port: A at 35x35 (with one 5x5 convolution), C at 17x17, E at 8x8, B and D between them. As in the
TensorFlow graph, average pools do not count padding, and the last block pools by maximum.

Two rewrites are exact up to rounding. The 1x1 convolutions of one input are one product. A 1x1
convolution after an average pool comes before it, which leaves fewer channels to pool.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


class Layer(nn.Module):
    """Kernel (*size, channels, width) and bias (width,) of a folded convolution, or of `fc`."""

    width: int
    size: tuple[int, ...] = (1, 1)

    @nn.compact
    def __call__(self, channels: int) -> tuple[Float[Array, '*size c o'], Float[Array, ' o']]:
        shape = (*self.size, channels, self.width)
        kernel = self.param('kernel', nn.initializers.he_normal(), shape)
        return kernel, self.param('bias', nn.initializers.zeros, (self.width,))


class Block(nn.Module):
    """Base of the blocks: layers by their published names.

    Attributes:
        precision: of the products.
    """

    precision: lax.Precision | None

    def conv(self, name, x, width, size, stride=1, padding='SAME'):
        """Convolution and ReLU."""
        kernel, bias = Layer(width, size, name=name)(x.shape[-1])
        return nn.relu(_convolve(x, kernel, stride, padding, self.precision) + bias)

    def heads(self, x, **widths):
        """1x1 convolutions of one input in one product, each followed by ReLU.

        `branch_pool` is averaged before its ReLU.
        """
        layers = [Layer(width, name=name)(x.shape[-1]) for name, width in widths.items()]
        kernel = jnp.concatenate([kernel for kernel, _ in layers], axis=-1)
        y = _convolve(x, kernel, 1, 'SAME', self.precision)
        y = y + jnp.concatenate([bias for _, bias in layers])
        parts = jnp.split(y, np.cumsum(list(widths.values()))[:-1], axis=-1)
        return [
            # A bias passes an average unchanged, so it may be added before.
            nn.relu(average_pool(part) if name == 'branch_pool' else part)
            for name, part in zip(widths, parts, strict=True)
        ]


class BlockA(Block):
    """35x35; the pool branch has `pool_width` channels."""

    pool_width: int = 64

    @nn.compact
    def __call__(self, x):
        one, five, double, pool = self.heads(
            x, branch1x1=64, branch5x5_1=48, branch3x3dbl_1=64, branch_pool=self.pool_width
        )
        five = self.conv('branch5x5_2', five, 64, (5, 5))
        double = self.conv('branch3x3dbl_2', double, 96, (3, 3))
        double = self.conv('branch3x3dbl_3', double, 96, (3, 3))
        return jnp.concatenate([one, five, double, pool], axis=-1)


class BlockB(Block):
    """35x35 to 17x17."""

    @nn.compact
    def __call__(self, x):
        three = self.conv('branch3x3', x, 384, (3, 3), 2, 'VALID')
        (double,) = self.heads(x, branch3x3dbl_1=64)
        double = self.conv('branch3x3dbl_2', double, 96, (3, 3))
        double = self.conv('branch3x3dbl_3', double, 96, (3, 3), 2, 'VALID')
        return jnp.concatenate([three, double, max_pool(x)], axis=-1)


class BlockC(Block):
    """17x17; `width` channels between the factors of the 7x7 convolutions."""

    width: int = 128

    @nn.compact
    def __call__(self, x):
        c = self.width
        one, seven, double, pool = self.heads(
            x, branch1x1=192, branch7x7_1=c, branch7x7dbl_1=c, branch_pool=192
        )
        seven = self.conv('branch7x7_2', seven, c, (1, 7))
        seven = self.conv('branch7x7_3', seven, 192, (7, 1))
        double = self.conv('branch7x7dbl_2', double, c, (7, 1))
        double = self.conv('branch7x7dbl_3', double, c, (1, 7))
        double = self.conv('branch7x7dbl_4', double, c, (7, 1))
        double = self.conv('branch7x7dbl_5', double, 192, (1, 7))
        return jnp.concatenate([one, seven, double, pool], axis=-1)


class BlockD(Block):
    """17x17 to 8x8."""

    @nn.compact
    def __call__(self, x):
        three, seven = self.heads(x, branch3x3_1=192, branch7x7x3_1=192)
        three = self.conv('branch3x3_2', three, 320, (3, 3), 2, 'VALID')
        seven = self.conv('branch7x7x3_2', seven, 192, (1, 7))
        seven = self.conv('branch7x7x3_3', seven, 192, (7, 1))
        seven = self.conv('branch7x7x3_4', seven, 192, (3, 3), 2, 'VALID')
        return jnp.concatenate([three, seven, max_pool(x)], axis=-1)


class BlockE(Block):
    """8x8; pools by average, or by maximum in the last block (`by_maximum`)."""

    by_maximum: bool = False

    @nn.compact
    def __call__(self, x):
        widths = {'branch1x1': 320, 'branch3x3_1': 384, 'branch3x3dbl_1': 448}
        if self.by_maximum:
            one, three, double = self.heads(x, **widths)
            around = ((0, 0), (1, 1), (1, 1), (0, 0))
            pooled = max_pool(jnp.pad(x, around, constant_values=-jnp.inf), stride=1)
            pool = self.conv('branch_pool', pooled, 192, (1, 1))
        else:
            one, three, double, pool = self.heads(x, **widths, branch_pool=192)
        double = self.conv('branch3x3dbl_2', double, 384, (3, 3))
        parts = [one]
        for name, y in (('branch3x3_2', three), ('branch3x3dbl_3', double)):
            parts += [
                self.conv(f'{name}a', y, 384, (1, 3)),
                self.conv(f'{name}b', y, 384, (3, 1)),
            ]
        return jnp.concatenate([*parts, pool], axis=-1)


def _convolve(x, kernel, stride, padding, precision):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        precision=precision,
    )


def max_pool(x: Float[Array, 'n h w c'], stride: int = 2) -> Float[Array, 'n i j c']:
    """Maximum over 3x3 windows inside the image.

    Computed from shifted images, height before width: XLA's windowed reduction takes about 3 to 7
    times as long on the CPU.
    """

    def along(x, axis):
        last = x.shape[axis] - 2
        shifted = [lax.slice_in_dim(x, i, last + i, stride, axis) for i in range(3)]
        return jnp.maximum(jnp.maximum(shifted[0], shifted[1]), shifted[2])

    return along(along(x, 1), 2)


def average_pool(x: Float[Array, 'n h w c']) -> Float[Array, 'n h w c']:
    """Average over 3x3 windows of stride 1, counting only pixels inside the image."""
    ones: list[np.ndarray] = []
    for axis in (1, 2):
        window = tuple(3 if i == axis else 1 for i in range(4))
        x = lax.reduce_window(x, 0.0, lax.add, window, (1, 1, 1, 1), 'SAME')
        size = x.shape[axis]
        places = np.arange(size)
        ones.append(1 + (places > 0) + (places < size - 1))
    return x / np.outer(*ones)[:, :, None].astype(np.float32)
