"""Spectral normalization around any Flax NNX layer, and what the layers of `snjax.spectral.nnx`
share with it.

`flax.nnx.SpectralNorm` writes W / sigma over the parameter W each time it is called. This wrapper
leaves W alone and calls the layer with W / sigma instead.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from snjax.spectral.power_iteration import View, divide, estimate, views


class Spectral(nnx.Variable):
    """Type of the Variables u, v and sigma, which no optimizer trains and checkpoints keep."""


class _Seen:
    def __init__(self, layer: nnx.Module, others: Mapping[str, Any]):
        self.__dict__.update(others, _layer=layer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


def seen_with(layer: nnx.Module, **others: Any) -> Any:
    """A layer seen with other attributes, for a method of its class; the layer stays as it is."""
    return _Seen(layer, others)


def start(views: Mapping[str, View], rngs: nnx.Rngs, n_warmup_iterations: int = 0) -> Any:
    """Draws u for every view, runs the first iteration and the warm-up, and returns an `nnx.Dict` of
    Variables."""
    drawn = {
        f'u{suffix}': jax.random.normal(rngs.params(), v.u_shape) for suffix, v in views.items()
    }
    _, vectors = estimate(views, drawn, n_steps=1 + n_warmup_iterations, is_first=True)
    return nnx.Dict({name: Spectral(value) for name, value in vectors.items()})


class SpectralNorm(nnx.Module):
    """Calls a layer with each of its weights divided by its largest singular value.

    A weight is every `nnx.Param` of the layer, and of layers inside it, with two axes or more and
    another name than `bias`. It is seen as the matrix (inputs, outputs): of `nnx.Einsum`,
    `nnx.LinearGeneral` and the four projections of `nnx.MultiHeadAttention` by the axes that they
    sum over, of others as (everything but the last axis, the last axis).

    Args:
        layer_instance: the layer. Its parameters are never overwritten.
        n_steps: power iterations each time u advances.
        epsilon: added to the norms of the vectors.
        dtype: type of the normalized weights; None keeps that of the parameters.
        error_on_non_matrix: refuses weights with more than two axes.
        n_warmup_iterations: further iterations now, on top of the first.
        update_stats: False starts in evaluation mode.
        rngs: draws u.

    Attributes:
        spectral: `u`, `v` and `sigma` of every weight, by the names that lead to it:
            `spectral.kernel.sigma` around an `nnx.Linear`.
        use_running_average: True in evaluation mode; `train()` and `eval()` set it.

    Raises:
        ValueError: the layer has no weight, or one whose matrix is not known.
    """

    def __init__(
        self,
        layer_instance: nnx.Module,
        *,
        n_steps: int = 1,
        epsilon: float = 1e-12,
        dtype: Any = None,
        error_on_non_matrix: bool = False,
        n_warmup_iterations: int = 0,
        update_stats: bool = True,
        rngs: nnx.Rngs,
    ):
        self.layer_instance = layer_instance
        self.n_steps = n_steps
        self.epsilon = epsilon
        self.dtype = dtype
        self.use_running_average = not update_stats
        if nnx.to_flat_state(nnx.state(layer_instance, Spectral)):
            raise ValueError(
                f'SpectralNorm around {type(layer_instance).__name__}, which is normalized '
                'already: wrap the plain layer'
            )
        self.spectral = nnx.Dict()
        for path, _, weight in self._weights():
            if weight.ndim > 2 and error_on_non_matrix:
                raise ValueError(
                    f'SpectralNorm error_on_non_matrix: {"/".join(map(str, path))} has the shape '
                    f'{weight.shape}: only matrices are accepted'
                )
            place = self.spectral
            for name in path[:-1]:
                if str(name) not in place:
                    place[str(name)] = nnx.Dict()
                place = place[str(name)]
            matrix = self._matrix(path, weight)
            place[str(path[-1])] = start(views(matrix, 'reshaped'), rngs, n_warmup_iterations)
        if not self.spectral:
            raise ValueError(
                f'SpectralNorm around {type(layer_instance).__name__}: it has no nnx.Param with '
                'two axes or more but biases'
            )

    def __call__(self, *args: Any, update_stats: bool | None = None, **kwargs: Any) -> Any:
        """The layer's output with normalized weights.

        Args:
            *args, **kwargs: of the layer.
            update_stats: whether u advances first; None does what the mode says.
        """
        advances = not self.use_running_average if update_stats is None else update_stats
        graph, params, rest = nnx.split(self.layer_instance, nnx.Param, ...)
        flat = dict(nnx.to_flat_state(params))
        for path, param, weight in self._weights():
            flat[path] = param.replace(self._normalized(path, weight, advances))
        # Everything but the weights is shared with the layer, so that what it changes stays.
        layer: Any = nnx.merge(graph, nnx.from_flat_state(flat), rest)
        return layer(*args, **kwargs)

    def _weights(self) -> Iterator[tuple[tuple, nnx.Param, jax.Array]]:
        for path, param in nnx.to_flat_state(nnx.state(self.layer_instance, nnx.Param)):
            if param.ndim > 1 and path[-1] != 'bias':
                yield path, param, jnp.asarray(param[...])

    def _normalized(self, path, weight, advances):
        kept = self.spectral
        for name in path:
            kept = kept[str(name)]
        sigma, new = estimate(
            views(self._matrix(path, weight), 'reshaped'),
            {name: variable[...] for name, variable in kept.items()},
            n_steps=self.n_steps if advances else 0,
            eps=self.epsilon,
        )
        for name, value in new.items():
            kept[name].set_value(value)
        return divide(weight, sigma).astype(self.dtype or weight.dtype)

    def _matrix(self, path, weight):
        """The weight as the matrix (inputs, outputs) of the layer that owns it."""
        owner: Any = self.layer_instance
        for name in path[:-1]:
            owner = getattr(owner, name) if isinstance(name, str) else owner[name]
        if isinstance(owner, nnx.LinearGeneral):
            if owner.batch_axis:
                raise ValueError(
                    f'SpectralNorm around LinearGeneral with batch_axis={dict(owner.batch_axis)}, '
                    'which is one matrix per index: use nnx.vmap over SNLinear'
                )
            n_inputs = len(owner.in_features)
        elif isinstance(owner, nnx.Einsum):
            weight, n_inputs = _einsum_order(owner.einsum_str, weight)
        elif isinstance(owner, nnx.ConvTranspose) and owner.transpose_kernel:
            weight, n_inputs = jnp.swapaxes(weight, -1, -2), weight.ndim - 1
        else:
            n_inputs = weight.ndim - 1
        return weight.reshape(math.prod(weight.shape[:n_inputs]), -1)


def _einsum_order(equation, weight):
    """The kernel of an einsum with the axes that are summed over first, and their number."""
    inputs, _, rest = equation.replace(' ', '').partition(',')
    kernel, _, outputs = rest.partition('->')
    summed = [name for name in kernel if name in inputs and name not in outputs]
    kept = [name for name in kernel if name in outputs and name not in inputs]
    if sorted(summed + kept) != sorted(kernel):
        raise ValueError(
            f'SpectralNorm around Einsum {equation!r}: each axis of the kernel has to be in the '
            'inputs or in the outputs, and not in both'
        )
    return weight.transpose([kernel.index(name) for name in summed + kept]), len(summed)
