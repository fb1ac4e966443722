"""Spectral normalization for Flax NNX (Miyato et al. 2018, arXiv:1802.05957).

`SNLinear`, `SNConv`, `SNConvTranspose` and `SNEmbed` take the place of their `flax.nnx` namesakes
and are subclasses of them: the same arguments, parameters and initialization. `SpectralNorm` wraps
any other layer (`snjax.spectral.nnx_wrapper`).

    layer = SNLinear(3, 10, rngs=nnx.Rngs(0))    # makes u and v, and runs the first iteration
    y = layer(x)                                 # training: u advances by one iteration first
    layer.eval()                                 # or model.eval(); train() goes back
    y = layer(x)                                 # frozen: divides by sigma, changes nothing
    y = layer(x, update_stats=True)              # whatever the mode
    layer.spectral.sigma[...]                    # the largest singular value

u, v and sigma are Variables of the type `Spectral`: `nnx.state(model, Spectral)` finds them, and an
`nnx.Optimizer(..., wrt=nnx.Param)` leaves them alone. The parameter is never overwritten.

The mathematics, the options and the numbers are those of `snjax.spectral.linen`, which explains
them: with the same arrays the layers compute the same bits. As there, convolutions run in the forms
of `snjax.nn.convolution`, which know reverse-mode differentiation only; any further argument of the
namesakes (`precision`, `input_dilation`, another `conv_general_dilated`) is handed on to Flax.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from snjax.nn import convolution, strided
from snjax.nn.layers import Linear
from snjax.spectral.nnx_wrapper import Spectral, SpectralNorm, seen_with, start
from snjax.spectral.power_iteration import (
    Operator,
    View,
    check_options,
    divide,
    estimate,
    views,
)

__all__ = ['SNConv', 'SNConvTranspose', 'SNEmbed', 'SNLinear', 'Spectral', 'SpectralNorm']


class _Normalized(nnx.Module):
    """Mixin that divides a layer's weight by its largest singular value.

    Args:
        *args, **kwargs: of the namesake in `flax.nnx`.
        n_power_iterations, n_warmup_iterations, operator, learnable_scale, lipschitz, divide:
            explained in `snjax.spectral.linen`.
        image_shape: height and width (any number of dimensions) of the images that a convolution
            with `operator='convolution'` will see; other layers need none.
        update_stats: False starts in evaluation mode.
        rngs: the weight is drawn as the namesake draws it, and then u.

    Attributes:
        spectral: `u`, `v` and `sigma`, Variables of the type `Spectral`.
        gamma: the learned factor, with `learnable_scale`.
        use_running_average: True in evaluation mode; `train()` and `eval()` set it.
    """

    weight_name: ClassVar[str] = 'kernel'

    def __init__(
        self,
        *args: Any,
        rngs: nnx.Rngs,
        n_power_iterations: int = 1,
        n_warmup_iterations: int = 0,
        operator: Operator = 'reshaped',
        learnable_scale: bool = False,
        lipschitz: float = 1.0,
        divide: bool = True,
        image_shape: Sequence[int] | None = None,
        update_stats: bool = True,
        **kwargs: Any,
    ):
        check_options(
            type(self).__name__,
            operator=operator,
            lipschitz=lipschitz,
            learnable_scale=learnable_scale,
            divide=divide,
        )
        namesake: Any = super()
        namesake.__init__(*args, rngs=rngs, **kwargs)
        self.n_power_iterations = n_power_iterations
        self.operator: Operator = operator
        self.lipschitz = lipschitz
        self.divide = divide
        self.image_shape = None if image_shape is None else tuple(image_shape)
        self.use_running_average = not update_stats
        self.gamma = nnx.data(None)
        if learnable_scale:
            self.gamma = nnx.Param(jnp.ones((), self.param_dtype))
        self.spectral = start(self._views(self._weight()), rngs, n_warmup_iterations)

    def __call__(
        self, inputs: jax.Array | np.ndarray, update_stats: bool | None = None, **kwargs: Any
    ):
        """As the namesake, with the normalized weight.

        Args:
            inputs, **kwargs: of the namesake.
            update_stats: whether u advances first; None does what the mode says.
        """
        return self._apply(self.normalized(update_stats), inputs, **kwargs)

    def normalized(self, update_stats: bool | None = None) -> jax.Array:
        """The weight that is applied; u advances first if `update_stats`, or the mode, says so."""
        weight = self._weight()
        advances = not self.use_running_average if update_stats is None else update_stats
        sigma, new = estimate(
            self._views(weight),
            {name: variable[...] for name, variable in self.spectral.items()},
            n_steps=self.n_power_iterations if advances else 0,
        )
        for name, value in new.items():
            self.spectral[name].set_value(value)
        if not self.divide:
            return weight
        normalized = divide(weight, sigma)
        if self.lipschitz != 1:
            normalized = self.lipschitz * normalized
        if self.gamma is not None:
            normalized = jnp.asarray(self.gamma[...], sigma.dtype) * normalized
        return normalized.astype(weight.dtype)

    def _weight(self) -> jax.Array:
        """The raw weight, masked where the namesake masks it."""
        weight = jnp.asarray(getattr(self, self.weight_name)[...])
        mask = getattr(self, 'mask', None)
        if mask is None:
            return weight
        if mask.shape != weight.shape:
            raise ValueError(
                f'{type(self).__name__} mask has the shape {mask.shape}, the weight '
                f'{weight.shape}: give the mask that of the weight'
            )
        return weight * mask

    def _views(self, weight: jax.Array) -> Mapping[str, View]:
        return views(weight, self.operator)

    def _apply(self, weight: jax.Array, inputs: jax.Array | np.ndarray, **kwargs: Any) -> jax.Array:
        """The namesake's output with another weight."""
        raise NotImplementedError


class SNLinear(_Normalized, nnx.Linear):
    """`flax.nnx.Linear` with a spectrally normalized kernel (in, out); the bias is left alone."""

    def _apply(self, weight, inputs, **kwargs):
        return nnx.Linear.__call__(seen_with(self, kernel=weight), jnp.asarray(inputs), **kwargs)


class _Convolution(_Normalized):
    """What the two convolutions share: their map, for `operator='convolution'`."""

    def _views(self, weight):
        if self.operator != 'convolution':
            return views(self._inputs_by_outputs(weight), self.operator)
        if self.image_shape is None or len(self.image_shape) != len(self.kernel_size):
            raise ValueError(
                f"{type(self).__name__} operator='convolution' with image_shape={self.image_shape}: "
                f'give the {len(self.kernel_size)} sizes of its images, as image_shape=(32, 32)'
            )
        # sigma is found in its own type, without the bias and at the highest precision.
        kept = {'bias': None, 'use_bias': False, 'dtype': None, 'precision': None}
        kept['preferred_element_type'] = None

        def linear(x, w):
            return self._apply(w, x, **kept)

        return views(weight, self.operator, Linear(linear, (*self.image_shape, self.in_features)))

    def _inputs_by_outputs(self, weight):
        """The kernel with the outputs as its last axis."""
        return weight


class SNConv(_Convolution, nnx.Conv):
    """`flax.nnx.Conv` with a spectrally normalized kernel, as the matrix (size * in, out)."""

    def _apply(self, weight, inputs, *, out_sharding=None, **others):
        forms = {'kernel': weight, 'mask': None, **others}
        if self.conv_general_dilated is lax.conv_general_dilated:
            forms['conv_general_dilated'] = _conv
        given = {} if out_sharding is None else {'out_sharding': out_sharding}
        return nnx.Conv.__call__(seen_with(self, **forms), jnp.asarray(inputs), **given)


class SNConvTranspose(_Convolution, nnx.ConvTranspose):
    """`flax.nnx.ConvTranspose`; its kernel is normalized as the matrix (size * in, out)."""

    def _apply(self, weight, inputs, **others):
        layer = seen_with(self, kernel=weight, mask=None, **others)
        if not self._is_faster(layer):
            return nnx.ConvTranspose.__call__(layer, jnp.asarray(inputs))
        bias = None if layer.bias is None else layer.bias[...]
        x, kernel, bias = self.promote_dtype((inputs, weight, bias), dtype=layer.dtype)
        images = x.reshape(-1, *x.shape[-3:])
        y = convolution.conv_transpose(images, kernel, strides=(2, 2), padding='SAME')
        y = y if bias is None else y + bias
        return y.reshape(*x.shape[:-3], *y.shape[1:])

    def _is_faster(self, layer):
        """Whether `snjax.nn.convolution` knows a faster form of what the layer computes."""
        pair = (self.strides,) * 2 if isinstance(self.strides, int) else self.strides
        return (
            self.kernel_size in strided.SAME_PADDING
            and tuple(pair or ()) == (2, 2)
            and self.padding == 'SAME'
            and self.kernel_dilation in (None, 1, (1, 1), [1, 1])
            and not self.transpose_kernel
            and layer.precision is layer.preferred_element_type is None
        )

    def _inputs_by_outputs(self, weight):
        return jnp.swapaxes(weight, -1, -2) if self.transpose_kernel else weight


class SNEmbed(_Normalized, nnx.Embed):
    """`flax.nnx.Embed` with a spectrally normalized table (num_embeddings, features).

    Integer ids (...,) pick rows; float weights (..., num_embeddings) mix them, `weights @ table`.

    Args:
        u_over: side of the table that u belongs to: `'features'`, or `'rows'`, the classes, as in
            the official code of SNGAN. Both find the same sigma.
    """

    weight_name = 'embedding'

    def __init__(self, *args: Any, u_over: Literal['features', 'rows'] = 'features', **kwargs: Any):
        if u_over not in ('features', 'rows'):
            raise ValueError(f"SNEmbed u_over={u_over!r}: accepted are 'features' and 'rows'")
        self.u_over = u_over
        super().__init__(*args, **kwargs)

    def _views(self, weight):
        return views(weight if self.u_over == 'features' else weight.T, self.operator)

    def _apply(self, weight, inputs, **kwargs):
        inputs = jnp.asarray(inputs)
        if not jnp.issubdtype(inputs.dtype, jnp.floating):
            return nnx.Embed.__call__(seen_with(self, embedding=weight), inputs, **kwargs)
        if not inputs.ndim or inputs.shape[-1] != self.num_embeddings:
            raise ValueError(
                f'SNEmbed was given {inputs.dtype} weights {inputs.shape}: integer ids (...,) and '
                f'float weights (..., {self.num_embeddings}) are accepted'
            )
        (table,) = self.promote_dtype((weight,), dtype=self.dtype, inexact=False)
        return jnp.dot(inputs.astype(table.dtype), table, precision=lax.Precision.HIGHEST)

    def attend(
        self, query: jax.Array | np.ndarray, update_stats: bool | None = None, **kwargs: Any
    ) -> jax.Array:
        """`flax.nnx.Embed.attend`, with the normalized table."""
        table = self.normalized(update_stats)
        return nnx.Embed.attend(seen_with(self, embedding=table), jnp.asarray(query), **kwargs)


def _conv(x, kernel, strides, padding, **options):
    """`lax.conv_general_dilated` as `flax.nnx.Conv` calls it, in the forms of this library."""
    dilation, groups = options['rhs_dilation'], options['feature_group_count']
    known = ('rhs_dilation', 'feature_group_count', 'dimension_numbers')
    others = {name: value for name, value in options.items() if name not in known}
    if np.prod(others.pop('lhs_dilation')) != 1 or any(v is not None for v in others.values()):
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)
    return convolution.conv(
        x,
        kernel,
        strides=strides,
        padding=padding,
        kernel_dilation=dilation,
        feature_group_count=groups,
    )
