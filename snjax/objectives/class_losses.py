"""How well a discriminator's further outputs know the classes: losses by the name of its head.

`snjax.models.heads` makes these outputs. A loss maps them and the classes (b,) to the loss, the mean
over the batch, and to the share of images whose class they name. Both players minimize it
(`experiments.acgan`): D on real images, G on fakes and the classes that they were made for.

ContraGAN and ReACGAN compare each image with the others of the batch, over all devices: these losses
are no mean over images, and no batch can be taken in parts. Similarities are cosines; p is the proxy of
an image's class, P its other images in the batch, N those of other classes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from snjax import parallel

Classes = Int[Array, ' b']
Scores = Float[Array, 'b k']  # of the classes: logits, or similarities to their proxies
Embedding = Float[Array, 'b d']  # of length 1
Scalar = Float[Array, '']


def cross_entropy(class_logits: Scores, labels: Classes) -> tuple[Scalar, Scalar]:
    """-log of the softmax at the class (Odena et al. 2017, arXiv:1610.09585)."""
    losses = optax.softmax_cross_entropy_with_integer_labels(class_logits, labels)
    return jnp.mean(losses), _accuracy(class_logits, labels)


def contrastive(
    to_proxies: Scores,
    embedding: Embedding,
    labels: Classes,
    *,
    temperature: float,
    whole: Callable[[Any], Any] = parallel.whole_batch,
) -> tuple[Scalar, Scalar]:
    """The conditional contrastive loss (2C) of ContraGAN: Kang and Park 2020, arXiv:2006.12681, eq. 8.

    -log of the share of p and P in the sum of exp(similarity / temperature) over p, P and N.

    Args:
        to_proxies: similarities to the proxies of all classes.
        embedding: of this device's images.
        labels: their classes.
        temperature: published for CIFAR-10: 1.
        whole: gathers the images of all devices.
    """
    pairs, same, others = _pairs(embedding, labels, whole)
    own = _own(to_proxies, labels)[:, None] / temperature
    among = lambda mask: jnp.where(mask, pairs / temperature, -jnp.inf)  # noqa: E731
    positive = jax.nn.logsumexp(jnp.concatenate([own, among(same & others)], 1), 1)
    every = jax.nn.logsumexp(jnp.concatenate([own, among(others)], 1), 1)
    return jnp.mean(every - positive), _accuracy(to_proxies, labels)


def data_to_data(
    to_proxies: Scores,
    embedding: Embedding,
    labels: Classes,
    *,
    temperature: float,
    margin: float,
    whole: Callable[[Any], Any] = parallel.whole_batch,
) -> tuple[Scalar, Scalar]:
    """The data-to-data cross-entropy (D2D-CE) of ReACGAN: Kang et al. 2021, arXiv:2111.01118, eq. 8.

    a + log(exp(-a) + sum over N of exp(n)), a = max(0, margin - similarity to p) / temperature, n =
    max(0, similarity + margin - 1) / temperature: pairs that are alike, or unlike, enough do not count.
    As in the authors' code (PyTorch-StudioGAN), and not in the paper, n is less by the greatest
    (similarity + margin - 1) / temperature of P and N, a constant for the gradient.

    Args:
        to_proxies: similarities to the proxies of all classes.
        embedding: of this device's images.
        labels: their classes.
        temperature: published for CIFAR-10: 0.5.
        margin: m_p, published for CIFAR-10: 0.98.
        whole: gathers the images of all devices.
    """
    pairs, same, others = _pairs(embedding, labels, whole)
    near = (pairs + margin - 1) / temperature
    most = lax.stop_gradient(jnp.max(jnp.where(others, near, -jnp.inf), 1, keepdims=True))
    negative = jnp.where(same, -jnp.inf, jax.nn.relu(near) - most)
    far = jax.nn.relu(margin - _own(to_proxies, labels)) / temperature
    # Logarithms, because exp overflows float32 at low temperatures.
    losses = far + jax.nn.logsumexp(jnp.concatenate([-far[:, None], negative], 1), 1)
    return jnp.mean(losses), _accuracy(to_proxies, labels)


def _accuracy(scores, labels):
    return jnp.mean(scores.argmax(-1) == labels)


def _own(scores, labels):
    return jnp.take_along_axis(scores, labels[:, None], 1)[:, 0]


def _pairs(embedding, labels, whole):
    """Similarities of own images to those of the whole batch; which have one class, and which are not
    the image itself.
    """
    rows, (every, classes) = whole((embedding, labels))
    pairs = jnp.matmul(embedding, every.T, precision=lax.Precision.HIGHEST)
    others: Bool[Array, 'b n'] = rows[:, None] != jnp.arange(len(every))
    return pairs, labels[:, None] == classes, others


def one_device(tree: Any) -> tuple[Array, Any]:
    """`whole` for a batch that is on one device, outside of a training step."""
    return jnp.arange(len(jax.tree.leaves(tree)[0])), tree


CLASS_LOSSES: dict[str, Callable[..., tuple[Scalar, Scalar]]] = {
    'acgan': cross_entropy,
    'contragan': contrastive,
    'reacgan': data_to_data,
}
# The keys of the group `acgan` that each takes.
OPTIONS = {'acgan': (), 'contragan': ('temperature',), 'reacgan': ('temperature', 'margin')}
