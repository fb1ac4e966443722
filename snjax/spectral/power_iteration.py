"""The largest singular value of a weight, by power iteration on its matrix or on the layer's own
map.

`power_iteration` is step 1 of Algorithm 1 of Miyato et al. 2018 (arXiv:1802.05957), on a matrix.
`convolution_power_iteration` is the same on a layer's map of images (Farnia et al. 2019,
arXiv:1811.07457, Algorithm 1): a convolution and a transposed convolution of a single image take
the place of the two products. `views` gives the linear maps that each of the `OPERATORS` iterates
on; what they mean is in `snjax.spectral.linen`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax

from snjax.nn import layers
from snjax.nn.power_of_two import power_of_two
from snjax.shapes import Array, Float
from snjax.spectral import frozen

Operator = Literal['reshaped', 'bidirectional', 'convolution']
OPERATORS: tuple[str, ...] = get_args(Operator)
# Up to this number, iterations are written out: convolutions are slow inside a rolled loop on the
# CPU. A longer warm-up, which runs once, is a rolled loop, so that the program and its compile time
# do not grow.
_UNROLLED = 8


def power_iteration(
    w: Float[Array, 'm n'], u: Float[Array, ' n'], *, n_steps: int = 1, eps: float = 1e-12
) -> tuple[Float[Array, ''], Float[Array, ' n'], Float[Array, ' m']]:
    """Largest singular value of a matrix by power iteration.

    Step 1 of Algorithm 1 of Miyato et al. 2018: v = W u / |W u|, then u = W^T v / |W^T v|,
    `n_steps` times, and sigma = v^T W u (eqs. 20-22, W transposed). u and v are constants for the
    gradient, so d sigma / d W = v u^T. The scale of `w` does not matter between 1e-37 and 1e37,
    because the vectors are found on w divided by its largest entry. For w = 0, or u in its kernel,
    sigma and v are 0 and u is returned unchanged, so that the iteration can continue once w has
    changed.

    Args:
        w: the matrix.
        u: start for the right singular vector, of any length but zero.
        n_steps: iterations, at least 1.
        eps: added to the norms, as in the official code.

    Returns:
        sigma in the units of w, u (n,) and v (m,) of length 1: float32, or float64 for such input.

    Raises:
        ValueError: if `w` is no matrix, `u` does not fit it, or `n_steps` < 1.
    """
    if w.ndim != 2 or u.shape != w.shape[1:]:
        raise ValueError(
            f'power_iteration takes w (m, n) and u (n,), not {w.shape} and {u.shape}: reshape a '
            'kernel to (-1, outputs)'
        )
    if n_steps < 1:
        raise ValueError(f'power_iteration n_steps is {n_steps}: at least 1 is needed')
    dtype = jnp.promote_types(w.dtype, jnp.float32)
    w, start = w.astype(dtype), lax.stop_gradient(u.astype(dtype))
    scaled = lax.stop_gradient(w / power_of_two(w))
    u = start
    for _ in range(n_steps):
        v = _unit(_dot(scaled, u), eps)
        u = _unit(_dot(v, scaled), eps)
    u = jnp.where(jnp.any(u != 0), u, start)
    return rayleigh(w, u, v), u, v


def rayleigh(
    w: Float[Array, 'm n'], u: Float[Array, ' n'], v: Float[Array, ' m']
) -> Float[Array, '']:
    """sigma = v^T W u with u and v held constant: for frozen layers, and for the gradient."""
    dtype = jnp.promote_types(w.dtype, jnp.float32)
    scale, w = power_of_two(w.astype(dtype)), w.astype(dtype)
    u, v = lax.stop_gradient((u, v))
    return _dot(v, _dot(w / scale, u)) * scale


def _unit(x, eps):
    return x / (jnp.sqrt(jnp.sum(jnp.square(x))) + eps)


def _dot(a, b):
    # Without HIGHEST a GPU computes this in TF32 and a TPU in bfloat16.
    return jnp.dot(a, b, precision=lax.Precision.HIGHEST)


def convolution_power_iteration(
    linear: layers.Linear,
    w: Float[Array, '...'],
    u: Float[Array, '...'],
    *,
    n_steps: int = 1,
    eps: float = 1e-12,
) -> tuple[Float[Array, ''], Float[Array, '...'], Float[Array, '...']]:
    """Largest singular value of the map A = `linear.apply(., w)` on one input of shape
    `linear.shape`.

    v = A^T u / |A^T u|, then u = A v / |A v|, `n_steps` times, and sigma = <u, A v>: the exact norm
    of the layer with its strides and zero padding, for inputs of that size. Gradient, scale, zeros
    and types are as for `power_iteration`.

    Args:
        linear: the map and the shape of its input, both without a batch.
        w: the weight that `linear.apply` takes.
        u: start, an output of the map; anything but zero.
        n_steps: iterations, at least 1.
        eps: added to the norms.

    Returns:
        sigma in the units of the map, u (an output) and v (an input), both of length 1.

    Raises:
        ValueError: if `u` is no output of the map, or `n_steps` < 1.
    """
    shape = output_shape(linear, w)
    if u.shape != shape or n_steps < 1:
        raise ValueError(
            f'convolution_power_iteration took u {u.shape} and n_steps {n_steps}: inputs of '
            f'{linear.shape} need u {shape}, and at least 1 step'
        )
    dtype = jnp.promote_types(w.dtype, jnp.float32)
    w, start = w.astype(dtype), lax.stop_gradient(u.astype(dtype))
    forward = partial(_map, linear, lax.stop_gradient(w / power_of_two(w)))
    _, backward = jax.vjp(forward, jnp.zeros(linear.shape, dtype))

    def step(_, vectors):
        v = _unit(backward(vectors[0])[0], eps)
        return _unit(forward(v), eps), v

    vectors = start, jnp.zeros(linear.shape, dtype)
    u, v = lax.fori_loop(0, n_steps, step, vectors, unroll=n_steps <= _UNROLLED)
    u = jnp.where(jnp.any(u != 0), u, start)
    return convolution_rayleigh(linear, w, u, v), u, v


def convolution_rayleigh(
    linear: layers.Linear, w: Float[Array, '...'], u: Float[Array, '...'], v: Float[Array, '...']
) -> Float[Array, '']:
    """`rayleigh` for the map A = `linear.apply(., w)`: sigma = <u, A v> with u and v constant."""
    dtype = jnp.promote_types(w.dtype, jnp.float32)
    scale, w = power_of_two(w.astype(dtype)), w.astype(dtype)
    u, v = lax.stop_gradient((u, v))
    return _dot(u.ravel(), _map(linear, w / scale, v).ravel()) * scale


def output_shape(linear: layers.Linear, w: Float[Array, '...']) -> tuple[int, ...]:
    """Shape of one output of the map."""
    image = jax.ShapeDtypeStruct(linear.shape, w.dtype)
    return jax.eval_shape(partial(_map, linear), w, image).shape


def _map(linear, w, x):
    # As in `_dot`, against TF32 and bfloat16. The transpose keeps the precision.
    with jax.default_matmul_precision('highest'):
        return linear.apply(x[None], w)[0]


class View(NamedTuple):
    """A weight seen as a linear map, for power iteration: v is an input of the map, u an output.

    Attributes:
        u_shape, v_shape: of the vectors.
        iterate: `iterate(u, n_steps=...)` gives sigma, u and v.
        rayleigh: `rayleigh(u, v)` gives sigma.
    """

    u_shape: tuple[int, ...]
    v_shape: tuple[int, ...]
    iterate: Callable[..., tuple[Array, Array, Array]]
    rayleigh: Callable[[Array, Array], Array]


def views(
    weight: Float[Array, '... n'], operator: Operator, linear: layers.Linear | None = None
) -> Mapping[str, View]:
    """The linear maps that an operator iterates on, by the suffix of their u and v; it averages
    their sigmas.

    For a matrix (dense layers, embeddings) that is the matrix itself, whatever the operator.
    """
    if operator == 'convolution' and linear is not None:
        return {
            '': View(
                output_shape(linear, weight),
                linear.shape,
                partial(convolution_power_iteration, linear, weight),
                partial(convolution_rayleigh, linear, weight),
            )
        }
    found = {'': _matrix(weight)}
    if operator == 'bidirectional' and weight.ndim > 2:
        found['_in'] = _matrix(jnp.swapaxes(weight, -1, -2))
    return found


def _matrix(weight):
    w = weight.reshape(-1, weight.shape[-1])
    return View(w.shape[1:], w.shape[:1], partial(power_iteration, w), partial(rayleigh, w))


def estimate(
    views: Mapping[str, View],
    vectors: Mapping[str, Array],
    *,
    n_steps: int = 0,
    is_first: bool = False,
    eps: float = 1e-12,
) -> tuple[Float[Array, ''], dict[str, Array]]:
    """Step 1 of Algorithm 1 for a weight: the mean sigma of its views.

    Args:
        views: what `views` returned for the weight.
        vectors: `u` and `v` of every view, each name followed by the suffix of the view. With
            iterations only u is read.
        n_steps: iterations; 0 takes sigma at the given u and v.
        is_first: these are the iterations of a start, which a training does not count on.
        eps: added to the norms of the vectors.

    Returns:
        sigma, differentiable through the weight, and the vectors and `sigma` to keep, which are
        constants. Without iterations there is nothing to keep.
    """
    found, new = [], {}
    for suffix, view in views.items():
        if n_steps:
            sigma, u, v = view.iterate(vectors[f'u{suffix}'], n_steps=n_steps, eps=eps)
            new |= {f'u{suffix}': u, f'v{suffix}': v}
        else:
            sigma = view.rayleigh(vectors[f'u{suffix}'], vectors[f'v{suffix}'])
        found.append(sigma)
    sigma = found[0] if len(found) == 1 else jnp.mean(jnp.stack(found))
    if not n_steps:
        return frozen.watch(sigma), {}
    if not is_first:
        frozen.note_advance()
    return sigma, {**new, 'sigma': lax.stop_gradient(sigma)}


def divide(weight: Float[Array, '...'], sigma: Float[Array, '']) -> Float[Array, '...']:
    """Step 2 of Algorithm 1: the weight over sigma, in the type of sigma.

    A zero weight has sigma 0 and stays zero. There is no eps, so that tiny weights are normalized
    too.
    """
    # Both are scaled first because the gradient of a quotient squares its denominator. The power of
    # two is the matrix's, which the iteration needs as well: XLA computes it once.
    scale = power_of_two(weight.reshape(-1, weight.shape[-1]).astype(sigma.dtype))
    return (weight.astype(sigma.dtype) / scale) / jnp.where(sigma == 0, 1, sigma / scale)


def check_options(
    layer: str,
    *,
    operator: str,
    lipschitz: float,
    learnable_scale: bool,
    divide: bool,
    n_singular_values: int = 1,
) -> None:
    """Raises a ValueError that begins with `layer` for options that no layer accepts."""
    if operator not in OPERATORS:
        raise ValueError(
            f'{layer} operator={operator!r}: accepted are {", ".join(map(repr, OPERATORS))}'
        )
    if not lipschitz > 0:
        raise ValueError(f'{layer} lipschitz={lipschitz}: a number above 0 is accepted')
    if not divide and (lipschitz != 1 or learnable_scale):
        raise ValueError(
            f'{layer} divide=False applies the raw weight, which lipschitz={lipschitz} and '
            f'learnable_scale={learnable_scale} would not scale: leave them at 1.0 and False'
        )
    if n_singular_values < 1 or (n_singular_values > 1 and operator != 'reshaped'):
        raise ValueError(
            f'{layer} n_singular_values={n_singular_values} with operator={operator!r}: from 1 on is '
            "accepted, and above 1 with 'reshaped' alone, whose matrix has them"
        )
