"""The output of a discriminator: from its last features to logits, with or without classes.

* `'none'`: a dense layer; labels are not used.
* `'projection'`: adds the inner product of the features with the label's embedding (Miyato & Koyama
  2018, arXiv:1802.05637, eq. 5): score(h) + sum(embed(y) * h).
* `'acgan'`: a second dense layer guesses the class (Odena et al. 2017, arXiv:1610.09585); labels
  enter the losses only.
* `'contragan'`, `'reacgan'` (Kang and Park 2020, arXiv:2006.12681; Kang et al. 2021,
  arXiv:2111.01118): a dense layer embeds the image on the unit sphere, where every class has a proxy;
  labels enter the losses only (`snjax.objectives.class_losses`).
"""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from snjax.models.arguments import choose
from snjax.nn.normalization import Factory, Labels

HEADS = ('none', 'projection', 'acgan', 'contragan', 'reacgan')
EMBEDDED = ('contragan', 'reacgan')

Logits = (
    Float[Array, ' b']
    | tuple[Float[Array, ' b'], Float[Array, 'b k']]
    | tuple[Float[Array, ' b'], Float[Array, 'b k'], Float[Array, 'b d']]
)


def check_head(head: str, num_classes: int) -> None:
    """Raises ValueError for another name, or a head that needs classes where there are none."""
    choose('head', head, HEADS)
    if head != 'none' and num_classes < 1:
        raise ValueError(
            f'num_classes is {num_classes}: the head {head!r} needs 1 or more '
            '(--config.model.num_classes)'
        )


def output_head(
    h: Float[Array, 'b n'],
    labels: Labels | None,
    *,
    head: str,
    num_classes: int,
    dense: Factory,
    embed: Factory,
    init: Any,
    score_bias: bool = True,
    lipschitz: float = 1.0,
    dim_embed: int = 512,
) -> Logits:
    """Logits (b,), and with `'acgan'` class logits (b, num_classes) too; float32. Call it in a
    compact method.

    With `'contragan'` and `'reacgan'` there are the similarities (b, num_classes) to the proxies of the
    classes, cosines, and the images' embeddings (b, dim_embed), of length 1.

    Args:
        h: features.
        labels: classes, or float weights (b, num_classes) that mix them, for `'projection'`.
        head: one of `HEADS` (module docstring).
        num_classes: 0 without classes.
        dense, embed: layer classes, which make `score`, `classify` and `embed`.
        init: initializer of every kernel and of the embedding.
        score_bias: whether `score` has a bias.
        dim_embed: length of the embeddings of `'contragan'` and `'reacgan'`.
        lipschitz: factor on the logits (b,), embedding included: the Lipschitz constant of a
            discriminator whose layers have 1.

    Raises:
        ValueError: labels are missing, or no head uses them.
    """
    if head == 'none' and labels is not None:
        raise ValueError(
            'labels were given to an unconditional discriminator: leave them out, or give it a '
            'head that takes them (--config.model.head=projection or acgan)'
        )
    h = h.astype(jnp.float32)
    kwargs = {'dtype': jnp.float32, 'kernel_init': init}
    score = dense(1, use_bias=score_bias, name='score', **kwargs)(h)[:, 0]
    if head == 'projection':
        if labels is None:
            raise ValueError(
                f'a discriminator of {num_classes} classes was given no labels: pass whole numbers '
                '(batch,), or take away its projection (--config.model.head=none)'
            )
        table = embed(
            num_classes, h.shape[-1], dtype=jnp.float32, embedding_init=init, name='embed'
        )
        score = score + jnp.sum(table(labels) * h, axis=-1)
    if lipschitz != 1:
        score = lipschitz * score
    if head == 'acgan':
        return score, dense(num_classes, name='classify', **kwargs)(h)
    if head in EMBEDDED:
        table = embed(num_classes, dim_embed, dtype=jnp.float32, embedding_init=init, name='embed')
        embedding = _unit(dense(dim_embed, name='project', **kwargs)(h))
        proxies = _unit(table(jnp.arange(num_classes)))
        to_proxies = jnp.matmul(embedding, proxies.T, precision=lax.Precision.HIGHEST)
        return score, to_proxies, embedding
    return score


def _unit(x):
    """Rows of length 1; a row of zeros stays."""
    return x * lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), -1, keepdims=True), 1e-24))
