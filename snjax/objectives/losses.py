"""Adversarial losses, in pairs: one loss of the discriminator, one of the generator.

Every function takes logits of shape (B,) and returns a scalar, the mean over the batch. To add a
loss, write its two functions and one line in `LOSSES`.

A mean over the batch is over this device's images, because gradients are averaged over devices
afterwards. That is exact for a sum over images. It is not for the relativistic average, which has a
mean inside a nonlinear function: that loss takes the keyword `mean`, which the training code
replaces by a mean over the images of all devices.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Logits = Float[Array, ' b']
Reals = Float[Array, ' r']  # where their number may differ from that of the fakes
Fakes = Float[Array, ' f']
Scalar = Float[Array, '']
Mean = Callable[[Float[Array, '...']], Scalar]


class Loss(NamedTuple):
    """`dis(real_logits, fake_logits)` and `gen(fake_logits)`, each a scalar to be minimized.

    Attributes:
        dis: loss of the discriminator.
        gen: loss of the generator.
        relativistic: `gen` is called as `gen(fake_logits, real_logits)`.
        batch_wide: both take the keyword `mean`, the average of an array over the whole batch.
    """

    dis: Callable[..., Scalar]
    gen: Callable[..., Scalar]
    relativistic: bool = False
    batch_wide: bool = False


def hinge_dis(real_logits: Logits, fake_logits: Logits) -> Scalar:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]: eq. 16 of Miyato et al. 2018, negated."""
    return jnp.mean(jax.nn.relu(1 - real_logits)) + jnp.mean(jax.nn.relu(1 + fake_logits))


def hinge_gen(fake_logits: Logits) -> Scalar:
    """-E[D(G(z))]: eq. 17 of Miyato et al. 2018."""
    return -jnp.mean(fake_logits)


def non_saturating_dis(real_logits: Logits, fake_logits: Logits) -> Scalar:
    """E[softplus(-D(x))] + E[softplus(D(G(z)))]: eq. 1 of Goodfellow et al. 2014, negated."""
    return jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits))


def non_saturating_gen(fake_logits: Logits) -> Scalar:
    """E[softplus(-D(G(z)))] = E[-log sigmoid(D(G(z)))]: section 3 of Goodfellow et al. 2014."""
    return jnp.mean(jax.nn.softplus(-fake_logits))


def minimax_gen(fake_logits: Logits) -> Scalar:
    """-E[softplus(D(G(z)))] = E[log(1 - sigmoid(D(G(z))))], eq. 1 of Goodfellow et al. 2014, on
    logits.

    The original game; its discriminator's loss is `non_saturating_dis`. It saturates: fakes that D
    is certain about give no gradient.
    """
    return -jnp.mean(jax.nn.softplus(fake_logits))


def least_squares_dis(real_logits: Logits, fake_logits: Logits) -> Scalar:
    """E[(D(x) - 1)^2] / 2 + E[D(G(z))^2] / 2, eq. 9 of Mao et al. 2017 (arXiv:1611.04076): a = 0, b
    = c = 1.

    On the logits themselves, without a sigmoid, and with the paper's factors 1/2.
    """
    return (jnp.mean(jnp.square(real_logits - 1)) + jnp.mean(jnp.square(fake_logits))) / 2


def least_squares_gen(fake_logits: Logits) -> Scalar:
    """E[(D(G(z)) - 1)^2] / 2, eq. 9 of Mao et al. 2017."""
    return jnp.mean(jnp.square(fake_logits - 1)) / 2


def wasserstein_dis(real_logits: Logits, fake_logits: Logits) -> Scalar:
    """E[D(G(z))] - E[D(x)]: eq. 2 of Arjovsky et al. 2017 (arXiv:1701.07875), negated.

    It estimates a distance only if D is kept Lipschitz (by `snjax.objectives.penalties` or spectral
    normalization).
    """
    return jnp.mean(fake_logits) - jnp.mean(real_logits)


def wasserstein_gen(fake_logits: Logits) -> Scalar:
    """-E[D(G(z))], Algorithm 1 of Arjovsky et al. 2017."""
    return -jnp.mean(fake_logits)


def relativistic_average_dis(
    real_logits: Reals, fake_logits: Fakes, *, mean: Mean = jnp.mean
) -> Scalar:
    """E[softplus(-(D(x) - E[D(G(z))]))] + E[softplus(D(G(z)) - E[D(x)])].

    RaSGAN, the cross-entropy form of the relativistic average of Jolicoeur-Martineau 2019
    (arXiv:1807.00734): whether a real is more realistic than the average fake, and a fake less than
    the average real. `mean` computes the inner means.
    """
    real, fake = real_logits - mean(fake_logits), fake_logits - mean(real_logits)
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def relativistic_average_gen(
    fake_logits: Fakes, real_logits: Reals, *, mean: Mean = jnp.mean
) -> Scalar:
    """`relativistic_average_dis` with real and fake exchanged (Jolicoeur-Martineau 2019)."""
    return relativistic_average_dis(fake_logits, real_logits, mean=mean)


def relativistic_pairing_dis(real_logits: Reals, fake_logits: Fakes) -> Scalar:
    """E[softplus(-(D(x) - D(G(z))))] over pairs of a real and a fake.

    RpGAN of Jolicoeur-Martineau 2019 (arXiv:1807.00734) with f = softplus, as in R3GAN (Huang et
    al. 2024, arXiv:2501.05441), which adds `r1` and `r2` of `snjax.objectives.penalties`.

    Raises:
        ValueError: the numbers of reals and fakes differ.
    """
    if real_logits.shape != fake_logits.shape:
        raise ValueError(
            f'loss relativistic_pairing pairs {real_logits.size} reals with {fake_logits.size} '
            'fakes: as many of each are needed '
            '(--config.gen_batch_size equal to --config.batch_size)'
        )
    return jnp.mean(jax.nn.softplus(fake_logits - real_logits))


def relativistic_pairing_gen(fake_logits: Fakes, real_logits: Reals) -> Scalar:
    """E[softplus(-(D(G(z)) - D(x)))]: `relativistic_pairing_dis` with real and fake exchanged."""
    return relativistic_pairing_dis(fake_logits, real_logits)


LOSSES = {
    'hinge': Loss(hinge_dis, hinge_gen),
    'non_saturating': Loss(non_saturating_dis, non_saturating_gen),
    'minimax': Loss(non_saturating_dis, minimax_gen),
    'least_squares': Loss(least_squares_dis, least_squares_gen),
    'wasserstein': Loss(wasserstein_dis, wasserstein_gen),
    'relativistic_average': Loss(
        relativistic_average_dis, relativistic_average_gen, relativistic=True, batch_wide=True
    ),
    'relativistic_pairing': Loss(
        relativistic_pairing_dis, relativistic_pairing_gen, relativistic=True
    ),
}
