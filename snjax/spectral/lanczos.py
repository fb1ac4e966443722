"""The norm of a linear map from products with it and its transpose alone.

Power iteration needs as many steps as neighbouring singular values are close, and those of a
convolution are. Lanczos' method takes the same products and keeps what all of them together say:
the bidiagonal matrix of Golub & Kahan 1965 (SIAM J. Numer. Anal. 2), whose largest singular value
approaches that of the map from below, in about the square root of the number of steps. Its vectors
lose their orthogonality in float32, which repeats singular values that have converged, and moves
none; so they are not kept.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from snjax.nn import layers
from snjax.nn.power_of_two import power_of_two
from snjax.shapes import Array, Float

N_STEPS = 64


def largest_singular_value(
    forward: Callable[[Array], Array], shape: tuple[int, ...], n_steps: int = N_STEPS
) -> Float[Array, '']:
    """The norm of a linear map, a little too small where `n_steps` are too few.

    Args:
        forward: the map, of inputs (shape) in float32; it is transposed by `jax.vjp`.
        shape: of an input, without a batch.
        n_steps: products with the map, and as many with its transpose.
    """
    start = jax.random.normal(jax.random.key(0), shape)
    out, backward = jax.vjp(forward, start)

    def step(_, carry):
        v, u, beta, alphas, betas, i = carry
        u = forward(v) - beta * u
        u, alpha = _unit(u)
        v, beta = _unit(backward(u)[0] - alpha * v)
        return v, u, beta, alphas.at[i].set(alpha), betas.at[i].set(beta), i + 1

    zeros = jnp.zeros(n_steps)
    first = _unit(start)[0], jnp.zeros_like(out), jnp.zeros(()), zeros, zeros, 0
    *_, alphas, betas, _ = lax.fori_loop(0, n_steps, step, first)
    bidiagonal = jnp.diag(alphas) + jnp.diag(betas[:-1], 1)
    return jnp.linalg.svd(bidiagonal, compute_uv=False)[0]


def _unit(x):
    length = jnp.sqrt(jnp.sum(jnp.square(x)))
    return x / jnp.where(length == 0, 1, length), length


def matrix_norm(w: Float[Array, 'm n']) -> Float[Array, '']:
    """The largest singular value of a matrix of any scale, from its smaller Gram matrix."""
    w = w.astype(jnp.float32)
    scale = power_of_two(w)
    w = (w.T if w.shape[0] < w.shape[1] else w) / scale
    # Without HIGHEST a GPU computes this in TF32 and a TPU in bfloat16.
    gram = jnp.matmul(w.T, w, precision=lax.Precision.HIGHEST)
    return scale * jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(gram)[-1], 0))


def map_norm(
    linear: layers.Linear, w: Float[Array, '...'], n_steps: int = N_STEPS
) -> Float[Array, '']:
    """The norm of a layer's map `linear.apply(., w)` of one image, for a weight of any scale."""
    w = w.astype(jnp.float32)
    scale = power_of_two(w)
    with jax.default_matmul_precision('highest'):  # its transpose keeps the precision
        apply = lambda x: linear.apply(x[None], w / scale)[0]  # noqa: E731
        return scale * largest_singular_value(apply, linear.shape, n_steps)
