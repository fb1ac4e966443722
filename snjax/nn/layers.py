"""Dense, Conv, ConvTranspose and Embed with one place where a weight may be normalized before it is
used.

They take the arguments of their `flax.linen` namesakes and have the same parameters (`kernel`,
`bias`, `embedding`; equal shapes and initialization). They differ in two ways: `normalize` is
called on the weight, so that `snjax.spectral` and `snjax.nn.weight_norm` write their normalization
once for all four; and `Conv` knows `resample`, which fuses nearest-neighbour upsampling before it
or average pooling after it (`snjax.nn.convolution`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import canonicalize_dtype, promote_dtype
from flax.linen.linear import canonicalize_padding
from jax import lax

from snjax.nn import convolution
from snjax.shapes import Array, Float, Int

Initializer = Callable[..., Any]
Weight = Float[Array | np.ndarray, '... n']  # a restored weight may be NumPy's
_kernel_init = nn.initializers.lecun_normal()
_embedding_init = nn.initializers.variance_scaling(1.0, 'fan_in', 'normal', out_axis=0)


class Linear(NamedTuple):
    """The map of a layer from its input to its output, without the bias.

    Attributes:
        apply: `apply(x, weight)`, linear in each, with a batch axis first; computes in the type of
            `x`.
        shape: shape of one input, without the batch.
    """

    apply: Callable[[Array, Array], Array]
    shape: tuple[int, ...]


class _Layer(nn.Module):
    """Where normalizations attach: `normalize` maps a raw weight to the weight that is applied.

    The last axis of a weight is the outputs. Convolutions pass `linear`, which knows the size of
    the input; for other layers the matrix `weight` is the whole map.
    """

    def normalize(self, weight: Weight, linear: Linear | None = None) -> Weight:
        return weight

    def _spatial(self, value: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
        if value is None:
            return (1,) * rank
        return (value,) * rank if isinstance(value, int) else tuple(value)

    def _size(self, x: Array) -> tuple[int, ...]:
        """`kernel_size` with one number per dimension of `x` between batch and channels."""
        size = self._spatial(self.kernel_size, x.ndim - 2)
        if len(size) != x.ndim - 2:
            raise ValueError(
                f'{type(self).__name__} kernel_size {size} has {len(size)} dimensions, its input '
                f'{x.shape} has {x.ndim - 2} between batch and channels: give one number for each'
            )
        return size


class Dense(_Layer):
    """Linear layer on the last axis, as `flax.linen.Dense`."""

    features: int
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Initializer = _kernel_init
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Float[Array, '... m']) -> Float[Array, '... n']:
        kernel = self.param(
            'kernel', self.kernel_init, (x.shape[-1], self.features), self.param_dtype
        )
        bias = None
        if self.use_bias:
            bias = self.param('bias', self.bias_init, (self.features,), self.param_dtype)
        x, kernel, bias = promote_dtype(x, self.normalize(kernel), bias, dtype=self.dtype)
        y = x @ kernel
        return y if bias is None else y + bias


class Conv(_Layer):
    """Channels-last convolution, as `flax.linen.Conv`.

    `resample='up'` upsamples by 2 (nearest neighbour) before the convolution, `resample='down'`
    averages 2x2 blocks after it. Both need stride 1 and padding 'SAME', and run in the cheaper
    equal form of `snjax.nn.convolution`.
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = None
    padding: Any = 'SAME'
    kernel_dilation: int | Sequence[int] | None = None
    feature_group_count: int = 1
    use_bias: bool = True
    resample: Literal['up', 'down'] | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Initializer = _kernel_init
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Float[Array, 'b *s m']) -> Float[Array, 'b *t n']:
        rank = x.ndim - 2
        size = self._size(x)
        shape = (*size, x.shape[-1] // self.feature_group_count, self.features)
        kernel = self.param('kernel', self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param('bias', self.bias_init, (self.features,), self.param_dtype)
        linear = Linear(partial(self._convolve, rank=rank), x.shape[1:])
        kernel = jnp.asarray(self.normalize(kernel, linear))
        dtype = canonicalize_dtype(x, kernel, bias, dtype=self.dtype)
        # The kernel is cast later, after `resample` has added up its taps in the kernel's own type.
        y = self._convolve(jnp.asarray(x, dtype), kernel, rank)
        return y if bias is None else y + jnp.asarray(bias, dtype)

    def _convolve(self, x, kernel, rank):
        strides = self._spatial(self.strides, rank)
        dilation = self._spatial(self.kernel_dilation, rank)
        if self.resample is None:
            return convolution.conv(
                x,
                kernel,
                strides=strides,
                padding=canonicalize_padding(self.padding, rank),
                kernel_dilation=dilation,
                feature_group_count=self.feature_group_count,
            )
        plain = {*strides, *dilation, self.feature_group_count} == {1} and self.padding == 'SAME'
        if self.resample not in ('up', 'down') or rank != 2 or not plain:
            raise ValueError(
                f"Conv resample={self.resample!r} with strides {strides}: accepted are 'up' and 'down' "
                "on 2-D images with stride 1, no dilation, one group and padding 'SAME'"
            )
        if self.resample == 'down' and (x.shape[1] % 2 or x.shape[2] % 2):
            raise ValueError(
                f"Conv resample='down' halves {x.shape[1]}x{x.shape[2]} pixels: even heights and widths "
                'are accepted'
            )
        fused = convolution.upsample_conv if self.resample == 'up' else convolution.conv_pool
        return fused(x, kernel)


class ConvTranspose(_Layer):
    """Channels-last `flax.linen.ConvTranspose`: kernel (*size, in, out), not flipped."""

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = None
    padding: Any = 'SAME'
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Initializer = _kernel_init
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Float[Array, 'b *s m']) -> Float[Array, 'b *t n']:
        rank = x.ndim - 2
        shape = (*self._size(x), x.shape[-1], self.features)
        kernel = self.param('kernel', self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param('bias', self.bias_init, (self.features,), self.param_dtype)
        convolve = partial(
            convolution.conv_transpose,
            strides=self._spatial(self.strides, rank),
            padding=canonicalize_padding(self.padding, rank),
        )
        kernel = self.normalize(kernel, Linear(convolve, x.shape[1:]))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = convolve(x, kernel)
        return y if bias is None else y + bias


class Embed(_Layer):
    """Table of `num_embeddings` rows, as `flax.linen.Embed`.

    Integer ids (...,) pick rows; float weights (..., num_embeddings) mix them, `weights @ table`.
    """

    num_embeddings: int
    features: int
    dtype: Any = None
    param_dtype: Any = jnp.float32
    embedding_init: Initializer = _embedding_init

    @nn.compact
    def __call__(self, ids: Int[Array, '...'] | Float[Array, '... k']) -> Float[Array, '... n']:
        mixes = jnp.issubdtype(ids.dtype, jnp.floating)
        if mixes and (not ids.ndim or ids.shape[-1] != self.num_embeddings):
            raise ValueError(
                f'Embed was given {ids.dtype} weights {ids.shape}: integer ids (...,) and float '
                f'weights (..., {self.num_embeddings}) are accepted'
            )
        table = self.param(
            'embedding', self.embedding_init, (self.num_embeddings, self.features), self.param_dtype
        )
        (table,) = promote_dtype(self.normalize(table), dtype=self.dtype, inexact=False)
        if mixes:
            return jnp.dot(ids.astype(table.dtype), table, precision=lax.Precision.HIGHEST)
        return jnp.take(table, ids, axis=0)
