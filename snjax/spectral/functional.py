"""Spectral normalization of any pytree of weights: Equinox, Haiku, or plain dictionaries.

    state = spectral.init(params, rng)                               # u, v, sigma of each weight
    weights, state = spectral.normalize(params, state, train=True)   # u advances by one iteration
    y = network(weights, x)
    weights, _ = spectral.normalize(params, state, train=False)      # evaluation: frozen

`normalize` is differentiable in `params`: u and v are constants, and sigma is not (Miyato et al.
2018, arXiv:1802.05957, eqs. 8 and 9). The optimizer updates `params`, never the normalized weights.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from snjax.shapes import Array, Float
from snjax.spectral.power_iteration import divide, estimate, views

Tree = TypeVar('Tree')
Where = Callable[[str, Any], bool]
Matrix = Callable[[str, Array], Array]
State = dict[str, dict[str, Array]]


def is_matrix(path: str, leaf: Any) -> bool:
    """Whether a leaf is an array of floats with two axes or more, and no `bias`."""
    if not isinstance(leaf, jax.Array | np.ndarray) or path.split('/')[-1] == 'bias':
        return False
    return leaf.ndim > 1 and jnp.issubdtype(leaf.dtype, jnp.floating)


def outputs_last(path: str, w: Float[Array, '... n']) -> Float[Array, 'm n']:
    """The weight as the matrix (everything but the last axis, outputs): Flax, Haiku, Keras."""
    return w.reshape(-1, w.shape[-1])


def outputs_first(path: str, w: Float[Array, 'n ...']) -> Float[Array, 'm n']:
    """The weight as the matrix (everything but the first axis, outputs): Equinox, PyTorch."""
    return w.reshape(w.shape[0], -1).T


def init(
    params: Any,
    rng: Array,
    *,
    where: Where = is_matrix,
    matrix: Matrix = outputs_last,
    n_warmup_iterations: int = 0,
) -> State:
    """Draws u of every weight and runs the first iteration.

    Args:
        params: any pytree.
        rng: key.
        where: `where(path, leaf)` says whether a leaf is normalized; a path is
            `'layers/0/weight'`.
        matrix: `matrix(path, leaf)` gives the matrix (inputs, outputs) whose largest singular value
            is taken; any rearrangement of the leaf.
        n_warmup_iterations: further iterations, on top of the first.

    Returns:
        u, v and sigma by path, float32 (float64 for weights of that type).

    Raises:
        ValueError: `where` chooses nothing.
    """
    chosen = {p: w for p, w in _leaves(params).items() if where(p, w)}
    if not chosen:
        raise ValueError('spectral.init: where(path, leaf) is true for no leaf of params')
    state = {}
    for i, (path, weight) in enumerate(chosen.items()):
        seen = _views(matrix, path, weight)
        u = jax.random.normal(jax.random.fold_in(rng, i), seen[''].u_shape)
        _, state[path] = estimate(seen, {'u': u}, n_steps=1 + n_warmup_iterations, is_first=True)
    return state


def normalize(
    params: Tree,
    state: Mapping[str, Mapping[str, Array]],
    *,
    train: bool,
    where: Where | None = None,
    matrix: Matrix = outputs_last,
    n_power_iterations: int = 1,
) -> tuple[Tree, State]:
    """Divides weights of a pytree by their largest singular values.

    Args:
        params: the pytree that `init` was given, with any values.
        state: what `init` or the last call returned.
        train: True advances u first; False is evaluation, which changes nothing.
        where: weights to normalize, of those in `state`; None takes all.
        matrix: as for `init`.
        n_power_iterations: iterations with `train=True`.

    Returns:
        params with W / sigma for each weight W, all else as it was, and the new state.

    Raises:
        ValueError: a weight of `state` is not in `params`, `where` chooses one that `state` lacks,
            or `matrix` is another than that of `init`.
    """
    new, weights = {p: dict(vectors) for p, vectors in state.items()}, _leaves(params)
    chosen = list(state) if where is None else [p for p, w in weights.items() if where(p, w)]
    for path in chosen:
        if path not in weights or path not in state:
            lacking = 'params' if path not in weights else 'state'
            raise ValueError(
                f'spectral.normalize: {path} is not in {lacking}: give normalize what init was given'
            )
        seen, kept = _views(matrix, path, weights[path]), state[path]
        if (kept['u'].shape, kept['v'].shape) != (seen[''].u_shape, seen[''].v_shape):
            raise ValueError(
                f'spectral.normalize: {path} has u {kept["u"].shape} and v {kept["v"].shape}, its '
                f'matrix needs {seen[""].u_shape} and {seen[""].v_shape}: pass the matrix= of init'
            )
        sigma, found = estimate(seen, kept, n_steps=n_power_iterations if train else 0)
        new[path] |= found
        weight = jnp.asarray(weights[path])
        weights[path] = divide(weight, sigma).astype(weight.dtype)
    return jax.tree.unflatten(jax.tree.structure(params), weights.values()), new


def _leaves(tree) -> dict[str, Any]:
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(p, simple=True, separator='/'): leaf for p, leaf in found}


def _views(matrix, path, weight):
    return views(matrix(path, jnp.asarray(weight)), 'reshaped')
