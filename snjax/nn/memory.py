"""A hint that XLA's CPU backend obeys: compute an array once, into memory of its own."""

import jax
import jax.numpy as jnp
from jax import lax

from snjax import parallel
from snjax.shapes import Array, Float


@jax.custom_jvp
def in_memory(x: Float[Array, 'b ...']) -> Float[Array, 'b ...']:
    """`x`, computed once into memory of its own on a CPU; elsewhere, and in derivatives, just `x`.

    The gradient of a kernel reads its image with the batch as the last axis. XLA computes the ReLU
    before the convolution (and batch norm, and bias) once more inside that transposition, which
    then takes several times as long as a plain one. No hint of XLA's prevents it, but writing a
    slice at a position that XLA does not know does.
    """
    return _written(x) if parallel.backend() == 'cpu' else x


@jax.custom_batching.custom_vmap
def _written(x):
    first = x[(0,) * x.ndim]
    zero = (first != first).astype(jnp.int32)  # 1 for NaN, where results are lost anyway
    return lax.dynamic_update_slice(x, x[:1], (zero, *[jnp.int32(0)] * (x.ndim - 1)))


@_written.def_vmap
def _(axis_size, in_batched, x):
    # One position for the whole array: one position per part would be a scatter.
    del axis_size
    return _written(x), in_batched[0]


@in_memory.defjvp
def _(primals, tangents):
    return in_memory(*primals), *tangents
