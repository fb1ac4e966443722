"""Convolutions in the forms that XLA runs well: the same sums, fewer or faster operations.

NHWC images, HWIO kernels, even heights and widths where a stride divides them. Two things are done here:

* **Fewer multiplications.** `box` spreads a 3x3 kernel over 4x4, after which nearest-neighbour upsampling followed by a
  3x3 convolution *is* a 4x4 transposed convolution of stride 2, and a 3x3 convolution followed by 2x2 average pooling
  *is* a 4x4 convolution of stride 2; both then cost 4/9. The parameters keep the published shapes, and the results
  differ from the plain forms by rounding alone. `box` adds up in the kernel's own type; each function then computes in
  the type of `x`.
* **Faster gradients of strides.** A convolution of stride 2 has two companions: its adjoint, which is the transposed
  convolution, and the gradient of its kernel. Each is linear in both its arguments, and the derivatives of any of the
  three are the other two (`down`, `up` and `kernel_gradient`, to every order, as WGAN-GP's penalty needs). So each can
  have the form that suits it. XLA's CPU backend is slow at the adjoint alone, which it writes as a convolution over
  zeros; there it runs phase by phase, a 4x4 or 5x5 kernel being four small ones, one per parity of the output's row and
  column. Left to automatic differentiation the same rewriting is slower, and its second derivative by far.
* **Matrix products for thin images.** A convolution from or to an image of at most four channels leaves most of a
  vector register empty. On a CPU the pixels that a kernel sees are lined up as channels of a matrix product instead
  (`widen`, `narrow` and their kernel's gradient: again three maps, each the derivative of the others), which takes a
  quarter to half of the time (docs/performance.md).

The price of the last two is that these forms know reverse-mode differentiation only (`jax.vjp`, `jax.grad` and whatever
is made of them, not `jax.jvp`).
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from snjax import parallel

_NHWC = ('NHWC', 'HWIO', 'NHWC')
_THIN = 4  # channels of a thin image, at most
# Kernels whose strides of 2 have a fast form, and what 'SAME' is to them on even sizes.
_SAME_STRIDE2: dict[tuple[int, ...], list[tuple[int, int]]] = {
    (4, 4): [(1, 1), (1, 1)],
    (5, 5): [(1, 2), (1, 2)],
}


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


@jax.custom_jvp
def in_memory(x: Float[Array, 'b ...']) -> Float[Array, 'b ...']:
    """`x`, computed once into memory of its own, for XLA's CPU backend; elsewhere and in derivatives just `x`.

    The gradient of a kernel reads its image with the batch as the last axis. XLA computes the ReLU before it (and batch
    norm, and bias) once more inside that transposition, which then takes several times as long as a plain one. No hint
    keeps it from that, but a slice that is written at a place unknown to it does.
    """
    return _written(x) if parallel.backend() == 'cpu' else x


@jax.custom_batching.custom_vmap
def _written(x):
    first = x[(0,) * x.ndim]
    zero = (first != first).astype(jnp.int32)  # not so for NaN, where nothing matters any more
    return lax.dynamic_update_slice(x, x[:1], (zero, *[jnp.int32(0)] * (x.ndim - 1)))


@_written.def_vmap
def _(axis_size, in_batched, x):
    # One place for the whole array: one for each of its parts would be a scatter.
    del axis_size
    return _written(x), in_batched[0]


@in_memory.defjvp
def _(primals, tangents):
    return in_memory(*primals), *tangents


# ---- stride 2: three maps, each the derivative of the others


def down(
    x: Float[Array, 'b h w i'], kernel: Float[Array, 'k k i o']
) -> Float[Array, 'b h/2 w/2 o']:
    """4x4 or 5x5 convolution, stride 2, padding 'SAME' (a pixel before, one or two after); `h` and `w` must be even."""
    return _down(in_memory(x), kernel, _precision())


def up(y: Float[Array, 'b h w o'], kernel: Float[Array, 'k k i o']) -> Float[Array, 'b 2*h 2*w i']:
    """The adjoint of `down` in its image: a transposed convolution whose kernel is the convolution's."""
    return _up(in_memory(y), kernel, _precision())


def kernel_gradient(
    x: Float[Array, 'b h w i'], y: Float[Array, 'b h/2 w/2 o'], size: int
) -> Float[Array, 'k k i o']:
    """The adjoint of `down` in its kernel, which is `size` high and wide."""
    return _kernel_gradient(x, y, size, _precision())


def _plain(x, kernel, precision):
    return lax.conv_general_dilated(
        x, kernel, (2, 2), 'SAME', dimension_numbers=_NHWC, precision=precision
    )


_down = jax.custom_vjp(_plain, nondiff_argnums=(2,))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _up(y, kernel, precision):
    form = _up_by_phases if parallel.backend() == 'cpu' else _plain_up
    return form(y, kernel, precision)


def _plain_up(y, kernel, precision):
    b, h, w, _ = y.shape
    image = jax.ShapeDtypeStruct((b, 2 * h, 2 * w, kernel.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: _plain(x, kernel, precision), image)(y)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _kernel_gradient(x, y, size, precision):
    kernel = jax.ShapeDtypeStruct((size, size, x.shape[-1], y.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda k: _plain(x, k, precision), kernel)(y)[0]


def _down_bwd(precision, inputs, slope):
    x, kernel = inputs
    return _up(slope, kernel, precision), _kernel_gradient(x, slope, len(kernel), precision)


def _up_bwd(precision, inputs, slope):
    y, kernel = inputs
    return _down(slope, kernel, precision), _kernel_gradient(slope, y, len(kernel), precision)


def _kernel_gradient_bwd(size, precision, inputs, slope):
    x, y = inputs
    return _up(y, slope, precision), _down(x, slope, precision)


_down.defvjp(lambda x, k, precision: (_down(x, k, precision), (x, k)), _down_bwd)
_up.defvjp(lambda y, k, precision: (_up(y, k, precision), (y, k)), _up_bwd)
_kernel_gradient.defvjp(
    lambda x, y, size, precision: (_kernel_gradient(x, y, size, precision), (x, y)),
    _kernel_gradient_bwd,
)


def _precision() -> Any:
    """Of this place: derivatives are traced elsewhere, and should have it too."""
    return jax.config.jax_default_matmul_precision


def _up_by_phases(y, kernel, precision):
    """`up` without zeros between the pixels.

    Output row 2r sees input rows r and r-1 through kernel rows 1 and 3, output row 2r+1 sees r+1 and r through kernel
    rows 0 and 2, and in between r-1 through row 4 of a 5x5 kernel. Columns likewise.
    """
    b, h, w, _ = y.shape
    conv = functools.partial(
        lax.conv_general_dilated,
        window_strides=(1, 1),
        dimension_numbers=_NHWC,
        precision=precision,
    )
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    if len(kernel) == 4 and (h + 1) * (w + 1) <= 1.3 * h * w:
        # All four phases as channels of one convolution, whose windows are those of the phases and few more.
        i, o = kernel.shape[2:]
        taps = kernel.reshape(2, 2, 2, 2, i, o)[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4)
        z = conv(y, taps.reshape(2, 2, o, 4 * i), padding=[(1, 1), (1, 1)])
        z = z.reshape(b, h + 1, w + 1, 2, 2, i).transpose(0, 1, 3, 2, 4, 5)
        return z.reshape(b, 2 * h + 2, 2 * w + 2, i)[:, 1:-1, 1:-1]
    padded = jnp.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
    # Of even and of odd output rows: the first kernel row, every other one following, and where it meets the input.
    starts = ((0, 0), (1, 1)) if len(kernel) == 4 else ((1, 0), (0, 0))
    phases = []
    for row, top in starts:
        for column, left in starts:
            taps = turned[row::2, column::2]
            bottom, right = top + h - 1 + taps.shape[0], left + w - 1 + taps.shape[1]
            phases.append(conv(padded[:, top:bottom, left:right], taps, padding='VALID'))
    z = jnp.stack(phases, axis=3).reshape(b, h, w, 2, 2, -1)
    return z.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, -1)


def _transposed(x, kernel):
    """As `lax.conv_transpose(x, kernel, (2, 2), 'SAME')`, which does not turn the kernel."""
    return up(x, kernel[::-1, ::-1].swapaxes(2, 3))


# ---- thin images: three maps, each the derivative of the others


def widen(y: Float[Array, 'b h w t'], taps: Float[Array, 'k k t c']) -> Float[Array, 'b h w c']:
    """Convolution of an image of few channels, stride 1, padding 'SAME', as a matrix product; kernels of odd size."""
    return _widen(y, taps.reshape(-1, taps.shape[-1]), len(taps), _precision())


def narrow(x: Float[Array, 'b h w c'], taps: Float[Array, 'k k t c']) -> Float[Array, 'b h w t']:
    """The adjoint of `widen` in its image."""
    return _narrow(x, taps.reshape(-1, taps.shape[-1]), len(taps), _precision())


def _neighbours(y, size):
    """What a kernel sees from every pixel, (b, h, w, size * size * t); nothing beyond the edge."""
    h, w, r = y.shape[1], y.shape[2], size // 2
    padded = jnp.pad(y, ((0, 0), (r, r), (r, r), (0, 0)))
    seen = [padded[:, i : i + h, j : j + w] for i in range(size) for j in range(size)]
    return jnp.concatenate(seen, -1)


def _product(x, taps, axes, precision):
    """Contracted along `axes`, in float32 at least, as convolutions add up."""
    kind = jnp.promote_types(x.dtype, jnp.float32)
    return lax.dot_general(x, taps, (axes, ((), ())), precision, preferred_element_type=kind)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _widen(y, taps, size, precision):
    return _product(_neighbours(y, size), taps, ((3,), (0,)), precision).astype(y.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _narrow(x, taps, size, precision):
    seen = _product(x, taps, ((3,), (1,)), precision)
    image = jax.ShapeDtypeStruct((*x.shape[:3], len(taps) // size**2), seen.dtype)
    summed = jax.linear_transpose(lambda y: _neighbours(y, size), image)(seen)[0]
    return summed.astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _thin_kernel_gradient(x, y, size, precision):
    # In this order: the other way round XLA takes three to five times as long.
    gradient = _product(_neighbours(y, size), x, ((0, 1, 2), (0, 1, 2)), precision)
    return gradient.astype(x.dtype)


def _widen_bwd(size, precision, inputs, slope):
    y, taps = inputs
    return _narrow(slope, taps, size, precision), _thin_kernel_gradient(slope, y, size, precision)


def _narrow_bwd(size, precision, inputs, slope):
    x, taps = inputs
    return _widen(slope, taps, size, precision), _thin_kernel_gradient(x, slope, size, precision)


def _thin_kernel_gradient_bwd(size, precision, inputs, slope):
    x, y = inputs
    return _widen(y, slope, size, precision), _narrow(x, slope, size, precision)


_widen.defvjp(lambda y, k, *static: (_widen(y, k, *static), (y, k)), _widen_bwd)
_narrow.defvjp(lambda x, k, *static: (_narrow(x, k, *static), (x, k)), _narrow_bwd)
_thin_kernel_gradient.defvjp(
    lambda x, y, *static: (_thin_kernel_gradient(x, y, *static), (x, y)),
    _thin_kernel_gradient_bwd,
)


# ---- with resampling, and whatever a layer asks for


def upsample_conv(x: Float[Array, 'b h w i'], kernel: Float[Array, 'k k i o']):
    """Nearest-neighbour upsampling by 2, then a convolution with padding 'SAME' and stride 1."""
    if kernel.shape[:2] == (1, 1):  # a 1x1 convolution commutes with copying pixels
        return upsample(conv(x, kernel))
    if kernel.shape[:2] == (3, 3):
        return _transposed(x, box(kernel).astype(x.dtype))
    return conv(upsample(x), kernel)


def conv_pool(x: Float[Array, 'b h w i'], kernel: Float[Array, 'k k i o']):
    """A convolution with padding 'SAME' and stride 1, then 2x2 average pooling; `h` and `w` must be even."""
    if kernel.shape[:2] == (1, 1):  # a 1x1 convolution commutes with averaging pixels
        return conv(average_pool(x), kernel)
    if kernel.shape[:2] == (3, 3):
        return down(x, (box(kernel) / 4).astype(x.dtype))
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
        return down(x, kernel)
    if _is_thin(kernel.shape, strides, padding, dilation, feature_group_count):
        if kernel.shape[2] <= _THIN:
            return widen(x, kernel)
        return narrow(x, kernel[::-1, ::-1].swapaxes(2, 3))
    spatial = 'DHW'[-rank:] if rank <= 3 else ''.join(chr(ord('a') + d) for d in range(rank))
    return lax.conv_general_dilated(
        in_memory(x),
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=(f'N{spatial}C', f'{spatial}IO', f'N{spatial}C'),
        feature_group_count=feature_group_count,
    )


def _is_thin(shape, strides, padding, dilation, feature_group_count):
    """Whether a kernel is one for `widen` or `narrow`, which are faster on CPUs alone."""
    return (
        parallel.backend() == 'cpu'
        and len(shape) == 4
        and shape[0] == shape[1]
        and shape[0] % 2 == 1
        and min(shape[2:]) <= _THIN < max(shape[2:])
        and shape[0] * shape[1] * min(shape[2:])
        <= max(shape[2:])  # else what is seen fills more memory than the layer
        and strides == dilation == (1, 1)
        and feature_group_count == 1
        and (padding == 'SAME' or [*map(tuple, padding)] == [(shape[0] // 2,) * 2] * 2)
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
    if kernel.shape[:-2] in _SAME_STRIDE2 and strides == (2, 2) and padding == 'SAME':
        return _transposed(x, kernel)
    return lax.conv_transpose(x, kernel, strides, padding)
