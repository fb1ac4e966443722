"""A convolution by its form: its map of images, and a convolution of a torus that bounds it."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from snjax.nn import convolution, layers
from snjax.nn.power_of_two import power_of_two
from snjax.shapes import Array, Float
from snjax.spectral.fourier import Size, gram_iteration, torus_bound
from snjax.spectral.lanczos import map_norm

Kernel = Float[Array, 'a b i o']
Padding = str | Sequence[tuple[int, int]]


class Form(NamedTuple):
    """How a layer applies its kernel (a, b, i, o).

    Attributes:
        strides: for each axis.
        padding: 'SAME', 'VALID', 'CIRCULAR' or a pair for each axis.
        transpose: a transposed convolution.
        resample: 'up' or 'down' (`snjax.nn.layers.Conv`), or None.
    """

    strides: Size
    padding: Any
    transpose: bool
    resample: str | None


@functools.partial(jax.jit, static_argnums=1)
def matrix_bound(matrix: Float[Array, 'm n'], n_iterations: int) -> Float[Array, '']:
    """`gram_iteration` of a matrix of any scale."""
    scale = power_of_two(matrix)
    return gram_iteration(matrix / scale, n_iterations) * scale


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def bound(kernel: Kernel, size: Size, form: Form, n_iterations: int) -> Float[Array, '']:
    """An upper bound of `norm`, by the torus that has room for the image and its padding."""
    kernel, torus, strides = _on_torus(kernel, size, form)
    scale = power_of_two(kernel)
    return torus_bound(kernel / scale, torus, strides, n_iterations) * scale


def _on_torus(kernel, size, form):
    """A convolution (kernel, size, strides) of a torus whose norm bounds that of a layer."""
    strides, padding, transpose, resample = form
    taps = kernel.shape[:2]
    if resample == 'down':
        kernel, strides = convolution.box(kernel) / 4, (2, 2)
        size = [n + k - 1 for n, k in zip(size, taps, strict=True)]
    elif resample == 'up':  # the transpose of pooling by sums after the transposed kernel
        kernel, strides = convolution.box(kernel.swapaxes(2, 3)), (2, 2)
        size = [2 * n + k - 1 for n, k in zip(size, taps, strict=True)]
    elif transpose:
        kernel = kernel.swapaxes(2, 3)
        more = [0 if padding == 'CIRCULAR' else k - 1 for k in taps]
        size = [n * s + k for n, s, k in zip(size, strides, more, strict=True)]
    elif padding != 'CIRCULAR':
        pairs = padding
        if isinstance(padding, str):
            pairs = jax.lax.padtype_to_pads(size, taps, strides, padding)
        size = [n + low + high for n, (low, high) in zip(size, pairs, strict=True)]
    return kernel, tuple(-(-n // s) * s for n, s in zip(size, strides, strict=True)), strides


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def norm(kernel: Kernel, size: Size, form: Form, n_steps: int) -> Float[Array, '']:
    """The norm of the layer's map of an image (h, w), by `snjax.spectral.lanczos`."""
    strides, padding, transpose, resample = form
    if padding == 'CIRCULAR' and transpose:  # the norm of its transpose, a convolution of the torus
        kernel, transpose = kernel.swapaxes(2, 3), False
        size = tuple(n * s for n, s in zip(size, strides, strict=True))
    apply: Any
    if padding == 'CIRCULAR':
        around = [((k - 1) // 2, k // 2) for k in kernel.shape[:2]]

        def on_torus(x, w):
            x = jnp.pad(x, [(0, 0), *around, (0, 0)], mode='wrap')
            return convolution.conv(x, w, strides=strides, padding='VALID')

        apply = on_torus
    elif resample:
        apply = convolution.upsample_conv if resample == 'up' else convolution.conv_pool
    else:
        plain = convolution.conv_transpose if transpose else convolution.conv
        apply = functools.partial(plain, strides=strides, padding=padding)
    return map_norm(layers.Linear(apply, (*size, kernel.shape[2])), kernel, n_steps)


def pair(strides: Any) -> Size:
    """One number for each axis."""
    return (strides, strides) if isinstance(strides, int) else tuple(strides)


def checked(strides: Any, padding: Padding, transpose: bool, resample: str | None) -> Form:
    """The form that these arguments describe; ValueError for one that no layer has."""
    strides = pair(strides)
    hashable = padding if isinstance(padding, str) else tuple(map(tuple, padding))
    if resample not in (None, 'up', 'down'):
        raise ValueError(f"resample is {resample!r}: 'up', 'down' and None are accepted")
    if resample and (strides != (1, 1) or hashable != 'SAME' or transpose):
        raise ValueError(
            f"resample={resample!r} is of a convolution with strides 1 and padding 'SAME', not "
            f'strides={strides}, padding={hashable!r}, transpose={transpose}'
        )
    return Form(strides, hashable, transpose, resample)
