"""Inception of 2015-12-05, the network whose Frechet distance is FID: `inception`.

The TensorFlow graph of Heusel et al. 2017 (arXiv:1706.08500) and of the Inception score (Salimans
et al. 2016, arXiv:1606.03498). It differs from later Inceptions v3: average pools do not count
padding, the last block pools by maximum, there are 1008 classes, and images are enlarged by
TensorFlow 1's bilinear rule.

Layers have the names of the PyTorch port in pytorch-fid and torch-fidelity, with batch norm folded
into kernel and bias. `snjax.metrics.inception_weights` makes the file of weights, a `.safetensors`
of float32 arrays: `Conv2d_1a_3x3.kernel` (kh, kw, in, out), `Conv2d_1a_3x3.bias` (out,),
`Mixed_5b.branch1x1.kernel`, ... `fc.kernel` (2048, 1008), `fc.bias`. Its metadata holds the sha256
of the published file and a digest of the arrays.
"""

import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax
from jaxtyping import Array, Float, UInt8

from snjax.metrics.inception_blocks import (
    Block,
    BlockA,
    BlockB,
    BlockC,
    BlockD,
    BlockE,
    Layer,
    max_pool,
)
from snjax.metrics.resizing import pil_bicubic
from snjax.metrics.weight_files import Loaded, WeightFile, read_safetensors

SIZE = 299
DIM = 2048
NUM_LOGITS = 1008
FILE = 'inception-2015-12-05.safetensors'
# The published .pth, in the releases of pytorch-fid (`fid_weights`) and torch-fidelity (`v0.2.0`).
PUBLISHED_SHA256 = '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2'
WHERE_FROM = (
    'pt_inception-2015-12-05-6726825d.pth from the releases of mseitzer/pytorch-fid on GitHub, or '
    'the same file as weights-inception-2015-12-05-6726825d.pth from those of '
    f'toshas/torch-fidelity (95,628,359 bytes, sha256 {PUBLISHED_SHA256})'
)
WEIGHTS = WeightFile(
    reader=read_safetensors,
    kind=FILE,
    needed_for=(
        f'FID needs {FILE}, made from {WHERE_FROM} by `python -m snjax.metrics.inception_weights '
        f'WEIGHTS.pth {FILE}`'
    ),
    remedy=f'it is made from {WHERE_FROM}',
)


class InceptionFeatures(NamedTuple):
    """Outputs of `apply` for n images.

    Attributes:
        pool3: averages over the last 8x8 map, the features of FID and KID.
        logits: of the 1008 classes.
        logits_unbiased: logits without the bias of the last layer, which the original code of the
            Inception score takes.
    """

    pool3: Float[Array, 'n 2048']
    logits: Float[Array, 'n 1008']
    logits_unbiased: Float[Array, 'n 1008']


class Inception(Block):
    """Images in [-1, 1), (n, 299, 299, 3), to `InceptionFeatures`; the smallest size is 75 px."""

    precision: lax.Precision | None = lax.Precision.HIGHEST

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w 3']) -> InceptionFeatures:
        p = self.precision
        x = self.conv('Conv2d_1a_3x3', x, 32, (3, 3), 2, 'VALID')
        x = self.conv('Conv2d_2a_3x3', x, 32, (3, 3), 1, 'VALID')
        x = self.conv('Conv2d_2b_3x3', x, 64, (3, 3))
        x = self.conv('Conv2d_3b_1x1', max_pool(x), 80, (1, 1))
        x = max_pool(self.conv('Conv2d_4a_3x3', x, 192, (3, 3), 1, 'VALID'))
        x = BlockA(p, 32, name='Mixed_5b')(x)
        for name in ('Mixed_5c', 'Mixed_5d'):
            x = BlockA(p, 64, name=name)(x)
        x = BlockB(p, name='Mixed_6a')(x)
        for name, width in (('b', 128), ('c', 160), ('d', 160), ('e', 192)):
            x = BlockC(p, width, name=f'Mixed_6{name}')(x)
        x = BlockD(p, name='Mixed_7a')(x)
        x = BlockE(p, name='Mixed_7b')(x)
        x = BlockE(p, by_maximum=True, name='Mixed_7c')(x)
        pool3 = x.mean(axis=(1, 2))
        kernel, bias = Layer(NUM_LOGITS, size=(), name='fc')(DIM)
        unbiased = jnp.dot(pool3, kernel, precision=p)
        return InceptionFeatures(pool3, unbiased + bias, unbiased)


def resize_tf1(images: UInt8[Array, 'n h w c'], size: int = SIZE) -> Float[Array, 'n s s c']:
    """Bilinear as `tf.image.resize_bilinear(align_corners=False)` of TensorFlow 1.

    The resize is part of the graph. Pixel i of the output lies at i * in / out of the input,
    without half-pixel centres and without antialiasing; the last pixel is repeated past the edge.
    Values stay in [0, 255].
    """

    def along(x, axis):
        old = x.shape[axis]
        if old == size:
            return x
        position = np.arange(size, dtype=np.float32) * np.float32(old / size)
        lower = position.astype(np.int32)
        shape = [size if i == axis else 1 for i in range(4)]
        fraction = (position - lower.astype(np.float32)).reshape(shape)
        a = jnp.take(x, lower, axis).astype(jnp.float32)
        b = jnp.take(x, np.minimum(lower + 1, old - 1), axis).astype(jnp.float32)
        return a + (b - a) * fraction

    return along(along(images, 2), 1).astype(jnp.float32)


def resize_clean(images: UInt8[Array, 'n h w c']) -> Float[Array, 'n 299 299 c']:
    """PIL's bicubic filter in float32, as clean-fid resizes (Parmar et al. 2022)."""
    return pil_bicubic(images, SIZE, eight_bits=False)


def apply(
    variables: dict[str, Any],
    images: UInt8[Array, 'n h w c'],
    *,
    precision: lax.Precision | None = lax.Precision.HIGHEST,
    resized: Callable[[Any], Any] = resize_tf1,
) -> InceptionFeatures:
    """Features of images of any size, grey or in colour.

    Args:
        variables: from `load`.
        images: grey images are repeated to three channels.
        precision: of the products. A lower one is faster on an accelerator and moves the score.
        resized: images to (n, 299, 299, c) in [0, 255]; `resize_tf1` is that of FID.
    """
    x = resized(images)
    x = jnp.broadcast_to(x, (*x.shape[:3], 3))
    out: Any = Inception(precision).apply(variables, (x - 128) / 128)
    return out


@functools.cache
def shapes() -> dict[str, tuple[int, ...]]:
    """Shape of every array of weights by name, such as 'Mixed_5b.branch1x1.kernel'."""
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    tree: Any = jax.eval_shape(Inception().init, jax.random.key(0), image)
    return {name: leaf.shape for name, leaf in flatten_dict(tree['params'], sep='.').items()}


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Sha256 over the names and bytes of arrays, sorted by name."""
    hashed = hashlib.sha256()
    for name in sorted(arrays):
        hashed.update(name.encode() + b'\0' + np.ascontiguousarray(arrays[name]).tobytes())
    return hashed.hexdigest()


def load(path: str | os.PathLike[str], *, unverified: bool = False) -> Loaded:
    """Loads the weights that `snjax.metrics.inception_weights` wrote, after checking their digest.

    Args:
        path: the `.safetensors`.
        unverified: accept weights from another than the published file; their distance is not FID.

    Returns:
        Variables for `apply`, and the sha256 of the published file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another or a damaged file.
    """
    path = pathlib.Path(path)
    arrays, metadata = WEIGHTS.read(path)
    expected = shapes()
    for name in sorted(expected.keys() | arrays.keys()):
        shape = arrays[name].shape if name in arrays else 'missing'
        if shape != expected.get(name) or arrays[name].dtype != np.float32:
            raise ValueError(
                f'{path} is no {FILE}: {name!r} is {shape}, wanted '
                f'{expected.get(name, "nothing")} in float32; it is made from {WHERE_FROM}'
            )
    if digest(arrays) != metadata.get('digest'):
        raise ValueError(f'{path} is damaged: its arrays do not match their digest; convert again')
    sha256 = metadata.get('source_sha256', '')
    if sha256 != PUBLISHED_SHA256 and not unverified:
        raise ValueError(
            f'{path} was made from a file of sha256 {sha256!r}, not from the published '
            f'{PUBLISHED_SHA256}: no distance from it is FID'
        )
    params = unflatten_dict(arrays, sep='.')
    return Loaded({'params': params}, sha256)
