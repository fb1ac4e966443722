"""Builds of the cache of an image folder that were killed or found no room; images decoded later."""

import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from helpers.image_folders import Counter, flat, load, two_classes, write
from snjax import data, host
from snjax.data import pixels, workspace
from snjax.generate.neighbours import nearest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def cache_dir(tmp_path):
    return str(tmp_path / 'cache')


SLOW_BUILD = """
import sys, time
from snjax import data
from snjax.data import pixels
pixels._CHUNK = 2
real = pixels.decode
pixels.decode = lambda *args, **options: (time.sleep(0.05), real(*args, **options))[1]
data.load('folder', path=sys.argv[1], cache_dir=sys.argv[2], image_size=8)
"""


def forty(root):
    """Makes 40 images in two classes, no two alike."""
    for i in range(40):
        write(root / 'ab'[i % 2] / f'{i:02d}.png', flat([i, 3 * i, 5 * i]))
    return root


@pytest.fixture
def many(tmp_path):
    return forty(tmp_path / 'many')


@pytest.fixture(scope='module')
def killed_build(tmp_path_factory):
    """A folder; the cache that a build of it left when it was killed; the chunks that it had noted."""
    where = tmp_path_factory.mktemp('killed')
    root, cache = forty(where / 'many'), where / 'cache'
    process = subprocess.Popen([sys.executable, '-c', SLOW_BUILD, root, cache], cwd=ROOT)
    journals, until = [], time.monotonic() + 60
    while not (journals and len(journals[0].read_text().splitlines()) >= 3):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
        journals = list(cache.glob('.building-*/chunks.txt'))
    process.kill()
    process.wait()
    return root, cache, journals[0].read_text().splitlines()


@pytest.fixture
def killed(killed_build, cache_dir):
    """The folder, the folder of the unfinished build in a copy of the cache, and its chunks."""
    root, cache, noted = killed_build
    shutil.copytree(cache, cache_dir)
    (left,) = pathlib.Path(cache_dir).glob('.building-*')
    return root, left, noted


def test_a_killed_build_is_gone_on_with(killed, cache_dir, monkeypatch, caplog):
    root, left, noted = killed
    assert 3 <= len(noted) < 20
    monkeypatch.setattr(pixels, '_CHUNK', 2)
    counter = Counter(monkeypatch)
    found = load(root, cache_dir)
    assert counter.num_calls == 40 - 2 * len(noted)
    assert 'resuming the unfinished build of folder' in caplog.text
    assert not left.exists()
    assert found.sha256 == load(root, cache_dir + '2').sha256


def test_what_did_not_reach_the_disk_is_decoded_again(killed, cache_dir, monkeypatch):
    """A machine that goes down loses pages that it had promised to write; and a line of the journal
    may be cut.
    """
    root, left, noted = killed
    start = int(noted[0].split()[0])
    np.load(left / 'images.npy', mmap_mode='r+')[start] = 255
    with open(left / 'chunks.txt', 'a') as journal:
        journal.write('38 4')
    monkeypatch.setattr(pixels, '_CHUNK', 2)
    counter = Counter(monkeypatch)
    found = load(root, cache_dir)
    assert counter.num_calls == 42 - 2 * len(noted)
    assert found.sha256 == load(root, cache_dir + '2').sha256


def test_a_broken_file_leaves_no_unfinished_build(many, cache_dir):
    (many / 'a' / '00.png').write_bytes(b'broken')
    with pytest.raises(ValueError, match='is broken'):
        load(many, cache_dir)
    assert not list(pathlib.Path(cache_dir).glob('.building-*'))


def test_a_set_for_which_there_is_no_room_at_all(cache_dir, tmp_path, monkeypatch):
    """In a line of its own: half of the memory would not hold it, and what is left is decoding it
    anew each time.
    """
    root = two_classes(tmp_path / 'images')
    monkeypatch.setattr(host, 'memory', lambda: 4 * 8 * 8 * 3 * 2 - 1)

    def no_space(*args):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as full:
        full.setattr(workspace, '_reserve', no_space)
        with pytest.raises(ValueError, match=r'no room for folder in the cache .*stream=decode$'):
            load(root, cache_dir)
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(ValueError, match=r'folder cannot be cached, and its 0\.0 GB are too many'):
        load(root, str(tmp_path / 'file' / 'cache'))
    assert len(load(root, cache_dir).images) == 4


def test_the_number_of_images_is_known_before_any_is_decoded(many, tmp_path):
    options = {'image_size': 8, 'cache_dir': str(tmp_path / 'cache')}
    source = data.find('folder', path=str(many), **options)
    assert source.num_images == len(source.read().images) == 40
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / 'image.png').write_bytes(b'no image')
    source = data.find('folder', path=str(tmp_path / 'broken'), **options)
    assert source.num_images == 1
    with pytest.raises(ValueError, match=r'image\.png'):
        source.read()


def test_images_decoded_later_are_those_prepared(many, cache_dir):
    prepared = load(many, cache_dir + '2')
    later = load(many, cache_dir, decode_later=True)
    assert not pathlib.Path(cache_dir).exists()
    images, wanted = later.images, np.asarray(prepared.images)
    assert (images.shape, images.dtype, images.ndim) == (wanted.shape, wanted.dtype, 4)
    assert (len(images), images.nbytes) == (40, wanted.nbytes)
    for index in (slice(None), slice(5, 30, 3), np.array([7, 7, 0, 39]), [3], 11, np.int64(2)):
        np.testing.assert_array_equal(images[index], wanted[index])
    np.testing.assert_array_equal(images.reshape(40, -1)[4:6], wanted.reshape(40, -1)[4:6])
    for index in ([40], [-1, 3]):
        with pytest.raises(IndexError, match='of 40 images'):
            images[np.array(index)]
    np.testing.assert_array_equal(later.labels, prepared.labels)
    assert later.class_names == prepared.class_names
    queries = wanted[[8, 21]]
    for found, expected in zip(
        nearest(queries, images, 3), nearest(queries, wanted, 3), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_set_decoded_later_is_known_by_its_files(many, cache_dir):
    first = load(many, cache_dir, decode_later=True)
    assert load(many, cache_dir, decode_later=True).sha256 == first.sha256
    assert load(many, cache_dir, decode_later=True, image_size=4).sha256 != first.sha256
    os.utime(many / 'a' / '00.png', ns=(1, 1))
    assert load(many, cache_dir, decode_later=True).sha256 != first.sha256


def test_broken_files_are_named_when_they_are_met(many, cache_dir):
    (many / 'a' / '02.png').write_bytes(b'broken')
    images = load(many, cache_dir, decode_later=True).images
    assert images[:1].shape == (1, 8, 8, 3)
    with pytest.raises(ValueError, match=r'02\.png is broken'):
        images[:2]
    with pytest.raises(ValueError, match=r'skip_broken=True has every file .*stream=on$'):
        load(many, cache_dir, decode_later=True, skip_broken=True)
