"""Sees every layer of a Flax network while it is applied, and measures its map.

Flax's interceptors call back with each method of each module. Layers of `snjax.nn` and
`snjax.spectral` name their map and their weight at one place, `normalize`; those of `flax.linen`
are seen as a whole. Nothing has to be changed in a network.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.linear import canonicalize_padding

from snjax.nn import layers
from snjax.shapes import Array, Float
from snjax.spectral.forms import Form
from snjax.spectral.lanczos import N_STEPS, map_norm, matrix_norm
from snjax.spectral.linen import COLLECTION, SpectralNorm
from snjax.spectral.power_iteration import views

_OURS = (layers.Conv, layers.ConvTranspose, layers.Dense, layers.Embed)
_LINEN = (nn.Conv, nn.ConvTranspose, nn.Dense, nn.Embed)
_ALONE = 'applied to measure it'  # name of a layer that is not to be seen again
_NORMS = (nn.BatchNorm, nn.LayerNorm, nn.GroupNorm)


class Place(NamedTuple):
    """What a layer is, known before anything is computed.

    Attributes:
        kind: the class of `flax.linen` that it is or replaces.
        input_shape: of one input.
        form: of a two-dimensional convolution without groups and dilation; None for other layers.
    """

    kind: str
    input_shape: tuple[int, ...]
    form: Form | None = None


class Watched(NamedTuple):
    """A layer that was seen.

    Attributes:
        place: what it is.
        weight: as it is applied; None for a norm of activations.
        operator: the norm of its map. Of an embedding, which picks a row, the longest row. Of batch
            norm with running statistics, max |gamma| / sqrt(variance + epsilon). Of layer and group
            norm, which are not linear, the bound max |gamma| / sqrt(epsilon) of their slope, which
            only an image of one colour reaches.
        sigma: its divisor, from the u and v that it keeps and its present weight; None without.
        exact: what sigma estimates; None likewise.
    """

    place: Place
    weight: Any
    operator: Float[Array, '']
    sigma: Float[Array, ''] | None = None
    exact: Float[Array, ''] | None = None


def watch(
    module: nn.Module, variables: Any, *inputs: Any, n_steps: int = N_STEPS, **kwargs: Any
) -> dict[str, Watched]:
    """The layers of `module`, by path, in the order in which it applies them to `inputs`.

    A pure function: under `jit` the network's own output is not computed. Layers inside `nn.remat`
    and `nn.scan` cannot be seen, and JAX reports a leaked tracer.

    Args:
        module: the network, which is not changed; the last use of a layer counts.
        variables: of the network. Spectral collections are frozen.
        inputs, kwargs: of the network; a batch of one image suffices.
        n_steps: of `snjax.spectral.lanczos`.
    """
    found: dict[str, Watched] = {}

    def see(next_fun, args, given, context):
        out, seen = _see(context.module, context.method_name, args, next_fun, given, n_steps)
        if seen is not None:
            path = '/'.join(context.module.path) or '(top)'
            found.pop(path, None)
            found[path] = seen
        return out

    with nn.intercept_methods(see):
        module.apply(variables, *inputs, **kwargs)
    return found


def _see(module, method, args, next_fun, given, n_steps) -> tuple[Any, Watched | None]:
    """Calls a method of a module: its output, and what was measured if it is a layer."""
    out: Any = next_fun(*args, **given)
    if method == 'normalize' and isinstance(module, _OURS):
        raw, linear = args[0], (args[1] if len(args) > 1 else given.get('linear'))
        place = _place(module, linear.shape if linear is not None else raw.shape[:1])
        sigma, exact = _estimate(module, jnp.asarray(raw), linear, n_steps)
        return out, Watched(place, out, _norm(place, out, linear, n_steps), sigma, exact)
    if method == '__call__' and isinstance(module, _LINEN) and module.name != _ALONE:
        weight = module.variables['params'][
            'embedding' if isinstance(module, nn.Embed) else 'kernel'
        ]
        linear = None
        if isinstance(module, nn.Conv | nn.ConvTranspose):
            alone: Any = module.clone(use_bias=False, parent=None, name=_ALONE)
            linear = layers.Linear(
                lambda x, w: alone.apply({'params': {'kernel': w}}, x), args[0].shape[1:]
            )
        place = _place(module, linear.shape if linear else weight.shape[:1])
        return out, Watched(place, weight, _norm(place, weight, linear, n_steps))
    if method == '__call__' and isinstance(module, _NORMS):
        place = Place(type(module).__name__, args[0].shape[1:])
        return out, Watched(place, None, _activation_norm(module))
    return out, None


def _place(module, input_shape) -> Place:
    kind = next(c.__name__ for c in (*_OURS, *_LINEN) if isinstance(module, c))
    if kind not in ('Conv', 'ConvTranspose') or len(input_shape) != 3:
        return Place(kind, tuple(input_shape))
    # `flax.linen` has these attributes as None, one number or several; `snjax.nn` has fewer.
    pair = lambda value: (value or 1,) * 2 if isinstance(value, int | None) else tuple(value)  # noqa: E731
    plain = getattr(module, 'feature_group_count', 1) == 1 and {1} == {
        *pair(module.kernel_dilation if hasattr(module, 'kernel_dilation') else 1),
        *pair(getattr(module, 'input_dilation', 1)),
    }
    padding = canonicalize_padding(module.padding, 2)
    if not isinstance(padding, str):
        padding = tuple(map(tuple, padding))
    if not plain or padding == 'CAUSAL' or getattr(module, 'transpose_kernel', False):
        return Place(kind, tuple(input_shape))
    resample = getattr(module, 'resample', None)
    form = Form(pair(module.strides), padding, kind == 'ConvTranspose', resample)
    return Place(kind, tuple(input_shape), form)


def _norm(place: Place, weight, linear, n_steps):
    weight = jnp.asarray(weight)
    if place.kind == 'Embed':
        return jnp.max(jnp.linalg.norm(weight.astype(jnp.float32), axis=-1))
    if linear is None:
        return matrix_norm(weight.reshape(-1, weight.shape[-1]))
    return map_norm(linear, weight, n_steps)


def _estimate(module, weight, linear, n_steps):
    """sigma from the u and v that a layer keeps, and its exact value; None without them."""
    if not isinstance(module, SpectralNorm) or not module.has_variable(COLLECTION, 'u'):
        return None, None
    seen = views(weight, module.operator, linear)
    kept: Mapping[str, Any] = {
        suffix: [module.get_variable(COLLECTION, f'{name}{suffix}') for name in 'uv']
        for suffix in seen
    }
    sigma = jnp.mean(jnp.stack([view.rayleigh(*kept[suffix]) for suffix, view in seen.items()]))
    if module.operator == 'convolution' and linear is not None:
        return sigma, map_norm(linear, weight, n_steps)
    sides = [weight] if len(seen) == 1 else [weight, jnp.swapaxes(weight, -1, -2)]
    exact = [matrix_norm(side.reshape(-1, side.shape[-1])) for side in sides]
    return sigma, jnp.mean(jnp.stack(exact))


def _activation_norm(module):
    scale = module.variables.get('params', {}).get('scale', jnp.ones(1))
    variance = 0.0
    if isinstance(module, nn.BatchNorm):
        variance = module.variables['batch_stats']['var']
    return jnp.max(jnp.abs(scale) / jnp.sqrt(jnp.asarray(variance + module.epsilon)))
