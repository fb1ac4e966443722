"""Spectral normalisation: a weight divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

The paper's Algorithm 1 (appendix A) is `power_iteration`, a pure function on a matrix (step 1, in
`snjax.spectral.power_iteration`), `SpectralNorm.normalize` (step 2) and `experiments.gan.Gan.update_dis` (step 3).
The layers `SNDense`, `SNConv`, `SNConvTranspose` and `SNEmbed` stand in for their `flax.linen` namesakes and keep u,
v and sigma as plain arrays in the collection `'spectral'`:

    variables = SNDense(10).init(rng, x)                     # makes the collection, one iteration done
    y = SNDense(10).apply(variables, x)                      # frozen: normalises, changes nothing
    y, new = SNDense(10).apply(variables, x, mutable=['spectral'])   # advances u by one iteration first
    variables['spectral']['sigma']                           # the largest singular value, as a number

A kernel is seen as the matrix (everything but the last axis, outputs). The paper's matrix is its transpose, which has
the same singular values; u here belongs to the outputs, as in the official code. (`torch.nn.utils.parametrizations.
spectral_norm(layer, dim=1)` starts from v instead, and names the two the other way round.)

Options of every layer, for ablations. The defaults are the paper's.

`operator`, what sigma is the norm of:
    `'reshaped'` (Miyato et al. 2018): the matrix above. One product with it and one with its transpose an advance, one
        product a frozen application. The exact norm of a plain convolution whose kernel fits into the image is at least
        this sigma and at most sqrt(kernel height * kernel width) times it.
    `'bidirectional'` (Lin, Sekar & Fanti 2021, arXiv:2009.02773): the mean of that sigma and the one of the kernel as
        the matrix (size * outputs, in). Their further constant scale is `lipschitz`. Twice the cost.
    `'convolution'` (Farnia et al. 2019, arXiv:1811.07457): the layer's map itself, with its strides, zero padding and
        `resample`, for images of the size given to `init`. One convolution and one transposed convolution of a single
        image an advance, one convolution a frozen application and one more in its gradient: on paper a batch-th of
        what the layer costs anyway. u and v have the size of an image. Lin et al. find that such stricter forms do
        poorly out of the box, which they explain by vanishing gradients: `lipschitz` counters that.
`lipschitz`: K, a constant factor on the normalised weight. With exact norms, and activations of slope at most 1, the
    product of the K bounds the Lipschitz constant of a plain chain of layers. Costs nothing.
`learnable_scale`: gamma, a scalar parameter that multiplies the normalised weight and starts at 1 (Miyato et al. 2018,
    appendix E). It gives up the Lipschitz bound, which the paper then leaves to a gradient penalty. Costs nothing.
`divide=False`: the raw weight is applied, while u, v and sigma are kept: for spectral norm regularisation (Yoshida &
    Miyato 2017, arXiv:1705.10941) and to watch layers that are not normalised. The same advance.

u, v and sigma are float32 whatever the type of the computation (float64 for such weights). `sigma` is what divides, or
would; `'bidirectional'` keeps its second vectors as `u_in` and `v_in`.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jax import lax
from jaxtyping import Array, Float

from snjax.nn import layers
from snjax.nn.power_of_two import power_of_two
from snjax.spectral.power_iteration import (
    OPERATORS,
    Operator,
    View,
    power_iteration,
    rayleigh,
    views,
)

__all__ = [
    'COLLECTION',
    'SNConv',
    'SNConvTranspose',
    'SNDense',
    'SNEmbed',
    'SpectralNorm',
    'advance',
    'power_iteration',
    'rayleigh',
    'sigmas',
]

COLLECTION = 'spectral'


class SpectralNorm(nn.Module):
    """Mixin that divides a layer's weight by its largest singular value.

    Attributes:
        n_power_iterations: iterations each time u advances (1 in the paper).
        n_warmup_iterations: further iterations at `init`, on top of the first (torch uses 15, the papers' code none).
        operator: what sigma is the norm of: `'reshaped'`, `'bidirectional'` or `'convolution'` (module docstring).
        learnable_scale: multiplies by the scalar parameter `gamma`, 1 at `init`.
        lipschitz: multiplies by this constant.
        divide: False keeps u, v and sigma and applies the raw weight.
    """

    n_power_iterations: int = 1
    n_warmup_iterations: int = 0
    operator: Operator = 'reshaped'
    learnable_scale: bool = False
    lipschitz: float = 1.0
    divide: bool = True

    def normalize(
        self, weight: layers.Weight, linear: layers.Linear | None = None
    ) -> layers.Weight:
        self._check_options()
        weight = jnp.asarray(weight)
        sigma = self._sigma(views(weight, self.operator, linear))
        if not self.divide:
            return weight
        # A zero weight has sigma 0 and stays zero; no eps otherwise, so that tiny weights are normalised too. Both
        # are scaled first because the gradient of a quotient squares its denominator.
        # Of the matrix, because the iteration takes that same power of two: XLA then computes it once.
        scale = power_of_two(weight.reshape(-1, weight.shape[-1]).astype(sigma.dtype))
        normalised = (weight.astype(sigma.dtype) / scale) / jnp.where(sigma == 0, 1, sigma / scale)
        if self.lipschitz != 1:
            normalised = self.lipschitz * normalised
        if self.learnable_scale:
            gamma = self.param('gamma', nn.initializers.ones_init(), (), self.param_dtype)
            normalised = jnp.asarray(gamma, sigma.dtype) * normalised
        return normalised.astype(weight.dtype)

    def _sigma(self, views: Mapping[str, View]) -> Float[Array, '']:
        """The mean sigma of the views; advances their vectors if the collection is mutable."""
        exists = all(self.has_variable(COLLECTION, f'u{suffix}') for suffix in views)
        initialising = self.is_initializing()
        if not (initialising or exists):
            raise ValueError(
                f"{self._label()} was applied without its collection '{COLLECTION}' for operator="
                f'{self.operator!r}: pass the variables that init returned, not the parameters alone'
            )

        def start(shape):
            return jax.random.normal(self.make_rng('params'), shape)

        # Applied twice at init (to real and fake, say), a layer still runs its first iterations once.
        advances = self.is_mutable_collection(COLLECTION) and not (initialising and exists)
        n_steps = 1 + self.n_warmup_iterations if initialising else self.n_power_iterations
        found = []
        for suffix, view in views.items():
            u = self.variable(COLLECTION, f'u{suffix}', start, view.u_shape)
            v = self.variable(COLLECTION, f'v{suffix}', jnp.zeros, view.v_shape)
            self._check_shapes((u.value.shape, v.value.shape), (view.u_shape, view.v_shape))
            if advances:
                sigma, u.value, v.value = view.iterate(u.value, n_steps=n_steps)
            else:
                sigma = view.rayleigh(u.value, v.value)
            found.append(sigma)
        sigma = found[0] if len(found) == 1 else jnp.mean(jnp.stack(found))
        stored = self.variable(COLLECTION, 'sigma', jnp.zeros, ())
        if advances:
            stored.value = lax.stop_gradient(sigma)
        return sigma

    def _label(self):
        return f"{type(self).__name__} '{'/'.join(self.path) or '(top)'}'"

    def _check_options(self):
        if self.operator not in OPERATORS:
            raise ValueError(
                f'{self._label()} operator={self.operator!r}: accepted are {", ".join(map(repr, OPERATORS))}'
            )
        if not self.lipschitz > 0:
            raise ValueError(
                f'{self._label()} lipschitz={self.lipschitz}: a number above 0 is accepted'
            )
        if not self.divide and (self.lipschitz != 1 or self.learnable_scale):
            raise ValueError(
                f'{self._label()} divide=False applies the raw weight, which lipschitz={self.lipschitz} and '
                f'learnable_scale={self.learnable_scale} would not scale: leave them at 1.0 and False'
            )

    def _check_shapes(self, kept, needed):
        if kept != needed:
            raise ValueError(
                f'{self._label()} operator={self.operator!r} keeps u and v of {kept[0]} and {kept[1]}, its weight and '
                f'input need {needed[0]} and {needed[1]}: apply it to the size and with the operator of its init'
            )


class SNDense(SpectralNorm, layers.Dense):
    """`flax.linen.Dense` with a spectrally normalised kernel (in, out); the bias is left alone."""


class SNConv(SpectralNorm, layers.Conv):
    """`flax.linen.Conv` with a spectrally normalised kernel, seen as the matrix (size * in, out)."""


class SNConvTranspose(SpectralNorm, layers.ConvTranspose):
    """`flax.linen.ConvTranspose` with a spectrally normalised kernel, seen as the matrix (size * in, out)."""


class SNEmbed(SpectralNorm, layers.Embed):
    """`flax.linen.Embed` with a spectrally normalised table (num_embeddings, features)."""


def advance(module: nn.Module, variables: Mapping[str, Any], *args, **kwargs) -> Any:
    """The collection `spectral` after one advance of every layer of `module`, which is applied to `args`.

    Only the weights and u enter the power iteration (and the size of the input, for `operator='convolution'`), so under
    `jit` XLA drops the rest of the forward pass.
    """
    _, updated = module.apply(variables, *args, **kwargs, mutable=[COLLECTION])
    return updated[COLLECTION]


def sigmas(collection: Mapping[str, Any]) -> dict[str, Float[Array, '']]:
    """Every sigma of a collection by the path of its layer: `{'block0/conv1': 1.2, ...}`."""
    flat: dict[tuple[str, ...], Any] = flatten_dict(collection)
    return {'/'.join(path[:-1]): v for path, v in flat.items() if path[-1] == 'sigma'}
