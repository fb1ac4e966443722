"""Inception against torch-fidelity's, with the same random weights: `make oracles`."""

import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('torch_fidelity')

from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # noqa: E402
from torch_fidelity.interpolate_compat_tensorflow import (  # noqa: E402
    interpolate_bilinear_2d_like_tensorflow1x,
)

from benchmarks.extractors import ours, random_inception, random_resnet, theirs  # noqa: E402
from snjax import parallel  # noqa: E402
from snjax.metrics import inception, inception_weights  # noqa: E402

SIZES = [(8, 8), (32, 32), (96, 96), (299, 299), (400, 400), (300, 170), (40, 500)]
OUTPUTS = ['2048', 'logits', 'logits_unbiased']


def random_images(h, w, num=2):
    return np.random.default_rng(h + w).integers(0, 256, (num, h, w, 3), dtype=np.uint8)


def nchw(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2)


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    """Theirs, whose own loader takes the names; ours, from the same file through the converter's."""
    folder = tmp_path_factory.mktemp('weights')
    state = {name: torch.from_numpy(x) for name, x in random_inception(seed=3).items()}
    torch.save(state, folder / 'random.pth')
    theirs = FeatureExtractorInceptionV3('x', OUTPUTS, str(folder / 'random.pth'))
    inception_weights.main(
        ['--unverified', str(folder / 'random.pth'), str(folder / 'new/ours.safetensors')]
    )
    loaded = inception.load(folder / 'new/ours.safetensors', unverified=True)
    program, variables = parallel.OverBatches(inception.apply), parallel.replicate(loaded.variables)
    return theirs, lambda images: program(variables, images)


@pytest.mark.parametrize('size', SIZES)
def test_features_and_logits(networks, size):
    theirs, ours = networks
    images = random_images(*size)
    with torch.inference_mode():
        expected = [x.numpy() for x in theirs(nchw(images))]
    out = ours(images)
    for got, wanted in zip((out.pool3, out.logits, out.logits_unbiased), expected, strict=True):
        assert 0.05 < np.std(wanted) < 50  # nothing has died or blown up on the way
        error = np.linalg.norm(got - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
        np.testing.assert_array_less(error, 1e-4)


def test_images_differ_by_more_than_the_tolerance(networks):
    """Else agreement would say little about the convolutions."""
    _, ours = networks
    features = np.asarray(ours(random_images(32, 32)).pool3)
    assert np.linalg.norm(features[0] - features[1]) > 0.01 * np.linalg.norm(features[0])


@pytest.mark.parametrize('size', SIZES)
def test_resize(size):
    images = random_images(*size)
    expected = interpolate_bilinear_2d_like_tensorflow1x(
        nchw(images).float(), size=(299, 299), align_corners=False
    )
    got = np.asarray(inception.resize_tf1(jnp.asarray(images)))
    np.testing.assert_allclose(got, expected.permute(0, 2, 3, 1).numpy(), rtol=0, atol=255e-5)


@pytest.mark.parametrize('value', [0, 255])
def test_flat_images(networks, value):
    theirs, ours = networks
    images = np.full((2, 16, 16, 3), value, np.uint8)
    with torch.inference_mode():
        expected = theirs(nchw(images))[0].numpy()
    np.testing.assert_allclose(ours(images).pool3, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'no PyTorch file of arrays only, or cut off'),
        (torch.nn.Linear(2, 2), 'no PyTorch file of arrays only'),
        ([torch.zeros(2)], 'no state dict'),
        ({'state_dict': {'fc.bias': torch.zeros(1008)}}, 'no state dict'),
        ({'fc.bias': torch.zeros(1008)}, "'Conv2d_1a_3x3.conv.weight' is missing"),
    ],
)
def test_the_converter_refuses_what_is_no_state_dict(content, message, tmp_path):
    source, target = tmp_path / 'other.pth', tmp_path / 'out.safetensors'
    torch.save(torch.zeros(100) if content is None else content, source)
    if content is None:
        source.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(SystemExit) as error:
        inception_weights.main(['--unverified', str(source), str(target)])
    assert message in str(error.value) and '\n' not in str(error.value)
    assert not target.exists()


def test_resnet_of_the_benchmark():
    """Our ResNet-56 against PyTorch's, which is timed beside it."""
    arrays, images = random_resnet(seed=4), random_images(32, 32, num=4)
    expected = theirs('cifar_resnet56', arrays)['torch'](images)
    for got, wanted in zip(ours('cifar_resnet56', arrays)['snjax'](images), expected, strict=True):
        assert 0.05 < np.std(wanted) < 50
        error = np.linalg.norm(got - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
        np.testing.assert_array_less(error, 1e-4)
