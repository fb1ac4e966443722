"""Spectral normalisation: a weight divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

`power_iteration` is Algorithm 1 of the paper as a pure function on a matrix. The layers `SNDense`, `SNConv`,
`SNConvTranspose` and `SNEmbed` stand in for their `flax.linen` namesakes and keep u, v and sigma as plain arrays in the
collection `'spectral'`:

    variables = SNDense(10).init(rng, x)                     # makes the collection, one iteration done
    y = SNDense(10).apply(variables, x)                      # frozen: normalises, changes nothing
    y, new = SNDense(10).apply(variables, x, mutable=['spectral'])   # advances u by one iteration first
    variables['spectral']['sigma']                           # the largest singular value, as a number

A kernel is seen as the matrix (everything but the last axis, outputs). The paper's matrix is its transpose, which has
the same singular values; u here belongs to the outputs, as in the official code. (`torch.nn.utils.parametrizations.
spectral_norm(layer, dim=1)` starts from v instead, and names the two the other way round.)
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jax import lax
from jaxtyping import Array, Float

from snjax import layers

COLLECTION = 'spectral'


def power_iteration(
    w: Float[Array, 'm n'], u: Float[Array, ' n'], *, n_steps: int = 1, eps: float = 1e-12
) -> tuple[Float[Array, ''], Float[Array, ' n'], Float[Array, ' m']]:
    """Largest singular value of a matrix by power iteration.

    Algorithm 1 of Miyato et al. 2018: v = W u / |W u|, then u = W^T v / |W^T v|, `n_steps` times, and
    sigma = v^T W u (eqs. 20-22, W transposed). u and v are constants for the gradient, so d sigma / d W = v u^T.
    Any scale of `w` from 1e-37 to 1e37 is as good as another, because the vectors are found on w over its largest
    entry. For w = 0, or u in its kernel, sigma and v are 0 and u is given back as it came, so that it is not lost when
    w moves on.

    Args:
        w: the matrix.
        u: start for the right singular vector, any length but zero.
        n_steps: iterations, at least 1.
        eps: added to the norms, as in the official code.

    Returns:
        sigma in the units of w, u (n,) and v (m,) of length 1: float32, or float64 for such input.

    Raises:
        ValueError: if `w` is no matrix, `u` does not fit it, or `n_steps` < 1.
    """
    if w.ndim != 2 or u.shape != w.shape[1:]:
        raise ValueError(
            f'power_iteration takes w (m, n) and u (n,), not {w.shape} and {u.shape}: reshape a kernel to (-1, outputs)'
        )
    if n_steps < 1:
        raise ValueError(f'power_iteration n_steps is {n_steps}: at least 1 is needed')
    dtype = jnp.promote_types(w.dtype, jnp.float32)
    w, start = w.astype(dtype), lax.stop_gradient(u.astype(dtype))
    scaled = lax.stop_gradient(w / _scale(w))
    u = start
    for _ in range(n_steps):
        v = _unit(_dot(scaled, u), eps)
        u = _unit(_dot(v, scaled), eps)
    u = jnp.where(jnp.any(u != 0), u, start)
    return rayleigh(w, u, v), u, v


def rayleigh(
    w: Float[Array, 'm n'], u: Float[Array, ' n'], v: Float[Array, ' m']
) -> Float[Array, '']:
    """sigma = v^T W u with u and v held constant: the frozen form, and the one that carries the gradient."""
    dtype = jnp.promote_types(w.dtype, jnp.float32)
    scale, w = _scale(w.astype(dtype)), w.astype(dtype)
    u, v = lax.stop_gradient((u, v))
    return _dot(v, _dot(w / scale, u)) * scale


def _scale(w):
    """The power of two at or below max |w| (so that dividing by it is exact), or 1 for zero; no gradient."""
    largest = lax.stop_gradient(jnp.max(jnp.abs(w)))
    _, exponent = jnp.frexp(largest)
    return jnp.where(largest > 0, jnp.ldexp(jnp.ones_like(largest), exponent - 1), 1)


def _unit(x, eps):
    return x / (jnp.sqrt(jnp.sum(jnp.square(x))) + eps)


def _dot(a, b):
    # Without HIGHEST a GPU computes this in TF32 and a TPU in bfloat16.
    return jnp.dot(a, b, precision=lax.Precision.HIGHEST)


class SpectralNorm(nn.Module):
    """Mixin that divides a layer's weight by its largest singular value.

    Attributes:
        n_power_iterations: iterations each time u advances (1 in the paper).
        n_warmup_iterations: further iterations at `init`, on top of the first (torch uses 15, the papers' code none).
    """

    n_power_iterations: int = 1
    n_warmup_iterations: int = 0

    def normalize(self, weight: layers.Weight) -> layers.Weight:
        weight = jnp.asarray(weight)
        w = weight.reshape(-1, weight.shape[-1])
        exists, initialising = self.has_variable(COLLECTION, 'u'), self.is_initializing()
        if not (initialising or exists):
            raise ValueError(
                f"{type(self).__name__} '{'/'.join(self.path) or '(top)'}' was applied without its collection "
                f"'{COLLECTION}': pass the variables that init returned, not the parameters alone"
            )

        def start(shape):
            return jax.random.normal(self.make_rng('params'), shape)

        u = self.variable(COLLECTION, 'u', start, w.shape[1:])
        v = self.variable(COLLECTION, 'v', jnp.zeros, w.shape[:1])
        sigma_state = self.variable(COLLECTION, 'sigma', jnp.zeros, ())
        # Applied twice at init (to real and fake, say), a layer still runs its first iterations once.
        if self.is_mutable_collection(COLLECTION) and not (initialising and exists):
            n_steps = 1 + self.n_warmup_iterations if initialising else self.n_power_iterations
            sigma, u.value, v.value = power_iteration(w, u.value, n_steps=n_steps)
            sigma_state.value = lax.stop_gradient(sigma)
        else:
            sigma = rayleigh(w, u.value, v.value)
        # A zero weight has sigma 0 and stays zero; no eps otherwise, so that tiny weights are normalised too. Both
        # are scaled first because the gradient of a quotient squares its denominator.
        scale = _scale(w.astype(sigma.dtype))
        normalised = (weight.astype(sigma.dtype) / scale) / jnp.where(sigma == 0, 1, sigma / scale)
        return normalised.astype(weight.dtype)


class SNDense(SpectralNorm, layers.Dense):
    """`flax.linen.Dense` with a spectrally normalised kernel (in, out); the bias is left alone."""


class SNConv(SpectralNorm, layers.Conv):
    """`flax.linen.Conv` with a spectrally normalised kernel, seen as the matrix (size * in, out)."""


class SNConvTranspose(SpectralNorm, layers.ConvTranspose):
    """`flax.linen.ConvTranspose` with a spectrally normalised kernel, seen as the matrix (size * in, out)."""


class SNEmbed(SpectralNorm, layers.Embed):
    """`flax.linen.Embed` with a spectrally normalised table (num_embeddings, features)."""


def advance(module: nn.Module, variables: Mapping[str, Any], *args, **kwargs) -> Any:
    """The collection `spectral` after one advance of every layer of `module`, which is applied to `args`.

    Only the weights and u enter the power iteration, so under `jit` XLA drops the rest of the forward pass.
    """
    _, updated = module.apply(variables, *args, **kwargs, mutable=[COLLECTION])
    return updated[COLLECTION]


def sigmas(collection: Mapping[str, Any]) -> dict[str, Float[Array, '']]:
    """Every sigma of a collection by the path of its layer: `{'block0/conv1': 1.2, ...}`."""
    flat: dict[tuple[str, ...], Any] = flatten_dict(collection)
    return {'/'.join(path[:-1]): v for path, v in flat.items() if path[-1] == 'sigma'}
