"""DINOv2 (Oquab et al. 2023, arXiv:2304.07193) as an extractor: `dinov2`.

The features of Stein et al. 2023 (arXiv:2306.04675), who find Frechet distances between them closer
to the judgement of people than those of Inception: the class token after the last layer norm, of
images that are resized to 224 x 224 by PIL's bicubic filter. Their code takes ViT-L/14.

Weights are the `model.safetensors` of facebook/dinov2-small, -base or -large on Hugging Face; the
file is usually kept as `dinov2-large.safetensors`. Networks with registers and the giant one, which
has other layers, are refused. The positions of 37 x 37 patches are resampled to 16 x 16 as in the
authors' code (facebookresearch/dinov2), which scales by 16.1 / 37. The code in `transformers`
scales by 16 / 37, so its features differ a little.
"""

import functools
import math
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from snjax.metrics import vision_transformer as vit
from snjax.metrics.weight_files import StateDict, WeightFile, file_sha256, read_safetensors

SIZE = 224
FILE = 'dinov2-large.safetensors'
WHERE_FROM = 'model.safetensors of facebook/dinov2-large (or -base, -small) on Hugging Face'
WEIGHTS = WeightFile(
    reader=read_safetensors,
    kind=f'file of DINOv2 ({FILE})',
    needed_for=f'the extractor dinov2 needs {WHERE_FROM}',
    remedy=f'it is {WHERE_FROM}',
)
# Statistics of ImageNet.
PREPROCESSING = vit.Preprocessing(SIZE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop=False)
_OFFSET = 0.1


def bicubic_matrix(old: int, new: int, offset: float) -> Float[np.ndarray, 'new old']:
    """PyTorch's bicubic resampling (a = -0.75, no antialiasing) by the scale (new + offset) / old.

    Pixels past an edge repeat it.
    """
    centres = (np.arange(new) + 0.5) * old / (new + offset) - 0.5
    first = np.floor(centres).astype(int) - 1
    matrix = np.zeros((new, old))
    a = -0.75
    for tap in range(4):
        t = np.abs(centres - (first + tap))
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
        np.add.at(
            matrix,
            (np.arange(new), np.clip(first + tap, 0, old - 1)),
            np.where(t <= 1, near, far),
        )
    return matrix


def from_state_dict(
    arrays: dict[str, np.ndarray], *, size: int = SIZE, offset: float = _OFFSET
) -> tuple[vit.Encoder, dict]:
    """The encoder that the published arrays are of, and its variables.

    Args:
        arrays: by the names of `transformers`' Dinov2Model.
        size: side of the input in pixels.
        offset: added to the number of patches in the scale of positions.

    Raises:
        ValueError: a missing or unknown array, or one of another shape.
    """
    published = StateDict(arrays, 'DINOv2 (small, base or large, without registers)')
    weight = published['embeddings.patch_embeddings.projection.weight']
    positions = published['embeddings.position_embeddings'][0]
    published['embeddings.mask_token']  # of the training
    width, patch = len(weight), weight.shape[-1]
    depth = sum(name.endswith('.norm1.weight') for name in arrays)
    hidden = len(published['encoder.layer.0.mlp.fc1.weight'])
    encoder = vit.Encoder(width, depth, patch, vit.gelu, 1e-6, hidden, layer_scale=True)
    params = {
        'patches': vit.patches(published, 'embeddings.patch_embeddings.projection', bias=True),
        'token': np.asarray(published['embeddings.cls_token'], np.float32).reshape(-1),
        'positions': _resampled(positions, size // patch, offset),
        'norm': vit.norm(published, 'layernorm'),
    }
    for i in range(depth):
        name = f'encoder.layer.{i}'
        query, key, value = (f'{name}.attention.attention.{x}' for x in ('query', 'key', 'value'))
        params[f'block{i}'] = {
            'norm1': vit.norm(published, f'{name}.norm1'),
            'norm2': vit.norm(published, f'{name}.norm2'),
            'attention': vit.attention(
                published, query, key, value, f'{name}.attention.output.dense'
            ),
            'scale1': np.asarray(published[f'{name}.layer_scale1.lambda1'], np.float32),
            'scale2': np.asarray(published[f'{name}.layer_scale2.lambda1'], np.float32),
            'fc1': vit.dense(published, f'{name}.mlp.fc1'),
            'fc2': vit.dense(published, f'{name}.mlp.fc2'),
        }
    vit.check(encoder, size, params, published)
    return encoder, {'params': params}


def _resampled(positions, new, offset):
    """Embeddings (1 + old old, d) of the class token and a square of patches, for new x new."""
    token, square = positions[:1], positions[1:]
    old = math.isqrt(len(square))
    if old != new:
        along = bicubic_matrix(old, new, offset)
        square = square.reshape(old, old, -1).astype(np.float64)
        square = np.einsum('ay,bx,yxd->abd', along, along, square).reshape(new * new, -1)
    return np.concatenate([token, square]).astype(np.float32)


def apply(
    encoder: vit.Encoder, variables: dict, images: UInt8[Array, 'n h w c']
) -> tuple[Float[Array, 'n d'], Float[Array, 'n 1']]:
    """Class tokens of grey or colour images of any size, and logits that are zeros."""
    x: Any = encoder.apply(variables, PREPROCESSING(images))
    return x, jnp.zeros((len(x), 1))


def load(path: str | pathlib.Path) -> vit.Loaded:
    """Loads a published network (see the module).

    Raises:
        FileNotFoundError: no such file.
        ValueError: another or a damaged file.
    """
    path = pathlib.Path(path)
    arrays, _ = WEIGHTS.read(path)
    encoder, variables = from_state_dict(arrays)
    title = f'DINOv2 {vit.usual_name(encoder.width, encoder.patch)}'
    bound = functools.partial(apply, encoder)
    return vit.Loaded(title, variables, bound, file_sha256(path), SIZE)
