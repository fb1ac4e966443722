"""Penalties on the discriminator, and WGAN's weight clipping.

Every penalty is a scalar, >= 0, NOT multiplied by its weight; `PENALTIES` at the end maps the names
of a config to penalties. Penalties on gradients take `score`, which maps images (B, H, W, C) to one
logit per image (B,). It must not mix images: only then is the gradient of the summed logits each image's own
gradient. With batch norm in D, which mixes them, WGAN-GP's penalties are refused; the others take
the gradient of the batch as it is. Random draws for an image come from that image's key,
so that they do not depend on how a batch is split over devices. A mean over the batch is over this
device's images, because gradients are averaged over devices afterwards; only DRAGAN's standard
deviation, which is not linear, takes the keyword `mean`.

Penalties on weights see every kernel (a parameter named `kernel` or `embedding`) as the matrix
(everything but the last axis, outputs), as `snjax.spectral` does, and ignore biases and scales.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jax import lax
from jaxtyping import Array, Float, Key

from snjax.objectives.augment import translation
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


def moved(images: Images, keys: Keys) -> Images:
    """Each image mirrored with probability 1/2, and moved as `augment.translation` does."""

    def one(image, key):
        mirror_key, shift_key = jax.random.split(key)
        mirrored = jnp.where(jax.random.bernoulli(mirror_key), image[:, ::-1], image)
        return translation(mirrored, shift_key)

    return jax.vmap(one)(images, keys)


# ---- weights


def kernels(params: Params) -> dict[tuple[str, ...], Float[Array, 'm n']]:
    """Every kernel and table as a matrix (everything but the last axis, outputs), by layer path."""
    flat: dict[tuple[str, ...], Any] = flatten_dict(params)
    return {
        path[:-1]: jnp.reshape(leaf, (-1, leaf.shape[-1]))
        for path, leaf in flat.items()
        if path[-1] in ('kernel', 'embedding')
    }


def orthonormal(params: Params) -> Scalar:
    """Sum over kernels of |W^T W - I|_F^2, as Miyato et al. 2018 state Brock et al. 2016
    (arXiv:1609.07093).

    The smaller of the two Gram matrices is used. The larger cannot reach the identity, because its
    rank is that of W; its penalty is larger by a constant, the difference of W's sides. So the
    gradients are the same, and the minimum is 0 here.
    """
    return _total(map(_distance_from_orthonormal, kernels(params).values()))


def _distance_from_orthonormal(w):
    w = w.T if w.shape[0] < w.shape[1] else w
    # Without HIGHEST a GPU computes this in TF32 and a TPU in bfloat16.
    gram = jnp.matmul(w.T, w, precision=lax.Precision.HIGHEST)
    return jnp.sum(jnp.square(gram - jnp.eye(len(gram), dtype=gram.dtype)))


def orthogonal(params: Params) -> Scalar:
    """Sum over kernels of |W^T W * (1 - I)|_F^2: their columns, one per output, at right angles, of
    any length.

    Brock et al. 2019 (arXiv:1809.11096, section 3.1), for a generator and with weight 1e-4. Their PyTorch
    code adds half of the gradient of this, so that its 1e-4 is 5e-5 here. Tables of embeddings are
    left out.
    """
    flat: dict[tuple[str, ...], Any] = flatten_dict(params)
    found = kernels(params)
    return _total(_off_diagonal(w) for path, w in found.items() if (*path, 'kernel') in flat)


def _off_diagonal(w):
    gram = jnp.matmul(w.T, w, precision=lax.Precision.HIGHEST)
    return jnp.sum(jnp.square(gram * (1 - jnp.eye(len(gram), dtype=gram.dtype))))


def l2(params: Params) -> Scalar:
    """Sum over kernels of |W|_F^2, without the factor 1/2 of some implementations."""
    return _total(jnp.sum(jnp.square(w)) for w in kernels(params).values())


def spectral_norm_regularization(params: Params, spectral: Mapping[str, Any]) -> Scalar:
    """Sum of sigma(W)^2 / 2 over the layers that keep u and v (Yoshida & Miyato 2017,
    arXiv:1705.10941).

    sigma = v^T W u with the weights of `params` and the collection's u and v, which are constants
    here; the caller advances them. The gradient of a term is sigma v u^T.

    Args:
        params: the discriminator's parameters.
        spectral: its collection `spectral`, with the paths of `params`.

    Raises:
        ValueError: no layer keeps u and v, or a layer's u and v do not fit its kernel.
    """
    vectors: dict[tuple[str, ...], Any] = flatten_dict(spectral)
    terms = []
    for layer, w in kernels(params).items():
        u, v = vectors.get((*layer, 'u')), vectors.get((*layer, 'v'))
        if u is None or v is None:
            continue
        if (v.shape, u.shape) != (w.shape[:1], w.shape[1:]):
            raise ValueError(
                f"penalty spectral: v {v.shape} and u {u.shape} of layer '{'/'.join(layer)}' do not "
                f'fit its kernel, {w.shape} as a matrix: layers that keep the vectors of the reshaped '
                'kernel are accepted'
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
    """Clips every parameter, biases too, to [-bound, bound].

    Algorithm 1 of Arjovsky et al. 2017 (arXiv:1701.07875), with bound 0.01.
    """
    return jax.tree.map(lambda p: jnp.clip(p, -bound, bound), params)


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
    'orthonormal': lambda inputs: orthonormal(inputs.params),
    'l2': lambda inputs: l2(inputs.params),
    'spectral': lambda inputs: spectral_norm_regularization(inputs.params, inputs.spectral),
}
