"""An upper bound of the Lipschitz constant of a discriminator: the product of its layers' norms.

Norms multiply along a chain, since sigma(AB) <= sigma(A) sigma(B), and add over the two branches of
a residual block, |F(x) + S(x)| <= |F| |x| + |S| |x|. Activations here have slopes of at most 1. The
bound is attained only if the directions that every layer stretches most meet each other, so the
true constant may be far below it (Virmaux & Scaman 2018, arXiv:1805.10965).
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any

from snjax.image_format import sides
from snjax.models.base import Discriminator
from snjax.models.resnet import ResNetDiscriminator

HEAD = ('score', 'embed', 'classify', 'project')  # layers of `snjax.models.heads`


def product_bound(dis: Discriminator, norms: Mapping[str, Any]) -> Any:
    """Bounds |D(x) - D(y)| / |x - y| over all images, D in evaluation.

    Infinite with self-attention, whose slope has no bound (Kim et al. 2021, arXiv:2006.04710).

    Args:
        dis: a network of `snjax.models`. Of a projection, D is seen with the worst class.
        norms: of each layer's map by its path: `operator` of `snjax.spectral.watch`, or upper
            bounds of it. Scalars of any kind; so is the result.
    """
    score = norms['score']
    if dis.head == 'projection':
        score = score + norms['embed']
    score = dis.lipschitz * score
    if not isinstance(dis, ResNetDiscriminator):
        names = [name for name in norms if name not in HEAD]
        return score * math.prod(norms[name] for name in names)
    if dis.attention:
        return math.inf
    bound = score
    for name in itertools.chain.from_iterable(dis.blocks_from_image()):
        bound = bound * (norms[name] if name in norms else _block(norms, name))
    pixels = math.prod(side // 2 ** dis.layout().n_down for side in sides(dis.image_size))
    # Global pooling: a sum of n pixels stretches an image of one colour by sqrt(n).
    return bound * pixels ** (-0.5 if dis.traits().mean_pool else 0.5)


def _block(norms: Mapping[str, Any], name: str) -> Any:
    """Of `snjax.nn.blocks.DownBlock`, whose shortcut may be the identity, or of
    `snjax.models.biggan.DeepBlock`, whose new channels are beside it."""
    prefix = f'{name}/'
    own = {name.removeprefix(prefix): norms[name] for name in norms if name.startswith(prefix)}
    shortcut = own.pop('shortcut', 1.0)
    if 'conv4' in own and f'{prefix}shortcut' in norms:
        shortcut = (1 + shortcut**2) ** 0.5
    return math.prod(own.values()) + shortcut
