"""Tests of image folders and of the cache of prepared sets, on files written here."""

import concurrent.futures
import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from helpers.image_folders import BLUE, GREEN, RED, Counter, flat, load, two_classes, write
from snjax import data
from snjax.data import pixels, workspace

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def cache_dir(tmp_path):
    return str(tmp_path / 'cache')


@pytest.fixture
def root(tmp_path):
    return two_classes(tmp_path / 'images')


def test_classes_are_the_first_subfolders(root, cache_dir):
    images = load(root, cache_dir)
    assert images.class_names == ('cat', 'dog')
    np.testing.assert_array_equal(images.labels, [0, 0, 0, 1])
    colours = images.images.reshape(4, -1, 3)
    assert np.all(colours == colours[:, :1])
    np.testing.assert_array_equal(colours[:, 0], [RED, [77] * 3, GREEN, BLUE])
    grey = load(root, cache_dir, channels=1)
    assert grey.images.shape == (4, 8, 8, 1)
    assert grey.images[1, 0, 0, 0] == 77
    assert grey.sha256 != images.sha256


def test_loose_images_mean_no_labels(root, cache_dir, caplog):
    write(root / 'z.png', flat(RED))
    images = load(root, cache_dir)
    assert images.class_names == ()
    np.testing.assert_array_equal(images.labels, np.zeros(5))
    assert '1 images outside its subfolders' in caplog.text


def test_flat_folder_has_no_labels_and_no_warning(tmp_path, cache_dir, caplog):
    for i in range(3):
        write(tmp_path / 'flat' / f'{i}.png', flat([i, i, i]))
    images = load(tmp_path / 'flat', cache_dir)
    np.testing.assert_array_equal(images.images[:, 0, 0, 0], [0, 1, 2])
    assert (images.class_names, caplog.text) == ((), '')


@pytest.mark.parametrize(
    ('counts', 'message'),
    [
        ({'faces': 2}, "one class only, 'faces' (2 images)"),
        ({'a': 1, 'b': 10}, "unequal: 'a' has 1 images, 'b' has 10"),
        ({'train': 1, 'test': 1}, 'look like splits'),
    ],
)
def test_doubtful_classes_are_said(tmp_path, cache_dir, caplog, counts, message):
    for name, count in counts.items():
        for i in range(count):
            write(tmp_path / 'set' / name / f'{i}.png', flat(RED))
    load(tmp_path / 'set', cache_dir)
    assert message in caplog.text


def test_alpha_is_composited_on_white(tmp_path, cache_dir):
    root = tmp_path / 'alpha'
    write(root / '0.png', flat([0, 0, 0, 0]))
    write(root / '1.png', flat([200, 0, 0, 255]))
    write(root / '2.png', flat([0, 0, 0, 51]))  # a fifth of black on white: 255 * 0.8
    palette = Image.new('P', (8, 8), 0)
    palette.putpalette([9, 9, 9, 7, 7, 7])
    palette.save(root / '3.png', transparency=0)
    images = load(root, cache_dir).images[:, 0, 0]
    np.testing.assert_array_equal(images, [[255] * 3, [200, 0, 0], [204] * 3, [255] * 3])


def test_sixteen_bit_grey_is_scaled(tmp_path, cache_dir):
    root = tmp_path / 'deep'
    root.mkdir()
    for i, value in enumerate([0, 257, 32768, 65535]):
        Image.fromarray(np.full((8, 8), value, np.uint16)).save(root / f'{i}.png')
    images = load(root, cache_dir, channels=1).images
    np.testing.assert_array_equal(images[:, 0, 0, 0], [0, 1, 128, 255])


def test_exif_orientation_is_applied(tmp_path, cache_dir):
    array = np.zeros((8, 8, 3), np.uint8)
    array[:, :4] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise: white on top
    write(tmp_path / 'photo' / 'a.png', array, exif=exif)
    shown = load(tmp_path / 'photo', cache_dir).images[0]
    assert np.all(shown[:4] == 255)
    assert np.all(shown[4:] == 0)


def test_broken_file_is_named(root, cache_dir):
    good = (root / 'cat' / 'a.png').read_bytes()
    (root / 'cat' / 'broken.png').write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match=r'broken\.png is broken .*skip_broken=True') as caught:
        load(root, cache_dir)
    assert '\n' not in str(caught.value)


def test_broken_files_are_skipped_when_asked(root, cache_dir, caplog):
    (root / 'cat' / 'aa.png').write_bytes(b'')
    (root / 'dog' / 'zz.jpg').write_bytes(b'\xff\xd8\xff no more')
    clean = load(root, cache_dir, skip_broken=True)
    assert len(clean.images) == 4
    np.testing.assert_array_equal(clean.labels, [0, 0, 0, 1])
    np.testing.assert_array_equal(clean.images[[0, 1, 3], 0, 0], [RED, [77] * 3, BLUE])
    assert 'left out 2 broken of 6 images' in caplog.text
    assert 'cat/aa.png, dog/zz.jpg' in caplog.text
    caplog.clear()
    again = load(root, cache_dir, skip_broken=True)
    assert isinstance(again.images, np.memmap)
    assert again.sha256 == clean.sha256
    assert 'left out 2 broken of 6 images' in caplog.text
    with pytest.raises(ValueError, match='is broken'):
        load(root, cache_dir, skip_broken=False)


def test_folder_errors(tmp_path, cache_dir):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty' / 'readme.txt').write_text('')
    with pytest.raises(ValueError, match=r'empty has no images; accepted: .*\.png'):
        load(tmp_path / 'empty', cache_dir)
    with pytest.raises(ValueError, match='gone is not a folder'):
        load(tmp_path / 'gone', cache_dir)
    (tmp_path / 'empty' / 'a.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'all 1 images in .* are broken'):
        load(tmp_path / 'empty', cache_dir, skip_broken=True)
    with pytest.raises(ValueError, match="no split 'test'"):
        load(tmp_path / 'empty', cache_dir, split='test')


def test_linked_folders_are_followed_but_not_in_circles(root, cache_dir, tmp_path):
    write(tmp_path / 'elsewhere' / 'a.png', flat(RED))
    (root / 'eel').symlink_to(tmp_path / 'elsewhere')
    (root / 'dog' / 'up').symlink_to(root)
    images = load(root, cache_dir)
    assert images.class_names == ('cat', 'dog', 'eel')
    assert len(images.images) == 5


def test_second_load_decodes_nothing(root, cache_dir, monkeypatch):
    counter = Counter(monkeypatch)
    first = load(root, cache_dir)
    assert counter.num_calls == 4
    second = load(root, cache_dir)
    assert counter.num_calls == 4
    assert isinstance(second.images, np.memmap)
    np.testing.assert_array_equal(second.images, first.images)
    np.testing.assert_array_equal(second.labels, first.labels)
    assert (second.sha256, second.class_names) == (first.sha256, first.class_names)
    with pytest.raises(ValueError, match='read-only'):
        second.images[0] = 0


def test_changed_file_or_size_is_another_entry(root, cache_dir):
    first = load(root, cache_dir)
    assert load(root, cache_dir, image_size=4).images.shape == (4, 4, 4, 3)
    changed = write(root / 'cat' / 'a.png', flat(BLUE))
    os.utime(changed, ns=(1, 1))
    second = load(root, cache_dir)
    np.testing.assert_array_equal(second.images[0, 0, 0], BLUE)
    np.testing.assert_array_equal(first.images[0, 0, 0], RED)


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rename_class(path):
    meta = json.loads(path.read_text())
    meta['class_names'][0] = 'cow'
    path.write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ('file', 'damage'),
    [
        ('images.npy', flip_last_byte),
        ('images.npy', cut_in_half),
        ('labels.npy', flip_last_byte),
        ('labels.npy', lambda path: path.write_bytes(b'')),
        ('json', cut_in_half),
        ('json', rename_class),
        ('json', lambda path: path.write_text('[]')),
    ],
)
def test_damaged_entry_is_rebuilt(root, cache_dir, caplog, file, damage):
    first = load(root, cache_dir)
    kept = np.array(first.images), np.array(first.labels), first.sha256
    del first  # no mapping of the file is left when it is damaged
    (entry,) = pathlib.Path(cache_dir).glob(f'*.{file}')
    damage(entry)
    second = load(root, cache_dir)
    assert 'is damaged' in caplog.text
    np.testing.assert_array_equal(second.images, kept[0])
    np.testing.assert_array_equal(second.labels, kept[1])
    assert (second.sha256, second.class_names) == (kept[2], ('cat', 'dog'))
    caplog.clear()
    assert isinstance(load(root, cache_dir).images, np.memmap)
    assert caplog.text == ''


def test_missing_part_of_an_entry_is_rebuilt(root, cache_dir):
    first = load(root, cache_dir)
    (entry,) = pathlib.Path(cache_dir).glob('*.labels.npy')
    entry.unlink()
    assert load(root, cache_dir).sha256 == first.sha256
    assert entry.exists()


def test_cache_that_cannot_be_written_only_warns(root, tmp_path, caplog):
    (tmp_path / 'file').write_text('in the way')
    images = load(root, str(tmp_path / 'file' / 'cache'))
    assert len(images.images) == 4
    assert 'cannot write the cache' in caplog.text


def test_full_disk_only_warns(root, cache_dir, caplog, monkeypatch):
    wanted = load(root, cache_dir + '2').sha256

    def no_space(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(workspace, '_reserve', no_space)
    assert load(root, cache_dir).sha256 == wanted
    assert 'no room for folder in the cache' in caplog.text
    assert not list(pathlib.Path(cache_dir).glob('*.npy'))


def test_concurrent_loads_build_once(root, cache_dir, monkeypatch):
    counter = Counter(monkeypatch)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        sets = list(pool.map(lambda _: load(root, cache_dir), range(4)))
    assert len({images.sha256 for images in sets}) == 1
    assert counter.num_calls == 4
    assert not list(pathlib.Path(cache_dir).glob('.building-*'))


def test_resized_npz_is_cached(tmp_path, monkeypatch):
    monkeypatch.setenv('SNJAX_CACHE', str(tmp_path / 'from_environment'))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 16, 12, 3), dtype=np.uint8)
    np.savez(tmp_path / 'a.npz', images=images, labels=np.array([1, 0, 1]))
    first = data.load('npz', path=str(tmp_path / 'a.npz'), image_size=8)
    assert list((tmp_path / 'from_environment').glob('npz_train-8x3-*.json'))
    second = data.load('npz', path=str(tmp_path / 'a.npz'), image_size=8)
    assert isinstance(second.images, np.memmap)
    assert second.sha256 == first.sha256
    np.testing.assert_array_equal(second.labels, [1, 0, 1])
    np.testing.assert_array_equal(
        first.images[2], pixels.to_array(Image.fromarray(images[2]), 8, 3)
    )
