"""Penalties on the discriminator, and the constraint that WGAN clips it to.

Every penalty is a scalar, >= 0, NOT multiplied by its weight; `PENALTIES` at the foot names those that a config can ask
for. Penalties on gradients take `score`, which maps images (B, H, W, C) to one logit per image (B,) and must not mix
images, as batch norm does: the gradient of the summed logits is then every image's own. What is drawn per image comes
from that image's key, so that it does not depend on how a batch is split over devices. Means over the batch are this
device's, because gradients are averaged over the devices afterwards; only DRAGAN's standard deviation, which is not
linear, takes the keyword `mean`.

Penalties on weights see every kernel (a parameter named `kernel` or `embedding`) as the matrix (everything but the last
axis, outputs), as `snjax.spectral` does, and leave biases and scales alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jax import lax
from jaxtyping import Array, Float, Key

from snjax.spectral import rayleigh

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
    """|grad D(x)| of every image: without an epsilon, as improved_wgan_training has it, and differentiable at 0.

    The square root's derivative is infinite at 0, and infinity times the zero gradient below it NaN. One image whose
    units are all dead would be enough, so there the root is taken of 1 and thrown away: the derivative is 0.
    """
    squared = _squared_slopes(score, images)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1)), 0)


def gradient_penalty(
    score: Score, real: Images, fake: Images, keys: Keys, *, one_sided: bool = False
) -> Scalar:
    """Gradient penalty of WGAN-GP: E[(|grad D(x + alpha (G(z) - x))| - 1)^2], alpha ~ U(0, 1), one per image.

    The last term of eq. 3 of Gulrajani et al. 2017 (arXiv:1704.00028), where its weight is 10.

    Args:
        score: images to logits; must not mix images.
        real, fake: pairs of images.
        keys: one per pair, for alpha.
        one_sided: penalises slopes above 1 only, E[max(0, slope - 1)^2] (section 4 there; Petzka et al. 2018).

    Raises:
        ValueError: if `real` and `fake` differ in shape.
    """
    if real.shape != fake.shape:
        raise ValueError(
            f'gradient_penalty interpolates between real {real.shape} and fake {fake.shape}: equal shapes are needed'
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

    Kodali et al. 2017 (arXiv:1705.07215) as their code has it: U ~ U(0, 1) for every number of an image, alpha ~
    U(0, 1) one per image, s the standard deviation of all numbers of the whole batch (over n, not n - 1). The noise is
    thus not centred. The paper's formula has Gaussian noise and no alpha.

    Args:
        score: images to logits; must not mix images.
        real: images.
        keys: one per image.
        all_real: this device's share of the batch, where `real` is a part of it.
        mean: average over the whole batch of an array like a device's share of it.
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
    """E[|grad D(x)|^2] / 2 at reals: R1, eq. 9 of Mescheder et al. 2018 (arXiv:1801.04406) without gamma."""
    return jnp.mean(_squared_slopes(score, real)) / 2


def r2(score: Score, fake: Images) -> Scalar:
    """E[|grad D(G(z))|^2] / 2 at fakes: R2 of Mescheder et al. 2018, `r1` at the generator's images."""
    return jnp.mean(_squared_slopes(score, fake)) / 2


def drift(score: Score, real: Images) -> Scalar:
    """E[D(x)^2] at reals: keeps a Wasserstein critic near 0 (Karras et al. 2018, arXiv:1710.10196: weight 0.001)."""
    return jnp.mean(jnp.square(score(real)))


# ---- weights


def kernels(params: Params) -> dict[tuple[str, ...], Float[Array, 'm n']]:
    """Every kernel and table as a matrix (everything but the last axis, outputs), by the path of its layer."""
    flat: dict[tuple[str, ...], Any] = flatten_dict(params)
    return {
        path[:-1]: jnp.reshape(leaf, (-1, leaf.shape[-1]))
        for path, leaf in flat.items()
        if path[-1] in ('kernel', 'embedding')
    }


def orthonormal(params: Params) -> Scalar:
    """Sum over kernels of |W^T W - I|_F^2, as Miyato et al. 2018 state Brock et al. 2016 (arXiv:1609.07093).

    Of the two Gram matrices the smaller is taken. The larger one cannot reach the identity, its rank being that of W,
    and differs by a constant, the difference of the sides: the gradients are the same and the minimum here is 0.
    """
    return _total(map(_distance_from_orthonormal, kernels(params).values()))


def _distance_from_orthonormal(w):
    w = w.T if w.shape[0] < w.shape[1] else w
    # Without HIGHEST a GPU computes this in TF32 and a TPU in bfloat16.
    gram = jnp.matmul(w.T, w, precision=lax.Precision.HIGHEST)
    return jnp.sum(jnp.square(gram - jnp.eye(len(gram), dtype=gram.dtype)))


def l2(params: Params) -> Scalar:
    """Sum over kernels of |W|_F^2, without the factor 1/2 that some codes have."""
    return _total(jnp.sum(jnp.square(w)) for w in kernels(params).values())


def spectral_norm_regularization(params: Params, spectral: Mapping[str, Any]) -> Scalar:
    """Sum of sigma(W)^2 / 2 over the layers that keep u and v (Yoshida & Miyato 2017, arXiv:1705.10941).

    sigma = v^T W u with the weights as they are in `params` and the collection's u and v held constant; whoever calls
    this advances them. The gradient of a term is sigma v u^T.

    Args:
        params: of the discriminator.
        spectral: its collection `spectral`, whose paths are those of `params`.

    Raises:
        ValueError: if no layer keeps u and v, or those of one do not fit its kernel.
    """
    vectors: dict[tuple[str, ...], Any] = flatten_dict(spectral)
    terms = []
    for layer, w in kernels(params).items():
        u, v = vectors.get((*layer, 'u')), vectors.get((*layer, 'v'))
        if u is None or v is None:
            continue
        if (v.shape, u.shape) != (w.shape[:1], w.shape[1:]):
            raise ValueError(
                f"penalty spectral: v {v.shape} and u {u.shape} of layer '{'/'.join(layer)}' do not fit its kernel, "
                f'{w.shape} as a matrix: layers that keep the vectors of the reshaped kernel are accepted'
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
    """Every parameter, biases too, clipped to [-bound, bound]: Algorithm 1 of Arjovsky et al. 2017 (bound 0.01)."""
    return jax.tree.map(lambda p: jnp.clip(p, -bound, bound), params)


# ---- what a config can ask for


class PenaltyInputs(NamedTuple):
    """What a penalty may look at.

    Attributes:
        score: images (B, H, W, C) to logits (B,), every collection of the discriminator frozen; to a conditional
            one the images are said to be of the reals' classes.
        score_fake: the same with the fakes' classes.
        params: the discriminator's parameters; `score` depends on them too.
        spectral: its collection `spectral`, or {}.
        real, fake: images of this device, in pairs.
        keys: one per pair.
        all_real: this device's share of the batch, where `real` is a part of it; None where it is all.
        mean: average over the whole batch of an array like a device's share of it.
    """

    score: Score
    score_fake: Score
    params: Params
    spectral: Mapping[str, Any]
    real: Images
    fake: Images
    keys: Keys
    all_real: Images | None = None
    mean: Callable[[Float[Array, '...']], Scalar] = jnp.mean


PENALTIES: dict[str, Callable[[PenaltyInputs], Scalar]] = {
    'gradient': lambda c: gradient_penalty(c.score, c.real, c.fake, c.keys),
    'gradient_one_sided': lambda c: gradient_penalty(
        c.score, c.real, c.fake, c.keys, one_sided=True
    ),
    'dragan': lambda c: dragan(c.score, c.real, c.keys, all_real=c.all_real, mean=c.mean),
    'r1': lambda c: r1(c.score, c.real),
    'r2': lambda c: r2(c.score_fake, c.fake),
    'drift': lambda c: drift(c.score, c.real),
    'orthonormal': lambda c: orthonormal(c.params),
    'l2': lambda c: l2(c.params),
    'spectral': lambda c: spectral_norm_regularization(c.params, c.spectral),
}
