"""Weight normalization: each output's weights divided by their length (Salimans & Kingma 2016,
arXiv:1602.07868).

`WNDense`, `WNConv`, `WNConvTranspose` and `WNEmbed` stand in for their `flax.linen` namesakes. A
kernel is seen as the matrix (everything but the last axis, outputs), and each column is divided by
its Euclidean norm (eq. 2 of the paper, w = g v / |v|); an embedding table likewise, as the matrix
that multiplies one-hot rows. The squares of the normalized matrix's singular values add up to the
number of outputs (Miyato et al. 2018, arXiv:1802.05957, section 3, who conclude that it favours a
low rank).

Two departures from the 2016 paper. There is a multiplier g only with `learnable_scale`: Miyato et
al. leave it out of the discriminator in their comparison (section 4.1), because it breaks the
Lipschitz constraint. And g, here `gamma`, starts at 1; the paper sets g and the bias from a first
minibatch, so that every output starts with mean 0 and variance 1 (section 3).
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from snjax.nn import layers
from snjax.nn.power_of_two import power_of_two


def normalize_columns(w: Float[Array, '*m n']) -> Float[Array, '*m n']:
    """Every `w[..., j]` over its Euclidean norm, in float32 or float64.

    Zero columns stay zero, with a finite gradient. The scale of a column does not matter, because
    it is first divided by its largest entry (to a power of two).
    """
    w = w.astype(jnp.promote_types(w.dtype, jnp.float32))
    axis = tuple(range(w.ndim - 1))
    w = w / power_of_two(w, axis=axis)
    squares = jnp.sum(jnp.square(w), axis, keepdims=True)
    return w / jnp.sqrt(jnp.where(squares == 0, 1, squares))


class WeightNorm(nn.Module):
    """Mixin that divides every column of a layer's weight by its length.

    Attributes:
        learnable_scale: multiplies the columns by the parameter `gamma` (features,), 1 at `init`.
    """

    learnable_scale: bool = False

    def normalize(
        self, weight: layers.Weight, linear: layers.Linear | None = None
    ) -> layers.Weight:
        weight = jnp.asarray(weight)
        normalized = normalize_columns(weight)
        if self.learnable_scale:
            shape = weight.shape[-1:]
            gamma = self.param('gamma', nn.initializers.ones_init(), shape, self.param_dtype)
            normalized = jnp.asarray(gamma, normalized.dtype) * normalized
        return normalized.astype(weight.dtype)


class WNDense(WeightNorm, layers.Dense):
    """`flax.linen.Dense` with columns of length 1 in its kernel (in, out)."""


class WNConv(WeightNorm, layers.Conv):
    """`flax.linen.Conv` with a kernel (*size, in) of length 1 for every output channel."""


class WNConvTranspose(WeightNorm, layers.ConvTranspose):
    """`flax.linen.ConvTranspose` with a kernel (*size, in) of length 1 for every output channel."""


class WNEmbed(WeightNorm, layers.Embed):
    """`flax.linen.Embed` with columns of length 1, one per feature, over the rows of its table."""
