"""Vision transformers with published weights as extractors: `dinov2` and `clip`.

The encoder of Dosovitskiy et al. 2021 (arXiv:2010.11929), with the layers in which DINOv2 (Oquab et
al. 2023, arXiv:2304.07193) and CLIP (Radford et al. 2021, arXiv:2103.00020) differ from it. Which
size of network a file holds is read from its arrays. `snjax.metrics.dinov2` and
`snjax.metrics.clip` read the files.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax import lax
from jaxtyping import Array, Float, UInt8

from snjax.metrics.resizing import pil_bicubic
from snjax.metrics.weight_files import StateDict

HEAD_DIM = 64  # of every published size that is accepted


def quick_gelu(x: Float[Array, '*s']) -> Float[Array, '*s']:
    """x sigmoid(1.702 x), the activation of OpenAI's CLIP."""
    return x * jax.nn.sigmoid(1.702 * x)


def gelu(x: Float[Array, '*s']) -> Float[Array, '*s']:
    """x times the normal distribution function of x, not its approximation by tanh."""
    return jax.nn.gelu(x, approximate=False)


class Block(nn.Module):
    """Attention and two dense layers, each normalized before, and added to its input.

    Attributes:
        activation: between the two dense layers.
        epsilon: of the layer norms.
        layer_scale: multiply what is added by a learned vector (DINOv2).
        hidden: units between the two dense layers.
        precision: of the products.
    """

    activation: Callable[[Array], Array]
    epsilon: float
    layer_scale: bool
    hidden: int
    precision: lax.Precision = lax.Precision.HIGHEST

    @nn.compact
    def __call__(self, x: Float[Array, 'n t d']) -> Float[Array, 'n t d']:
        width, p = x.shape[-1], self.precision
        norm = functools.partial(nn.LayerNorm, self.epsilon, use_fast_variance=False)
        y = norm(name='norm1')(x)
        heads = width // HEAD_DIM
        y = nn.MultiHeadDotProductAttention(heads, precision=p, name='attention')(y)
        x = x + self._scaled('scale1', y)
        y = nn.Dense(self.hidden, precision=p, name='fc1')(norm(name='norm2')(x))
        y = nn.Dense(width, precision=p, name='fc2')(self.activation(y))
        return x + self._scaled('scale2', y)

    def _scaled(self, name, y):
        return y * self.param(name, nn.initializers.ones, y.shape[-1:]) if self.layer_scale else y


class Encoder(nn.Module):
    """Normalized images (n, size, size, 3) to the normalized class token, projected if asked for.

    Attributes:
        width: features of a token.
        depth: number of blocks.
        patch: side of a patch in pixels.
        activation, epsilon, layer_scale, hidden, precision: as in `Block`.
        patch_bias: add a bias to the embedding of patches.
        norm_before: normalize the tokens before the first block (CLIP).
        projection: features of the output's projection; 0 for none.
    """

    width: int
    depth: int
    patch: int
    activation: Callable[[Array], Array]
    epsilon: float
    hidden: int
    layer_scale: bool = False
    patch_bias: bool = True
    norm_before: bool = False
    projection: int = 0
    precision: lax.Precision = lax.Precision.HIGHEST

    @nn.compact
    def __call__(self, x: Float[Array, 'n s s 3']) -> Float[Array, 'n d']:
        n, side, p = len(x), x.shape[1] // self.patch, self.patch
        # A convolution whose stride is its size is a product of patches.
        x = x[:, : side * p, : side * p].reshape(n, side, p, side, p, 3)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(n, side * side, p * p * 3)
        dense = functools.partial(nn.Dense, precision=self.precision)
        x = dense(self.width, self.patch_bias, name='patches')(x)
        token = self.param('token', nn.initializers.zeros, (self.width,))
        x = jnp.concatenate([jnp.broadcast_to(token, (n, 1, self.width)), x], axis=1)
        x += self.param('positions', nn.initializers.zeros, (1 + side * side, self.width))
        norm = functools.partial(nn.LayerNorm, self.epsilon, use_fast_variance=False)
        if self.norm_before:
            x = norm(name='norm_before')(x)
        for i in range(self.depth):
            x = Block(
                self.activation,
                self.epsilon,
                self.layer_scale,
                self.hidden,
                self.precision,
                name=f'block{i}',
            )(x)
        x = norm(name='norm')(x[:, 0])
        return dense(self.projection, False, name='projection')(x) if self.projection else x


class Preprocessing(NamedTuple):
    """From pixels to the encoder's input.

    Attributes:
        size: side of the input in pixels.
        mean, std: of each channel, of values in [0, 1].
        crop: crop the largest centred square before resizing; or else resize both sides.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: bool

    def __call__(self, images: UInt8[Array, 'n h w c']) -> Float[Array, 'n s s 3']:
        """Resizes grey or colour images as PIL does, bicubic with antialiasing and 8 bits."""
        if self.crop:
            h, w = images.shape[1:3]
            side = min(h, w)
            top, left = (h - side) // 2, (w - side) // 2
            images = images[:, top : top + side, left : left + side]
        x = pil_bicubic(images, self.size, eight_bits=True)
        x = jnp.broadcast_to(x, (*x.shape[:3], 3)) / 255
        return (x - jnp.array(self.mean)) / jnp.array(self.std)


class Loaded(NamedTuple):
    """An encoder with weights.

    Attributes:
        title: the network's usual name, such as 'DINOv2 ViT-L/14'.
        variables: for `apply`.
        apply: `(variables, uint8 images (n, h, w, c)) -> (features (n, d), logits (n, 1))`; the
            logits are zeros, because there are no classes.
        sha256: of the file.
        size: side of the input in pixels.
    """

    title: str
    variables: dict[str, Any]
    apply: Callable[[Any, Any], tuple[Any, Any]]
    sha256: str
    size: int


def usual_name(width: int, patch: int) -> str:
    """'ViT-L/14' of a width of 1,024 and patches of 14 px; 'ViT-128/14' of a width without name."""
    return f'ViT-{ {384: "S", 768: "B", 1024: "L"}.get(width, width) }/{patch}'


def dense(published: StateDict, name: str, *, bias: bool = True) -> dict[str, np.ndarray]:
    """Kernel (in, out) and bias of a dense layer of a PyTorch state dict."""
    found = {'kernel': np.ascontiguousarray(published[f'{name}.weight'].T, np.float32)}
    return found | ({'bias': np.asarray(published[f'{name}.bias'], np.float32)} if bias else {})


def norm(published: StateDict, name: str) -> dict[str, np.ndarray]:
    """Scale and bias of a layer norm of a PyTorch state dict."""
    return {
        'scale': np.asarray(published[f'{name}.weight'], np.float32),
        'bias': np.asarray(published[f'{name}.bias'], np.float32),
    }


def attention(
    published: StateDict, query: str, key: str, value: str, out: str
) -> dict[str, dict[str, np.ndarray]]:
    """Weights of Flax's `MultiHeadDotProductAttention` from four dense layers' names."""
    layers = {'query': query, 'key': key, 'value': value}
    found = {own: dense(published, name) for own, name in layers.items()}
    width = len(found['query']['kernel'])
    heads = (-1, HEAD_DIM)
    found = {
        own: {'kernel': x['kernel'].reshape(width, *heads), 'bias': x['bias'].reshape(heads)}
        for own, x in found.items()
    }
    last = dense(published, out)
    return found | {'out': {'kernel': last['kernel'].reshape(*heads, width), 'bias': last['bias']}}


def patches(published: StateDict, name: str, *, bias: bool) -> dict[str, np.ndarray]:
    """Kernel (p p 3, d) of the embedding of patches, from a convolution's (d, 3, p, p)."""
    weight = published[f'{name}.weight']
    kernel = weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))
    found = {'kernel': np.ascontiguousarray(kernel, np.float32)}
    return found | ({'bias': np.asarray(published[f'{name}.bias'], np.float32)} if bias else {})


def check(encoder: Encoder, size: int, params: dict[str, Any], published: StateDict) -> None:
    """Raises a ValueError of one line for arrays that are missing, unknown or of another shape."""
    published.check_all_read()
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    tree: Any = jax.eval_shape(encoder.init, jax.random.key(0), image)
    expected = {k: v.shape for k, v in flatten_dict(tree['params'], sep='.').items()}
    flat: Any = flatten_dict(params, sep='.')
    published.check_shapes(flat, expected)
