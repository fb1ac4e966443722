"""Penalties on weights, and WGAN's weight clipping.

Every kernel (a parameter named `kernel` or `embedding`) is seen as the matrix (everything but the
last axis, outputs), as in `snjax.spectral`; biases and scales are ignored. A penalty is a scalar,
>= 0, NOT multiplied by its weight.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jax import lax
from jaxtyping import Array, Float

from snjax.spectral import rayleigh

Scalar = Float[Array, '']
Params = Mapping[str, Any]


def kernels(params: Params) -> dict[tuple[str, ...], Float[Array, 'm n']]:
    """Every kernel and table as a matrix (everything but the last axis, outputs), by layer path."""
    flat: dict[tuple[str, ...], Any] = flatten_dict(params)
    return {
        path[:-1]: jnp.reshape(leaf, (-1, leaf.shape[-1]))
        for path, leaf in flat.items()
        if path[-1] in ('kernel', 'embedding')
    }


def orthonormal(params: Params) -> Scalar:
    """Sum over kernels of |W^T W - I|_F^2, as Miyato et al. 2018 state Brock et al. 2016
    (arXiv:1609.07093).

    The smaller of the two Gram matrices is used. The larger cannot reach the identity, because its
    rank is that of W; its penalty is larger by a constant, the difference of W's sides. So the
    gradients are the same, and the minimum is 0 here.
    """
    return _total(map(_distance_from_orthonormal, kernels(params).values()))


def _distance_from_orthonormal(w):
    w = w.T if w.shape[0] < w.shape[1] else w
    # Without HIGHEST a GPU computes this in TF32 and a TPU in bfloat16.
    gram = jnp.matmul(w.T, w, precision=lax.Precision.HIGHEST)
    return jnp.sum(jnp.square(gram - jnp.eye(len(gram), dtype=gram.dtype)))


def orthogonal(params: Params) -> Scalar:
    """Sum over kernels of |W^T W * (1 - I)|_F^2: their columns, one per output, at right angles, of
    any length.

    Brock et al. 2019 (arXiv:1809.11096, section 3.1), for a generator and with weight 1e-4. Their PyTorch
    code adds half of the gradient of this, so that its 1e-4 is 5e-5 here. Tables of embeddings are
    left out.
    """
    flat: dict[tuple[str, ...], Any] = flatten_dict(params)
    found = kernels(params)
    return _total(_off_diagonal(w) for path, w in found.items() if (*path, 'kernel') in flat)


def _off_diagonal(w):
    gram = jnp.matmul(w.T, w, precision=lax.Precision.HIGHEST)
    return jnp.sum(jnp.square(gram * (1 - jnp.eye(len(gram), dtype=gram.dtype))))


def l2(params: Params) -> Scalar:
    """Sum over kernels of |W|_F^2, without the factor 1/2 of some implementations."""
    return _total(jnp.sum(jnp.square(w)) for w in kernels(params).values())


def spectral_norm_regularization(params: Params, spectral: Mapping[str, Any]) -> Scalar:
    """Sum of sigma(W)^2 / 2 over the layers that keep u and v (Yoshida & Miyato 2017,
    arXiv:1705.10941).

    sigma = v^T W u with the weights of `params` and the collection's u and v, which are constants
    here; the caller advances them. The gradient of a term is sigma v u^T.

    Args:
        params: the discriminator's parameters.
        spectral: its collection `spectral`, with the paths of `params`.

    Raises:
        ValueError: no layer keeps u and v, or a layer's u and v do not fit its kernel.
    """
    vectors: dict[tuple[str, ...], Any] = flatten_dict(spectral)
    terms = []
    for layer, w in kernels(params).items():
        u, v = vectors.get((*layer, 'u')), vectors.get((*layer, 'v'))
        if u is None or v is None:
            continue
        if (v.shape, u.shape) != (w.shape[:1], w.shape[1:]):
            raise ValueError(
                f"penalty spectral: v {v.shape} and u {u.shape} of layer '{'/'.join(layer)}' do not "
                f'fit its kernel, {w.shape} as a matrix: layers that keep the vectors of the reshaped '
                'kernel are accepted'
            )
        terms.append(jnp.square(rayleigh(w, u, v)) / 2)
    if not terms:
        raise ValueError(
            "penalty spectral: no layer keeps u and v in the collection 'spectral': "
            'layers of snjax.spectral are needed in the discriminator'
        )
    return _total(terms)


def _total(terms):
    return jnp.sum(jnp.stack(list(terms)))


def clip_weights(params: Any, bound: float) -> Any:
    """Clips every parameter, biases too, to [-bound, bound].

    Algorithm 1 of Arjovsky et al. 2017 (arXiv:1701.07875), with bound 0.01.
    """
    return jax.tree.map(lambda p: jnp.clip(p, -bound, bound), params)
