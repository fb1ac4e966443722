"""Three sets of points in the plane and how samples of them are scored.

These are the toy sets of Gulrajani et al. 2017 (arXiv:1704.00028), with the radii, noise and
scaling of the authors' code (github.com/igul222/improved_wgan_training, `gan_toy.py`), except the
grid's sigma, which is twice theirs. Each point is drawn from its own key, so neither batches nor
sharding change it.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

FAIR_PART = 10  # a mode (or an arc) is covered by one tenth of its fair share of the samples
NUM_SIGMAS = 3.0  # a sample is good within this many sigmas of a centre or of the curve

_NUM_ARCS = 20
_CURVE_POINTS = 100  # per arc


class ToySet(NamedTuple):
    """A distribution of points in the plane.

    Attributes:
        draw: a key to one point (2,).
        score: points (n, 2) to {'modes', 'num_modes', 'good'}: covered modes (or arcs), all modes,
            and the share of good samples.
        extent: half of the side of the square that pictures show.
    """

    draw: Callable[[jax.Array], jax.Array]
    score: Callable[[np.ndarray], dict[str, float]]
    extent: float


def coverage(nearest: np.ndarray, is_good: np.ndarray, shares: np.ndarray) -> dict[str, float]:
    """Modes with at least a tenth (`FAIR_PART`) of their fair share of samples, counting good ones.

    Args:
        nearest: mode of each sample (n,).
        is_good: whether it lies close enough (n,).
        shares: of each mode in the true distribution; they add up to 1.
    """
    counts = np.bincount(nearest[is_good], minlength=len(shares))
    covered = FAIR_PART * counts >= shares * len(nearest)
    return {
        'modes': int(covered.sum()),
        'num_modes': len(shares),
        'good': float(is_good.mean()),
    }


def gaussians(centres: np.ndarray, sigma: float) -> ToySet:
    """Equal parts of isotropic Gaussians at `centres` (k, 2)."""
    centres = np.asarray(centres, np.float32)

    def draw(key):
        mode_key, noise_key = jax.random.split(key)
        mode = jax.random.randint(mode_key, (), 0, len(centres))
        return jnp.asarray(centres)[mode] + sigma * jax.random.normal(noise_key, (2,))

    def score(points):
        distances = np.linalg.norm(points[:, None] - centres, axis=-1)
        shares = np.full(len(centres), 1 / len(centres))
        is_good = distances.min(axis=1) <= NUM_SIGMAS * sigma
        return coverage(distances.argmin(axis=1), is_good, shares)

    return ToySet(draw, score, extent=1.35 * float(np.abs(centres).max()))


def ring() -> ToySet:
    """8 Gaussians at radius 2 / 1.414, sigma 0.02 / 1.414."""
    angles = 2 * np.pi * np.arange(8) / 8
    return gaussians(2 / 1.414 * np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.02 / 1.414)


def grid() -> ToySet:
    """25 Gaussians 2 / 2.828 apart, sigma 0.1 / 2.828: twice the authors', for short runs."""
    axis = 2 / 2.828 * np.arange(-2, 3)
    return gaussians(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2), 0.1 / 2.828)


def swiss_roll() -> ToySet:
    """The curve t (cos t, sin t) / 7.5, t ~ U(1.5 pi, 4.5 pi), with Gaussian noise of 0.25 / 7.5.

    The same as `sklearn.datasets.make_swiss_roll`. Its modes are 20 arcs of equal length. Their
    fair shares differ because t moves faster along the curve where it is tight.
    """
    start, end, scale, sigma = 1.5 * np.pi, 4.5 * np.pi, 7.5, 0.25 / 7.5

    def length(t):
        return (t * np.sqrt(1 + t**2) + np.arcsinh(t)) / 2

    fine = np.linspace(start, end, 20_001)
    lengths = np.linspace(length(start), length(end), _NUM_ARCS * _CURVE_POINTS + 1)
    t = np.interp(lengths, length(fine), fine)
    ends, middles = t[::_CURVE_POINTS], (t[1:] + t[:-1]) / 2
    shares = np.diff(ends) / (end - start)
    curve = middles[:, None] * np.stack([np.cos(middles), np.sin(middles)], axis=1) / scale

    def draw(key):
        t_key, noise_key = jax.random.split(key)
        t = jax.random.uniform(t_key, (), minval=start, maxval=end)
        point = t * jnp.stack([jnp.cos(t), jnp.sin(t)]) / scale
        return point + sigma * jax.random.normal(noise_key, (2,))

    def score(points):
        parts = np.array_split(points, math.ceil(len(points) / 1000))
        distances = [np.linalg.norm(part[:, None] - curve, axis=-1) for part in parts]
        nearest = np.concatenate([d.argmin(axis=1) for d in distances])
        is_good = np.concatenate([d.min(axis=1) for d in distances]) <= NUM_SIGMAS * sigma
        return coverage(nearest // _CURVE_POINTS, is_good, shares)

    return ToySet(draw, score, extent=2.2)


SETS = {'ring': ring(), 'grid': grid(), 'swiss_roll': swiss_roll()}
