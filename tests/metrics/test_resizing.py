"""Resizing against PIL, and what the extractors that use it make of a file of random weights."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from snjax.metrics import clip, comparison, dinov2, extractors, inception, scores
from snjax.metrics.comparison import ScoredSet
from snjax.metrics.extractors import Features
from snjax.metrics.resizing import pil_bicubic

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 40, 28, 3), dtype=np.uint8)


@pytest.mark.parametrize('size', [13, 28, 40, 90])
def test_eight_bits_are_those_of_pil(size):
    ours = np.asarray(pil_bicubic(jnp.asarray(IMAGES), size, eight_bits=True))
    theirs = [
        np.asarray(Image.fromarray(x).resize((size, size), Image.Resampling.BICUBIC))
        for x in IMAGES
    ]
    differ = np.abs(ours - np.asarray(theirs, np.float32))
    assert differ.max() <= 1 and np.mean(differ > 0) < 1e-3  # PIL's coefficients have 22 bits


def test_cleanfid_resizes_channels_in_float32():
    ours = np.asarray(inception.resize_clean(jnp.asarray(IMAGES)))
    for image, got in zip(IMAGES, ours, strict=True):
        for channel in range(3):
            values = Image.fromarray(image[..., channel].astype(np.float32))
            wanted = np.asarray(values.resize((299, 299), Image.Resampling.BICUBIC)).clip(0, 255)
            np.testing.assert_allclose(got[..., channel], wanted, atol=5e-3)


def dense(rng, name, out, width):
    return {
        f'{name}.weight': rng.normal(size=(out, width)).astype(np.float32) / width**0.5,
        f'{name}.bias': rng.normal(size=out).astype(np.float32),
    }


def norm(rng, name, width):
    return {
        f'{name}.weight': rng.uniform(0.5, 1.5, width).astype(np.float32),
        f'{name}.bias': rng.normal(size=width).astype(np.float32),
    }


def dinov2_arrays(width=64, hidden=96, patch=14, depth=1):
    """Random arrays by the published names."""
    rng = np.random.default_rng(1)
    layer = 'encoder.layer.0'
    side = 224 // patch
    arrays = {
        'embeddings.cls_token': rng.normal(size=(1, 1, width)).astype(np.float32),
        'embeddings.mask_token': np.zeros((1, width), np.float32),
        'embeddings.position_embeddings': rng.normal(size=(1, 1 + side**2, width)).astype('f4'),
        'embeddings.patch_embeddings.projection.weight': rng.normal(
            size=(width, 3, patch, patch), scale=0.05
        ).astype(np.float32),
        'embeddings.patch_embeddings.projection.bias': np.zeros(width, np.float32),
        f'{layer}.layer_scale1.lambda1': np.ones(width, np.float32),
        f'{layer}.layer_scale2.lambda1': np.ones(width, np.float32),
    }
    for name in ('attention.attention.query', 'attention.attention.key'):
        arrays |= dense(rng, f'{layer}.{name}', width, width)
    arrays |= dense(rng, f'{layer}.attention.attention.value', width, width)
    arrays |= dense(rng, f'{layer}.attention.output.dense', width, width)
    arrays |= dense(rng, f'{layer}.mlp.fc1', hidden, width)
    arrays |= dense(rng, f'{layer}.mlp.fc2', width, hidden)
    for name in (f'{layer}.norm1', f'{layer}.norm2', 'layernorm'):
        arrays |= norm(rng, name, width)
    return arrays


def test_a_file_of_dinov2_is_an_extractor(tmp_path):
    path = tmp_path / 'dinov2-large.safetensors'
    save_file(dinov2_arrays(), path)
    extractor = extractors.load('dinov2', tmp_path)
    features, logits = extractor(IMAGES)
    assert features.shape == (2, 64) and logits.shape == (2, 1)
    assert extractor.title == 'DINOv2 ViT-64/14' and '224x224' in extractor.resize
    grey, _ = extractor(IMAGES[..., :1])
    np.testing.assert_allclose(
        grey, extractor(np.repeat(IMAGES[..., :1], 3, axis=-1))[0], rtol=1e-5
    )


@pytest.mark.parametrize(
    'broken, message',
    [
        ({'embeddings.register_tokens': np.zeros((1, 4, 64))}, "it has no 'embeddings.register"),
        ({'encoder.layer.0.mlp.fc1.weight': None}, "'encoder.layer.0.mlp.fc1.weight' is missing"),
        ({'encoder.layer.0.norm1.bias': np.zeros(3)}, r"'block0.norm1.bias' would be \(3,\)"),
    ],
)
def test_other_networks_are_refused_in_one_line(broken, message):
    arrays = dinov2_arrays() | broken
    with pytest.raises(ValueError, match=message) as caught:
        dinov2.from_state_dict({k: v for k, v in arrays.items() if v is not None})
    assert '\n' not in str(caught.value)
    with pytest.raises(ValueError, match="not the weights of OpenAI's CLIP"):
        clip.from_state_dict(arrays)


def test_a_missing_file_says_where_it_comes_from(tmp_path):
    for name, words in (('dinov2', 'facebook/dinov2-large'), ('clip', 'openai/clip-vit-large')):
        with pytest.raises(FileNotFoundError, match=f'needs model.safetensors of {words}'):
            extractors.check_weights(name, tmp_path)


def test_features_of_clip_have_cmmd_too():
    rng = np.random.default_rng(3)
    real, fake = (rng.normal(size=(n, 6)) for n in (30, 20))
    real, fake = (
        ScoredSet(Features(x / np.linalg.norm(x, axis=1, keepdims=True), np.zeros((len(x), 1))))
        for x in (real, fake)
    )
    summary = scores.moments(real.features.features)
    found = {
        name: comparison.full(
            extractors.Extractor(name, {}, clip.apply, '', ''), real, summary, fake, ()
        )
        for name in ('clip', 'dinov2')
    }
    wanted = scores.cmmd(real.features.features, fake.features.features)
    assert found['clip'].pop('cmmd') == wanted > 0
    assert found['clip'] == found['dinov2']
