"""Resizing as PIL does it, in JAX."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, UInt8


def pil_bicubic(
    images: UInt8[Array, 'n h w c'], size: int, *, eight_bits: bool
) -> Float[Array, 'n s s c']:
    """PIL's bicubic filter, with antialiasing where images shrink.

    Args:
        images: of any size.
        size: of both sides, in pixels.
        eight_bits: round to integers after each of both passes, first along rows, as PIL does with
            images of 8 bits; or else compute in float32, as clean-fid does (Parmar et al. 2022,
            arXiv:2104.11222).

    Returns:
        Values in [0, 255].
    """
    x = images.astype(jnp.float32)
    for axis in (2, 1):
        if x.shape[axis] == size:
            continue
        shape = tuple(size if i == axis else n for i, n in enumerate(x.shape))
        x = jax.image.resize(x, shape, 'cubic', antialias=True, precision=lax.Precision.HIGHEST)
        if eight_bits:
            x = jnp.clip(jnp.floor(x + 0.5), 0, 255)
    return jnp.clip(x, 0, 255)
