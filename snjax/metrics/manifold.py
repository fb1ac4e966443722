"""Scores by nearest neighbours: precision, recall, density and coverage. NumPy float64 on features.

Point sets are compared in square tiles, so memory beyond the inputs is a few tiles whatever the number of points.

Improved precision and recall: Kynkaanniemi et al. 2019 (arXiv:1904.06991), Eqs. 1-3. Density and coverage: Naeem et
al. 2020 (arXiv:2002.09797), Eqs. 3 and 4.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from snjax.metrics.scores import check_features, check_pair


class PrecisionRecall(NamedTuple):
    """Improved precision and recall, both shares in [0, 1]."""

    precision: float
    recall: float


def precision_recall(
    real: Num[np.ndarray, 'n_real dim'],
    fake: Num[np.ndarray, 'n_fake dim'],
    *,
    k: int = 3,
    block: int = 2048,
) -> PrecisionRecall:
    """Improved precision and recall from k-nearest-neighbour balls.

    Each point carries the closed ball that reaches to its k-th nearest neighbour *within its own
    set*. Precision is the share of fake points that lie in the ball of at least one real point,
    recall the share of real points that lie in the ball of at least one fake point. A point counts
    when distance <= radius, as in Eq. 1 (some implementations ask for distance < radius; the two
    differ on duplicates).

    The radii shrink as a set grows, so scores compare at equal counts only. Neither sees copies:
    fake points taken from the real set have precision 1.

    Args:
        real, fake: features, one point a row; any real dtype, computed in float64.
        k: which neighbour gives the radius, >= 1. A point is never its own neighbour; another
            point at the same place is.
        block: side of the tiles of distances, in points. Changes memory and speed only.

    Returns:
        `(precision, recall)`.

    Raises:
        ValueError: if a set is not a finite matrix or has at most k points, if the widths differ,
            or if `k` or `block` is below 1.
    """
    real, fake = check_pair(real, fake)
    real_radii = knn_squared_radii(real, k=k, block=block, name='real')
    fake_radii = knn_squared_radii(fake, k=k, block=block, name='fake')
    fake_is_covered = np.zeros(len(fake), bool)
    real_is_covered = np.zeros(len(real), bool)
    for rows, columns, squared in _distance_tiles(fake, real, block):
        fake_is_covered[rows] |= (squared <= real_radii[None, columns]).any(axis=1)
        real_is_covered[columns] |= (squared <= fake_radii[rows, None]).any(axis=0)
    return PrecisionRecall(float(fake_is_covered.mean()), float(real_is_covered.mean()))


class Prdc(NamedTuple):
    """Precision, recall and coverage, shares in [0, 1], and density, which may pass 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(
    real: Num[np.ndarray, 'n_real dim'],
    fake: Num[np.ndarray, 'n_fake dim'],
    *,
    k: int = 5,
    block: int = 2048,
) -> Prdc:
    """All four at one k, in one pass over the distances between the sets.

    Density is the mean number of real balls that a fake point lies in, over k; coverage the share of real points whose
    ball holds a fake point. As in `precision_recall` a point counts when distance <= radius; the authors' package
    `prdc` asks for distance < radius, which differs where a fake point lies exactly on a ball, as copies may.

    Args:
        real, fake: features, one point a row; any real dtype, computed in float64.
        k: which neighbour gives the radius, >= 1; 5 is the authors' (section 4.2.2).
        block: side of the tiles of distances, in points.

    Raises:
        ValueError: as `precision_recall`.
    """
    real, fake = check_pair(real, fake)
    real_radii = knn_squared_radii(real, k=k, block=block, name='real')
    fake_radii = knn_squared_radii(fake, k=k, block=block, name='fake')
    num_balls = np.zeros(len(fake), np.int64)
    real_in_fake = np.zeros(len(real), bool)
    covered = np.zeros(len(real), bool)
    for rows, columns, squared in _distance_tiles(fake, real, block):
        inside = squared <= real_radii[None, columns]
        num_balls[rows] += inside.sum(axis=1)
        covered[columns] |= inside.any(axis=0)
        real_in_fake[columns] |= (squared <= fake_radii[rows, None]).any(axis=0)
    return Prdc(
        float((num_balls > 0).mean()),
        float(real_in_fake.mean()),
        float(num_balls.mean() / k),
        float(covered.mean()),
    )


def knn_squared_radii(
    points: Num[np.ndarray, 'n dim'], *, k: int, block: int = 2048, name: str = 'points'
) -> Float[np.ndarray, ' n']:
    """Squared distance of each point to its k-th nearest neighbour in the same set.

    Squared, because a square root rounds and would spoil the comparison of equal distances.

    Args:
        points: features, one point a row.
        k: 1 is the nearest *other* point.
        block: side of the tiles of distances, in points.
        name: what error messages call the set.

    Returns:
        Float64, (n,), >= 0.

    Raises:
        ValueError: if `points` is not a finite matrix of more than k rows, or `k` or `block` is
            below 1.
    """
    points = check_features(points, name)
    if k < 1:
        raise ValueError(f'k is {k}: the nearest other point is k = 1')
    if block < 1:
        raise ValueError(f'block is {block}: tiles need at least 1 point a side')
    if len(points) <= k:
        raise ValueError(
            f'{name} has {len(points)} points: the distance to neighbour k = {k} needs '
            f'at least {k + 1}; give more points or a smaller k'
        )
    nearest = np.full((len(points), k), np.inf)
    for rows, columns, squared in _distance_tiles(points, points, block):
        if rows == columns:
            np.fill_diagonal(squared, np.inf)
        candidates = np.concatenate([nearest[rows], squared], axis=1)
        nearest[rows] = np.partition(candidates, k - 1, axis=1)[:, :k]
    return nearest.max(axis=1)


def _distance_tiles(
    a: np.ndarray, b: np.ndarray, block: int
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Squared Euclidean distances between the rows of `a` and of `b`, tile by tile.

    |x - y|^2 = |x|^2 + |y|^2 - 2 x.y, one matrix product a tile. Both sets are first shifted by a
    point of `b`, which keeps the norms as small as the spread of the data and, unlike a shift by
    the mean, keeps lattice data (pixels, integers) exact. What is left below the rounding error of
    the product is set to 0: duplicates are at distance 0 exactly, and points closer than about 3e-8
    sqrt(dim) times their norm count as duplicates.

    Yields:
        `(rows of a, rows of b, squared distances of the tile)`, the last one free to be
        overwritten.
    """
    origin = b[0].astype(np.float64)
    rounding = 4 * a.shape[1] * np.finfo(np.float64).eps
    for i in range(0, len(a), block):
        rows = slice(i, min(i + block, len(a)))
        x = a[rows].astype(np.float64) - origin
        x_norm = np.einsum('id,id->i', x, x)[:, None]
        for j in range(0, len(b), block):
            columns = slice(j, min(j + block, len(b)))
            y = b[columns].astype(np.float64) - origin
            norms = x_norm + np.einsum('jd,jd->j', y, y)
            squared = norms - 2 * (x @ y.T)
            squared[squared <= rounding * norms] = 0
            yield rows, columns, squared
