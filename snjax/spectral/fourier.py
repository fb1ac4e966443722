"""Convolutions on a torus: one small matrix for each frequency, with all singular values of the
layer.

A circular convolution of stride 1 is block diagonal in the Fourier basis, with the kernel's
transform at each frequency as a block (inputs, outputs) (Sedghi et al. 2019, arXiv:1805.10408,
Theorem 6). A stride of s keeps every s-th row and column. Then the s^2 frequencies that differ by a
multiple of size / s become one, and their blocks one block (s^2 inputs, outputs), divided by s.

Other paddings have an upper bound in it. An image with zeros around it is an image on a torus that
is as large as both, and the layer's outputs are some of those on the torus. So the layer's norm is
at most that of the torus, which is at most what Gram iteration gives (Delattre et al. 2023,
arXiv:2305.16173).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from snjax.shapes import Array, Complex, Float

Size = tuple[int, ...]  # of the two axes of an image


def frequency_row(
    kernel: Float[Array, 'a b i o'], row: Array | int, size: Size, strides: Size
) -> Complex[Array, 'w p o']:
    """The blocks of one row of frequencies of a circular convolution, which is row 0 to
    size[0] / strides[0] - 1.

    Args:
        kernel: of the convolution.
        row: which of them.
        size: height and width of the torus; the strides divide them, and kernels may be larger.
        strides: of the convolution.
    """
    (height, width), (down, across) = size, strides
    rows = row + jnp.arange(down) * (height // down)
    columns = jnp.arange(width // across)[:, None] + jnp.arange(across) * (width // across)
    at = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)
    seen = at('aj,abio->jbio', _phases(len(kernel), rows, height), kernel)
    blocks = at('bcl,jbio->cjlio', _phases(kernel.shape[1], columns, width), seen)
    blocks = blocks.reshape(len(columns), -1, kernel.shape[-1])
    return blocks / np.sqrt(down * across)


def _phases(taps, frequencies, size):
    # Whole numbers are reduced first: large angles would lose digits.
    turns = jnp.multiply.outer(jnp.arange(taps), frequencies) % size
    return jnp.exp(-2j * np.pi / size * turns)


@functools.partial(jax.jit, static_argnums=(1, 2))
def all_blocks(
    kernel: Float[Array, 'a b i o'], size: Size, strides: Size
) -> Complex[Array, 'h w p o']:
    """The blocks of all frequencies: (size / strides) of them."""
    rows = jnp.arange(size[0] // strides[0])
    return lax.map(lambda row: frequency_row(kernel, row, size, strides), rows)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def torus_bound(
    kernel: Float[Array, 'a b i o'], size: Size, strides: Size, n_iterations: int
) -> Float[Array, '']:
    """An upper bound of the norm of a circular convolution: the largest of its blocks' bounds.

    Row after row, because all blocks of a large layer do not fit into memory. A real kernel has
    conjugate blocks at opposite frequencies, so half of the rows suffice.
    """

    def of_row(row):
        return jnp.max(gram_iteration(frequency_row(kernel, row, size, strides), n_iterations))

    return jnp.max(lax.map(of_row, jnp.arange(size[0] // strides[0] // 2 + 1)))


def gram_iteration(
    matrices: Complex[Array, '*k p q'] | Float[Array, '*k p q'], n_iterations: int
) -> Float[Array, '*k']:
    """Upper bounds of the norms of matrices: Algorithm 1 of Delattre et al. 2023.

    M becomes M^H M, whose largest singular value is the square, `n_iterations` times, and is
    divided by its Frobenius norm before each, so that nothing overflows. The Frobenius norm at the
    end exceeds the largest singular value by a factor that shrinks to the power 2^-n: with rank r
    the bound is at most r^(2^-(n + 1)) times the norm. Each bound is an upper one up to float32's
    rounding.
    """
    m = matrices
    if m.shape[-2] < m.shape[-1]:  # the smaller of the two Gram matrices
        m = jnp.swapaxes(m, -1, -2)
    log = jnp.zeros(m.shape[:-2])
    for i in range(n_iterations):
        length = _frobenius(m)
        log += jnp.log(length) / 2**i
        m = m / length[..., None, None]
        m = jnp.matmul(jnp.swapaxes(m, -1, -2).conj(), m, precision=lax.Precision.HIGHEST)
    bound = jnp.exp(log + jnp.log(_frobenius(m)) / 2**n_iterations)
    return jnp.where(jnp.any(matrices != 0, (-1, -2)), bound, 0)


def _frobenius(m):
    length = jnp.sqrt(jnp.sum(jnp.square(jnp.abs(m)), (-1, -2)))
    return jnp.where(length == 0, 1, length)
