"""What a Lipschitz constant is at least: the largest ratios |D(x) - D(y)| / |x - y| that are found.

`score` maps images (b, h, w, c) to a logit for each (b,), and must not mix images.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Images = Float[Array, 'b h w c']
Score = Callable[[Images], Float[Array, ' b']]


def largest_ratios(
    score: Score, images: Images, gradients: Images, *, n_steps: int, distance: float = 0.02
) -> Float[Array, ' b']:
    """For each image the largest ratio met while a pair that starts there climbs it.

    The pair starts as the image and its neighbour along D's gradient, so its first ratio is about
    the slope |grad D(x)|, which counts as well. Each step moves both along the gradient of the
    ratio's logarithm. Both stay images, in [-1, 1].

    Args:
        score: logits of images.
        images: starts.
        gradients: of `score` at the images, each image's own.
        n_steps: ratios that are met.
        distance: between the two at the start and length of a step, as a share of the distance
            between black and white. Much smaller ones would be lost in float32.
    """
    reach = distance * 2 * jnp.sqrt(float(images[0].size))
    pair = jnp.stack([images, _inside(images + reach * _directions(gradients))])

    def log_ratio(pair):
        x, y = score(pair.reshape(-1, *pair.shape[2:])).reshape(2, -1)
        ratio = jnp.abs(x - y) / jnp.maximum(_lengths(pair[0] - pair[1]), 1e-6)
        return jnp.sum(jnp.log(jnp.maximum(ratio, 1e-30))), ratio

    def step(_, carry):
        pair, best = carry
        (_, ratio), slope = jax.value_and_grad(log_ratio, has_aux=True)(pair)
        length = jnp.sqrt(jnp.sum(jnp.square(slope), (0, 2, 3, 4), keepdims=True))
        move = reach * slope / jnp.where(length == 0, 1, length)
        return _inside(pair + move), jnp.maximum(best, ratio)

    return lax.fori_loop(0, n_steps, step, (pair, _lengths(gradients)))[1]


def _inside(images):
    return jnp.clip(images, -1, 1)


def _lengths(x):
    squared = jnp.sum(jnp.square(x), (1, 2, 3))
    return jnp.sqrt(jnp.where(squared > 0, squared, 1)) * (squared > 0)


def _directions(x):
    length = _lengths(x)[:, None, None, None]
    return x / jnp.where(length == 0, 1, length)
