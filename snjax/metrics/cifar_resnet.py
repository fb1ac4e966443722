"""ResNet-56 for CIFAR-10, a published classifier as an extractor: `cifar_resnet56`.

The network of section 4.2 of He et al. 2016 (arXiv:1512.03385) with option A shortcuts, with the
trained weights of akamaster/pytorch_resnet_cifar10 (`resnet56-4bfd9763.th`, BSD-2-Clause; 6.61 %
test error by its README). Features are the 64 averages before the last layer. A Frechet distance
between them is not FID and not comparable to it.

Weights are read from an `.npz` with the names and layouts of that file (`conv1.weight`
(16, 3, 3, 3), `bn1.running_mean`, `layer1.0.conv1.weight`, ... `linear.weight` (10, 64)):

    import numpy, torch
    state = torch.load('resnet56-4bfd9763.th', map_location='cpu')['state_dict']
    arrays = {name.removeprefix('module.'): value.numpy() for name, value in state.items()}
    numpy.savez('resnet56_cifar10.npz', **arrays)
"""

import functools
import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax import lax
from jaxtyping import Array, Float, UInt8

from snjax.metrics.folding import folded_conv
from snjax.metrics.weight_files import Loaded, StateDict, WeightFile, file_sha256, read_npz

CLASSES = (
    'airplane',
    'automobile',
    'bird',
    'cat',
    'deer',
    'dog',
    'frog',
    'horse',
    'ship',
    'truck',
)
SIZE = 32
DIM = 64
_EPSILON = 1e-5  # PyTorch's
# Statistics of ImageNet, which the repository trained with.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WEIGHTS = WeightFile(
    reader=read_npz,
    kind='.npz of arrays',
    needed_for=(
        'the extractor cifar_resnet56 needs the weights of akamaster/pytorch_resnet_cifar10 '
        '(resnet56-4bfd9763.th) as an .npz, made as snjax/metrics/cifar_resnet.py says'
    ),
    remedy='make or copy it again',
)


class ResNet(nn.Module):
    """Three stages of residual blocks with 16, 32 and 64 channels, batch norms folded in.

    Attributes:
        num_blocks: blocks per stage; 9 give ResNet-56.
        precision: of the convolutions.
    """

    num_blocks: int = 9
    precision: lax.Precision = lax.Precision.HIGHEST

    @nn.compact
    def __call__(
        self, x: Float[Array, 'n 32 32 3']
    ) -> tuple[Float[Array, 'n 64'], Float[Array, 'n k']]:
        x = nn.relu(self._conv('conv1', 16, 1)(x))
        for stage, width in enumerate((16, 32, 64), start=1):
            for block in range(self.num_blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                name = f'layer{stage}_{block}'
                y = nn.relu(self._conv(f'{name}_conv1', width, stride)(x))
                y = self._conv(f'{name}_conv2', width, 1)(y)
                x = nn.relu(y + _shortcut(x, width, stride))
        features = x.mean(axis=(1, 2))
        return features, nn.Dense(10, precision=self.precision, name='linear')(features)

    def _conv(self, name, width, stride):
        return nn.Conv(
            width, (3, 3), stride, padding=((1, 1), (1, 1)), precision=self.precision, name=name
        )


def _shortcut(x, width, stride):
    """Shortcut of option A: every second pixel, and zero channels added on both sides."""
    added = width - x.shape[-1]
    if not added:
        return x
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (added // 2, added // 2)))


def apply(
    variables: dict[str, Any], images: UInt8[Array, 'n h w c'], *, num_blocks: int = 9
) -> tuple[Float[Array, 'n 64'], Float[Array, 'n k']]:
    """Features and logits of grey or colour images.

    Images of another size than 32 px are resized, bilinear and antialiased.
    """
    x = images.astype(jnp.float32) / 255
    n, h, w, _ = x.shape
    x = jnp.broadcast_to(x, (n, h, w, 3))
    if (h, w) != (SIZE, SIZE):
        x = jax.image.resize(x, (n, SIZE, SIZE, 3), 'bilinear', precision=lax.Precision.HIGHEST)
    x = (x - jnp.array(_MEAN)) / jnp.array(_STD)
    out: Any = ResNet(num_blocks).apply(variables, x)
    return out


@functools.cache
def _shapes(num_blocks):
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    tree: Any = jax.eval_shape(ResNet(num_blocks).init, jax.random.key(0), image)
    return {name: leaf.shape for name, leaf in flatten_dict(tree['params'], sep='.').items()}


def from_state_dict(arrays: dict[str, np.ndarray], *, num_blocks: int = 9) -> dict[str, Any]:
    """Variables for `apply` from the published arrays.

    Raises:
        ValueError: a missing or unknown array, or one of another shape.
    """
    published = StateDict(arrays, f'ResNet-{6 * num_blocks + 2} for CIFAR-10')
    params: dict[str, Any] = {'conv1': folded_conv(published, 'conv1', 'bn1', _EPSILON)}
    for stage in (1, 2, 3):
        for block in range(num_blocks):
            name = f'layer{stage}.{block}'
            for i in (1, 2):
                folded = folded_conv(published, f'{name}.conv{i}', f'{name}.bn{i}', _EPSILON)
                params[f'layer{stage}_{block}_conv{i}'] = folded
    params['linear'] = {
        'kernel': np.ascontiguousarray(published['linear.weight'].T, np.float32),
        'bias': np.asarray(published['linear.bias'], np.float32),
    }
    published.check_all_read()
    flat: Any = flatten_dict(params, sep='.')
    published.check_shapes(flat, _shapes(num_blocks))
    return {'params': params}


def load(path: str | pathlib.Path) -> Loaded:
    """Loads the published classifier from an `.npz` (see the module).

    Raises:
        FileNotFoundError: no such file.
        ValueError: another or a damaged file.
    """
    path = pathlib.Path(path)
    arrays, _ = WEIGHTS.read(path)
    return Loaded(from_state_dict(arrays), file_sha256(path))
