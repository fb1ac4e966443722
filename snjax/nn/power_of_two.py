"""Exact rescaling, so that norms of tiny and huge weights neither vanish nor overflow."""

import jax.numpy as jnp
from jax import lax

from snjax.shapes import Array, Float


def power_of_two(
    w: Float[Array, '...'], *, axis: tuple[int, ...] | None = None
) -> Float[Array, '...']:
    """The power of two at or below max |w| (so that dividing by it is exact), or 1 for zero; no
    gradient.

    The maximum is over all of `w`, or over `axis`, which is kept as length 1.
    """
    largest = lax.stop_gradient(jnp.max(jnp.abs(w), axis=axis, keepdims=axis is not None))
    # A float without sign and fraction is its power of two. (frexp and ldexp are dozens of
    # operations in every use of every layer, and a good part of the compile time of a training
    # step.)
    info = jnp.finfo(largest.dtype)
    bits = lax.bitcast_convert_type(largest, jnp.dtype(f'int{info.bits}'))
    power = lax.bitcast_convert_type(bits >> info.nmant << info.nmant, largest.dtype)
    return jnp.where(largest > 0, jnp.maximum(power, info.tiny), 1)
