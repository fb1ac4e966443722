"""The next largest singular values of a matrix, by deflated power iteration.

As `num_svs` in BigGAN's code (ajbrock/BigGAN-PyTorch, `layers.py`; Brock et al. 2019,
arXiv:1809.11096, section 4.1 and appendix F): the iteration for each further pair of vectors takes
away, by Gram-Schmidt, what lies along the pairs before it. They are watched; the norm that layers
divide by stays the first.
"""

import jax.numpy as jnp
from jax import lax

from snjax.nn.power_of_two import power_of_two
from snjax.shapes import Array, Float
from snjax.spectral.power_iteration import rayleigh


def next_singular_values(
    w: Float[Array, 'm n'],
    u: Float[Array, ' n'],
    v: Float[Array, ' m'],
    further: Float[Array, 'k n'],
    *,
    n_steps: int = 1,
    eps: float = 1e-12,
) -> tuple[Float[Array, ' k'], Float[Array, 'k n'], Float[Array, 'k m']]:
    """Singular values after the first, the largest first once the iteration has converged.

    For every further u in turn, `n_steps` times: v = W u, orthogonal to all v before it, then u =
    W^T v, orthogonal to all u before it, both of length 1. Gram-Schmidt runs twice, against the rounding
    that a small rest would otherwise be blown up to. A u that is left with nothing stays what it was.

    Args:
        w: the matrix.
        u, v: the first pair of vectors, as `power_iteration` returned them.
        further: starts for the right singular vectors that follow; at most min(m, n) - 1.
        n_steps: iterations, at least 1.
        eps: added to the norms.

    Returns:
        The values in the units of w, their u and their v, all constant for the gradient.
    """
    w, further = lax.stop_gradient((w.astype(u.dtype), further))
    scaled = w / power_of_two(w)
    us, vs = list(further), []
    for _ in range(n_steps):
        us, vs = _once(scaled, [u], [v], us, eps)
    values = [rayleigh(w, *pair) for pair in zip(us, vs, strict=True)]
    return jnp.stack(values), jnp.stack(us), jnp.stack(vs)


def _once(w, us, vs, further, eps):
    for start in further:
        v = _apart(_dot(w, start), vs, eps)
        u = _apart(_dot(v, w), us, eps)
        us, vs = [*us, jnp.where(jnp.any(u != 0), u, start)], [*vs, v]
    return us[1:], vs[1:]


def _apart(x, basis, eps):
    """The part of x that is orthogonal to vectors of length 1, of length 1 as well."""
    for _ in range(2):
        for y in basis:
            x = x - _dot(y, x) * y
        x = x / (jnp.sqrt(jnp.sum(jnp.square(x))) + eps)
    return x


def _dot(a, b):
    # Without HIGHEST a GPU computes this in TF32 and a TPU in bfloat16.
    return jnp.dot(a, b, precision=lax.Precision.HIGHEST)
