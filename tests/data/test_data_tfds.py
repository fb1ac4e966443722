"""Tests of TFDS sets: tiny archives in the official formats, prepared and read for real."""

import concurrent.futures
import dataclasses
import hashlib
import io
import pathlib
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import shuffle

from snjax import data
from snjax.data import archives, tfds_sets

CLASSES = 'airplane automobile bird cat deer dog frog horse ship truck'.split()


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv('SNJAX_CACHE', str(tmp_path / 'cache'))
    monkeypatch.delenv('TFDS_DATA_DIR', raising=False)


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / 'tfds'


def put_archive(monkeypatch, folder, name, files):
    """Writes `name`'s archive into `folder` and makes it the official one; returns its path."""
    archive = archives.ARCHIVES[name]
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / archive.file, 'w:gz') as tar:
        for file, content in files.items():
            member = tarfile.TarInfo(f'{archive.folder}/{file}')
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    path = folder / archive.file
    make_official(monkeypatch, name, hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def make_official(monkeypatch, name, sha256, url=None):
    """Nothing here may reach a network: the address is a file that does not exist, or `url`."""
    archive = archives.ARCHIVES[name]
    url = url or f'file:///nowhere/{archive.file}'
    changed = dataclasses.replace(archive, sha256=sha256, url=url)
    monkeypatch.setitem(archives.ARCHIVES, name, changed)


def cifar10_files():
    """Files of the archive, and the arrays they hold: {split: (images (N, 32, 32, 3), labels)}."""
    rng = np.random.default_rng(0)
    files = {'batches.meta.txt': '\n'.join([*CLASSES, '', '']).encode()}
    arrays = {}
    for split, names in archives.ARCHIVES['cifar10'].splits.items():
        images = rng.integers(0, 256, (len(names) * 4, 32, 32, 3), dtype=np.uint8)
        labels = rng.integers(0, 10, len(images), dtype=np.uint8)
        records = np.hstack([labels[:, None], images.transpose(0, 3, 1, 2).reshape(-1, 3072)])
        files |= {name: records[4 * i : 4 * i + 4].tobytes() for i, name in enumerate(names)}
        arrays[split] = images, labels
    return files, arrays


def by_content(images, labels):
    """The examples as a set, whatever their order."""
    return sorted(
        (image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)
    )


def test_archives_are_the_official_ones():
    for name, archive in archives.ARCHIVES.items():
        official = tfds.builder_cls(name).url_infos
        assert archive.url in official
        assert archive.sha256 == official[archive.url].checksum


def test_cifar10_put_in_place_is_prepared_and_read(monkeypatch, data_dir):
    files, arrays = cifar10_files()
    put_archive(monkeypatch, data_dir / 'downloads', 'cifar10', files)
    train = data.load('cifar10', image_size=32, data_dir=str(data_dir))
    assert train.class_names == tuple(CLASSES)
    assert (train.images.shape, train.labels.dtype) == ((20, 32, 32, 3), np.int32)
    assert by_content(train.images, train.labels) == by_content(*arrays['train'])
    test = data.load('cifar10', image_size=32, data_dir=str(data_dir), split='test')
    assert by_content(test.images, test.labels) == by_content(*arrays['test'])

    # TFDS itself finds it, at its own version, with its own features.
    source = tfds.data_source('cifar10', split='train', data_dir=str(data_dir), download=False)
    assert len(source) == 20
    for i, example in enumerate(source):
        index = int(example['id'].decode().removeprefix('train_'))
        np.testing.assert_array_equal(example['image'], arrays['train'][0][index])
        np.testing.assert_array_equal(example['image'], train.images[i])
        assert example['label'] == arrays['train'][1][index] == train.labels[i]
    version = str(tfds.builder_cls('cifar10').VERSION)
    assert (data_dir / 'cifar10' / version / 'features.json').is_file()
    # Only the archive stays behind in the download folder.
    left = {path.name for path in (data_dir / 'downloads').iterdir() if path.is_file()}
    assert left == {'cifar-10-binary.tar.gz', 'cifar-10-binary.tar.gz.lock'}
    assert not list((data_dir / 'downloads').glob('cifar10-*'))


def test_split_syntax_and_resizing(monkeypatch, data_dir):
    files, _ = cifar10_files()
    put_archive(monkeypatch, data_dir / 'downloads', 'cifar10', files)
    monkeypatch.setenv('TFDS_DATA_DIR', str(data_dir))
    train = data.load('cifar10', image_size=32)
    both = data.load('cifar10', image_size=32, split='train[:7]+test')
    assert len(both.images) == 11
    np.testing.assert_array_equal(both.images[:7], train.images[:7])
    grey = data.load('cifar10', image_size=16, channels=1)
    wanted = Image.fromarray(train.images[3]).convert('L').resize((16, 16), Image.BILINEAR)
    np.testing.assert_array_equal(grey.images[3, :, :, 0], np.asarray(wanted))
    for split in ('unlabelled', 'train[:0]', 'train['):
        with pytest.raises(ValueError, match='accepted: train, test') as caught:
            data.load('cifar10', image_size=32, split=split)
        assert '\n' not in str(caught.value)


def test_cifar10_is_downloaded(monkeypatch, data_dir, tmp_path):
    files, arrays = cifar10_files()
    path = put_archive(monkeypatch, tmp_path / 'server', 'cifar10', files)
    make_official(monkeypatch, 'cifar10', archives.ARCHIVES['cifar10'].sha256, path.as_uri())
    train = data.load('cifar10', image_size=32, data_dir=str(data_dir))
    assert by_content(train.images, train.labels) == by_content(*arrays['train'])
    assert (data_dir / 'downloads' / path.name).read_bytes() == path.read_bytes()


def test_missing_archive_names_file_checksum_and_folder(monkeypatch, data_dir):
    sha256 = archives.ARCHIVES['cifar10'].sha256
    make_official(monkeypatch, 'cifar10', sha256)
    with pytest.raises(ValueError, match='cannot be downloaded') as caught:
        data.load('cifar10', image_size=32, data_dir=str(data_dir))
    message = str(caught.value)
    assert '\n' not in message
    for part in ('cifar-10-binary.tar.gz', sha256, str(data_dir / 'downloads')):
        assert part in message
    # The folder is there to put the file into, and no half of a file is.
    left = [path.name for path in (data_dir / 'downloads').iterdir()]
    assert left == ['cifar-10-binary.tar.gz.lock']


def test_wrong_archive_is_refused(monkeypatch, data_dir):
    files, _ = cifar10_files()
    path = put_archive(monkeypatch, data_dir / 'downloads', 'cifar10', files)
    found = archives.ARCHIVES['cifar10'].sha256
    make_official(monkeypatch, 'cifar10', '0' * 64)
    with pytest.raises(ValueError, match=f'has sha256 {found}, the official') as caught:
        data.load('cifar10', image_size=32, data_dir=str(data_dir))
    assert '\n' not in str(caught.value)
    assert not (data_dir / 'cifar10').exists()
    assert path.exists()


def test_incomplete_archive_is_named(monkeypatch, data_dir):
    files, _ = cifar10_files()
    del files['data_batch_3.bin']
    put_archive(monkeypatch, data_dir / 'downloads', 'cifar10', files)
    with pytest.raises(ValueError, match=r'lacks cifar-10-batches-bin/data_batch_3\.bin'):
        data.load('cifar10', image_size=32, data_dir=str(data_dir))
    files['data_batch_3.bin'] = b'\0' * 3072
    put_archive(monkeypatch, data_dir / 'downloads', 'cifar10', files)
    with pytest.raises(ValueError, match=r'data_batch_3\.bin has 3072 bytes, no multiple of 3073'):
        data.load('cifar10', image_size=32, data_dir=str(data_dir))
    # After the right file is put there, all is well: nothing half-written is in the way.
    put_archive(monkeypatch, data_dir / 'downloads', 'cifar10', cifar10_files()[0])
    assert len(data.load('cifar10', image_size=32, data_dir=str(data_dir)).images) == 20


def test_data_dir_that_cannot_be_written(monkeypatch, tmp_path):
    make_official(monkeypatch, 'cifar10', '0' * 64)
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(ValueError, match=r'cannot be prepared in .*--config\.data\.data_dir'):
        data.load('cifar10', image_size=32, data_dir=str(tmp_path / 'file' / 'tfds'))


def test_cifar100_labels_are_the_fine_ones(monkeypatch, data_dir):
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 20, 6, dtype=np.uint8)
    fine = rng.integers(0, 100, 6, dtype=np.uint8)
    images = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    planes = images.transpose(0, 3, 1, 2).reshape(6, 3072)
    records = np.hstack([coarse[:, None], fine[:, None], planes]).tobytes()
    files = {
        'coarse_label_names.txt': '\n'.join(f'group_{i}' for i in range(20)).encode(),
        'fine_label_names.txt': '\n'.join(f'kind_{i}' for i in range(100)).encode(),
        'train.bin': records,
        'test.bin': records[: 2 * 3074],
    }
    put_archive(monkeypatch, data_dir / 'downloads', 'cifar100', files)
    train = data.load('cifar100', image_size=32, data_dir=str(data_dir))
    assert train.class_names == tuple(f'kind_{i}' for i in range(100))
    assert by_content(train.images, train.labels) == by_content(images, fine)
    source = tfds.data_source('cifar100', split='train', data_dir=str(data_dir), download=False)
    wanted = {image.tobytes(): label for image, label in zip(images, coarse, strict=True)}
    for example in source:
        assert example['coarse_label'] == wanted[example['image'].tobytes()]


def test_stl10_at_48_pixels(monkeypatch, data_dir):
    rng = np.random.default_rng(2)
    counts = {'train': 4, 'test': 2, 'unlabeled': 5}
    arrays = {
        split: rng.integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)
        for split, count in counts.items()
    }
    # The file goes down the columns: (N, channel, column, row).
    files = {
        f'{split}_X.bin': images.transpose(0, 3, 2, 1).tobytes() for split, images in arrays.items()
    }
    labels = {'train': np.uint8([1, 10, 3, 4]), 'test': np.uint8([2, 2])}
    files |= {f'{split}_y.bin': values.tobytes() for split, values in labels.items()}
    files['class_names.txt'] = ('\n'.join(CLASSES) + '\n').encode()
    put_archive(monkeypatch, data_dir / 'downloads', 'stl10', files)
    # The unlabelled images of the real set exceed what TFDS shuffles in memory by default.
    monkeypatch.setattr(shuffle, 'MAX_MEM_BUFFER_SIZE', 1)
    options = {'data_dir': str(data_dir), 'image_size': 96}
    train = data.load('stl10', **options)
    assert shuffle.MAX_MEM_BUFFER_SIZE == 1
    assert train.class_names == tuple(CLASSES)
    # Stored 1..10, read 0..9.
    assert by_content(train.images, train.labels) == by_content(arrays['train'], [0, 9, 2, 3])
    unlabelled = data.load('stl10', split='unlabelled', **options)
    assert unlabelled.class_names == ()
    assert by_content(unlabelled.images, unlabelled.labels) == by_content(
        arrays['unlabeled'], [0] * 5
    )
    mixed = data.load('stl10', split='train+unlabelled', **{**options, 'image_size': 48})
    assert mixed.images.shape == (9, 48, 48, 3)
    assert (mixed.class_names, mixed.labels.max()) == ((), 0)
    wanted = Image.fromarray(np.asarray(train.images[0])).resize((48, 48), Image.BILINEAR)
    np.testing.assert_array_equal(mixed.images[0], np.asarray(wanted))


def test_images_decoded_later_are_those_prepared(monkeypatch, data_dir, tmp_path):
    """With labels that are read once and kept, and all at any split."""
    files, _ = cifar10_files()
    put_archive(monkeypatch, data_dir / 'downloads', 'cifar10', files)
    options = {'image_size': 16, 'data_dir': str(data_dir), 'split': 'train[3:]+test'}
    prepared = data.load('cifar10', **options, cache_dir=str(tmp_path / 'prepared'))
    reads = []
    real = tfds_sets._Reader.build_labels
    monkeypatch.setattr(
        tfds_sets._Reader, 'build_labels', lambda *args: (reads.append(1), real(*args))[1]
    )
    for _ in range(2):
        later = data.load(
            'cifar10', **options, decode_later=True, cache_dir=str(tmp_path / 'later')
        )
        assert isinstance(later.images, data.LazyImages)
        np.testing.assert_array_equal(later.images[:], prepared.images)
        index = np.array([20, 3, 3])
        np.testing.assert_array_equal(later.images[index], prepared.images[index])
        np.testing.assert_array_equal(later.labels, prepared.labels)
        assert later.class_names == prepared.class_names
    assert len(reads) == 1
    assert sum(path.stat().st_size for path in (tmp_path / 'later').iterdir()) < 2000


def test_decoded_later_without_labels(data_dir):
    features = {'picture': tfds.features.Image(shape=(None, None, 1))}
    examples = [{'picture': Image.fromarray(np.full((6, 4), 40 * i, np.uint8))} for i in range(3)]
    write_set(data_dir, 'my_pictures', features, examples)
    options = {'image_size': 4, 'data_dir': str(data_dir)}
    prepared, later = (data.load('my_pictures', **options, decode_later=x) for x in (False, True))
    np.testing.assert_array_equal(later.images[:], prepared.images)
    assert later.class_names == () and not later.labels.any()


def test_prepared_again_or_changed_data_is_another_cache_entry(monkeypatch, data_dir, tmp_path):
    files, _ = cifar10_files()
    put_archive(monkeypatch, data_dir / 'downloads', 'cifar10', files)
    first = data.load('cifar10', image_size=32, data_dir=str(data_dir))
    again = data.load('cifar10', image_size=32, data_dir=str(data_dir))
    assert isinstance(again.images, np.memmap)
    assert (again.sha256, again.class_names) == (first.sha256, first.class_names)
    files['data_batch_1.bin'] = bytes(4 * 3073)
    put_archive(monkeypatch, tmp_path / 'other' / 'downloads', 'cifar10', files)
    other = data.load('cifar10', image_size=32, data_dir=str(tmp_path / 'other'))
    assert other.sha256 != first.sha256


def test_concurrent_runs_prepare_once(monkeypatch, data_dir):
    files, _ = cifar10_files()
    put_archive(monkeypatch, data_dir / 'downloads', 'cifar10', files)
    writes = []
    real = archives._write
    monkeypatch.setattr(archives, '_write', lambda builder: (writes.append(1), real(builder)))
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: archives.prepare('cifar10', data_dir), range(3)))
    assert len(writes) == 1
    assert len(data.load('cifar10', image_size=32, data_dir=str(data_dir)).images) == 20


def write_set(data_dir, name, features, examples):
    """Prepares a set of the user's own, without registering its code."""

    def info(self):
        return tfds.core.DatasetInfo(
            builder=self, description=name, features=tfds.features.FeaturesDict(features)
        )

    body = {
        'VERSION': tfds.core.Version('1.0.0'),
        'name': name,
        '_info': info,
        '_split_generators': lambda self, _: {'train': enumerate(examples)},
        '_generate_examples': lambda self: None,
        '__module__': __name__,
    }
    with tfds.core.registered.skip_registration():
        builder_class = type('Builder', (tfds.core.GeneratorBasedBuilder,), body)
    builder = builder_class(data_dir=str(data_dir), file_format='array_record')
    builder.download_and_prepare()
    return pathlib.Path(builder.data_path)


def test_own_set_without_code_or_labels(data_dir):
    grey = [np.full((6, 4), 40 * i, np.uint8) for i in range(3)]
    features = {
        'picture': tfds.features.Image(shape=(None, None, 1)),
        'caption': tfds.features.Text(),
    }
    examples = [{'picture': Image.fromarray(image), 'caption': 'x'} for image in grey]
    write_set(data_dir, 'my_pictures', features, examples)
    images = data.load('my_pictures', image_size=4, data_dir=str(data_dir))
    assert images.images.shape == (3, 4, 4, 3)
    assert sorted(images.images[:, 0, 0, 0].tolist()) == [0, 40, 80]
    assert images.class_names == ()


def test_set_without_images_is_refused(data_dir):
    write_set(data_dir, 'my_texts', {'text': tfds.features.Text()}, [{'text': 'a'}])
    with pytest.raises(ValueError, match=r'my_texts has 0 image features .*text'):
        data.load('my_texts', image_size=4, data_dir=str(data_dir))


def test_tfrecord_only_says_what_to_run(monkeypatch, data_dir):
    files, _ = cifar10_files()
    put_archive(monkeypatch, data_dir / 'downloads', 'cifar10', files)
    archives.prepare('cifar10', data_dir)
    (version,) = (data_dir / 'cifar10').iterdir()
    info = version / 'dataset_info.json'
    info.write_text(info.read_text().replace('array_record', 'tfrecord'))
    for path in version.glob('*array_record*'):
        path.rename(version / path.name.replace('array_record', 'tfrecord'))
    with pytest.raises(ValueError, match='as tfrecord only') as caught:
        data.load('cifar10', image_size=32, data_dir=str(data_dir))
    message = str(caught.value)
    assert f'tfds convert_format --dataset_version_dir={version} --out_file_format=array' in message
    assert '\n' not in message


def test_wrong_config_or_version(data_dir):
    for name in ('imagenet_resized/65x65', 'cifar10:9.9.9'):
        with pytest.raises(ValueError, match='is no set that TFDS can open') as caught:
            data.load(name, image_size=32, data_dir=str(data_dir))
        assert '\n' not in str(caught.value)


def test_tensorflow_is_never_asked_for(monkeypatch, data_dir):
    files, _ = cifar10_files()
    put_archive(monkeypatch, data_dir / 'downloads', 'cifar10', files)
    sha256 = archives.ARCHIVES['cifar10'].sha256
    # To the program TensorFlow and PyTorch look installed, but importing them is noted and fails.
    program = f"""
import dataclasses, importlib.machinery, sys
class Finder:
    asked = []
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split('.')[0] in ('tensorflow', 'torch'):
            return importlib.machinery.ModuleSpec(name, cls)
    @staticmethod
    def create_module(spec):
        return None
    @classmethod
    def exec_module(cls, module):
        cls.asked.append(module.__name__)
        raise ImportError(module.__name__)
sys.meta_path.insert(0, Finder)
from snjax import data
from snjax.data import archives
archive = dataclasses.replace(archives.ARCHIVES['cifar10'], sha256={sha256!r}, url='file:///x/'
                              + archives.ARCHIVES['cifar10'].file)
archives.ARCHIVES['cifar10'] = archive
assert len(data.load('cifar10', image_size=16, data_dir={str(data_dir)!r}).images) == 20
assert len(data.load('cifar10', image_size=16, data_dir={str(data_dir)!r}).images) == 20
try:
    data.load('cifar11', image_size=16)
except ValueError as error:
    assert 'cifar10' in str(error)
assert not Finder.asked, Finder.asked
assert 'tensorflow' not in sys.modules
"""
    command = [sys.executable, '-W', 'error', '-c', program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'WARNING' not in done.stderr
