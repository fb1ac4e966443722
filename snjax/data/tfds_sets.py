"""Any image set of TensorFlow Datasets that lies on disk as array_record, read without TensorFlow.

`tensorflow_datasets` is imported by the functions, not by this file: only runs that read such a set
wait for it.
"""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from snjax.data import archives, pixels
from snjax.data.cache import Built, cached, undecoded
from snjax.data.image_set import ImageSet
from snjax.data.lazy_images import LazyImages
from snjax.data.workspace import Workspace


def data_folder(data_dir: str | None) -> pathlib.Path:
    """`data_dir`, or else `$TFDS_DATA_DIR`, or else TFDS's default `~/tensorflow_datasets`."""
    folder = data_dir or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
    return pathlib.Path(folder).expanduser()


def known_names() -> list[str]:
    """Names of the sets that TFDS has code for."""
    import tensorflow_datasets as tfds

    # Listing community sets needs a network and TensorFlow.
    return sorted(set(tfds.list_builders(with_community_datasets=False)))


def is_known(base: str, data_dir: str | None) -> bool:
    """Whether TFDS has code for the set `base`, or it lies in the data folder without any."""
    if base in known_names():
        return True
    return bool(base) and any((data_folder(data_dir) / base).rglob('features.json'))


def load_tfds(
    name: str,
    *,
    split: str,
    image_size: int,
    channels: int,
    data_dir: str | None,
    cache_dir: str | None,
    decode_later: bool = False,
    announce: Callable[[int], None] | None = None,
) -> ImageSet:
    """Reads a TFDS image set; CIFAR-10, CIFAR-100 and STL-10 are prepared first where needed.

    Args:
        name: e.g. 'cifar10', 'imagenet_resized/64x64', 'cifar10:3.0.2'.
        split: TFDS's syntax, e.g. 'train', 'train+unlabelled', 'test[:1000]'.
        image_size, channels: of the result, see `pixels`.
        data_dir: see `data_folder`.
        cache_dir: see `cache.cached`.
        decode_later: the images are a `LazyImages`, and the labels alone are cached.
        announce: see `snjax.data.load`.

    Returns:
        The images of the feature `image` and the labels of the feature `label`, or of the only
        features of these kinds. Where any example lacks a label (STL-10's unlabelled images) the
        set counts as one without labels.

    Raises:
        ValueError: not prepared, prepared as tfrecord only, no such split, no image feature.
    """
    builder = _prepared_builder(name, data_folder(data_dir))
    image_key, label_key = _feature_keys(name, builder.info.features)
    records = _records(builder, name, split)
    if announce:
        announce(len(records))
    files = [(file.name, file.stat()) for file in sorted(pathlib.Path(builder.data_path).iterdir())]
    source = {
        'set': builder.info.full_name,
        'folder': os.fspath(builder.data_path),
        'files': [(file, stat.st_size, stat.st_mtime_ns) for file, stat in files],
    }

    reader = _Reader(builder, records, image_key, label_key, (image_size, channels))
    if not decode_later:
        return cached(
            name,
            split,
            source,
            reader.build,
            image_size=image_size,
            channels=channels,
            cache_dir=cache_dir,
        )
    labels = None
    if label_key is not None:
        # The records have to be read through for them, so they are kept, beside black dots for images.
        only = source | {'only': 'labels'}
        found = cached(
            name, split, only, reader.build_labels, image_size=1, channels=1, cache_dir=cache_dir
        )
        labels = found.labels if found.class_names else None
    names = reader.class_names if labels is not None else ()
    images = LazyImages((len(records), image_size, image_size, channels), reader.read)
    return undecoded(name, split, source, images, labels, names)


def _prepared_builder(name: str, folder: pathlib.Path):
    """TFDS's builder of a set that is on disk."""
    builder = _new_builder(name, folder)
    if not archives.is_prepared(builder) and builder.name in archives.ARCHIVES:
        archives.prepare(builder.name, folder)
        builder = _new_builder(name, folder)
    if not archives.is_prepared(builder):
        raise ValueError(
            f'{name} is not prepared in {folder}; where TensorFlow is installed, run: tfds build '
            f'{name} --file_format=array_record --data_dir={folder}; or set --config.data.data_dir'
        )
    return builder


def _new_builder(name: str, folder: pathlib.Path):
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=os.fspath(folder))
    except Exception as error:  # TFDS raises many types for a wrong config or version
        reason = ' '.join(str(error).split())[:300]
        raise ValueError(f'{name} is no set that TFDS can open in {folder}: {reason}') from error


def _feature_keys(name: str, features) -> tuple[str, str | None]:
    """Keys of the image and of the label; None where there is no single class label."""
    import tensorflow_datasets as tfds

    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    images, labels = ([key for key in features if isinstance(features[key], k)] for k in kinds)
    if 'image' in images:
        images = ['image']
    if len(images) != 1:
        raise ValueError(
            f'{name} has {len(images)} image features (its features: {", ".join(features)}); '
            'accepted: sets with one, or with one named image; set --config.data.name'
        )
    if features[images[0]].np_dtype not in (np.uint8, np.uint16):
        raise ValueError(f'{name} has {features[images[0]].np_dtype} images; accepted: 8, 16 bits')
    if 'label' in labels:
        labels = ['label']
    return images[0], labels[0] if len(labels) == 1 else None


def _records(builder, name: str, split: str):
    """The split as a sequence of serialised examples."""
    import tensorflow_datasets as tfds

    try:
        return builder.as_data_source(
            split=split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
    except NotImplementedError as error:
        raise ValueError(
            f'{name} is in {builder.data_path} as {builder.info.file_format.value} only; where '
            'TensorFlow is installed, run: tfds convert_format '
            f'--dataset_version_dir={builder.data_path} --out_file_format=array_record'
        ) from error
    except ValueError as error:
        raise ValueError(
            f'{name} has no images in split {split!r}; accepted: {", ".join(builder.info.splits)}, '
            "and TFDS's syntax such as 'train[:1000]'; set --config.data.split"
        ) from error


class _Reader:
    """Images and labels of serialised examples, by their positions.

    Args:
        builder: TFDS's, of the set.
        records: see `_records`.
        image_key, label_key: see `_feature_keys`.
        size: (height and width, channels) of the images.
    """

    def __init__(self, builder, records, image_key: str, label_key: str | None, size):
        import tensorflow_datasets as tfds

        self._records, self._name = records, builder.name
        self._image_key, self._label_key, self._size = image_key, label_key, size
        self._features = builder.info.features
        # Only what is needed is parsed, and Pillow decodes, which takes less time than TFDS's decoding.
        self._decoders = {image_key: tfds.decode.SkipDecoding()}
        self._parser = self._parser_of(image_key, label_key)
        self._label_parser = self._parser_of(label_key)

    def _parser_of(self, *keys):
        import tensorflow_datasets as tfds

        return tfds.features.FeaturesDict({k: self._features[k] for k in keys if k is not None})

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self._features[self._label_key].names)

    def read(self, positions: Sequence[int], images: np.ndarray, labels=None) -> None:
        """Stores the images at `positions`, and the labels where there are any."""
        for to, record in enumerate(self._records.__getitems__(positions)):
            example: Any = self._parser.deserialize_example_np(record, decoders=self._decoders)
            images[to] = pixels.decode(example[self._image_key], *self._size)
            if labels is not None:
                labels[to] = example[self._label_key]

    def build(self, room: Workspace) -> Built:
        """The whole set, for `cached`."""
        num, (image_size, channels) = len(self._records), self._size
        images = room.array('images', (num, image_size, image_size, channels))
        labels = None
        if self._label_key is not None:
            labels = room.array('read_labels', (num,), np.int32)

        def read(start, stop):
            into = None if labels is None else labels[start:stop]
            self.read(range(start, stop), images[start:stop], into)

        room.in_chunks(num, read, what=f'images of {self._name} decoded')
        return self._with_names(images, labels)

    def build_labels(self, room: Workspace) -> Built:
        """The labels alone, with an image of one black pixel to each."""
        num = len(self._records)
        images = room.array('images', (num, 1, 1, 1))
        labels = room.array('read_labels', (num,), np.int32)

        def read(start, stop):
            for i, record in enumerate(self._records.__getitems__(range(start, stop)), start):
                example: Any = self._label_parser.deserialize_example_np(record)
                labels[i] = example[self._label_key]

        room.in_chunks(num, read, what=f'labels of {self._name} read')
        return self._with_names(images, labels)

    def _with_names(self, images, labels) -> Built:
        if labels is None or labels.min() < 0:
            return images, None, (), ''
        return images, labels, self.class_names, ''
