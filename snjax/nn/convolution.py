"""The convolutions of the layers, each in the form that XLA runs best: the same sums in fewer or
faster operations.

* **Fewer multiplications.** `box` spreads a 3x3 kernel over 4x4. Nearest-neighbour upsampling
  followed by a 3x3 convolution then *is* a 4x4 transposed convolution of stride 2, and a 3x3
  convolution followed by 2x2 average pooling *is* a 4x4 convolution of stride 2; either costs 4/9
  of before. Parameters keep their published shapes, and results differ from the plain forms by
  rounding alone. `box` adds up in the kernel's own type; each function then computes in the type of
  `x`.
* **Faster gradients of strides**: `snjax.nn.strided`.
* **Matrix products for thin images**: `snjax.nn.thin`.
* **Groups one by one** on a CPU, where XLA's own form of a grouped convolution has gradients 30 to
  100 times as slow.

The price of strides and thin images is that these forms know reverse-mode differentiation only (`jax.vjp`,
`jax.grad` and what is built on them, not `jax.jvp`). Images are NHWC, kernels HWIO.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from snjax import parallel
from snjax.nn import memory, strided, thin
from snjax.shapes import Array, Float

# More groups than this are left to XLA on a CPU, too: a program of so many convolutions takes
# minutes to compile.
MOST_GROUPS = 16


def upsample(x: Float[Array, 'b h w c']) -> Float[Array, 'b 2*h 2*w c']:
    """Nearest-neighbour upsampling by 2."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)


def average_pool(x: Float[Array, 'b h w c']) -> Float[Array, 'b h/2 w/2 c']:
    """Average over 2x2 blocks; `h` and `w` must be even.

    Not `nn.avg_pool`: that adds up bfloat16 in bfloat16, which gives other numbers, and its
    gradient then takes a CPU 4 to 11 times as long (2 cores, jax 0.10.2, 2026-11-29). In
    float32 the values are equal.
    """
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def box(kernel: Float[Array, 'k l i o']) -> Float[Array, 'm n i o']:
    """Full convolution of a kernel with a 2x2 box of ones: 4x4 from 3x3."""
    rows = jnp.pad(kernel, ((1, 0), (0, 0), (0, 0), (0, 0))) + jnp.pad(
        kernel, ((0, 1), (0, 0), (0, 0), (0, 0))
    )
    return jnp.pad(rows, ((0, 0), (1, 0), (0, 0), (0, 0))) + jnp.pad(
        rows, ((0, 0), (0, 1), (0, 0), (0, 0))
    )


def upsample_conv(x: Float[Array, 'b h w i'], kernel: Float[Array, 'k k i o']):
    """Nearest-neighbour upsampling by 2, then a convolution with padding 'SAME' and stride 1."""
    if kernel.shape[:2] == (1, 1):  # a 1x1 convolution commutes with copying pixels
        return upsample(conv(x, kernel))
    if kernel.shape[:2] == (3, 3):
        return strided.transposed(x, box(kernel).astype(x.dtype))
    return conv(upsample(x), kernel)


def conv_pool(x: Float[Array, 'b h w i'], kernel: Float[Array, 'k k i o']):
    """A convolution of padding 'SAME' and stride 1, then 2x2 average pooling of even sizes."""
    if kernel.shape[:2] == (1, 1):  # a 1x1 convolution commutes with averaging pixels
        return conv(average_pool(x), kernel)
    if kernel.shape[:2] == (3, 3):
        return strided.down(x, (box(kernel) / 4).astype(x.dtype))
    return average_pool(conv(x, kernel))


def conv(
    x: Float[Array, '...'],
    kernel: Float[Array, '...'],
    *,
    strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = 'SAME',
    kernel_dilation: Sequence[int] | None = None,
    feature_group_count: int = 1,
) -> Float[Array, '...']:
    """Convolution of channels-last `x` in any number of dimensions (as `flax.linen.Conv`).

    `padding` takes 'CIRCULAR', 'REFLECT' and, in one dimension, 'CAUSAL' as well.
    """
    kernel = kernel.astype(x.dtype)
    rank, size = kernel.ndim - 2, kernel.shape[:-2]
    ones = (1,) * rank
    strides, dilation = tuple(strides or ones), tuple(kernel_dilation or ones)
    if isinstance(padding, str) and padding in ('CIRCULAR', 'REFLECT', 'CAUSAL'):
        x, padding = _padded(x, size, dilation, padding), 'VALID'
    groups = feature_group_count
    divides = groups * kernel.shape[-2] == x.shape[-1] and kernel.shape[-1] % groups == 0
    if 1 < groups <= MOST_GROUPS and divides and parallel.backend() == 'cpu':
        parts = [jnp.split(a, groups, -1) for a in (x, kernel)]
        given = {'strides': strides, 'padding': padding, 'kernel_dilation': dilation}
        return jnp.concatenate([conv(*pair, **given) for pair in zip(*parts, strict=True)], -1)
    if dilation == ones and groups == 1:
        if strides == (2, 2) and size in strided.SAME_PADDING:
            is_even = x.shape[1] % 2 == x.shape[2] % 2 == 0
            if is_even and _is_same(padding, strided.SAME_PADDING[size]):
                return strided.down(x, kernel)
        if strides == (1, 1) and thin.is_faster(kernel.shape):
            if _is_same(padding, [(size[0] // 2, size[0] // 2)] * 2):
                if kernel.shape[2] <= thin.THIN:
                    return thin.widen(x, kernel)
                return thin.narrow(x, kernel[::-1, ::-1].swapaxes(2, 3))
    spatial = 'DHW'[-rank:] if rank <= 3 else ''.join(chr(ord('a') + d) for d in range(rank))
    return lax.conv_general_dilated(
        memory.in_memory(x),
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=(f'N{spatial}C', f'{spatial}IO', f'N{spatial}C'),
        feature_group_count=groups,
    )


def _is_same(padding, same) -> bool:
    """Whether a padding is 'SAME', or the pairs of numbers that 'SAME' stands for."""
    return padding == 'SAME' if isinstance(padding, str) else [*map(tuple, padding)] == same


def _padded(x, size, dilation, padding):
    """`x` with as much around it as 'SAME' would add at stride 1: its other side or its mirror
    image; for 'CAUSAL', zeros before it.
    """
    reach = [(k - 1) * d for k, d in zip(size, dilation, strict=True)]
    if padding == 'CAUSAL':
        if len(size) != 1:
            raise ValueError(
                f"Conv padding='CAUSAL' with kernel_size {size}: one dimension is accepted"
            )
        return jnp.pad(x, [(0, 0), (reach[0], 0), (0, 0)])
    mode = {'CIRCULAR': 'wrap', 'REFLECT': 'reflect'}[padding]
    return jnp.pad(x, [(0, 0), *((n // 2, n - n // 2) for n in reach), (0, 0)], mode=mode)


def conv_transpose(
    x: Float[Array, '...'],
    kernel: Float[Array, '...'],
    *,
    strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = 'SAME',
) -> Float[Array, '...']:
    """`flax.linen.ConvTranspose` of channels-last `x`: the kernel is not flipped.

    With padding 'CIRCULAR' what reaches past one end is added at the other.
    """
    rank = kernel.ndim - 2
    strides = tuple(strides or (1,) * rank)
    if padding == 'CIRCULAR':
        y = lax.conv_transpose(x, kernel, strides, 'VALID')
        for axis, period in enumerate(np.multiply(x.shape[1:-1], strides).tolist(), start=1):
            y = _wrapped(y, axis, period)
        return y
    if kernel.shape[:-2] in strided.SAME_PADDING and strides == (2, 2) and padding == 'SAME':
        return strided.transposed(x, kernel)
    return lax.conv_transpose(x, kernel, strides, padding)


def _wrapped(y, axis, period):
    """Adds up the pieces of `y` of length `period`, which starts half of what is too much later."""
    excess = y.shape[axis] - period
    widths = [(0, 0)] * y.ndim
    widths[axis] = (0, -y.shape[axis] % period)
    pieces = jnp.pad(y, widths)
    pieces = pieces.reshape(*y.shape[:axis], -1, period, *y.shape[axis + 1 :])
    return jnp.roll(pieces.sum(axis), -(excess // 2), axis)
