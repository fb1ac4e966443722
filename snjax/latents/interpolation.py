"""Ways from one latent or class to another: straight, around the sphere, and through several points.

Everything here runs on the host, in NumPy: what is computed is a few vectors for a picture. The formula of `slerp` is
Shoemake's (1985), which White ("Sampling Generative Networks", 2016, arXiv:1609.04468) proposes for
normal latents: in high dimensions they lie near a sphere of radius sqrt(dim_z), and a straight line between two of them
passes through a middle that is nearer 0 than the generator has ever seen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Float

from snjax.latents.sampling import check_labels

Vectors = Float[Array | np.ndarray, '*n d']
Times = float | int | Float[np.ndarray, '*t']

# Sine of the angle below which two directions count as parallel or opposite; the arc between them differs from a
# straight line by its square, or has no plane.
_PARALLEL = 1e-6


class Interpolation(NamedTuple):
    """Ways through latents and classes, one a row (`snjax.generate.trained.TrainedGenerator.interpolate`).

    Attributes:
        images: in [-1, 1].
        z: latents that they are made of.
        labels: weights of the classes, or None where there are none.
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
    line, dtype = _lerp(*_float64(a, b, t)), np.result_type(a, b)
    return line.astype(dtype)


def slerp(a: Vectors, b: Vectors, t: Times) -> Float[np.ndarray, '*n d']:
    """From a to b around 0 at constant angular speed: the direction turns in the plane of both, the norm goes in line.

    For vectors of one norm this is White's formula, sin((1-t) omega) / sin(omega) a + sin(t omega) / sin(omega) b. That
    formula applied to unequal norms grows without bound as a and b become opposite; here it is applied to
    the directions, and the norm is (1-t) |a| + t |b|. Rows whose directions are parallel, opposite or
    undefined (zero vectors) have no one arc, and go straight, as `lerp`.

    Of latents in a cube ('uniform') the arc leaves the cube: use `lerp` there.

    Args:
        a, b: vectors along the last axis.
        t: one number, or one a vector (any shape that broadcasts with the axes before the last).
    """
    dtype = np.result_type(a, b)
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
    """A way through several points, in steps of equal t; each leg takes the same share of it.

    Args:
        points: k points in order, each a vector or an array of vectors, every one with a way of its own.
        frames: how many places on the way.
        how: 'slerp' or 'lerp'.
        closed: go on from the last point to the first, and stop one step before it: as an endless animation wants it.
            Otherwise the way starts at the first point and ends at the last.

    Raises:
        ValueError: for another `how`, no points or no frames.
    """
    if how not in PATHS:
        raise ValueError(f'path {how!r}: accepted are {", ".join(PATHS)}')
    if len(points) < 1 or frames < 1:
        raise ValueError(
            f'a path takes at least 1 point and 1 frame, not {len(points)} and {frames}'
        )
    points = np.asarray(points)
    # A single point is a leg of its own, from itself to itself.
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
        classes: one, which all rows keep; several, through which all rows go in line, mixing two at a time; None for
            one class a row, all classes in turn.
        num, frames: rows, and images of a row.
        num_classes: of the generator; 0 for an unconditional one.
        closed: see `path`.

    Raises:
        ValueError: for classes that there are none of.
    """
    several = classes if isinstance(classes, Sequence) else None
    labels = check_labels(classes, num if several is None else len(several), num_classes)
    if labels is None:
        return None
    weights = np.eye(num_classes, dtype=np.float32)[labels]
    # (corners, rows, num_classes): rows that keep a class each have one corner.
    corners = weights[None] if several is None else np.repeat(weights[:, None], num, axis=1)
    return path(corners, frames, how='lerp', closed=closed).swapaxes(0, 1)


def _float64(a, b, t):
    """The vectors, and t with an axis for their entries."""
    return (
        np.asarray(a, np.float64),
        np.asarray(b, np.float64),
        np.asarray(t, np.float64)[..., None],
    )


def _lerp(a, b, t):
    return (1 - t) * a + t * b


PATHS = {'slerp': slerp, 'lerp': lerp}
