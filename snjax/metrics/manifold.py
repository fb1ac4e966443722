"""Scores by nearest neighbours: precision, recall, density and coverage. NumPy float64 on features.

Distances are computed in square tiles, so memory beyond the inputs is a few tiles for any number of
points. Why not by scikit-learn: see `snjax.data.distances`.

Improved precision and recall: Kynkaanniemi et al. 2019 (arXiv:1904.06991), Eqs. 1-3. Density and
coverage: Naeem et al. 2020 (arXiv:2002.09797), Eqs. 3 and 4.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from snjax.data.distances import Tile, tiles
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
    """Improved precision and recall from k-nearest-neighbour balls: the first two values of `prdc`.

    Each point has a closed ball that reaches to its k-th nearest neighbour *within its own set*.
    Precision is the share of fake points in the ball of at least one real point, recall the share
    of real points in the ball of at least one fake point. A point counts when distance <= radius,
    as in Eq. 1 (some implementations test distance < radius; the two differ on duplicates).

    The radii shrink as a set grows, so scores compare at equal counts only. Neither score detects
    copies: fake points taken from the real set have precision 1.

    Args:
        real, fake: features, one point a row; any real dtype, computed in float64.
        k: rank of the neighbour at the radius, >= 1. A point is never its own neighbour; another
            point at the same place is.
        block: side of the tiles of distances, in points. Changes memory and speed only.

    Returns:
        `(precision, recall)`.

    Raises:
        ValueError: a set that is not a finite matrix or has at most k points, sets of different
            width, or `k` or `block` below 1.
    """
    precision, recall, _, _ = prdc(real, fake, k=k, block=block)
    return PrecisionRecall(precision, recall)


class Prdc(NamedTuple):
    """Precision, recall and coverage, shares in [0, 1], and density, which may exceed 1."""

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
    """Precision, recall, density and coverage in one pass over the distances between the sets.

    Density is the mean number of real balls around a fake point, divided by k; coverage is the
    share of real points whose ball holds a fake point. As in `precision_recall` a point counts when
    distance <= radius. The authors' package `prdc` tests distance < radius, which differs for a
    fake point exactly on a ball, as copies may be; so their package is no substitute.

    Args:
        real, fake: features, one point a row; any real dtype, computed in float64.
        k: rank of the neighbour at the radius, >= 1; 5 is the authors' (section 4.2.2).
        block: side of the tiles of distances, in points. Changes memory and speed only.

    Raises:
        ValueError: as `precision_recall`.
    """
    real, fake = check_pair(real, fake)
    real_radii = knn_squared_radii(real, k=k, block=block, name='real')
    fake_radii = knn_squared_radii(fake, k=k, block=block, name='fake')
    num_balls = np.zeros(len(fake), np.int64)
    real_in_fake = np.zeros(len(real), bool)
    covered = np.zeros(len(real), bool)
    for rows, columns, squared, _ in _tiles(fake, real, block):
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

    Squared, because rounding of the square root could break ties between equal distances.

    Args:
        points: features, one point a row.
        k: 1 is the nearest *other* point.
        block: side of the tiles of distances, in points.
        name: what error messages call the set.

    Returns:
        Float64, (n,), >= 0.

    Raises:
        ValueError: `points` is not a finite matrix of more than k rows, or `k` or `block` is below
            1.
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
    for rows, columns, squared, _ in _tiles(points, points, block):
        if rows == columns:
            np.fill_diagonal(squared, np.inf)
        candidates = np.concatenate([nearest[rows], squared], axis=1)
        nearest[rows] = np.partition(candidates, k - 1, axis=1)[:, :k]
    return nearest.max(axis=1)


def _tiles(a: np.ndarray, b: np.ndarray, block: int) -> Iterator[Tile]:
    """Distances between the rows of `a` and of `b`, with duplicates at 0 exactly.

    Both sets are shifted by a point of `b`, which keeps the norms as small as the spread of the
    data. Unlike a shift by the mean it keeps lattice data (pixels, integers) exact. Distances below
    the rounding error of the product are set to 0, so points closer than about 3e-8 sqrt(dim) times
    their norm count as duplicates.
    """
    rounding = 4 * a.shape[1] * np.finfo(np.float64).eps
    for tile in tiles(a, b, block, block, origin=b[0].astype(np.float64)):
        tile.squared[tile.squared <= rounding * tile.norms] = 0
        yield tile
