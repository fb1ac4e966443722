"""Spectral normalization for Flax layers (Miyato et al. 2018, arXiv:1802.05957).

A linear layer x -> W x stretches the distance between two inputs by at most sigma(W), the largest
singular value of W. Spectral normalization applies W / sigma(W) instead (eq. 8), so that the layer
is 1-Lipschitz; a discriminator of such layers, with activations of slope at most 1, has a bounded
gradient everywhere, which is what makes GANs train stably. sigma is found by power iteration, one
step per update: W changes little between two updates, so the estimate keeps up, and the cost is two
matrix-vector products.

`SNDense`, `SNConv`, `SNConvTranspose` and `SNEmbed` take the place of their `flax.linen` namesakes:
the same arguments, parameters and initialization. In addition they keep u, v and sigma as arrays in
the collection `'spectral'`, and the collection decides what happens:

    layer = SNDense(10)
    variables = layer.init(rng, x)                     # makes u and v, and runs the first iteration
    y = layer.apply(variables, x)                      # frozen: divides by sigma, changes nothing
    y, new = layer.apply(variables, x, mutable=['spectral'])   # u advances by one iteration first
    variables = {**variables, **new}
    variables['spectral']['sigma']                     # the largest singular value

There is no `train` argument: training passes `mutable=['spectral']` and keeps what comes back,
evaluation does not. `advance` gives the advanced collection of a whole network without its output,
and `sigmas` lists all sigmas of a collection by layer. A layer that is applied several times in one
step, to real and to fake images, say, should advance once and be frozen in between: then all of the
step sees one function.

**The matrix.** A kernel is seen as the matrix (everything but the last axis, outputs): a
convolution's kernel (height, width, in, out) as (height * width * in, out). The paper's matrix is
the transpose, which has the same singular values. u has the length of the outputs, as in the
official code, and v the length of the rows; for a table of embeddings (rows, features) the official
code has it the other way round: `SNEmbed(u_over='rows')`. (In
`torch.nn.utils.parametrizations.spectral_norm(layer)`, too, `_u` has the length of the outputs; but
an iteration finds it first, from `_v`.)

**Algorithm 1** of the paper (appendix A) is here in three places: step 1, v = W u / |W u| and
u = W^T v / |W^T v|, is `snjax.spectral.power_iteration.power_iteration`, a pure function on a
matrix; step 2, W / sigma with sigma = v^T W u, is `SpectralNorm.normalize`; step 3, the gradient
step on W through the normalized weight, is the training loop's (`experiments/gan.py`,
`update_dis`). u and v are constants for the gradient and sigma is not: d sigma / d W = v u^T. The
parameter itself is never overwritten.

**Options** of every layer. The defaults are the paper's.

`operator`, whose norm sigma is:
    `'reshaped'` (Miyato et al. 2018): of the matrix above. To advance takes one product with the
        matrix and one with its transpose, a frozen application one product. The exact norm of a
        plain convolution whose kernel fits into the image is at least this sigma and at most
        sqrt(kernel height * kernel width) times it.
    `'bidirectional'` (Lin, Sekar & Fanti 2021, arXiv:2009.02773): the mean of that sigma and of the
        sigma of the kernel as the matrix (size * outputs, in). Their further constant factor is
        `lipschitz`. Costs twice as much.
    `'convolution'` (Farnia et al. 2019, arXiv:1811.07457): of the layer's own map, with its
        strides, zero padding and `resample`, for images of the size given to `init`. To advance
        takes one convolution and one transposed convolution of a single image, a frozen application
        one convolution and its gradient one more: on paper the layer's own cost divided by the
        batch size. u and v have the size of an image. Lin et al. find that such stricter forms do
        poorly out of the box, and explain it by vanishing gradients; `lipschitz` counters that.
`lipschitz`: K, a constant factor on the normalized weight. With exact norms, and activations of
    slope at most 1, the product of all K bounds the Lipschitz constant of a plain chain of layers.
    Costs nothing.
`learnable_scale`: gamma, a scalar parameter that multiplies the normalized weight and starts at 1
    (Miyato et al. 2018, appendix E). It gives up the Lipschitz bound, which the paper then leaves
    to a gradient penalty. Costs nothing.
`n_power_iterations`, `n_warmup_iterations`: iterations of each advance (1 in the paper), and
    further iterations at `init` (torch runs 15, the papers' code none).
`n_singular_values`: how many of the largest singular values of the matrix are followed (BigGAN's
    `num_svs`; default 1, at most as many as the matrix has). Sigma stays the first. The others, for
    `operator='reshaped'`, are `sigma_next` (k - 1,), with `u_next` and `v_next`, and `singular_values`
    lists all. Each costs two products with the matrix when u advances.
`divide=False`: applies the raw weight and keeps u, v and sigma, for spectral norm regularization
    (Yoshida & Miyato 2017, arXiv:1705.10941) and to watch layers that are not normalized. Advances
    in the same way.

u, v and sigma are float32 whatever type the layer computes in (float64 for weights of that type).
`sigma` is the divisor, or would be with `divide=False`; `'bidirectional'` keeps its second pair of
vectors as `u_in` and `v_in`. The power iterations of all operators are in
`snjax.spectral.power_iteration`.
"""

from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from snjax.nn import layers
from snjax.shapes import Array, Float
from snjax.spectral.deflation import next_singular_values
from snjax.spectral.power_iteration import (
    Operator,
    View,
    check_options,
    divide,
    estimate,
    views,
)

COLLECTION = 'spectral'


class SpectralNorm(nn.Module):
    """Mixin that divides a layer's weight by its largest singular value.

    Attributes:
        n_power_iterations: iterations each time u advances (1 in the paper).
        n_warmup_iterations: further iterations at `init`, on top of the first.
        operator: whose norm sigma is: `'reshaped'`, `'bidirectional'` or `'convolution'` (module
            docstring).
        learnable_scale: multiplies by the scalar parameter `gamma`, 1 at `init`.
        lipschitz: multiplies by this constant.
        divide: False keeps u, v and sigma and applies the raw weight.
        n_singular_values: of the largest, how many are followed.
    """

    n_power_iterations: int = 1
    n_warmup_iterations: int = 0
    operator: Operator = 'reshaped'
    learnable_scale: bool = False
    lipschitz: float = 1.0
    divide: bool = True
    n_singular_values: int = 1

    def normalize(
        self, weight: layers.Weight, linear: layers.Linear | None = None
    ) -> layers.Weight:
        """Step 2 of Algorithm 1: the weight over sigma, which step 1 (`_sigma`) provides."""
        check_options(
            self._label(),
            operator=self.operator,
            lipschitz=self.lipschitz,
            learnable_scale=self.learnable_scale,
            divide=self.divide,
            n_singular_values=self.n_singular_values,
        )
        weight = jnp.asarray(weight)
        num_steps = self._steps()
        sigma = self._sigma(views(weight, self.operator, linear), num_steps)
        if num := min(self.n_singular_values, *_matrix(weight).shape) - 1:
            self._follow(_matrix(weight), num, num_steps)
        if not self.divide:
            return weight
        normalized = divide(weight, sigma)
        if self.lipschitz != 1:
            normalized = self.lipschitz * normalized
        if self.learnable_scale:
            gamma = self.param('gamma', nn.initializers.ones_init(), (), self.param_dtype)
            normalized = jnp.asarray(gamma, sigma.dtype) * normalized
        return normalized.astype(weight.dtype)

    def _steps(self) -> int:
        """Power iterations of this application."""
        if not self.is_mutable_collection(COLLECTION):
            return 0
        if not self.is_initializing():
            return self.n_power_iterations
        # A layer that is applied twice in `init` runs its first iterations once.
        return 0 if self.has_variable(COLLECTION, 'u') else 1 + self.n_warmup_iterations

    def _start(self, shape):
        return jax.random.normal(self.make_rng('params'), shape)

    def _check_there(self, *names):
        if not (self.is_initializing() or all(self.has_variable(COLLECTION, n) for n in names)):
            of = f' and n_singular_values={self.n_singular_values}' if 'u' not in names else ''
            raise ValueError(
                f"{self._label()} was applied without its collection '{COLLECTION}' for "
                f'operator={self.operator!r}{of}: pass the variables that init returned, not the '
                'parameters alone'
            )

    def _sigma(self, views: Mapping[str, View], n_steps: int) -> Float[Array, '']:
        """Step 1 of Algorithm 1: the views' mean sigma, after `n_steps` iterations of u and v."""
        self._check_there(*(f'u{suffix}' for suffix in views))
        kept = {}
        for suffix, view in views.items():
            u = self.variable(COLLECTION, f'u{suffix}', self._start, view.u_shape)
            v = self.variable(COLLECTION, f'v{suffix}', jnp.zeros, view.v_shape)
            self._check_shapes((u.value.shape, v.value.shape), (view.u_shape, view.v_shape))
            kept |= {f'u{suffix}': u, f'v{suffix}': v}
        kept['sigma'] = self.variable(COLLECTION, 'sigma', jnp.zeros, ())
        sigma, new = estimate(
            views,
            {name: variable.value for name, variable in kept.items()},
            n_steps=n_steps,
            is_first=self.is_initializing(),
        )
        for name, value in new.items():
            kept[name].value = value
        return sigma

    def _follow(self, matrix: Float[Array, 'm n'], num: int, n_steps: int) -> None:
        """Advances the singular values after the first, which change nothing."""
        self._check_there('u_next')
        u = self.variable(COLLECTION, 'u_next', self._start, (num, matrix.shape[1]))
        v = self.variable(COLLECTION, 'v_next', jnp.zeros, (num, matrix.shape[0]))
        values = self.variable(COLLECTION, 'sigma_next', jnp.zeros, (num,))
        if n_steps:
            one, other = (self.get_variable(COLLECTION, name) for name in ('u', 'v'))
            found = next_singular_values(matrix, one, other, u.value, n_steps=n_steps)
            values.value, u.value, v.value = found

    def _label(self):
        return f"{type(self).__name__} '{'/'.join(self.path) or '(top)'}'"

    def _check_shapes(self, kept, needed):
        if kept != needed:
            raise ValueError(
                f'{self._label()} operator={self.operator!r} keeps u and v of {kept[0]} and '
                f'{kept[1]}, its weight and input need {needed[0]} and {needed[1]}: apply it to '
                'the size and with the operator of its init'
            )


class SNDense(SpectralNorm, layers.Dense):
    """`flax.linen.Dense` with a spectrally normalized kernel (in, out); the bias is left alone."""


class SNConv(SpectralNorm, layers.Conv):
    """`flax.linen.Conv` with a spectrally normalized kernel, as the matrix (size * in, out)."""


class SNConvTranspose(SpectralNorm, layers.ConvTranspose):
    """`flax.linen.ConvTranspose`; its kernel is normalized as the matrix (size * in, out)."""


class SNEmbed(SpectralNorm, layers.Embed):
    """`flax.linen.Embed` with a spectrally normalized table (num_embeddings, features).

    Attributes:
        u_over: which side of the table u belongs to: `'features'`, the last axis as in the other
            layers, or `'rows'`, the classes, as in the official code. Both iterations find the
            same sigma; while it is being found they are half a step apart.
    """

    u_over: Literal['features', 'rows'] = 'features'

    def normalize(
        self, weight: layers.Weight, linear: layers.Linear | None = None
    ) -> layers.Weight:
        """As `SpectralNorm.normalize`, of the transposed table for `'rows'`."""
        if self.u_over not in ('features', 'rows'):
            raise ValueError(
                f"{self._label()} u_over={self.u_over!r}: accepted are 'features' and 'rows'"
            )
        if self.u_over == 'features':
            return super().normalize(weight, linear)
        return super().normalize(jnp.asarray(weight).T, linear).T


def _matrix(weight):
    return weight.reshape(-1, weight.shape[-1])


def advance(module: nn.Module, variables: Mapping[str, Any], *args, **kwargs) -> Any:
    """Applies `module` to `args` and returns its collection `spectral`, every layer advanced once.

    Only the weights and u enter the power iteration (and, for `operator='convolution'`, the size of
    the input), so under `jit` XLA drops the rest of the forward pass.
    """
    _, updated = module.apply(variables, *args, **kwargs, mutable=[COLLECTION])
    return updated[COLLECTION]


def sigmas(collection: Mapping[str, Any]) -> dict[str, Float[Array | np.ndarray, '']]:
    """Every sigma of a collection by the path of its layer: `{'block0/conv1': 1.2, ...}`."""
    flat: dict[tuple[str, ...], Any] = flatten_dict(collection)
    return {'/'.join(path[:-1]): v for path, v in flat.items() if path[-1] == 'sigma'}


def singular_values(collection: Mapping[str, Any]) -> dict[str, Float[Array | np.ndarray, ' k']]:
    """The singular values that layers follow, sigma first, by the path of the layer: those with
    `n_singular_values` above 1.
    """
    flat: dict[tuple[str, ...], Any] = flatten_dict(collection)
    return {
        '/'.join(path[:-1]): jnp.concatenate([jnp.reshape(flat[(*path[:-1], 'sigma')], 1), value])
        for path, value in flat.items()
        if path[-1] == 'sigma_next'
    }
