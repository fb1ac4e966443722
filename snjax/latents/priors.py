"""Distributions fitted to learned latents, to draw new ones from.

GLO has no prior in training: its latents are parameters. Bojanowski et al. 2018 (arXiv:1707.05776),
section 4.3, sample from one full-covariance Gaussian fitted to the latents. This Gaussian, a
diagonal one, one Gaussian per class and a Gaussian mixture are all a `Mixture`. GLO keeps its
latents in the unit ball, so draws are projected onto it (`project`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Key

Latents = Float[Array | np.ndarray, 'n d']

PRIORS = ('full', 'diagonal', 'mixture', 'class')


class Mixture(NamedTuple):
    """k Gaussians in d dimensions: z = means[i] + factors[i] e, with e ~ N(0, I) and i drawn by
    `weights`.

    Attributes:
        weights: of the components, positive, with sum 1.
        means: mean of each component.
        factors: a square root of each covariance matrix, which is factors[i] factors[i]^T.
    """

    weights: Float[Array, ' k']
    means: Float[Array, 'k d']
    factors: Float[Array, 'k d d']


def project(z: Float[Array | np.ndarray, '*n d']) -> Float[Array, '*n d']:
    """Projection onto the unit ball, z / max(|z|_2, 1), which GLO applies after every update."""
    # The maximum is inside the root, which has no derivative at 0.
    squared = jnp.sum(jnp.square(z), axis=-1, keepdims=True)
    return jnp.asarray(z / jnp.sqrt(jnp.maximum(squared, 1.0)))


def fit_gaussian(z: Latents, kind: str = 'full') -> Mixture:
    """One Gaussian with the mean and the unbiased covariance of the rows.

    Args:
        z: latents, at least 2.
        kind: `'full'`, or `'diagonal'`, which ignores correlations.

    Raises:
        ValueError: the kind is unknown, or there are fewer than 2 latents.
    """
    if kind not in ('full', 'diagonal'):
        raise ValueError(f'prior {kind!r}: accepted are full and diagonal')
    if len(z) < 2:
        raise ValueError(f'a Gaussian needs at least 2 latents, not {len(z)}')
    z = jnp.asarray(z)
    mean = jnp.mean(z, axis=0)
    if kind == 'diagonal':
        factor = jnp.diag(jnp.std(z, axis=0, ddof=1))
    else:
        factor = _root(jnp.cov(z, rowvar=False).reshape(z.shape[1], z.shape[1]))
    return Mixture(jnp.ones(1), mean[None], factor[None])


def fit_classes(z: Latents, labels: Integer[Array | np.ndarray, ' n'], num_classes: int) -> Mixture:
    """One full Gaussian per class; component i is class i, weighted by its share.

    Raises:
        ValueError: a class has fewer than 2 latents, or a label is no class.
    """
    z, labels = np.asarray(z), np.asarray(labels)
    counts = np.bincount(labels, minlength=num_classes)
    if len(counts) > num_classes:
        raise ValueError(
            f'a label is {len(counts) - 1}, and there are {num_classes} classes: 0 to '
            f'{num_classes - 1} are accepted'
        )
    if counts.min() < 2:
        raise ValueError(
            f'class {counts.argmin()} has {counts.min()} images: a Gaussian of its own needs at '
            'least 2; use --sample.prior=full'
        )
    fits = [fit_gaussian(jnp.asarray(z[labels == i])) for i in range(num_classes)]
    means, factors = (jnp.concatenate([getattr(f, k) for f in fits]) for k in ('means', 'factors'))
    return Mixture(jnp.asarray(counts / counts.sum(), jnp.float32), means, factors)


def fit_mixture(z: Latents, num_components: int, seed: int = 0) -> Mixture:
    """A mixture of full-covariance Gaussians, by expectation maximization (scikit-learn).

    Raises:
        ValueError: there are fewer latents than components.
    """
    from sklearn.mixture import GaussianMixture  # takes a second to import

    if not 1 <= num_components <= len(z):
        raise ValueError(
            f'{num_components} components for {len(z)} latents: 1 to {len(z)} are accepted '
            '(--sample.components)'
        )
    fitted = GaussianMixture(num_components, reg_covar=1e-6, random_state=seed)
    fitted.fit(np.asarray(z))
    weights, means, covariances = (
        jnp.asarray(x, jnp.float32) for x in (fitted.weights_, fitted.means_, fitted.covariances_)
    )
    return Mixture(weights, means, jax.vmap(_root)(covariances))


def draw(
    prior: Mixture,
    rng: Key[Array, ''],
    ids: Int[Array, ' b'],
    components: Int[Array, ' b'] | None = None,
    truncation: float | None = None,
) -> Float[Array, 'b d']:
    """Latents of the examples `ids`, each from its own key, projected onto the unit ball.

    Args:
        prior: the distribution.
        rng: key of the whole draw.
        ids: global positions of the examples.
        components: the Gaussian of each example; None draws it by weight.
        truncation: draw e from the normal restricted to [-truncation, truncation]; None for the
            whole.

    Raises:
        ValueError: the truncation is not positive.
    """
    if truncation is not None and truncation <= 0:
        raise ValueError(f'truncation {truncation}: a positive number or none is accepted')
    keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, ids)

    def one(key, component):
        which, noise = jax.random.split(key)
        if components is None:
            component = jax.random.categorical(which, jnp.log(prior.weights))
        e = _noise(noise, prior.means.shape[1:], truncation)
        return prior.means[component] + prior.factors[component] @ e

    return project(jax.vmap(one)(keys, jnp.zeros_like(ids) if components is None else components))


def _noise(key, shape, truncation):
    if truncation is None:
        return jax.random.normal(key, shape)
    return jax.random.truncated_normal(key, -truncation, truncation, shape)


def _root(covariance: Float[Array, 'd d']) -> Float[Array, 'd d']:
    """A square root that, unlike Cholesky's, exists for fewer latents than dimensions."""
    values, vectors = jnp.linalg.eigh(covariance)
    return vectors * jnp.sqrt(jnp.maximum(values, 0.0))
