"""What a Lipschitz constant is at least: the largest ratios |D(x) - D(y)| / |x - y| that are found.

`score` maps images (b, h, w, c) to a logit for each (b,), and must not mix images.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from snjax.objectives.penalties import slopes

Images = Float[Array, 'b h w c']
Score = Callable[[Images], Float[Array, ' b']]


def largest_ratios(
    score: Score, images: Images, *, n_steps: int, distance: float = 0.02
) -> Float[Array, ' b']:
    """For each image the largest ratio met while a pair that starts there climbs it.

    The pair starts as the image and its neighbour along D's gradient, so its first ratio is about
    the slope |grad D(x)|, which counts as well. Each step moves both along the gradient of the
    ratio's logarithm. Both stay images, in [-1, 1].

    Args:
        score: logits of images.
        images: starts.
        n_steps: of the ascent.
        distance: between the two at the start and length of a step, as a share of the distance
            between black and white. Much smaller ones would be lost in float32.
    """
    reach = distance * 2 * jnp.sqrt(float(images[0].size))
    gradient = jax.grad(lambda x: jnp.sum(score(x)))(images)
    pair = images, _inside(images + reach * _directions(gradient))

    def log_ratio(pair):
        x, y = pair
        ratio = jnp.abs(score(x) - score(y)) / jnp.maximum(_lengths(x - y), 1e-6)
        return jnp.sum(jnp.log(jnp.maximum(ratio, 1e-30))), ratio

    def step(_, carry):
        pair, best = carry
        (_, ratio), slope = jax.value_and_grad(log_ratio, has_aux=True)(pair)
        length = jnp.sqrt(sum(jnp.square(_lengths(s)) for s in slope))[:, None, None, None]
        move = jax.tree.map(lambda s: reach * s / jnp.where(length == 0, 1, length), slope)
        pair = jax.tree.map(lambda x, m: _inside(x + m), pair, move)
        return pair, jnp.maximum(best, ratio)

    start = pair, slopes(score, images)
    (pair, best) = lax.fori_loop(0, n_steps, step, start)
    return jnp.maximum(best, log_ratio(pair)[1])


def _inside(images):
    return jnp.clip(images, -1, 1)


def _lengths(x):
    squared = jnp.sum(jnp.square(x), (1, 2, 3))
    return jnp.sqrt(jnp.where(squared > 0, squared, 1)) * (squared > 0)


def _directions(x):
    length = _lengths(x)[:, None, None, None]
    return x / jnp.where(length == 0, 1, length)
