"""Arrays and config values in the form in which TensorBoard stores them."""

import math
from typing import Any

import numpy as np
from google.protobuf.struct_pb2 import Value as HParam
from jax import Array

HISTOGRAM_BUCKETS = 64


def buckets(values: Array | np.ndarray) -> np.ndarray:
    """Rows (left edge, right edge, count), (k, 3) float64, over the finite elements' range."""
    # In float32, as weights are: float64 neighbours can be too close for 64 edges between them.
    values = np.ravel(np.asarray(values)).astype(np.float32).astype(np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return np.zeros((0, 3))
    low, high = values.min(), values.max()
    if low == high:
        return np.array([[low, high, values.size]])
    counts, edges = np.histogram(values, bins=HISTOGRAM_BUCKETS, range=(low, high))
    return np.stack([edges[:-1], edges[1:], counts], axis=1)


def hparam(value: Any) -> HParam:
    """A leaf of a config as TensorBoard's HParams plugin stores it."""
    if isinstance(value, bool):
        return HParam(bool_value=value)
    if isinstance(value, int | float) and math.isfinite(value):
        return HParam(number_value=value)
    return HParam(string_value=value if isinstance(value, str) else repr(value))
