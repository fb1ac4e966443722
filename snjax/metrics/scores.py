"""Scores of distributions: NumPy float64 on features, no device, no network, no files.

Every function takes features, one point a row, and knows nothing of images or of what made them; the caller names the
extractor and the counts beside the number. What nearest neighbours say is in `snjax.metrics.manifold`.

Frechet distance: Dowson & Landau 1982; as a score (FID) Heusel et al. 2017 (arXiv:1706.08500), Eq. 6. Inception score:
Salimans et al. 2016 (arXiv:1606.03498). Kernel distance (KID): Binkowski et al. 2018 (arXiv:1801.01401). Distances per
class: Miyato & Koyama 2018 (arXiv:1802.05637), section 5.
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
    """Mean and covariance (divisor n - 1), in float64 block by block, whatever the features' type.

    Raises:
        ValueError: for fewer than 2 points, or features that are not finite.
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

    With A = R R^T and B = S S^T, the trace of the root is the sum of the singular values of R^T S. Covariances of too
    few points need no ridge so, and equal Gaussians come out at 0 where a root of a product's eigenvalues, which are
    exact to half the digits only, does not.

    Raises:
        ValueError: if shapes do not fit, or a value is not finite.
    """
    mu_a, mu_b, cov_a, cov_b = (np.asarray(x, np.float64) for x in (mu_a, mu_b, cov_a, cov_b))
    if mu_a.shape != mu_b.shape or cov_a.shape != cov_b.shape or cov_a.shape != mu_a.shape * 2:
        raise ValueError(
            f'Gaussians of mean {mu_a.shape}, covariance {cov_a.shape} and mean {mu_b.shape}, covariance '
            f'{cov_b.shape} cannot be compared: both must come from the same extractor'
        )
    if not all(np.isfinite(x).all() for x in (mu_a, mu_b, cov_a, cov_b)):
        raise ValueError('a Gaussian has NaN or infinite values: the samples may have diverged')
    root = np.linalg.svd(_factor(cov_a).T @ _factor(cov_b), compute_uv=False).sum()
    distance = np.sum((mu_a - mu_b) ** 2) + np.trace(cov_a) + np.trace(cov_b) - 2 * root
    return max(0.0, float(distance))


def _factor(cov):
    """R with R R^T = cov; eigenvalues below rounding are 0."""
    values, vectors = np.linalg.eigh(cov)
    rounding = len(values) * np.finfo(np.float64).eps * values[-1]
    return vectors * np.sqrt(np.where(values > rounding, values, 0))


class InceptionScore(NamedTuple):
    """Mean over the splits and their standard deviation; between 1 and the number of classes."""

    mean: float
    std: float


def inception_score(logits: Num[np.ndarray, 'n k'], splits: int = 10) -> InceptionScore:
    """exp of the mean KL divergence of each sample's class distribution from that of its split.

    Of another classifier than Inception it is not the Inception score, and called otherwise.

    Args:
        logits: of any classifier.
        splits: equal parts in the order given, each with a marginal of its own, as in the authors' code; what does not
            divide evenly is spread over them.

    Raises:
        ValueError: for fewer samples than splits.
    """
    logits = check_features(logits, 'logits').astype(np.float64)
    if not 1 <= splits <= len(logits):
        raise ValueError(f'splits is {splits}: with {len(logits)} samples, 1 to {len(logits)}')
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    edges = [len(logits) * i // splits for i in range(splits + 1)]
    found = []
    for start, stop in itertools.pairwise(edges):
        part = log_p[start:stop]
        p = np.exp(part)
        # A class that no sample has any chance of adds 0.
        marginal = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
        found.append(np.exp(np.sum(p * (part - marginal), axis=1).mean()))
    return InceptionScore(float(np.mean(found)), float(np.std(found)))


class KernelDistance(NamedTuple):
    """Mean over the subsets, their standard deviation, and that over the root of their number."""

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
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3: KID on Inception's features. May be below 0.

    Args:
        real, fake: features.
        subsets, subset_size: the estimate is the mean over so many pairs of subsets, drawn without replacement inside a
            subset.
        seed: of the draw; the default and the order of draws are torch-fidelity's, so its subsets are these.

    Raises:
        ValueError: if a set is smaller than a subset.
    """
    real, fake = check_pair(real, fake)
    smaller = min(len(real), len(fake))
    if not 2 <= subset_size <= smaller or subsets < 1:
        raise ValueError(
            f'subsets of {subset_size} points, {subsets} of them: with {smaller} points, sizes 2 to {smaller} and 1 '
            'subset or more are accepted'
        )
    rng = np.random.RandomState(seed)
    found = []
    for _ in range(subsets):
        # The fakes are drawn first, as the reference has them first.
        y = fake[rng.choice(len(fake), subset_size, replace=False)].astype(np.float64)
        x = real[rng.choice(len(real), subset_size, replace=False)].astype(np.float64)
        found.append(_unbiased_mmd(x, y))
    std = float(np.std(found))
    return KernelDistance(float(np.mean(found)), std, std / math.sqrt(subsets))


def _unbiased_mmd(x, y):
    n, d = x.shape

    def kernel(a, b):
        values = a @ b.T / d + 1
        return values * values * values  # several times as fast as a power

    def within(a):
        values = kernel(a, a)
        return (values.sum() - np.trace(values)) / (n * (n - 1))

    return within(x) + within(y) - 2 * kernel(x, y).mean()


def class_frechet_distances(
    real: Num[np.ndarray, 'n d'],
    real_labels: Int[np.ndarray, ' n'],
    fake: Num[np.ndarray, 'm d'],
    fake_labels: Int[np.ndarray, ' m'],
    num_classes: int,
) -> Float[np.ndarray, ' num_classes']:
    """Frechet distance inside each class; their mean is the intra-FID of the projection paper.

    Raises:
        ValueError: if a class has fewer than 2 points of either kind.
    """
    real, fake = check_pair(real, fake)
    found = []
    for label in range(num_classes):
        parts = {'real': real[real_labels == label], 'fake': fake[fake_labels == label]}
        for kind, part in parts.items():
            if len(part) < 2:
                raise ValueError(
                    f'class {label} has {len(part)} {kind} images: at least 2 are needed'
                )
        a, b = (moments(part) for part in parts.values())
        found.append(frechet_distance(a.mean, a.cov, b.mean, b.cov))
    return np.array(found)


def classification_accuracy(logits: Num[np.ndarray, 'n k'], labels: Int[np.ndarray, ' n']) -> float:
    """Share of images whose largest logit is their label's."""
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def class_coverage(
    labels: Int[np.ndarray, ' n'], num_classes: int
) -> Float[np.ndarray, ' num_classes']:
    """Share of each class among labels.

    Args:
        labels: class of each sample, 0 .. num_classes - 1.
        num_classes: number of classes that could occur.

    Returns:
        Float64 shares that sum to 1; 0 for a class that does not occur.

    Raises:
        ValueError: if `labels` is empty, not a vector of integers, or has a value outside the
            classes.
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
    """Two sets of features as matrices, checked; raises a ValueError of one line."""
    real, fake = check_features(real, 'real'), check_features(fake, 'fake')
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            f'real has {real.shape[1]} features and fake {fake.shape[1]}: '
            'both must come from the same extractor'
        )
    return real, fake


def check_features(points: np.ndarray, name: str) -> np.ndarray:
    """A set as a matrix in its own dtype (blocks are widened one by one), checked."""
    points = np.asarray(points)
    if points.ndim != 2 or 0 in points.shape:
        raise ValueError(
            f'{name} has shape {points.shape}: features must be (points, features), neither 0'
        )
    if not np.isfinite(points).all():
        raise ValueError(f'{name} has NaN or infinite features: the samples may have diverged')
    return points
