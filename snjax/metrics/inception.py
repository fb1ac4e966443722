"""Inception of 2015-12-05, the network whose Frechet distance is FID: `inception`.

The TensorFlow graph of Heusel et al. 2017 (arXiv:1706.08500) and of the Inception score (Salimans et al. 2016,
arXiv:1606.03498). It differs from later Inceptions v3: average pools leave padding out of the count, the last block
pools by maximum, there are 1008 classes, and images are enlarged by TensorFlow 1's bilinear rule.

Layers have the names of its PyTorch port, which pytorch-fid and torch-fidelity share, with batch norm folded into
kernel and bias. Weights are a `.safetensors` of float32 arrays that `snjax.metrics.inception_weights` makes:
`Conv2d_1a_3x3.kernel` (kh, kw, in, out), `Conv2d_1a_3x3.bias` (out,), `Mixed_5b.branch1x1.kernel`, ... `fc.kernel`
(2048, 1008), `fc.bias`. Its metadata has the sha256 of the published file and a digest of the arrays.
"""

import functools
import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
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

SIZE = 299
DIM = 2048
NUM_LOGITS = 1008
FILE = 'inception-2015-12-05.safetensors'
# Of the published .pth, in the releases of pytorch-fid (`fid_weights`) and torch-fidelity (`v0.2.0`).
PUBLISHED_SHA256 = '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2'
WHERE_FROM = (
    'pt_inception-2015-12-05-6726825d.pth from the releases of mseitzer/pytorch-fid on GitHub, or the same file as '
    f'weights-inception-2015-12-05-6726825d.pth from those of toshas/torch-fidelity (95,628,359 bytes, sha256 '
    f'{PUBLISHED_SHA256})'
)


class InceptionFeatures(NamedTuple):
    """What `apply` gives of n images.

    Attributes:
        pool3: averages over the last 8x8 map, which FID and KID are of.
        logits: of the 1008 classes.
        logits_unbiased: the same without the last layer's bias, as the Inception score of the original code takes them.
    """

    pool3: Float[Array, 'n 2048']
    logits: Float[Array, 'n 1008']
    logits_unbiased: Float[Array, 'n 1008']


class Loaded(NamedTuple):
    """Variables of `apply`, and the sha256 of the published file they came from."""

    variables: dict[str, Any]
    sha256: str


class Inception(Block):
    """The network from images in [-1, 1), (n, 299, 299, 3), to `InceptionFeatures`; 75 px is the least it takes."""

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
    """Bilinear as `tf.image.resize_bilinear(align_corners=False)` of TensorFlow 1, which the graph contains.

    Pixel i of the output is at i * in / out of the input, without half-pixel centres and without antialiasing; past the
    last pixel the image goes on unchanged. Values stay in [0, 255].
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


def apply(
    variables: dict[str, Any],
    images: UInt8[Array, 'n h w c'],
    *,
    precision: lax.Precision | None = lax.Precision.HIGHEST,
) -> InceptionFeatures:
    """Features of images of any size, grey or in colour.

    Args:
        variables: as `load` gives them.
        images: grey ones are repeated to three channels.
        precision: of the products; anything below the default is faster on an accelerator, and another number.
    """
    x = resize_tf1(images)
    x = jnp.broadcast_to(x, (*x.shape[:3], 3))
    out: Any = Inception(precision).apply(variables, (x - 128) / 128)
    return out


@functools.cache
def shapes() -> dict[str, tuple[int, ...]]:
    """Shape of every array of the weights by its name in the file, such as 'Mixed_5b.branch1x1.kernel'."""
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    tree: Any = jax.eval_shape(Inception().init, jax.random.key(0), image)
    return {name: leaf.shape for name, leaf in flatten_dict(tree['params'], sep='.').items()}


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Sha256 over names and bytes, in the order of the names."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(name.encode() + b'\0' + np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()


def load(path: str | os.PathLike[str], *, unverified: bool = False) -> Loaded:
    """The weights from a file of `snjax.metrics.inception_weights`, whose arrays are as they were written.

    Args:
        path: the `.safetensors`.
        unverified: whether to take weights that do not come from the published file; their distance is not FID.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is something else, or not whole.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} is not there: FID needs {FILE}, made from {WHERE_FROM} by `python -m '
            f'snjax.metrics.inception_weights WEIGHTS.pth {path}`; --config.eval.weights=PATH'
        )
    try:
        with safetensors.safe_open(path, framework='numpy') as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f'{path} is no {FILE} ({error}): it is made from {WHERE_FROM}') from error
    expected = shapes()
    for name in sorted(expected.keys() | arrays.keys()):
        shape = arrays[name].shape if name in arrays else 'missing'
        if shape != expected.get(name) or arrays[name].dtype != np.float32:
            raise ValueError(
                f'{path} is no {FILE}: {name!r} is {shape}, wanted {expected.get(name, "nothing")} in float32; '
                f'it is made from {WHERE_FROM}'
            )
    if digest(arrays) != metadata.get('digest'):
        raise ValueError(
            f'{path} is damaged: its arrays are not those that were written; convert again'
        )
    sha256 = metadata.get('source_sha256', '')
    if sha256 != PUBLISHED_SHA256 and not unverified:
        raise ValueError(
            f'{path} was made from a file of sha256 {sha256!r}, not from the published {PUBLISHED_SHA256}: '
            'no distance from it is FID'
        )
    params = unflatten_dict(arrays, sep='.')
    return Loaded({'params': params}, sha256)
