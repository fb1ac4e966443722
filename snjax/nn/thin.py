"""Convolutions from or to an image of few channels, as matrix products.

A convolution from or to an image of at most four channels leaves most of a vector register empty.
On a CPU the pixels that a kernel sees are lined up as channels of a matrix product instead, which
takes a quarter to half of the time (docs/performance.md). `widen`, `narrow` and the gradient of
their kernel are again three maps, each the derivative of the others.

These functions know reverse-mode differentiation only, as those of `snjax.nn.strided`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from snjax import parallel
from snjax.shapes import Array, Float

THIN = 4  # channels of a thin image, at most


def widen(y: Float[Array, 'b h w t'], taps: Float[Array, 'k k t c']) -> Float[Array, 'b h w c']:
    """Convolution of an image of few channels, stride 1, padding 'SAME', kernels of odd size."""
    return _widen(y, taps.reshape(-1, taps.shape[-1]), len(taps), _precision())


def narrow(x: Float[Array, 'b h w c'], taps: Float[Array, 'k k t c']) -> Float[Array, 'b h w t']:
    """The adjoint of `widen` in its image."""
    return _narrow(x, taps.reshape(-1, taps.shape[-1]), len(taps), _precision())


def is_faster(shape: tuple[int, ...]) -> bool:
    """Whether `widen` or `narrow` is the faster form of a kernel (height, width, in, out)."""
    if parallel.backend() != 'cpu' or len(shape) != 4:
        return False
    height, width, *channels = shape
    few, many = min(channels), max(channels)
    # Otherwise the lined-up pixels fill more memory than the layer.
    is_small = height * width * few <= many
    return height == width and height % 2 == 1 and few <= THIN < many and is_small


def _precision() -> Any:
    """The precision set at the call, for its derivatives too, which are traced elsewhere."""
    return jax.config.jax_default_matmul_precision


def _neighbours(y, size):
    """The pixels that a kernel sees at each pixel, (b, h, w, size^2 * t); 0 beyond the edge."""
    h, w, r = y.shape[1], y.shape[2], size // 2
    padded = jnp.pad(y, ((0, 0), (r, r), (r, r), (0, 0)))
    seen = [padded[:, i : i + h, j : j + w] for i in range(size) for j in range(size)]
    return jnp.concatenate(seen, -1)


def _product(x, taps, axes, precision):
    """Contraction along `axes`, summed in float32 or wider, as convolutions are."""
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
def _kernel_gradient(x, y, size, precision):
    # In this order: with the operands exchanged XLA takes three to five times as long.
    gradient = _product(_neighbours(y, size), x, ((0, 1, 2), (0, 1, 2)), precision)
    return gradient.astype(x.dtype)


def _widen_bwd(size, precision, inputs, slope):
    y, taps = inputs
    return _narrow(slope, taps, size, precision), _kernel_gradient(slope, y, size, precision)


def _narrow_bwd(size, precision, inputs, slope):
    x, taps = inputs
    return _widen(slope, taps, size, precision), _kernel_gradient(x, slope, size, precision)


def _kernel_gradient_bwd(size, precision, inputs, slope):
    x, y = inputs
    return _widen(y, slope, size, precision), _narrow(x, slope, size, precision)


_widen.defvjp(lambda y, k, *static: (_widen(y, k, *static), (y, k)), _widen_bwd)
_narrow.defvjp(lambda x, k, *static: (_narrow(x, k, *static), (x, k)), _narrow_bwd)
_kernel_gradient.defvjp(
    lambda x, y, *static: (_kernel_gradient(x, y, *static), (x, y)),
    _kernel_gradient_bwd,
)
