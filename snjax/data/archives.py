"""CIFAR-10, CIFAR-100 and STL-10 prepared for TFDS without TensorFlow.

TFDS's builders read the official archives through TensorFlow. The builders here are subclasses (so
name, version, features and citation are TFDS's) that parse the archives with NumPy and return
Pillow images. Keys are TFDS's too, so the records have TFDS's order.

CIFAR: Krizhevsky 2009, 'Learning Multiple Layers of Features from Tiny Images'. STL-10: Coates, Lee
and Ng, AISTATS 2011.
"""

import contextlib
import dataclasses
import hashlib
import http.client
import os
import pathlib
import shutil
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import logging
from PIL import Image

from snjax.data.cache import exclusive

_TIMEOUT_SECONDS = 30
_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Archive:
    """An official archive and its reader.

    Attributes:
        url: of the archive; the last part is the name of the file.
        sha256: of the file, as listed by tensorflow-datasets.
        folder: the folder inside the archive.
        class_names: label feature -> file with its names, one per line.
        splits: split -> its files.
        examples: (split, paths) -> iterator over (key, example).
    """

    url: str
    sha256: str
    folder: str
    class_names: dict[str, str]
    splits: dict[str, tuple[str, ...]]
    examples: Callable[[str, list[pathlib.Path]], Iterator[tuple[int, dict]]]

    @property
    def file(self) -> str:
        return self.url.rsplit('/', 1)[1]


def _records(path: pathlib.Path, num_bytes: int) -> np.ndarray:
    """The file as uint8 (N, num_bytes), mapped."""
    if path.stat().st_size % num_bytes:
        raise ValueError(f'{path.name} has {path.stat().st_size} bytes, no multiple of {num_bytes}')
    return np.memmap(path, np.uint8, mode='r').reshape(-1, num_bytes)


def _cifar_examples(label_features: tuple[str, ...]):
    """Reader of CIFAR's records: one byte per label, then 3x32x32 bytes, channel first."""

    def examples(split, paths):
        index = 0
        for path in paths:
            for record in _records(path, len(label_features) + 3072):
                labels, planes = np.split(record, [len(label_features)])
                image = planes.reshape(3, 32, 32).transpose(1, 2, 0)
                example: dict[str, Any] = dict(zip(label_features, map(int, labels), strict=True))
                example['id'] = f'{split}_{index:05d}'
                yield index, example | {'image': Image.fromarray(np.ascontiguousarray(image))}
                index += 1

    return examples


def _stl_examples(split, paths):
    """Reads STL-10: 3x96x96 bytes, channel first, columns before rows; labels 1..10 or no file."""
    del split
    images = _records(paths[0], 3 * 96 * 96)
    # TFDS's mark for 'no label' is -1.
    labels = np.full(len(images), -1)
    if len(paths) > 1:
        labels = _records(paths[1], 1)[:, 0].astype(np.int64) - 1
    for index, (planes, label) in enumerate(zip(images, labels, strict=True)):
        image = planes.reshape(3, 96, 96).transpose(2, 1, 0)
        image = Image.fromarray(np.ascontiguousarray(image))
        yield index, {'image': image, 'label': int(label)}


ARCHIVES = {
    'cifar10': Archive(
        url='https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
        sha256='c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd',
        folder='cifar-10-batches-bin',
        class_names={'label': 'batches.meta.txt'},
        splits={
            'train': tuple(f'data_batch_{i}.bin' for i in range(1, 6)),
            'test': ('test_batch.bin',),
        },
        examples=_cifar_examples(('label',)),
    ),
    'cifar100': Archive(
        url='https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
        sha256='58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec',
        folder='cifar-100-binary',
        class_names={
            'coarse_label': 'coarse_label_names.txt',
            'label': 'fine_label_names.txt',
        },
        splits={'train': ('train.bin',), 'test': ('test.bin',)},
        examples=_cifar_examples(('coarse_label', 'label')),
    ),
    'stl10': Archive(
        url='http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz',
        sha256='f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866',
        folder='stl10_binary',
        class_names={'label': 'class_names.txt'},
        splits={
            'train': ('train_X.bin', 'train_y.bin'),
            'test': ('test_X.bin', 'test_y.bin'),
            'unlabelled': ('unlabeled_X.bin',),
        },
        examples=_stl_examples,
    ),
}


def prepare(name: str, data_dir: pathlib.Path) -> None:
    """Writes the set into `data_dir` as array_record; downloads its archive if it is missing.

    For a machine without a network, put the archive into `<data_dir>/downloads`. Several processes
    may call this at once: one works, the others wait.

    Args:
        name: a key of `ARCHIVES`.
        data_dir: TFDS's data folder.

    Raises:
        ValueError: no archive and no download, a file other than the official one, or a `data_dir`
            that cannot be written.
    """
    archive = ARCHIVES[name]
    downloads = data_dir / 'downloads'
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        with exclusive(downloads / f'{archive.file}.lock'):
            if is_prepared(_builder(archive, name, data_dir, None)):
                return  # another process prepared it meanwhile
            path = _official_file(archive, name, downloads)
            with tempfile.TemporaryDirectory(prefix=f'{name}-', dir=downloads) as unpacked:
                _unpack(archive, path, pathlib.Path(unpacked))
                _write(_builder(archive, name, data_dir, pathlib.Path(unpacked)))
    except OSError as error:
        raise ValueError(
            f'{name} cannot be prepared in {data_dir} ({error}); set --config.data.data_dir to a '
            'folder that can be written'
        ) from error


def is_prepared(builder) -> bool:
    """Whether the set is on disk. TFDS's `builder.is_prepared` would log a warning if not."""
    return pathlib.Path(builder.data_path, 'dataset_info.json').is_file()


def _official_file(archive: Archive, name: str, downloads: pathlib.Path) -> pathlib.Path:
    """Path of the archive in `downloads`, downloaded if missing, with its checksum verified."""
    path = downloads / archive.file
    if not path.exists():
        logging.info('downloading %s to %s', archive.url, downloads)
        try:
            _download(archive.url, path)
        except (OSError, http.client.HTTPException) as error:  # OSError: URLError, timeouts
            raise ValueError(
                f'{name} is not in {downloads.parent} and {archive.url} cannot be downloaded '
                f'({error}); put the file {archive.file} (sha256 {archive.sha256}) into '
                f'{downloads} and start again, or set --config.data.data_dir'
            ) from error
    with open(path, 'rb') as file:
        sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
    if sha256 != archive.sha256:
        raise ValueError(
            f'{path} has sha256 {sha256}, the official {archive.file} has {archive.sha256}; '
            f'remove it and start again, or put the right file into {downloads}'
        )
    return path


def _download(url: str, path: pathlib.Path) -> None:
    """Downloads `url` to `path`; an incomplete download leaves no file there."""
    part = path.with_name(f'{path.name}.part')
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            expected = answer.headers.get('Content-Length')
            with open(part, 'wb') as file:
                shutil.copyfileobj(answer, file, _BLOCK_BYTES)
        if expected is not None and part.stat().st_size != int(expected):
            raise OSError(f'the connection ended after {part.stat().st_size} of {expected} bytes')
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _unpack(archive: Archive, path: pathlib.Path, to: pathlib.Path) -> None:
    """Extracts only the files named in `archive`, directly into the folder `to`."""
    files = {file for split in archive.splits.values() for file in split}
    wanted = {f'{archive.folder}/{file}' for file in files | set(archive.class_names.values())}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.removeprefix('./') in wanted and member.isfile():
                    wanted.remove(member.name.removeprefix('./'))
                    member = member.replace(name=pathlib.PurePosixPath(member.name).name)
                    tar.extract(member, to, filter='data')
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f'{path} cannot be unpacked ({error})') from error
    if wanted:
        raise ValueError(f'{path} lacks {", ".join(sorted(wanted))}')


def _builder(archive: Archive, name: str, data_dir: pathlib.Path, unpacked: pathlib.Path | None):
    """TFDS's builder of `name` with its two TensorFlow methods replaced."""
    import tensorflow_datasets as tfds

    official = tfds.builder_cls(name)

    def split_generators(self, download_manager):
        del download_manager
        for feature, file in archive.class_names.items():
            lines = (unpacked / file).read_text().split('\n')  # pyright: ignore[reportOptionalOperand]
            self.info.features[feature].names = [line for line in lines if line]
        return {split: self._generate_examples(split) for split in archive.splits}

    def generate_examples(self, split):
        return archive.examples(split, [unpacked / file for file in archive.splits[split]])  # pyright: ignore[reportOptionalOperand]

    body = {
        '__module__': official.__module__,
        'name': name,
        '_split_generators': split_generators,
        '_generate_examples': generate_examples,
    }
    with tfds.core.registered.skip_registration():
        builder_class = type(official.__name__, (official,), body)
    return builder_class(data_dir=os.fspath(data_dir), file_format='array_record')  # pyright: ignore[reportCallIssue]


def _write(builder) -> None:
    """Writes the array_record files and their description."""
    import tensorflow_datasets as tfds

    with _shuffle_in_memory():
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )


@contextlib.contextmanager
def _shuffle_in_memory():
    """Keeps TFDS's shuffling of a split in memory whatever its size.

    Beyond 1 GB, which STL-10's unlabelled images exceed, TFDS would use files, by TensorFlow.
    """
    from tensorflow_datasets.core import shuffle

    limit = shuffle.MAX_MEM_BUFFER_SIZE
    shuffle.MAX_MEM_BUFFER_SIZE = 1 << 40
    try:
        yield
    finally:
        shuffle.MAX_MEM_BUFFER_SIZE = limit
