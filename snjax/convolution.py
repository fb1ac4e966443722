"""Convolutions in the forms that XLA runs well: the same sums, fewer or faster operations.

Two identities carry everything here (NHWC images, HWIO kernels, even heights and widths):

* a 4x4 convolution of stride 2 is a 2x2 convolution of stride 1 on `space_to_depth` of its input;
* a 4x4 transposed convolution of stride 2 is four 2x2 convolutions, one per phase of the output.

`box` spreads a 3x3 kernel over 4x4, after which nearest-neighbour upsampling followed by a 3x3 convolution *is* such a
transposed convolution, and a 3x3 convolution followed by 2x2 average pooling *is* such a strided one; both then cost
4/9 of the multiplications. The parameters keep the published shapes, and the results differ from the plain forms by
rounding alone. `box` adds up in the kernel's own type; each function then computes in the type of `x`. Strided and
dilated convolutions have slow gradients on the CPU, which is why these forms are used for the plain 4x4 layers of the
standard CNN too. The 5x5 layers of WGAN-GP's fall into four phases in both directions, 2 or 3 taps high and wide: of
the output where they are transposed, of the input where they are strided.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_NHWC = ('NHWC', 'HWIO', 'NHWC')
# Kernels whose strides of 2 have a fast form, and what 'SAME' is to them on even sizes.
_SAME_STRIDE2: dict[tuple[int, ...], list[tuple[int, int]]] = {
    (4, 4): [(1, 1), (1, 1)],
    (5, 5): [(1, 2), (1, 2)],
}


def space_to_depth(x: Float[Array, 'b h w c']) -> Float[Array, 'b h/2 w/2 4*c']:
    """Moves each 2x2 block of pixels into the channels, ordered (row, column, channel)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)


def upsample(x: Float[Array, 'b h w c']) -> Float[Array, 'b 2*h 2*w c']:
    """Nearest-neighbour upsampling by 2."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)


def average_pool(x: Float[Array, 'b h w c']) -> Float[Array, 'b h/2 w/2 c']:
    """Average over 2x2 blocks; `h` and `w` must be even."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def box(kernel: Float[Array, '3 3 i o']) -> Float[Array, '4 4 i o']:
    """Full convolution of a 3x3 kernel with a 2x2 box of ones."""
    rows = jnp.pad(kernel, ((1, 0), (0, 0), (0, 0), (0, 0))) + jnp.pad(
        kernel, ((0, 1), (0, 0), (0, 0), (0, 0))
    )
    return jnp.pad(rows, ((0, 0), (1, 0), (0, 0), (0, 0))) + jnp.pad(
        rows, ((0, 0), (0, 1), (0, 0), (0, 0))
    )


def conv4x4_stride2(
    x: Float[Array, 'b h w i'], kernel: Float[Array, '4 4 i o']
) -> Float[Array, 'b h/2 w/2 o']:
    """4x4 convolution, stride 2, one pixel of zeros around; `h` and `w` must be even."""
    x = space_to_depth(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))
    i, o = kernel.shape[2:]
    kernel = kernel.reshape(2, 2, 2, 2, i, o).transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * i, o)
    return lax.conv_general_dilated(x, kernel, (1, 1), 'VALID', dimension_numbers=_NHWC)


def conv5x5_stride2(
    x: Float[Array, 'b h w i'], kernel: Float[Array, '5 5 i o']
) -> Float[Array, 'b h/2 w/2 o']:
    """5x5 convolution, stride 2, padding 'SAME', which is one pixel before and two after; `h` and `w` must be even.

    Pixels of even and of odd row and column meet kernel entries of the same parity alone. (A 3x3 convolution on
    `space_to_depth` gives the same, but its second derivative is slower on the CPU.)
    """
    _, h, w, _ = x.shape
    x = jnp.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)))
    phases = []
    for row in (0, 1):
        for column in (0, 1):
            taps = kernel[row::2, column::2]
            bottom, right = row + h + 2 * taps.shape[0] - 2, column + w + 2 * taps.shape[1] - 2
            seen = x[:, row:bottom:2, column:right:2]
            phases.append(
                lax.conv_general_dilated(seen, taps, (1, 1), 'VALID', dimension_numbers=_NHWC)
            )
    return sum(phases[1:], phases[0])


def conv4x4_transpose2(
    x: Float[Array, 'b h w i'], kernel: Float[Array, '4 4 i o']
) -> Float[Array, 'b 2*h 2*w o']:
    """4x4 transposed convolution, stride 2, as `lax.conv_transpose(..., 'SAME')`: the kernel is not flipped.

    Output row 2r sees input rows r-1 and r through kernel rows 0 and 2; output row 2r+1 sees r and r+1 through kernel
    rows 1 and 3. Columns likewise.
    """
    return _transpose_phases(x, kernel, ((0, 0), (1, 1)))


def conv5x5_transpose2(
    x: Float[Array, 'b h w i'], kernel: Float[Array, '5 5 i o']
) -> Float[Array, 'b 2*h 2*w o']:
    """5x5 transposed convolution, stride 2, as `lax.conv_transpose(..., 'SAME')`: the kernel is not flipped.

    Output row 2r sees input rows r-1 and r through kernel rows 1 and 3; output row 2r+1 sees r-1, r and r+1 through
    kernel rows 0, 2 and 4. Columns likewise.
    """
    return _transpose_phases(x, kernel, ((1, 0), (0, 0)))


def _transpose_phases(x, kernel, starts):
    """Transposed convolution of stride 2, one of the output's phases at a time.

    `starts` says of the even and of the odd output rows (and columns) which kernel row comes first, every other one
    following, and how far after input row r-1 it meets the image.
    """
    b, h, w, _ = x.shape
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    phases = []
    for tap, top in starts:
        for other, left in starts:
            taps = kernel[tap::2, other::2]
            bottom, right = top + h - 1 + taps.shape[0], left + w - 1 + taps.shape[1]
            seen = x[:, top:bottom, left:right]
            phases.append(
                lax.conv_general_dilated(seen, taps, (1, 1), 'VALID', dimension_numbers=_NHWC)
            )
    y = jnp.stack(phases, axis=3).reshape(b, h, w, 2, 2, -1)
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, -1)


def upsample_conv(x: Float[Array, 'b h w i'], kernel: Float[Array, 'k k i o']):
    """Nearest-neighbour upsampling by 2, then a convolution with padding 'SAME' and stride 1."""
    if kernel.shape[:2] == (1, 1):  # a 1x1 convolution commutes with copying pixels
        return upsample(conv(x, kernel))
    if kernel.shape[:2] == (3, 3):
        return conv4x4_transpose2(x, box(kernel).astype(x.dtype))
    return conv(upsample(x), kernel)


def conv_pool(x: Float[Array, 'b h w i'], kernel: Float[Array, 'k k i o']):
    """A convolution with padding 'SAME' and stride 1, then 2x2 average pooling; `h` and `w` must be even."""
    if kernel.shape[:2] == (1, 1):  # a 1x1 convolution commutes with averaging pixels
        return conv(average_pool(x), kernel)
    if kernel.shape[:2] == (3, 3):
        return conv4x4_stride2(x, (box(kernel) / 4).astype(x.dtype))
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
    """Convolution of channels-last `x` with any number of spatial dimensions (as `flax.linen.Conv`)."""
    kernel = kernel.astype(x.dtype)
    rank = kernel.ndim - 2
    strides = tuple(strides or (1,) * rank)
    ones = (1,) * rank
    dilation = tuple(kernel_dilation or ones)
    size = kernel.shape[:-2]
    if (
        size in _SAME_STRIDE2
        and strides == (2, 2)
        and dilation == ones
        and feature_group_count == 1
        and (padding == 'SAME' or [*map(tuple, padding)] == _SAME_STRIDE2[size])
        and x.shape[1] % 2 == x.shape[2] % 2 == 0
    ):
        return conv4x4_stride2(x, kernel) if size == (4, 4) else conv5x5_stride2(x, kernel)
    spatial = 'DHW'[-rank:] if rank <= 3 else ''.join(chr(ord('a') + d) for d in range(rank))
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=(f'N{spatial}C', f'{spatial}IO', f'N{spatial}C'),
        feature_group_count=feature_group_count,
    )


def conv_transpose(
    x: Float[Array, '...'],
    kernel: Float[Array, '...'],
    *,
    strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = 'SAME',
) -> Float[Array, '...']:
    """Transposed convolution of channels-last `x` (as `flax.linen.ConvTranspose`: the kernel is not flipped)."""
    rank = kernel.ndim - 2
    strides = tuple(strides or (1,) * rank)
    if kernel.shape[:-2] == (4, 4) and strides == (2, 2) and padding == 'SAME':
        return conv4x4_transpose2(x, kernel)
    if kernel.shape[:-2] == (5, 5) and strides == (2, 2) and padding == 'SAME':
        return conv5x5_transpose2(x, kernel)
    return lax.conv_transpose(x, kernel, strides, padding)
