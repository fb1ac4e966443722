"""Penalties on the discriminator; those on its weights are in `weight_penalties`.

Every penalty is a scalar, >= 0, NOT multiplied by its weight; `PENALTIES` at the end maps the names
of a config to penalties. Penalties on gradients take `score`, which maps images (B, H, W, C) to one
logit per image (B,). It must not mix images: only then is the gradient of the summed logits each image's own
gradient. With batch norm in D, which mixes them, WGAN-GP's penalties are refused; the others take
the gradient of the batch as it is. Random draws for an image come from that image's key,
so that they do not depend on how a batch is split over devices. A mean over the batch is over this
device's images, because gradients are averaged over devices afterwards; only DRAGAN's standard
deviation, which is not linear, takes the keyword `mean`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from snjax.objectives.augment import translation
from snjax.objectives.weight_penalties import l2, orthonormal, spectral_norm_regularization

Images = Float[Array, 'b h w c']
Keys = Key[Array, ' b']
Scalar = Float[Array, '']
Score = Callable[[Images], Float[Array, ' b']]
Params = Mapping[str, Any]


# ---- gradients with respect to images


def _gradients(score, images):
    return jax.grad(lambda x: jnp.sum(score(x)))(images)


def _squared_slopes(score, images):
    return jnp.sum(jnp.square(_gradients(score, images)), (1, 2, 3))


def slopes(score: Score, images: Images) -> Float[Array, ' b']:
    """|grad D(x)| for every image, without an epsilon (as in improved_wgan_training) and
    differentiable at 0.

    The square root has an infinite derivative at 0, and infinity times the zero gradient of its
    argument is NaN; one image that activates no unit would be enough. There the root is taken of 1
    instead and discarded, so that the derivative is 0.
    """
    squared = _squared_slopes(score, images)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1)), 0)


def gradient_penalty(
    score: Score, real: Images, fake: Images, keys: Keys, *, one_sided: bool = False
) -> Scalar:
    """Gradient penalty of WGAN-GP: E[(|grad D(x + alpha (G(z) - x))| - 1)^2], alpha ~ U(0, 1), one
    per image.

    The last term of eq. 3 of Gulrajani et al. 2017 (arXiv:1704.00028), where its weight is 10.

    Args:
        score: images to logits; must not mix images.
        real, fake: pairs of images.
        keys: one per pair, for alpha.
        one_sided: penalizes slopes above 1 only, E[max(0, slope - 1)^2] (section 4 of that paper;
            Petzka et al. 2018).

    Raises:
        ValueError: `real` and `fake` differ in shape.
    """
    if real.shape != fake.shape:
        raise ValueError(
            f'gradient_penalty interpolates between real {real.shape} and fake {fake.shape}: '
            'equal shapes are needed'
        )
    between = _between(real, fake, jax.vmap(jax.random.uniform)(keys))
    excess = slopes(score, between) - 1
    return jnp.mean(jnp.square(jax.nn.relu(excess) if one_sided else excess))


def _between(start, end, alpha):
    return start + alpha.astype(start.dtype)[:, None, None, None] * (end - start)


def dragan(
    score: Score,
    real: Images,
    keys: Keys,
    *,
    all_real: Float[Array, 'n h w c'] | None = None,
    mean: Callable[[Float[Array, '...']], Scalar] = jnp.mean,
) -> Scalar:
    """Gradient penalty of DRAGAN around the data: E[(|grad D(x + alpha 0.5 s U)| - 1)^2].

    Kodali et al. 2017 (arXiv:1705.07215), after their code: U ~ U(0, 1) for every value of an
    image, alpha ~ U(0, 1) for every image, s the standard deviation of all values of the whole
    batch (over n, not n - 1). So the noise is not centred. The paper's formula has Gaussian noise
    and no alpha.

    Args:
        score: images to logits; must not mix images.
        real: images.
        keys: one per image.
        all_real: this device's images of the batch, if `real` is only a part of them.
        mean: averages an array over all devices and all its entries.
    """
    share = real if all_real is None else all_real
    variance = mean(jnp.square(share - mean(share)))

    def draw(key):
        alpha_key, noise_key = jax.random.split(key)
        return jax.random.uniform(alpha_key), jax.random.uniform(noise_key, real.shape[1:])

    alpha, noise = jax.vmap(draw)(keys)
    perturbed = real + 0.5 * jnp.sqrt(variance) * noise.astype(real.dtype)
    return jnp.mean(jnp.square(slopes(score, _between(real, perturbed, alpha)) - 1))


def r1(score: Score, real: Images) -> Scalar:
    """R1 of Mescheder et al. 2018 (arXiv:1801.04406, eq. 9) without gamma: E[|grad D(x)|^2] / 2."""
    return jnp.mean(_squared_slopes(score, real)) / 2


def r2(score: Score, fake: Images) -> Scalar:
    """R2 of Mescheder et al. 2018 without gamma, E[|grad D(G(z))|^2] / 2: `r1` at fakes."""
    return jnp.mean(_squared_slopes(score, fake)) / 2


def drift(score: Score, real: Images) -> Scalar:
    """E[D(x)^2] at reals, which keeps a Wasserstein critic near 0.

    Karras et al. 2018 (arXiv:1710.10196), with weight 0.001.
    """
    return jnp.mean(jnp.square(score(real)))


# ---- logits of moved images


def consistency(score: Score, images: Images, keys: Keys) -> Scalar:
    """Consistency regularization: E[(D(x) - D(T(x)))^2], T mirrors and moves an image.

    Zhang et al. 2020 (arXiv:1910.12027, CR) on real images, with weight 10; Zhao et al. 2020
    (arXiv:2002.04724, bCR) on fakes, too, with weight 10 each.

    Args:
        score: images to logits.
        images: real images, or fakes.
        keys: one per image, for T.
    """
    return jnp.mean(jnp.square(score(images) - score(moved(images, keys))))


def latent_consistency(score: Score, fake: Images, near: Images | None) -> Scalar:
    """D's term of zCR: E[(D(G(z)) - D(G(T(z))))^2] (Zhao et al. 2020, section 3.2).

    Args:
        score: images to logits.
        fake: G(z).
        near: G(T(z)), of latents near z.

    Raises:
        ValueError: there are no images of near latents.
    """
    if near is None:
        raise ValueError('penalty latent_consistency needs fakes of latents near z: give `near`')
    return jnp.mean(jnp.square(score(fake) - score(near)))


def moved(images: Images, keys: Keys) -> Images:
    """Each image mirrored with probability 1/2, and moved as `augment.translation` does."""

    def one(image, key):
        mirror_key, shift_key = jax.random.split(key)
        mirrored = jnp.where(jax.random.bernoulli(mirror_key), image[:, ::-1], image)
        return translation(mirrored, shift_key)

    return jax.vmap(one)(images, keys)


# ---- by name


class PenaltyInputs(NamedTuple):
    """The inputs of all penalties.

    Attributes:
        score: images (B, H, W, C) to logits (B,), every collection of the discriminator frozen; a
            conditional discriminator gets the classes of `real`.
        score_fake: the same with the classes of `fake`.
        params: the discriminator's parameters; `score` depends on them too.
        spectral: its collection `spectral`, or {}.
        real, fake: images of this device, in pairs.
        keys: one per pair.
        all_real: this device's images of the batch, if `real` is only a part of them; else None.
        near: fakes of latents near those of `fake`, for zCR.
        mean: averages an array over all devices and all its entries.
    """

    score: Score
    score_fake: Score
    params: Params
    spectral: Mapping[str, Any]
    real: Images
    fake: Images
    keys: Keys
    all_real: Images | None = None
    near: Images | None = None
    mean: Callable[[Float[Array, '...']], Scalar] = jnp.mean


PENALTIES: dict[str, Callable[[PenaltyInputs], Scalar]] = {
    'gradient': lambda inputs: gradient_penalty(
        inputs.score, inputs.real, inputs.fake, inputs.keys
    ),
    'gradient_one_sided': lambda inputs: gradient_penalty(
        inputs.score, inputs.real, inputs.fake, inputs.keys, one_sided=True
    ),
    'dragan': lambda inputs: dragan(
        inputs.score, inputs.real, inputs.keys, all_real=inputs.all_real, mean=inputs.mean
    ),
    'r1': lambda inputs: r1(inputs.score, inputs.real),
    'r2': lambda inputs: r2(inputs.score_fake, inputs.fake),
    'drift': lambda inputs: drift(inputs.score, inputs.real),
    'consistency': lambda inputs: consistency(inputs.score, inputs.real, inputs.keys),
    'consistency_fake': lambda inputs: consistency(inputs.score_fake, inputs.fake, inputs.keys),
    'latent_consistency': lambda inputs: latent_consistency(
        inputs.score_fake, inputs.fake, inputs.near
    ),
    'orthonormal': lambda inputs: orthonormal(inputs.params),
    'l2': lambda inputs: l2(inputs.params),
    'spectral': lambda inputs: spectral_norm_regularization(inputs.params, inputs.spectral),
}
