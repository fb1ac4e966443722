"""DINOv2 and CLIP against `transformers`, with the same random weights: `make oracles`."""

import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

from snjax.metrics import clip, dinov2, extractors  # noqa: E402

SIZES = [(32, 32), (48, 64), (300, 200)]


def images(h, w, num=3):
    smooth = np.random.default_rng(h + w).normal(size=(num, 5, 5, 3))
    big = np.kron(smooth, np.ones((1, -(-h // 5), -(-w // 5), 1)))[:, :h, :w]
    return jnp.asarray(np.clip(127 + 60 * big, 0, 255).astype(np.uint8))


def randomized(model):
    """Weights and norms away from their starts, of a size that keeps activations alive."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, x in model.named_parameters():
            noise = torch.randn(x.shape, generator=generator)
            if x.ndim > 1:
                x.copy_(noise * (0.5 if 'position' in name else x[0].numel() ** -0.5))
            else:
                x.copy_(('norm' in name or 'lambda' in name) * 0.7 + 0.2 * noise)
    return model.eval()


def written(model, folder):
    """The file that `transformers` writes, by the published names."""
    model.save_pretrained(folder)
    return folder / 'model.safetensors'


def agree(ours, theirs):
    assert 0.01 < np.std(theirs) < 50
    error = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    np.testing.assert_array_less(error, 1e-4)
    apart = np.linalg.norm(theirs[0] - theirs[1]) / np.linalg.norm(theirs[0])
    assert apart > 1e-3  # else agreement would say little


def dino(size, width, depth):
    config = transformers.Dinov2Config(
        hidden_size=width, num_hidden_layers=depth, num_attention_heads=width // 64, image_size=size
    )
    return randomized(transformers.Dinov2Model(config))


@pytest.mark.parametrize('width, depth, trained_size', [(64, 2, 224), (384, 12, 518)])
@pytest.mark.parametrize('h, w', SIZES)
def test_dinov2(width, depth, trained_size, h, w, tmp_path):
    """The second is ViT-S/14 with the positions of 518 px, resampled by the scale of this code."""
    model, x = dino(trained_size, width, depth), images(h, w)
    arrays, _ = dinov2.WEIGHTS.read(written(model, tmp_path))
    encoder, variables = dinov2.from_state_dict(arrays, offset=0.0)
    seen = np.array(dinov2.PREPROCESSING(x))
    with torch.inference_mode():
        out = model(pixel_values=torch.from_numpy(seen).permute(0, 3, 1, 2))
    agree(np.asarray(dinov2.apply(encoder, variables, x)[0]), out.pooler_output.numpy())


@pytest.mark.parametrize('offset', [0.0, 0.1])
def test_positions_are_resampled_as_pytorch_does(offset):
    grid = np.random.default_rng(1).normal(size=(37, 37)).astype(np.float32)
    how = {'scale_factor': (16 + offset) / 37} if offset else {'size': (16, 16)}
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(grid)[None, None], mode='bicubic', **how
    )
    along = dinov2.bicubic_matrix(37, 16, offset)
    np.testing.assert_allclose(along @ grid @ along.T, wanted[0, 0].numpy(), atol=2e-5)


@pytest.mark.parametrize('patch, size, width, depth', [(14, 56, 64, 2), (32, 224, 768, 12)])
@pytest.mark.parametrize('h, w', SIZES)
def test_clip(patch, size, width, depth, h, w, tmp_path):
    """The second is ViT-B/32; the file holds the encoder of text, too."""
    vision = {
        'patch_size': patch,
        'image_size': size,
        'hidden_size': width,
        'intermediate_size': 4 * width,
        'num_hidden_layers': depth,
        'num_attention_heads': width // 64,
    }
    text = {'hidden_size': 32, 'num_hidden_layers': 1, 'num_attention_heads': 1, 'vocab_size': 99}
    config = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=48)
    model, x = randomized(transformers.CLIPModel(config)), images(h, w)
    found = clip.load(written(model, tmp_path))
    assert found.size == size
    seen = np.array(clip.preprocessing(size)(x))
    with torch.inference_mode():
        pixels = torch.from_numpy(seen).permute(0, 3, 1, 2)
        out = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
        out = (out / out.norm(dim=1, keepdim=True)).numpy()
    agree(np.asarray(found.apply(found.variables, x)[0]), out)


def test_preprocessing_is_that_of_the_published_processors():
    """Sizes, statistics and resizing of what `transformers` ships for both networks."""
    from PIL import Image

    x = images(48, 64)[:1]
    theirs = transformers.CLIPImageProcessor(size={'height': 56, 'width': 56}, crop_size=56)
    square = Image.fromarray(np.asarray(x[0][:, 8:56]))
    wanted = np.asarray(theirs(square, return_tensors='np')['pixel_values'][0])
    np.testing.assert_allclose(
        np.asarray(clip.preprocessing(56)(x))[0].transpose(2, 0, 1), wanted, atol=0.02
    )


def test_a_file_is_an_extractor_and_others_are_refused(tmp_path):
    path = written(dino(224, 64, 1), tmp_path)
    loaded = extractors.load('dinov2', path)
    assert loaded.title == 'DINOv2 ViT-64/14' and len(loaded.sha256) == 64
    assert loaded(np.asarray(images(32, 32)))[0].shape == (3, 64)
    with pytest.raises(ValueError, match="not the weights of OpenAI's CLIP"):
        extractors.load('clip', path)
