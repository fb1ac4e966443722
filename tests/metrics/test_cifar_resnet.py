"""ResNet-56: against a second implementation with batch norm apart, and its published error on the
real test set.
"""

import os

import jax
import numpy as np
import pytest
from scipy.signal import correlate2d

from snjax import data, parallel
from snjax.metrics import cifar_resnet


def random_state_dict(num_blocks=1, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {}

    def conv(name, norm, width_in, width):
        arrays[f'{name}.weight'] = rng.normal(size=(width, width_in, 3, 3)) / np.sqrt(9 * width_in)
        arrays[f'{norm}.weight'] = rng.uniform(0.5, 1.5, width)
        arrays[f'{norm}.bias'] = rng.normal(size=width) / 4
        arrays[f'{norm}.running_mean'] = rng.normal(size=width) / 4
        arrays[f'{norm}.running_var'] = rng.uniform(0.5, 1.5, width)
        arrays[f'{norm}.num_batches_tracked'] = np.array(7)

    conv('conv1', 'bn1', 3, 16)
    before = 16
    for stage, width in enumerate((16, 32, 64), start=1):
        for block in range(num_blocks):
            name = f'layer{stage}.{block}'
            conv(f'{name}.conv1', f'{name}.bn1', before, width)
            conv(f'{name}.conv2', f'{name}.bn2', width, width)
            before = width
    arrays['linear.weight'] = rng.normal(size=(10, 64))
    arrays['linear.bias'] = rng.normal(size=10)
    return {k: v.astype(np.float32) for k, v in arrays.items()}


def reference(arrays, image):
    """One image (3, 32, 32) through the published network as its authors wrote it, batch norm
    apart.
    """

    def conv(name, norm, x, stride=1):
        weight = arrays[f'{name}.weight'].astype(np.float64)
        y = np.stack(
            [
                sum(correlate2d(np.pad(c, 1), k, 'valid') for c, k in zip(x, kernel, strict=True))
                for kernel in weight
            ]
        )[:, ::stride, ::stride]
        mean, var, gamma, beta = (
            arrays[f'{norm}.{key}'][:, None, None]
            for key in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return gamma * (y - mean) / np.sqrt(var + 1e-5) + beta

    x = np.maximum(conv('conv1', 'bn1', image), 0)
    for stage, width in enumerate((16, 32, 64), start=1):
        stride, name = (1 if stage == 1 else 2), f'layer{stage}.0'
        y = np.maximum(conv(f'{name}.conv1', f'{name}.bn1', x, stride), 0)
        y = conv(f'{name}.conv2', f'{name}.bn2', y)
        if stage > 1:
            x = x[:, ::2, ::2]
            x = np.pad(x, ((width // 4, width // 4), (0, 0), (0, 0)))
        x = np.maximum(x + y, 0)
    features = x.mean(axis=(1, 2))
    return features, arrays['linear.weight'] @ features + arrays['linear.bias']


def test_is_the_published_network():
    arrays = random_state_dict()
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    variables = cifar_resnet.from_state_dict(arrays, num_blocks=1)
    features, logits = jax.jit(lambda v, x: cifar_resnet.apply(v, x, num_blocks=1))(
        variables, images
    )
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for i, image in enumerate(images):
        wanted_features, wanted = reference(arrays, ((image / 255 - mean) / std).transpose(2, 0, 1))
        np.testing.assert_allclose(features[i], wanted_features, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(logits[i], wanted, rtol=1e-4, atol=1e-4)


def test_grey_images_of_another_size_are_brought_to_its_own():
    variables = cifar_resnet.from_state_dict(random_state_dict(), num_blocks=1)
    grey = np.full((1, 16, 16, 1), 77, np.uint8)
    colour = np.full((1, 32, 32, 3), 77, np.uint8)
    apply = jax.jit(lambda v, x: cifar_resnet.apply(v, x, num_blocks=1))
    got, expected = (apply(variables, x) for x in (grey, colour))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, expected)


def test_has_the_published_number_of_parameters():
    """853,018 in He et al.'s count (0.85 M), of which batch norm's two vectors a layer are folded
    into one bias.
    """
    shape = jax.eval_shape(cifar_resnet.ResNet().init, jax.random.key(0), np.zeros((1, 32, 32, 3)))
    sizes = [leaf.size for leaf in jax.tree.leaves(shape)]
    convolutions = 16 + 18 * (16 + 32 + 64)
    assert sum(sizes) + convolutions == 853_018


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda a: a.pop('layer2.0.bn1.bias'), "'layer2.0.bn1.bias' is missing"),
        (lambda a: a.update({'fc.weight': np.zeros(1)}), "has no 'fc.weight'"),
        (
            lambda a: a.update({'linear.bias': np.zeros(100)}),
            r"'linear.bias' .*\(100,\), not \(10,\)",
        ),
        (
            lambda a: a.update({'conv1.weight': np.zeros((16, 1, 3, 3))}),
            r"'conv1.kernel' would be \(3, 3, 1, 16\), not \(3, 3, 3, 16\)",
        ),
    ],
)
def test_other_weights_are_one_line(change, message):
    arrays = random_state_dict()
    change(arrays)
    with pytest.raises(ValueError, match=message) as error:
        cifar_resnet.from_state_dict(arrays, num_blocks=1)
    assert 'of ResNet-8 for CIFAR-10' in str(error.value) and '\n' not in str(error.value)


def test_a_missing_file_says_where_it_comes_from(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'akamaster.*--config.eval.weights'):
        cifar_resnet.load(tmp_path / 'none.npz')


def test_a_file_that_is_something_else_or_not_whole_is_one_line(tmp_path):
    path = tmp_path / 'resnet56_cifar10.npz'
    np.savez(path, **random_state_dict(num_blocks=9))
    whole = path.read_bytes()
    assert len(cifar_resnet.load(path).sha256) == 64
    np.save(tmp_path / 'one.npy', np.zeros(3))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (
        b'',
        b'no arrays',
        (tmp_path / 'one.npy').read_bytes(),
        whole[:-1000],
        bytes(flipped),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r'is no \.npz of arrays') as error:
            cifar_resnet.load(path)
        assert '\n' not in str(error.value)


@pytest.mark.slow
def test_published_error_on_the_test_set():
    """6.61 % in its authors' README. SNJAX_RESNET56 names the .npz, TFDS_DATA_DIR the data."""
    if 'SNJAX_RESNET56' not in os.environ or 'TFDS_DATA_DIR' not in os.environ:
        pytest.skip('SNJAX_RESNET56 and TFDS_DATA_DIR are not set')
    test = data.load('cifar10', image_size=32, split='test')
    assert test.class_names == cifar_resnet.CLASSES
    variables = cifar_resnet.load(os.environ['SNJAX_RESNET56']).variables
    logits = parallel.OverBatches(lambda v, x: cifar_resnet.apply(v, x)[1])
    wrong = [
        np.argmax(logits(variables, test.images[i : i + 500]), axis=1) != test.labels[i : i + 500]
        for i in range(0, 10_000, 500)
    ]
    assert 100 * np.mean(wrong) == pytest.approx(6.61, abs=0.1)
