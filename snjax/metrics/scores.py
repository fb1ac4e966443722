"""Scores of distributions in NumPy float64: no device, no network, no files.

Every function takes features, one point per row, of any origin; the caller states the extractor and
the counts beside the number. Scores by nearest neighbours are in `snjax.metrics.manifold`.

Frechet distance: Dowson & Landau 1982; as a score (FID) Heusel et al. 2017 (arXiv:1706.08500),
Eq. 6. Inception score: Salimans et al. 2016 (arXiv:1606.03498). Kernel distance (KID): Binkowski et
al. 2018 (arXiv:1801.01401). Distances per class: Miyato & Koyama 2018 (arXiv:1802.05637), sec. 5.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

_BLOCK = 4096


class Moments(NamedTuple):
    """Mean (d,) and unbiased covariance (d, d) of `count` points, float64."""

    mean: Float[np.ndarray, ' d']
    cov: Float[np.ndarray, 'd d']
    count: int


def moments(features: Num[np.ndarray, 'n d']) -> Moments:
    """Mean and covariance (divisor n - 1), accumulated in float64 block by block.

    Raises:
        ValueError: fewer than 2 points, or features that are not finite.
    """
    features = check_features(features, 'features')
    if len(features) < 2:
        raise ValueError(f'a covariance needs 2 points, and there is {len(features)}')
    mean = features.mean(axis=0, dtype=np.float64)
    cov = np.zeros((len(mean), len(mean)))
    for start in range(0, len(features), _BLOCK):
        centred = features[start : start + _BLOCK] - mean
        cov += centred.T @ centred
    return Moments(mean, cov / (len(features) - 1), len(features))


def frechet_distance(
    mu_a: Float[np.ndarray, ' d'],
    cov_a: Float[np.ndarray, 'd d'],
    mu_b: Float[np.ndarray, ' d'],
    cov_b: Float[np.ndarray, 'd d'],
) -> float:
    """|mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)) of two Gaussians, >= 0.

    With A = R R^T and B = S S^T, the trace of the root is the sum of the singular values of R^T S.
    So singular covariances (of few points) need no ridge, and the distance of equal Gaussians is 0
    up to rounding. The eigenvalues of A B would keep half of the digits only.

    Raises:
        ValueError: shapes that do not fit, or a value that is not finite.
    """
    mu_a, mu_b, cov_a, cov_b = (np.asarray(x, np.float64) for x in (mu_a, mu_b, cov_a, cov_b))
    if mu_a.shape != mu_b.shape or cov_a.shape != cov_b.shape or cov_a.shape != mu_a.shape * 2:
        raise ValueError(
            f'Gaussians of mean {mu_a.shape}, covariance {cov_a.shape} and mean {mu_b.shape}, '
            f'covariance {cov_b.shape} cannot be compared: both must come from the same extractor'
        )
    if not all(np.isfinite(x).all() for x in (mu_a, mu_b, cov_a, cov_b)):
        raise ValueError('a Gaussian has NaN or infinite values: the samples may have diverged')
    root = np.linalg.svd(_factor(cov_a).T @ _factor(cov_b), compute_uv=False).sum()
    distance = np.sum((mu_a - mu_b) ** 2) + np.trace(cov_a) + np.trace(cov_b) - 2 * root
    return max(0.0, float(distance))


def _factor(cov):
    """R with R R^T = cov; eigenvalues below the rounding error count as 0."""
    values, vectors = np.linalg.eigh(cov)
    rounding = len(values) * np.finfo(np.float64).eps * values[-1]
    return vectors * np.sqrt(np.where(values > rounding, values, 0))


class InceptionScore(NamedTuple):
    """Mean and standard deviation over the splits; the mean is from 1 to the number of classes."""

    mean: float
    std: float


def inception_score(logits: Num[np.ndarray, 'n k'], splits: int = 10) -> InceptionScore:
    """exp of the mean KL divergence of a sample's class distribution from that of its split.

    With another classifier than Inception's the value is not an Inception score and has another
    name.

    Args:
        logits: of any classifier.
        splits: number of parts, in the given order, each with its own marginal, as in the authors'
            code; sizes differ by at most 1.

    Raises:
        ValueError: fewer samples than splits.
    """
    logits = check_features(logits, 'logits').astype(np.float64)
    if not 1 <= splits <= len(logits):
        raise ValueError(f'splits is {splits}: with {len(logits)} samples, 1 to {len(logits)}')
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    edges = [len(logits) * i // splits for i in range(splits + 1)]
    values = []
    for start, stop in itertools.pairwise(edges):
        part = log_p[start:stop]
        p = np.exp(part)
        # A class of probability 0 in every sample adds 0.
        marginal = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
        values.append(np.exp(np.sum(p * (part - marginal), axis=1).mean()))
    return InceptionScore(float(np.mean(values)), float(np.std(values)))


class KernelDistance(NamedTuple):
    """Mean, standard deviation and standard error over the subsets."""

    mean: float
    std: float
    standard_error: float


def kernel_distance(
    real: Num[np.ndarray, 'n d'],
    fake: Num[np.ndarray, 'm d'],
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> KernelDistance:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3: KID on Inception's features.

    The estimate may be below 0.

    Args:
        real, fake: features.
        subsets: number of pairs of subsets to average over.
        subset_size: points per subset, drawn without replacement.
        seed: of the draw. The default and the order of draws are torch-fidelity's, so the subsets
            are the same.

    Raises:
        ValueError: a set smaller than a subset.
    """
    real, fake = check_pair(real, fake)
    smaller = min(len(real), len(fake))
    if not 2 <= subset_size <= smaller or subsets < 1:
        raise ValueError(
            f'subsets of {subset_size} points, {subsets} of them: with {smaller} points, sizes 2 '
            f'to {smaller} and 1 subset or more are accepted'
        )
    rng = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        # Fakes are drawn first, as in torch-fidelity.
        y = fake[rng.choice(len(fake), subset_size, replace=False)].astype(np.float64)
        x = real[rng.choice(len(real), subset_size, replace=False)].astype(np.float64)
        values.append(_unbiased_mmd(x, y))
    std = float(np.std(values))
    return KernelDistance(float(np.mean(values)), std, std / math.sqrt(subsets))


def _unbiased_mmd(x, y):
    n, d = x.shape

    def kernel(a, b):
        values = a @ b.T / d + 1
        return values * values * values  # several times faster than a power

    def within(a):
        values = kernel(a, a)
        return (values.sum() - np.trace(values)) / (n * (n - 1))

    return within(x) + within(y) - 2 * kernel(x, y).mean()


def cmmd(x: Num[np.ndarray, 'n d'], y: Num[np.ndarray, 'm d']) -> float:
    """Squared MMD of embeddings of CLIP, with a Gaussian kernel of width 10, times 1,000.

    CMMD of Jayasumana et al. 2024 (arXiv:2401.09603), in the biased form of its authors' code: means
    over all pairs, those of a point with itself included. Never below 0 but for rounding.

    Args:
        x, y: embeddings of length 1.

    Raises:
        ValueError: shapes that do not fit, or a value that is not finite.
    """
    x, y = (np.asarray(points, np.float64) for points in check_pair(x, y))
    return 1000 * float(_mean_kernel(x, x) + _mean_kernel(y, y) - 2 * _mean_kernel(x, y))


def _mean_kernel(x, y, width=10):
    squares = np.square(y).sum(axis=1)
    total = 0.0
    for start in range(0, len(x), _BLOCK):
        part = x[start : start + _BLOCK]
        distances = np.square(part).sum(axis=1)[:, None] + squares - 2 * part @ y.T
        total += np.exp(-distances / (2 * width**2)).sum()
    return total / (len(x) * len(y))


def class_frechet_distances(
    real: Num[np.ndarray, 'n d'],
    real_labels: Int[np.ndarray, ' n'],
    fake: Num[np.ndarray, 'm d'],
    fake_labels: Int[np.ndarray, ' m'],
    num_classes: int,
) -> Float[np.ndarray, ' num_classes']:
    """Frechet distance inside each class; their mean is the intra-FID of the projection paper.

    Raises:
        ValueError: a class with fewer than 2 real or 2 fake points.
    """
    real, fake = check_pair(real, fake)
    distances = []
    for label in range(num_classes):
        parts = {'real': real[real_labels == label], 'fake': fake[fake_labels == label]}
        for kind, part in parts.items():
            if len(part) < 2:
                raise ValueError(
                    f'class {label} has {len(part)} {kind} images: at least 2 are needed'
                )
        a, b = (moments(part) for part in parts.values())
        distances.append(frechet_distance(a.mean, a.cov, b.mean, b.cov))
    return np.array(distances)


def classification_accuracy(logits: Num[np.ndarray, 'n k'], labels: Int[np.ndarray, ' n']) -> float:
    """Share of the images whose label has the largest logit."""
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def class_coverage(
    labels: Int[np.ndarray, ' n'], num_classes: int
) -> Float[np.ndarray, ' num_classes']:
    """Share of each class among labels.

    Args:
        labels: class of each sample, 0 .. num_classes - 1.
        num_classes: number of possible classes.

    Returns:
        Float64 shares that sum to 1; 0 for a missing class.

    Raises:
        ValueError: `labels` is empty, no vector of integers, or has a value outside the classes.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f'labels are {labels.dtype} of shape {labels.shape}: '
            'give a vector of integers with at least one entry'
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f'labels run from {labels.min()} to {labels.max()}: '
            f'with {num_classes} classes they are 0 .. {num_classes - 1}'
        )
    return np.bincount(labels, minlength=num_classes) / len(labels)


def check_pair(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features as matrices of one width; raises a ValueError of one line."""
    real, fake = check_features(real, 'real'), check_features(fake, 'fake')
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            f'real has {real.shape[1]} features and fake {fake.shape[1]}: '
            'both must come from the same extractor'
        )
    return real, fake


def check_features(points: np.ndarray, name: str) -> np.ndarray:
    """A set of features as a finite matrix in its own dtype; raises a ValueError of one line."""
    points = np.asarray(points)
    if points.ndim != 2 or 0 in points.shape:
        raise ValueError(
            f'{name} has shape {points.shape}: features must be (points, features), neither 0'
        )
    if not np.isfinite(points).all():
        raise ValueError(f'{name} has NaN or infinite features: the samples may have diverged')
    return points
