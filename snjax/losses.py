"""Adversarial losses, as pairs: what the discriminator minimises and what the generator minimises.

Every function takes logits of shape (B,) and returns a scalar, the mean over the batch. To add a loss, write its two
functions and one line in `LOSSES`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Logits = Float[Array, ' b']
Scalar = Float[Array, '']


class Loss(NamedTuple):
    """`dis(real_logits, fake_logits)` and `gen(fake_logits)`, each a scalar to be minimised."""

    dis: Callable[[Logits, Logits], Scalar]
    gen: Callable[[Logits], Scalar]


def hinge_dis(real_logits: Logits, fake_logits: Logits) -> Scalar:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))], eq. 16 of Miyato et al. 2018 with the sign turned."""
    return jnp.mean(jax.nn.relu(1 - real_logits)) + jnp.mean(jax.nn.relu(1 + fake_logits))


def hinge_gen(fake_logits: Logits) -> Scalar:
    """-E[D(G(z))], eq. 17 of Miyato et al. 2018."""
    return -jnp.mean(fake_logits)


def non_saturating_dis(real_logits: Logits, fake_logits: Logits) -> Scalar:
    """E[softplus(-D(x))] + E[softplus(D(G(z)))]: cross-entropy of Goodfellow et al. 2014, on logits."""
    return jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits))


def non_saturating_gen(fake_logits: Logits) -> Scalar:
    """E[softplus(-D(G(z)))], the -log D trick of Goodfellow et al. 2014, section 3."""
    return jnp.mean(jax.nn.softplus(-fake_logits))


LOSSES = {
    'hinge': Loss(hinge_dis, hinge_gen),
    'non_saturating': Loss(non_saturating_dis, non_saturating_gen),
}
