"""Files of other people: hostile, odd or merely large. Each is read right, or refused in one line."""

import io
import os
import pickle
import struct
import threading
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from snjax import data
from snjax.data import encoded, folder_files, npz_file

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3


def load(path, name='folder', **options):
    return data.load(name, path=str(path), image_size=8, **options)


def png(path, *chunks, pixels=GREY, **options):
    """Writes a PNG with further chunks (type, content) before its pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG', **options)
    content, at = buffer.getvalue(), 33  # after the header
    for kind, body in chunks:
        chunk = struct.pack('>I', len(body)) + kind + body
        chunk += struct.pack('>I', zlib.crc32(kind + body))
        content = content[:at] + chunk + content[at:]
    path.write_bytes(content)


# ---- images


def test_16_bits_become_8_and_their_transparent_value_white(tmp_path):
    wide = GREY.astype(np.uint16) * 257
    png(tmp_path / 'a.png', pixels=wide)
    png(tmp_path / 'b.png', (b'tRNS', struct.pack('>H', int(wide[2, 3]))), pixels=wide)
    Image.fromarray(wide).save(tmp_path / 'c.tif')
    found = load(tmp_path, channels=1).images[..., 0]
    np.testing.assert_array_equal(found[0], GREY)
    np.testing.assert_array_equal(found[2], GREY)
    expected = GREY.copy()
    expected[2, 3] = 255
    np.testing.assert_array_equal(found[1], expected)


@pytest.mark.parametrize('kind', [np.int32, np.float32])
def test_pixels_without_a_known_range_are_refused_whatever_their_values(tmp_path, kind):
    Image.fromarray(GREY.astype(kind)).save(tmp_path / 'a.tif')
    with pytest.raises(
        ValueError, match=r'a\.tif is broken \(.* no known range; save it with 8 or'
    ):
        load(tmp_path)


def test_a_malformed_exif_block_says_nothing_about_the_pixels(tmp_path):
    png(tmp_path / 'a.png', (b'eXIf', b'MM\0*\xff\xff\xff\xff nonsense'))
    np.testing.assert_array_equal(load(tmp_path, channels=1).images[0, ..., 0], GREY)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_photographs_are_turned_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(GREY).save(tmp_path / 'a.png', exif=exif)
    turned = {
        1: GREY,
        2: GREY[:, ::-1],
        3: GREY[::-1, ::-1],
        4: GREY[::-1],
        5: GREY.T,
        6: GREY.T[:, ::-1],
        7: GREY.T[::-1, ::-1],
        8: GREY.T[::-1],
    }[orientation]
    np.testing.assert_array_equal(load(tmp_path, channels=1).images[0, ..., 0], turned)


def test_warnings_of_pillow_name_the_files(tmp_path, caplog, monkeypatch, capfd):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 40)
    for name in 'abcde':
        png(tmp_path / f'{name}.png')
    assert len(load(tmp_path).images) == 5
    (line,) = [r.getMessage() for r in caplog.records]
    assert line.startswith(f'{tmp_path}: {tmp_path}/a.png, {tmp_path}/b.png, ')
    assert 'and 2 more: Image size (64 pixels) exceeds limit of 40 pixels' in line
    assert capfd.readouterr().err == ''


def test_a_picture_that_is_too_large_is_not_called_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 20)
    monkeypatch.setattr(encoded, '_MAX_PIXELS', 40)
    png(tmp_path / 'a.png')
    with pytest.raises(
        ValueError, match=r'a\.png has 0 megapixels, and at most .* make it smaller'
    ):
        load(tmp_path)


# ---- what is passed over


def test_files_that_are_not_read_are_counted(tmp_path, caplog):
    png(tmp_path / 'a.png')
    for name in ('x.raw', 'y.raw', 'notes.txt', 'README', '.hidden'):
        (tmp_path / name).touch()
    assert len(load(tmp_path).images) == 1
    assert '3 of 4 files in ' in caplog.text
    assert 'are not images that this program reads: .raw 2, ' in caplog.text
    (tmp_path / 'a.png').unlink()
    with pytest.raises(
        ValueError, match=r'has no images \(\.raw 2, .*\); accepted: files named \.a'
    ):
        load(tmp_path)


def test_without_its_plug_in_heic_is_counted_and_named(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(folder_files, '_reads_heif', lambda: False)
    png(tmp_path / 'a.png')
    for i in range(8):
        (tmp_path / f'{i}.HEIC').touch()
    load(tmp_path)
    assert '8 of 9 files in ' in caplog.text
    assert '.heic 8; for HEIC: pip install pillow-heif' in caplog.text


def test_heic_is_read_by_its_plug_in(tmp_path):
    plug_in = pytest.importorskip('pillow_heif')
    plug_in.register_heif_opener()
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(tmp_path / 'a.heic')
    assert abs(load(tmp_path).images.astype(int) - 90).max() <= 3


def test_pipes_and_devices_are_never_opened(tmp_path, caplog):
    png(tmp_path / 'a.png')
    os.mkfifo(tmp_path / 'b.png')
    (tmp_path / 'c.png').symlink_to('/dev/zero')
    found = []
    thread = threading.Thread(target=lambda: found.append(load(tmp_path)), daemon=True)
    thread.start()
    thread.join(30)
    assert found and len(found[0].images) == 1
    assert 'no regular file 2' in caplog.text


def test_names_may_be_any_bytes(tmp_path):
    names = [os.fsdecode(name) for name in (b'caf\xe9', b'\x1b[31mred', b'a\nb')]
    for name in names:
        (tmp_path / name).mkdir()
        png(tmp_path / name / 'x.png')
    assert set(load(tmp_path).class_names) == set(names)
    assert set(load(tmp_path).class_names) == set(names)  # from the cache


# ---- archives


def archive(path, **arrays):
    np.savez(path / 'x.npz', **arrays)
    return path / 'x.npz'


IMAGES = np.stack([np.full((8, 8, 3), i, np.uint8) for i in range(4)])


@pytest.mark.parametrize(
    ('labels', 'words'),
    [
        (
            [0, 1, 30_000_000, 2],
            r'4 numbers from 0 to 30000000, so that class 3 would have no image',
        ),
        (
            [1, 2, 3, 1],
            r'3 numbers from 1 to 3, so that class 0 would have no image: number the cla',
        ),
        ([0, 1, 3, 1], r'class 2 would have no image'),
    ],
)
def test_a_class_without_an_image_is_refused(tmp_path, labels, words):
    with pytest.raises(ValueError, match=words):
        load(archive(tmp_path, images=IMAGES, labels=np.array(labels)), 'npz')


def test_classes_with_names_may_be_empty(tmp_path):
    names = np.array(['a', 'b', 'c', 'd'])
    path = archive(tmp_path, images=IMAGES, labels=np.array([1, 2, 3, 1]), class_names=names)
    assert load(path, 'npz').class_names == tuple(names)


def test_only_the_arrays_that_are_needed_are_read(tmp_path):
    path = archive(tmp_path, images=IMAGES)
    with zipfile.ZipFile(path, 'a') as file:
        file.writestr('readme.txt', 'no array')
        file.writestr('evil.npy', b'\x93NUMPY\x01\x00' + pickle.dumps(print))
        file.writestr(
            'huge.npy', npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1")
        )
    assert len(load(path, 'npz').images) == 4


def npy_header(text):
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text.encode()


def header(shape, descr='|u1'):
    return npy_header(f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}\n")


HOSTILE = {
    'a lying header': (header((10**9, 8, 8, 3)), 'shorter than its header says'),
    'an endless header': (header((10**30,)), 'shorter than its header says'),
    'a negative shape': (header((-4, 8, 8, 3)) + bytes(768), r'.'),
    'no header': (b'nothing', 'magic'),
    'a cut header': (b'\x93NUMPY\x01\x00\xff\xff{', '.'),
    'code in a header': (npy_header('__import__("os").abort()\n'), '.'),
    'a pickle': (header((1,), '|O') + pickle.dumps([print]), 'pickled, which is never loaded'),
    'nothing': (b'', '.'),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_members_are_one_line(tmp_path, name):
    content, words = HOSTILE[name]
    with zipfile.ZipFile(tmp_path / 'x.npz', 'w') as file:
        file.writestr('images.npy', content)
    with pytest.raises(ValueError, match=rf'x\.npz cannot be read as \.npz: .*{words}') as caught:
        load(tmp_path / 'x.npz', 'npz')
    assert '\n' not in str(caught.value) and 'allow_pickle' not in str(caught.value)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / 'x.npz', 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('images.npy', header((10**7,)) + bytes(10**7))
    monkeypatch.setattr(npz_file.host, 'memory', lambda: 10**6)
    with pytest.raises(ValueError, match=r'arrays are 0\.0 GB, and there are 0\.0 GB of memory'):
        load(tmp_path / 'x.npz', 'npz')


@pytest.mark.parametrize('content', [b'', b'PK', b'PK\x05\x06' + bytes(18), pickle.dumps({'a': 1})])
def test_files_that_are_no_archives_are_one_line(tmp_path, content):
    (tmp_path / 'x.npz').write_bytes(content)
    with pytest.raises(ValueError) as caught:
        load(tmp_path / 'x.npz', 'npz')
    assert '\n' not in str(caught.value) and 'pickle' not in str(caught.value)
