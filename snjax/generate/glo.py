"""A trained GLO: the generator, and the latent of each training image."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from snjax.generate.inversion import Prior
from snjax.generate.neighbours import Neighbours, nearest_vectors
from snjax.generate.trained import TrainedGenerator
from snjax.latents import priors, sampling
from snjax.latents.priors import PRIORS, Mixture, project


@dataclasses.dataclass(frozen=True, repr=False)
class TrainedGlo(TrainedGenerator):
    """The generator and the latents of one checkpoint of GLO.

    Attributes:
        table: latents (n, dim_z); row i is the latent of image i of `training_set()`.
    """

    table: Float[np.ndarray, 'n d']

    def prior(
        self,
        kind: str = 'full',
        *,
        components: int = 10,
        labels: Int[np.ndarray, ' n'] | None = None,
        seed: int = 0,
    ) -> Mixture:
        """Fits a distribution to the table, to draw latents from.

        Args:
            kind: `'full'` (the paper's) or `'diagonal'` Gaussian, `'mixture'` of full Gaussians, or
                one full Gaussian per `'class'`.
            components: number of Gaussians in the mixture.
            labels: classes of the rows, for `'class'`.
            seed: of the mixture's fit.

        Raises:
            ValueError: an unknown kind, or a table that `snjax.latents.priors` refuses.
        """
        if kind not in PRIORS:
            raise ValueError(f'prior {kind!r}: accepted are {", ".join(PRIORS)}')
        if kind == 'mixture':
            return priors.fit_mixture(self.table, components, seed)
        if kind == 'class':
            if labels is None:
                raise ValueError("prior 'class' needs the classes of the training images: labels")
            return priors.fit_classes(self.table, labels, int(labels.max()) + 1)
        return priors.fit_gaussian(jnp.asarray(self.table), kind)

    def latents(
        self,
        num: int,
        *,
        seed: int = 0,
        truncation: float | None = None,
        prior: Mixture | None = None,
        components: Sequence[int] | Int[np.ndarray, ' n'] | None = None,
    ) -> Float[np.ndarray, 'n d']:
        """Draws latents from a prior, in the unit ball.

        The first n of a seed are the same for every `num`.

        Args:
            num: number of latents.
            seed: of the draw.
            truncation: see `snjax.latents.priors.draw`.
            prior: from `prior()`; None for the full Gaussian.
            components: index of the Gaussian for each latent; with a prior per class, its class.
        """
        if num < 1:
            raise ValueError(f'num {num}: at least 1 image is needed')
        prior = self.prior() if prior is None else prior
        chosen = None if components is None else jnp.asarray(components, jnp.int32)
        key = sampling.seed_key(seed, 'sample')
        return np.asarray(_draw(prior, key, jnp.arange(num), chosen, truncation))

    def inversion_prior(self, kind: str = 'full') -> Prior:
        """The prior of z for `inversion.invert`: a Gaussian fitted to the table, in the unit ball.

        The energy is half the squared Mahalanobis distance from the mean, divided by dim_z.
        Variances below a ten-thousandth of the largest are raised to it.
        """
        prior = self.prior(kind)
        factor = np.asarray(prior.factors[0], np.float64)
        values, vectors = np.linalg.eigh(factor @ factor.T)
        scales = 1 / np.sqrt(np.maximum(values, 1e-4 * values.max()))
        mean, whiten = prior.means[0], jnp.asarray(vectors * scales, jnp.float32)

        def energy(z):
            return jnp.mean(((z - mean) @ whiten) ** 2, axis=1) / 2

        return Prior(lambda rng, ids: priors.draw(prior, rng, ids), energy, project)

    def _prior(self) -> Prior:
        return self.inversion_prior()

    def reconstruct(self, index: Sequence[int] | Int[np.ndarray, ' n']) -> np.ndarray:
        """Images (n, H, W, C) in [-1, 1] generated from rows of the table."""
        return self.generate(self.table[self.check_index(index)])

    def mean_latent(self, index: Sequence[int] | Int[np.ndarray, ' n']) -> Float[np.ndarray, ' d']:
        """The mean latent of some images, for latent arithmetic (section 4.4 of the paper)."""
        return self.table[self.check_index(index)].mean(axis=0)

    def nearest_rows(self, z: Float[np.ndarray, 'q d'], k: int) -> Neighbours:
        """The `k` rows of the table nearest to each latent: images that are alike to the model."""
        return nearest_vectors(z, self.table, k)

    def check_index(self, index: Sequence[int] | Int[np.ndarray, ' n']) -> Int[np.ndarray, ' n']:
        """`index` as an array; raises a one-line ValueError for an index outside the table."""
        index = np.asarray(index, np.int64)
        wrong = index[(index < 0) | (index >= len(self.table))]
        if wrong.size:
            raise ValueError(f'image {wrong[0]}: the run has images 0 to {len(self.table) - 1}')
        return index


@functools.partial(jax.jit, static_argnums=4)
def _draw(prior, rng, ids, components, truncation):
    return priors.draw(prior, rng, ids, components, truncation)
