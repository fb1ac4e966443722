"""Convolutions of stride 2, in forms whose gradients XLA runs well.

A convolution of stride 2 has two companions: its adjoint, which is the transposed convolution, and
the gradient of its kernel. Each is linear in both its arguments, and the derivatives of any of the
three are the other two (`down`, `up` and `kernel_gradient`), to every order, as WGAN-GP's penalty
needs. So each can have the form that suits it.

XLA's CPU backend is slow at the adjoint alone, which it writes as a convolution over zeros. There
it runs phase by phase: a 4x4 or 5x5 kernel is four small ones, one per parity of the output's row
and column. Automatic differentiation of that form is slower, and its second derivative far slower.

These functions know reverse-mode differentiation only (`jax.vjp`, `jax.grad` and what is built on
them, not `jax.jvp`). NHWC images, HWIO kernels of 4x4 or 5x5, even heights and widths.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from snjax import parallel
from snjax.nn import memory
from snjax.shapes import Array, Float

_NHWC = ('NHWC', 'HWIO', 'NHWC')
# What padding 'SAME' is to the kernels that have a fast form, on even sizes.
SAME_PADDING: dict[tuple[int, ...], list[tuple[int, int]]] = {
    (4, 4): [(1, 1), (1, 1)],
    (5, 5): [(1, 2), (1, 2)],
}


def down(
    x: Float[Array, 'b h w i'], kernel: Float[Array, 'k k i o']
) -> Float[Array, 'b h/2 w/2 o']:
    """Convolution of stride 2, padding 'SAME': a pixel before, one (4x4) or two (5x5) after."""
    return _down(memory.in_memory(x), kernel, _precision())


def up(y: Float[Array, 'b h w o'], kernel: Float[Array, 'k k i o']) -> Float[Array, 'b 2*h 2*w i']:
    """The adjoint of `down` in its image: a transposed convolution with `down`'s kernel."""
    return _up(memory.in_memory(y), kernel, _precision())


def kernel_gradient(
    x: Float[Array, 'b h w i'], y: Float[Array, 'b h/2 w/2 o'], size: int
) -> Float[Array, 'k k i o']:
    """The adjoint of `down` in its kernel, which is `size` high and wide."""
    return _kernel_gradient(x, y, size, _precision())


def transposed(
    x: Float[Array, 'b h w i'], kernel: Float[Array, 'k k i o']
) -> Float[Array, 'b 2*h 2*w o']:
    """The value of `lax.conv_transpose(x, kernel, (2, 2), 'SAME')`; the kernel is not flipped."""
    return up(x, kernel[::-1, ::-1].swapaxes(2, 3))


def _precision() -> Any:
    """The precision set at the call, for its derivatives too, which are traced elsewhere."""
    return jax.config.jax_default_matmul_precision


def _plain(x, kernel, precision):
    return lax.conv_general_dilated(
        x, kernel, (2, 2), 'SAME', dimension_numbers=_NHWC, precision=precision
    )


_down = jax.custom_vjp(_plain, nondiff_argnums=(2,))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _up(y, kernel, precision):
    forms = {'cpu': _up_by_phases, 'onnx': _up_of_dilated}
    return forms.get(parallel.backend(), _plain_up)(y, kernel, precision)


def _plain_up(y, kernel, precision):
    b, h, w, _ = y.shape
    image = jax.ShapeDtypeStruct((b, 2 * h, 2 * w, kernel.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: _plain(x, kernel, precision), image)(y)[0]


def _up_of_dilated(y, kernel, precision):
    """`_plain_up` with the kernel as HWIO, which converters to ONNX take for a ConvTranspose."""
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    return lax.conv_transpose(
        y, turned, (2, 2), 'SAME', dimension_numbers=_NHWC, precision=precision
    )


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


def _up_by_phases(y, kernel, precision):
    """`up` without zeros between the pixels.

    Output row 2r sees input rows r and r-1 through kernel rows 1 and 3. Output row 2r+1 sees input
    rows r+1 and r through kernel rows 0 and 2, and r-1 through row 4 of a 5x5 kernel. Columns
    likewise.
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
        # All four phases as channels of one convolution, which has few windows more than the
        # phases.
        i, o = kernel.shape[2:]
        taps = kernel.reshape(2, 2, 2, 2, i, o)[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4)
        z = conv(y, taps.reshape(2, 2, o, 4 * i), padding=[(1, 1), (1, 1)])
        z = z.reshape(b, h + 1, w + 1, 2, 2, i).transpose(0, 1, 3, 2, 4, 5)
        return z.reshape(b, 2 * h + 2, 2 * w + 2, i)[:, 1:-1, 1:-1]
    padded = jnp.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
    # For even and for odd output rows: the first kernel row (then every second), and the first row
    # of `padded` that it meets.
    starts = ((0, 0), (1, 1)) if len(kernel) == 4 else ((1, 0), (0, 0))
    phases = []
    for row, top in starts:
        for column, left in starts:
            taps = turned[row::2, column::2]
            bottom, right = top + h - 1 + taps.shape[0], left + w - 1 + taps.shape[1]
            phases.append(conv(padded[:, top:bottom, left:right], taps, padding='VALID'))
    z = jnp.stack(phases, axis=3).reshape(b, h, w, 2, 2, -1)
    return z.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, -1)
