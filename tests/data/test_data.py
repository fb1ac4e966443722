"""Tests of `snjax.data.load`: digits, `.npz`, colour and size, names, errors, no TensorFlow."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from snjax import data
from snjax.data import pixels


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('SNJAX_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'tfds'))


def save_npz(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_digits_are_the_embedded_ones_scaled_exactly():
    digits = data.load('digits', image_size=8, channels=1)
    embedded = load_digits()
    # 16 levels of ink over 0..255: k * 15.9375, halves up.
    scale = [0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255]
    wanted = np.array(scale, np.uint8)[embedded.images.astype(int)]
    np.testing.assert_array_equal(digits.images[..., 0], wanted)
    np.testing.assert_array_equal(digits.labels, embedded.target)
    assert digits.images.shape == (1797, 8, 8, 1)
    assert (digits.images.dtype, digits.labels.dtype) == (np.uint8, np.int32)
    assert digits.class_names == tuple('0123456789')
    assert (digits.name, digits.split) == ('digits', 'train')
    content = digits.images.tobytes() + digits.labels.tobytes()
    assert digits.sha256 == hashlib.sha256(content).hexdigest()


def test_digits_resized_and_repeated_to_rgb():
    small = data.load('digits', image_size=8, channels=1)
    large = data.load('digits', image_size=16, channels=3)
    assert large.images.shape == (1797, 16, 16, 3)
    assert np.all(large.images == large.images[..., :1])
    # Averaged back to 8x8, the enlarged digits are the real ones: 8 levels of 255 at the worst
    # pixel.
    back = large.images[..., 0].reshape(-1, 8, 2, 8, 2).mean((2, 4))
    assert np.abs(back - small.images[..., 0]).max() < 8.0
    assert np.sqrt(np.mean((back - small.images[..., 0]) ** 2)) < 1.5
    # Smooth, not blocks of equal pixels.
    assert np.mean(large.images[:, ::2] != large.images[:, 1::2]) > 0.3


def test_digits_at_a_size_that_is_no_multiple_are_resized_as_other_sets_are():
    small = data.load('digits', image_size=8, channels=1)
    wanted = Image.fromarray(small.images[7, :, :, 0]).resize((20, 20), Image.Resampling.BILINEAR)
    digits = data.load('digits', image_size=20, channels=1)
    np.testing.assert_array_equal(digits.images[7, :, :, 0], wanted)


def test_arrays_are_read_only():
    digits = data.load('digits', image_size=8, channels=1)
    with pytest.raises(ValueError, match='read-only'):
        digits.images[0] = 0
    with pytest.raises(ValueError, match='read-only'):
        digits.labels[0] = 1


def test_npz_plain_and_by_split(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    path = save_npz(
        tmp_path / 'set.npz',
        images=images,
        labels=np.array([0, 2, 1, 2, 0]),
        test_images=images[:2, :, :, 0],
        test_labels=np.array([[1], [0]], np.uint8),
    )
    train = data.load('npz', path=path, image_size=8)
    np.testing.assert_array_equal(train.images, images)
    np.testing.assert_array_equal(train.labels, [0, 2, 1, 2, 0])
    assert train.class_names == ('0', '1', '2')
    test = data.load('npz', path=path, image_size=8, channels=1, split='test')
    np.testing.assert_array_equal(test.images[..., 0], images[:2, :, :, 0])
    np.testing.assert_array_equal(test.labels, [1, 0])


def test_npz_without_labels_with_names_and_alpha(tmp_path):
    rgba = np.zeros((2, 4, 4, 4), np.uint8)
    rgba[1] = [10, 20, 30, 255]
    path = save_npz(tmp_path / 'a.npz', images=rgba)
    loaded = data.load('npz', path=path, image_size=4)
    # Transparent black on white is white.
    assert np.all(loaded.images[0] == 255)
    assert np.all(loaded.images[1] == [10, 20, 30])
    assert loaded.class_names == ()
    np.testing.assert_array_equal(loaded.labels, [0, 0])
    names = np.array(['cat', 'dog'])
    path = save_npz(tmp_path / 'b.npz', images=rgba, labels=np.array([0, 0]), class_names=names)
    assert data.load('npz', path=path, image_size=4).class_names == ('cat', 'dog')


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ({'images': np.zeros((2, 4, 4, 3), np.float32)}, r'float32 \(2, 4, 4, 3\).*uint8'),
        ({'images': np.zeros((2, 4, 4, 17), np.uint8)}, r'\(2, 4, 4, 17\)'),
        ({'images': np.zeros((0, 4, 4, 3), np.uint8)}, r'\(0, 4, 4, 3\)'),
        ({'pictures': np.zeros((2, 4, 4, 3), np.uint8)}, 'no array train_images.*pictures'),
        (
            {'images': np.zeros((2, 4, 4, 3), np.uint8), 'labels': np.zeros(3, int)},
            r'labels in .*int64 \(3,\)',
        ),
        (
            {'images': np.zeros((1, 4, 4, 3), np.uint8), 'labels': np.array([-1])},
            'integers >= 0',
        ),
    ],
)
def test_npz_errors(tmp_path, arrays, message):
    path = save_npz(tmp_path / 'bad.npz', **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        data.load('npz', path=path, image_size=4)
    assert '\n' not in str(caught.value)


def test_npz_that_is_no_npz(tmp_path):
    path = tmp_path / 'bad.npz'
    path.write_bytes(b'nothing of the kind')
    with pytest.raises(ValueError, match=r'bad\.npz cannot be read as \.npz'):
        data.load('npz', path=str(path), image_size=4)
    np.save(tmp_path / 'one.npy', np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r'one\.npy'):
        data.load('npz', path=str(tmp_path / 'one.npy'), image_size=4)
    with pytest.raises(ValueError, match=r'gone\.npz is not a file'):
        data.load('npz', path=str(tmp_path / 'gone.npz'), image_size=4)


def test_square_resizes_the_shorter_side_and_crops_the_centre():
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = [[[200, 100, 50]]]
    square = pixels.to_array(Image.fromarray(wide), 4, 3)
    assert np.all(square == [200, 100, 50])
    # Halving averages (antialias): alternating black and white lines turn grey.
    stripes = np.zeros((16, 16), np.uint8)
    stripes[::2] = 255
    half = pixels.to_array(Image.fromarray(stripes), 8, 1)
    assert half.shape == (8, 8, 1)
    assert np.all(half[1:-1].astype(int) - 127 <= 2)
    assert np.all(half[1:-1].astype(int) - 127 >= -2)


def test_grey_is_the_luma_of_rgb():
    rgb = np.zeros((1, 3, 3), np.uint8)
    rgb[0] = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    grey = [pixels.to_array(Image.fromarray(rgb[:, i : i + 1]), 1, 1).item() for i in range(3)]
    # ITU-R 601: 0.299, 0.587, 0.114.
    assert grey == [76, 150, 29]


def test_chunks_cover_every_image_once_and_raise_the_first_error():
    counts = np.zeros(1000, int)

    def count(start, stop):
        counts[start:stop] += 1

    pixels.in_chunks(1000, count, what='images counted')
    assert np.all(counts == 1)

    def fail(start, stop):
        raise ValueError(f'chunk {start}')

    with pytest.raises(ValueError, match='chunk 0'):
        pixels.in_chunks(1000, fail, what='images failed')


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('cifar11', {}, r"unknown image set 'cifar11'; did you mean .*cifar10"),
        ('CIFAR10', {}, r'did you mean cifar10'),
        ('digitz', {}, r'did you mean digits'),
        ('qqqqqqq', {}, r'accepted: digits, folder, npz, parquet and TFDS'),
        ('', {}, r"unknown image set ''"),
        ('digits', {'channels': 0}, r'channels is 0; accepted: 1 \(grey\)'),
        ('digits', {'image_size': 0}, r'image_size is 0;.*--config\.data\.image_size'),
        ('digits', {'image_size': 8.0}, r'image_size is 8\.0;'),
        ('digits', {'split': 'test'}, r"digits has no split 'test'; accepted: 'train'"),
        ('digits', {'path': 'x'}, r"'digits' takes no path"),
        ('folder', {}, r'--config\.data\.path=<folder>'),
        ('npz', {}, r'--config\.data\.path=<file\.npz>'),
        ('celeb_a', {}, r'celeb_a is not prepared in .*tfds build celeb_a --file_format=array'),
    ],
)
@pytest.mark.usefixtures('own_errors')
def test_errors_are_one_line_and_name_what_to_change(name, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        data.load(name, **{'image_size': 8, **options})
    assert '\n' not in str(caught.value)


def test_histogram():
    labels = np.array([0, 1, 1], np.int32)
    histogram = data.class_histogram
    assert histogram(labels, ('cat', 'dog')) == '2 classes, 1 to 2 images each: cat 1, dog 2'
    assert histogram(labels, ()) == '3 images without labels'
    assert histogram(labels[:1], ('cat',)) == '1 class: cat 1'
    assert histogram(labels[:2], ('cat', 'dog')) == '2 classes, 1 image each: cat 1, dog 1'
    many = tuple(f'c{i}' for i in range(20))
    twenty = np.arange(20, dtype=np.int32)
    assert histogram(twenty, many) == '20 classes, 1 image each'
    wanted = '20 classes, 1 to 2 images each: fewest c0, most c3'
    assert histogram(np.append(twenty, twenty[3]), many) == wanted
    assert histogram(labels, ('cat', 'dog', 'cow')).endswith('cat 1, dog 2, cow 0')


def test_own_sets_import_neither_tfds_nor_tensorflow():
    program = """
import sys
from snjax import data
data.load('digits', image_size=8, channels=1)
print([name for name in ('tensorflow', 'tensorflow_datasets') if name in sys.modules])
"""
    command = [sys.executable, '-W', 'error', '-c', program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, '[]\n'), done.stderr
