"""Self-attention over the pixels of a feature map (SAGAN, Zhang et al. 2019, arXiv:1805.08318,
section 3).

As in the authors' code (brain-research/self-attention-gan, non_local.py): 1x1 convolutions without
bias, keys and values pooled to a quarter of the pixels, values of C/2 channels (the paper's C/8
holds for queries and keys alone), no factor on the inner products. The paper's f, g, h and v are
`key`, `query`, `value` and `out` here.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from snjax.nn import layers
from snjax.nn.normalization import Factory

_init = nn.initializers.xavier_uniform()


class SelfAttention(nn.Module):
    """x + gamma * out(softmax(query(x) key(x)^T) value(x)), gamma a scalar that starts at 0.

    Attributes:
        conv: layer class with the interface of `snjax.nn.layers.Conv`.
        dtype: compute type; the softmax is float32.
    """

    conv: Factory = layers.Conv
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h w c']:
        b, height, width, c = x.shape
        conv = functools.partial(
            self.conv, kernel_size=1, use_bias=False, kernel_init=_init, dtype=self.dtype
        )
        query = conv(max(1, c // 8), name='query')(x).reshape(b, height * width, -1)
        key = _max_pool(conv(max(1, c // 8), name='key')(x)).reshape(b, height * width // 4, -1)
        value = _max_pool(conv(max(1, c // 2), name='value')(x)).reshape(b, key.shape[1], -1)
        similarity = jnp.einsum('bic,bjc->bij', query, key, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(similarity, axis=-1).astype(value.dtype)
        seen = jnp.einsum('bij,bjc->bic', weights, value).reshape(b, height, width, -1)
        gamma = self.param('gamma', nn.initializers.zeros_init(), ())
        return x + jnp.asarray(gamma, self.dtype) * conv(c, name='out')(seen)


def _max_pool(x: Float[Array, 'b h w c']) -> Float[Array, 'b h/2 w/2 c']:
    # Not `nn.max_pool`, whose gradient takes a CPU 6 to 9 times as long (2 cores, jax 0.10.2,
    # 2026-11-29) and gives ties to one pixel.
    b, h, w, c = x.shape
    return jnp.max(x.reshape(b, h // 2, 2, w // 2, 2, c), axis=(2, 4))


def attended_block(attention: int, maps: Sequence[tuple[int, int]], player: str) -> int | None:
    """Index of the first block whose output has height `attention`; None for 0, no attention.

    Args:
        attention: the height, or 0.
        maps: height and width of every block's output.
        player: named in the message.

    Raises:
        ValueError: no block has that height, or a side is odd and cannot be pooled.
    """
    if attention == 0:
        return None
    accepted = list(dict.fromkeys(h for h, w in maps if h % 2 == w % 2 == 0))
    if attention not in accepted:
        raise ValueError(
            f'attention is {attention}: the {player} has feature maps of height '
            f'{", ".join(map(str, accepted))}, and 0 is none (--config.model.attention)'
        )
    return [height for height, _ in maps].index(attention)
