"""CLIP's image encoder (Radford et al. 2021, arXiv:2103.00020) as an extractor: `clip`.

The features of CMMD (Jayasumana et al. 2024, arXiv:2401.09603): projections of the class token,
divided by their length. Its authors take ViT-L/14 for 336 px. The largest centred square of an image
is resized by PIL's bicubic filter.

Weights are the `model.safetensors` of openai/clip-vit-large-patch14-336, -large-patch14,
-base-patch16 or -base-patch32 on Hugging Face; the file is usually kept as
`clip-vit-large-patch14-336.safetensors`. Where there is a `pytorch_model.bin` only:

    import transformers
    model = transformers.CLIPModel.from_pretrained('openai/clip-vit-large-patch14-336')
    model.save_pretrained('clip')  # writes clip/model.safetensors

Other trainings with these layers, such as LAION's, have another activation and would be wrong.
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

FILE = 'clip-vit-large-patch14-336.safetensors'
WHERE_FROM = (
    'model.safetensors of openai/clip-vit-large-patch14-336 (or -large-patch14, -base-patch16, '
    '-base-patch32) on Hugging Face'
)
WEIGHTS = WeightFile(
    reader=read_safetensors,
    kind=f'file of CLIP ({FILE})',
    needed_for=f'the extractor clip needs {WHERE_FROM}',
    remedy=f'it is {WHERE_FROM}',
)
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_OF_TEXT = ('text_model.', 'text_projection.', 'logit_scale')


def from_state_dict(arrays: dict[str, np.ndarray]) -> tuple[vit.Encoder, int, dict]:
    """The encoder that the published arrays are of, the side of its input, and its variables.

    Args:
        arrays: by the names of `transformers`' CLIPModel; those of the text encoder may be there.

    Raises:
        ValueError: a missing or unknown array, or one of another shape.
    """
    seen = {
        k: v
        for k, v in arrays.items()
        if not k.startswith(_OF_TEXT) and not k.endswith('position_ids')
    }
    published = StateDict(seen, "OpenAI's CLIP")
    weight = published['vision_model.embeddings.patch_embedding.weight']
    positions = published['vision_model.embeddings.position_embedding.weight']
    width, patch = len(weight), weight.shape[-1]
    depth = sum(name.endswith('.layer_norm1.weight') for name in seen)
    hidden = len(published['vision_model.encoder.layers.0.mlp.fc1.weight'])
    projection = vit.dense(published, 'visual_projection', bias=False)
    encoder = vit.Encoder(
        width,
        depth,
        patch,
        vit.quick_gelu,
        1e-5,
        hidden,
        patch_bias=False,
        norm_before=True,
        projection=projection['kernel'].shape[1],
    )
    params = {
        'patches': vit.patches(published, 'vision_model.embeddings.patch_embedding', bias=False),
        'token': np.asarray(published['vision_model.embeddings.class_embedding'], np.float32),
        'positions': np.asarray(positions, np.float32),
        'norm_before': vit.norm(published, 'vision_model.pre_layrnorm'),  # so spelt there
        'norm': vit.norm(published, 'vision_model.post_layernorm'),
        'projection': projection,
    }
    for i in range(depth):
        name = f'vision_model.encoder.layers.{i}'
        q, k, v, out = (f'{name}.self_attn.{x}_proj' for x in ('q', 'k', 'v', 'out'))
        params[f'block{i}'] = {
            'norm1': vit.norm(published, f'{name}.layer_norm1'),
            'norm2': vit.norm(published, f'{name}.layer_norm2'),
            'attention': vit.attention(published, q, k, v, out),
            'fc1': vit.dense(published, f'{name}.mlp.fc1'),
            'fc2': vit.dense(published, f'{name}.mlp.fc2'),
        }
    size = patch * math.isqrt(len(positions) - 1)
    vit.check(encoder, size, params, published)
    return encoder, size, {'params': params}


def preprocessing(size: int) -> vit.Preprocessing:
    """What is done to images for an input of `size` px."""
    return vit.Preprocessing(size, _MEAN, _STD, crop=True)


def apply(
    encoder: vit.Encoder, size: int, variables: dict, images: UInt8[Array, 'n h w c']
) -> tuple[Float[Array, 'n d'], Float[Array, 'n 1']]:
    """Embeddings of length 1 of grey or colour images of any size, and logits that are zeros."""
    x: Any = encoder.apply(variables, preprocessing(size)(images))
    return x / jnp.linalg.norm(x, axis=1, keepdims=True), jnp.zeros((len(x), 1))


def load(path: str | pathlib.Path) -> vit.Loaded:
    """Loads a published network (see the module).

    Raises:
        FileNotFoundError: no such file.
        ValueError: another or a damaged file.
    """
    path = pathlib.Path(path)
    arrays, _ = WEIGHTS.read(path)
    encoder, size, variables = from_state_dict(arrays)
    title = f'CLIP {vit.usual_name(encoder.width, encoder.patch)} at {size} px'
    bound = functools.partial(apply, encoder, size)
    return vit.Loaded(title, variables, bound, file_sha256(path), size)
