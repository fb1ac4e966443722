"""Rectangles, up to 16 channels and 16 bits, from files to arrays and to pictures."""

import numpy as np
import pytest
from PIL import Image

from snjax import data
from snjax.data import pixels
from snjax.image_format import canonical, is_size, to_floats, words
from snjax.runs import images

WIDE = np.arange(8 * 16 * 3, dtype=np.uint8).reshape(8, 16, 3)  # height 8, width 16
DEEP = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5461  # 0 .. 60071


def fitted(size, fit, image=WIDE):
    return pixels.to_array(Image.fromarray(image), size, image.shape[-1], fit)


@pytest.mark.parametrize('fit', pixels.FITS)
def test_an_image_of_the_wanted_size_is_unchanged(fit):
    np.testing.assert_array_equal(fitted((8, 16), fit), WIDE)


def test_crop_covers_the_size_and_keeps_the_middle():
    np.testing.assert_array_equal(fitted((8, 12), 'crop'), WIDE[:, 2:14])
    np.testing.assert_array_equal(fitted((4, 16), 'crop'), WIDE[2:6])
    np.testing.assert_array_equal(fitted(8, 'crop'), fitted((8, 8), 'crop'))


def test_pad_keeps_the_whole_image_with_black_around_it():
    found = fitted((12, 16), 'pad')
    np.testing.assert_array_equal(found[2:10], WIDE)
    assert not found[:2].any() and not found[10:].any()
    small = np.asarray(Image.fromarray(WIDE).resize((8, 4), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(fitted((8, 8), 'pad')[2:6], small)


def test_stretch_ignores_the_shape():
    expected = Image.fromarray(WIDE).resize((6, 10), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(fitted((10, 6), 'stretch'), expected)


def test_padding_is_transparent_where_there_is_alpha():
    found = fitted((16, 16), 'pad', np.full((8, 16, 4), 255, np.uint8))
    assert found[4:12].min() == 255 and not found[:4].any()


def test_one_form_for_each_size():
    assert canonical((64, 64)) == canonical([64, 64]) == canonical(64) == 64
    assert canonical([48, 64]) == (48, 64) and words([48, 64]) == '48x64' and words(64) == '64x64'
    assert all(map(is_size, (1, 65536, (1, 2), [48, 64])))
    assert not any(map(is_size, (0, 65537, True, 1.0, '48', (1,), (1, 2, 3), (0, 4), (1.5, 4))))


# Caches of older versions hold sets of the usual form under these names.
def test_the_usual_form_has_the_key_it_had():
    assert pixels.Form(32, 3).key == {'image_size': 32, 'channels': 3}
    assert pixels.Form(32, 3).label == '32x3'
    others = [(32, 3, 'pad'), (32, 1, 'crop', 16), ((32, 48), 3)]
    assert len({str(pixels.Form(*other).key) for other in [(32, 3), *others]}) == 4


@pytest.fixture
def deep_folder(tmp_path):
    folder = tmp_path / 'deep'
    folder.mkdir()
    Image.fromarray(DEEP).save(folder / 'a.png')
    Image.fromarray(DEEP).save(folder / 'b.tiff')
    Image.fromarray(np.full((3, 4), 255, np.uint8)).save(folder / 'c.png')
    return folder


@pytest.mark.parametrize('decode_later', [False, True])
def test_16_bits_are_kept(deep_folder, tmp_path, decode_later):
    options = {'path': str(deep_folder), 'channels': 1, 'bits': 16, 'cache_dir': str(tmp_path)}
    for _ in range(2):  # built, and from the cache
        found = data.load('folder', image_size=(3, 4), decode_later=decode_later, **options)
        kept = np.asarray(found.images[:])
        assert kept.dtype == found.images.dtype == np.uint16
        for image in kept[:2]:
            np.testing.assert_array_equal(image[..., 0], DEEP)
        assert (kept[2] == 65535).all()  # 8 bits are scaled
        assert found.images.nbytes == 2 * kept.size
    np.testing.assert_allclose(found.floats([2]), 1)
    smaller = data.load('folder', image_size=2, **options).images
    assert len(np.unique(smaller % 257)) > 2  # not of 8 bits


def test_8_bits_stay_the_default_for_16_bit_files(deep_folder, tmp_path):
    found = data.load(
        'folder', path=str(deep_folder), image_size=(3, 4), channels=1, cache_dir=str(tmp_path)
    )
    np.testing.assert_array_equal(found.images[0, ..., 0], np.rint(DEEP / 257))


def test_alpha_is_a_channel_where_it_is_wanted(tmp_path):
    rgba = np.arange(64, dtype=np.uint8).reshape(4, 4, 4)
    Image.fromarray(rgba).save(tmp_path / 'a.png')
    Image.fromarray(rgba[..., :3]).save(tmp_path / 'b.png')
    options = {'path': str(tmp_path), 'image_size': 4, 'cache_dir': str(tmp_path / 'cache')}
    found = data.load('folder', channels=4, **options).images
    np.testing.assert_array_equal(found[0], rgba)
    np.testing.assert_array_equal(found[1], np.dstack([rgba[..., :3], np.full((4, 4), 255)]))
    grey = data.load('folder', channels=2, **options).images
    np.testing.assert_array_equal(grey[0, ..., 1], rgba[..., 3])


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_an_npz_has_up_to_16_channels(tmp_path, dtype):
    stored = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (2, 4, 8, 6), dtype, True)
    np.savez(tmp_path / 'set.npz', images=stored)
    options = {'path': str(tmp_path / 'set.npz'), 'channels': 6, 'cache_dir': str(tmp_path)}
    options['bits'] = 8 * stored.itemsize
    found = data.load('npz', image_size=(4, 8), **options).images
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, stored)
    halved = data.load('npz', image_size=(2, 4), **options).images  # channel by channel
    plane = Image.fromarray(stored[1, ..., 5].astype(np.float32))
    expected = np.rint(plane.resize((4, 2), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(halved[1, ..., 5], expected)


@pytest.mark.parametrize(
    ('name', 'form', 'message'),
    [
        ('npz', {'channels': 3}, r'6 channels of 8 bits,.* --config\.data\.channels=6'),
        ('npz', {'channels': 17}, 'channels is 17; accepted: 1'),
        ('npz', {'channels': 6, 'bits': 12}, 'bits is 12; accepted: 8 or 16'),
        ('npz', {'channels': 6, 'fit': 'tile'}, 'fit is .tile.; accepted: crop, pad, stretch'),
        ('npz', {'channels': 6, 'image_size': (4, 8, 2)}, 'height,width as 48,64'),
        ('folder', {'channels': 5}, 'at most 4 .* .npz'),
        ('folder', {'channels': 3, 'bits': 16}, 'grey alone; set --config.data.channels=1'),
    ],
)
@pytest.mark.usefixtures('own_errors')
def test_what_no_set_gives_is_refused_in_one_line(tmp_path, name, form, message):
    np.savez(tmp_path / 'set.npz', images=np.zeros((2, 4, 8, 6), np.uint8))
    path = str(tmp_path / 'set.npz' if name == 'npz' else tmp_path)
    options = {'image_size': (4, 8), 'path': path, 'cache_dir': str(tmp_path), **form}
    with pytest.raises(ValueError, match=message) as error:
        data.load(name, **options)
    assert '\n' not in str(error.value)


# ---- to pictures


def test_16_bit_pixels_come_back_from_floats():
    every = np.arange(65536, dtype=np.uint16)
    back = images.to_pixels(to_floats(every), 16)
    assert back.dtype == np.uint16
    assert np.abs(back.astype(int) - every).max() <= 1  # truncated, like 8 bits
    assert images.to_pixels(np.array([-2.0, -1, 1, 2]), 16).tolist() == [0, 0, 65535, 65535]


def test_what_pictures_draw():
    grey, rgb = np.full((1, 2, 2, 1), 7, np.uint8), np.full((1, 2, 2, 3), 7, np.uint8)
    assert images.shown(grey) is grey and images.shown(rgb) is rgb
    alpha = np.array([10, 20, 30, 0, 10, 20, 30, 255, 10, 20, 30, 51], np.uint8).reshape(1, 3, 1, 4)
    expected = [[255, 255, 255], [10, 20, 30], [206, 208, 210]]
    assert images.shown(alpha)[0, :, 0].tolist() == expected
    assert images.shown(np.array([[[100, 51]]], np.uint8)).tolist() == [[[224]]]
    many = np.arange(6, dtype=np.uint8).reshape(1, 1, 6)
    assert images.shown(many).tolist() == [[[0, 1, 2]]]
    deep = np.array([[[0], [257], [65535]]], np.uint16)
    assert images.shown(deep).tolist() == [[[0], [1], [255]]]


@pytest.mark.parametrize(
    ('shape', 'dtype'), [((3, 4, n), np.uint8) for n in (1, 2, 3, 4)] + [((3, 4, 1), np.uint16)]
)
def test_a_png_keeps_what_it_holds(tmp_path, shape, dtype):
    assert images.has_png(shape[-1], 8 * np.dtype(dtype).itemsize)
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, True)
    images.save_png(tmp_path / 'a.png', image)
    with Image.open(tmp_path / 'a.png') as found:
        np.testing.assert_array_equal(np.asarray(found).reshape(shape), image)


@pytest.mark.parametrize(('channels', 'dtype'), [(5, np.uint8), (3, np.uint16)])
def test_a_png_of_anything_else_is_refused(tmp_path, channels, dtype):
    assert not images.has_png(channels, 8 * np.dtype(dtype).itemsize)
    with pytest.raises(ValueError, match=r'uint8 is needed|C 1 or 3 is needed'):
        images.save_png(tmp_path / 'a.png', np.zeros((2, 2, channels), dtype))
