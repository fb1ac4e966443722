"""Paths from one latent or class to another: straight, around the sphere, and through several
points.

Everything here runs on the host, in NumPy: a picture needs a few vectors only. The formula of
`slerp` is Shoemake's (1985). White ("Sampling Generative Networks", 2016, arXiv:1609.04468)
proposes it for normal latents: in high dimensions they lie near a sphere of radius sqrt(dim_z), and
the middle of a straight line between two of them is nearer to 0 than any latent in training.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Float

from snjax.latents.sampling import check_labels

Vectors = Float[Array | np.ndarray, '*n d']
Times = float | int | Float[np.ndarray, '*t']

# Directions whose angle has a smaller sine count as parallel or opposite. The arc between parallel
# ones differs from a straight line by the square of the sine; between opposite ones it has no
# plane.
_PARALLEL = 1e-6


class Interpolation(NamedTuple):
    """Paths through latents and classes, one per row (`TrainedGenerator.interpolate`).

    Attributes:
        images: in [-1, 1].
        z: the latents of the images.
        labels: weights of the classes; None for an unconditional generator.
    """

    images: Float[np.ndarray, 'n t h w c']
    z: Float[np.ndarray, 'n t d']
    labels: Float[np.ndarray, 'n t num_classes'] | None


def lerp(a: Vectors, b: Vectors, t: Times) -> Float[np.ndarray, '*n d']:
    """(1 - t) a + t b: a at t = 0, b at t = 1, a straight line between.

    Args:
        a, b: vectors along the last axis.
        t: one number, or one a vector (any shape that broadcasts with the axes before the last).
    """
    line, dtype = _lerp(*_float64(a, b, t)), _float_type(a, b)
    return line.astype(dtype)


def _float_type(a: Vectors, b: Vectors) -> np.dtype:
    """The type of a path between two vectors: theirs, or float64 between integers."""
    dtype = np.result_type(a, b)
    return np.dtype(np.float64) if dtype.kind in 'biu' else dtype


def slerp(a: Vectors, b: Vectors, t: Times) -> Float[np.ndarray, '*n d']:
    """From a to b around 0: the direction turns at constant speed in their plane, the norm is
    linear in t.

    For vectors of equal norm this is White's formula, sin((1-t) omega) / sin(omega) a + sin(t
    omega) / sin(omega) b. For unequal norms that formula grows without bound as a and b become
    opposite; here it is applied to the directions, and the norm is (1-t) |a| + t |b|. Rows whose
    directions are parallel, opposite or undefined (zero vectors) have no unique arc, and are
    interpolated by `lerp`.

    For uniform latents use `lerp`: the arc leaves their cube.

    Args:
        a, b: vectors along the last axis.
        t: one number, or one a vector (any shape that broadcasts with the axes before the last).
    """
    dtype = _float_type(a, b)
    a, b, t = _float64(a, b, t)
    norm_a, norm_b = (np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    unit_a, unit_b = (x / np.where(n > 0, n, 1) for x, n in ((a, norm_a), (b, norm_b)))
    # Kahan's angle, which unlike the arc cosine of the inner product is exact near 0 and pi.
    across, along = (
        np.linalg.norm(x, axis=-1, keepdims=True) for x in (unit_a - unit_b, unit_a + unit_b)
    )
    omega = 2 * np.arctan2(across, along)
    straight = (np.sin(omega) < _PARALLEL) | (norm_a == 0) | (norm_b == 0)
    sine = np.where(straight, 1, np.sin(omega))
    direction = (np.sin((1 - t) * omega) * unit_a + np.sin(t * omega) * unit_b) / sine
    arc = _lerp(norm_a, norm_b, t) * direction
    return np.where(straight, _lerp(a, b, t), arc).astype(dtype)


def path(
    points: Float[Array | np.ndarray, 'k *n d'],
    frames: int,
    *,
    how: str = 'slerp',
    closed: bool = False,
) -> Float[np.ndarray, 'frames *n d']:
    """A path through several points, in steps of equal t; every leg takes the same share.

    Args:
        points: k points in order, each a vector or an array of vectors, which get separate paths.
        frames: number of steps.
        how: 'slerp' or 'lerp'.
        closed: continue from the last point to the first and stop one step before it, for an
            endless animation. Otherwise the path starts at the first point and ends at the last.

    Raises:
        ValueError: `how` is unknown, or there are no points or frames.
    """
    if how not in PATHS:
        raise ValueError(f'path {how!r}: accepted are {", ".join(PATHS)}')
    if len(points) < 1 or frames < 1:
        raise ValueError(
            f'a path takes at least 1 point and 1 frame, not {len(points)} and {frames}'
        )
    points = np.asarray(points)
    # A single point makes one leg, from itself to itself.
    legs = max(1, len(points) if closed else len(points) - 1)
    t = np.arange(frames) * legs / frames if closed else np.linspace(0, legs, frames)
    leg = np.minimum(t.astype(int), legs - 1)
    t = (t - leg).reshape(-1, *[1] * (points.ndim - 2))
    return PATHS[how](points[leg], points[(leg + 1) % len(points)], t)


def class_path(
    classes: int | Sequence[int] | None,
    num: int,
    frames: int,
    num_classes: int,
    *,
    closed: bool = False,
) -> Float[np.ndarray, 'num frames num_classes'] | None:
    """Weights of the classes along `num` rows of images; None for a generator without classes.

    Args:
        classes: one class, which all rows keep; several, which all rows pass through in order,
            mixing two at a time; None for one class per row, all classes in turn.
        num, frames: rows, and images per row.
        num_classes: of the generator; 0 for an unconditional one.
        closed: see `path`.

    Raises:
        ValueError: a class does not exist.
    """
    several = classes if isinstance(classes, Sequence) else None
    labels = check_labels(classes, num if several is None else len(several), num_classes)
    if labels is None:
        return None
    weights = np.eye(num_classes, dtype=np.float32)[labels]
    # (corners, rows, num_classes); a row that keeps its class has one corner.
    corners = weights[None] if several is None else np.repeat(weights[:, None], num, axis=1)
    return path(corners, frames, how='lerp', closed=closed).swapaxes(0, 1)


def number_path(
    corners: Float[np.ndarray, 'c k'] | None,
    each: Float[np.ndarray, 'num k'] | None,
    num: int,
    frames: int,
    *,
    closed: bool = False,
) -> Float[np.ndarray, 'num frames k']:
    """Numbers along `num` rows of images, of a generator with conditions.

    Args:
        corners: what all rows pass through in order; one corner is kept.
        each: in place of it what each row keeps.
        num, frames: rows, and images per row.
        closed: see `path`.
    """
    if each is None:
        points = np.repeat(np.asarray(corners, np.float32)[:, None], num, axis=1)
    else:
        points = each[None]
    return path(points, frames, how='lerp', closed=closed).swapaxes(0, 1)


def _float64(a, b, t):
    """The vectors as float64, and t with an axis for their entries."""
    return (
        np.asarray(a, np.float64),
        np.asarray(b, np.float64),
        np.asarray(t, np.float64)[..., None],
    )


def _lerp(a, b, t):
    return (1 - t) * a + t * b


PATHS = {'slerp': slerp, 'lerp': lerp}
