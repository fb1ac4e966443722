"""Image sets of TensorFlow Datasets on disk as array_record, read without TensorFlow.

The functions import `tensorflow_datasets`, not this file: other runs need not wait for it.
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from snjax.data import archives, pixels
from snjax.data.cache import Built, cached, file_state, undecoded
from snjax.data.image_set import ImageSet, ImageSource, files_sha256
from snjax.data.lazy_images import LazyImages
from snjax.data.workspace import Workspace
from snjax.host import paths


def data_folder(data_dir: str | None) -> pathlib.Path:
    """`data_dir`, or else `$TFDS_DATA_DIR`, or else TFDS's default `~/tensorflow_datasets`."""
    folder = data_dir or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
    return paths.absolute(folder, 'data.data_dir')


def known_names() -> list[str]:
    """Names of the sets with a builder in TFDS."""
    import tensorflow_datasets as tfds

    # Listing community sets needs a network and TensorFlow.
    return sorted(set(tfds.list_builders(with_community_datasets=False)))


def is_known(base: str, data_dir: str | None) -> bool:
    """Whether TFDS has a builder for the set `base`, or the data folder holds it prepared."""
    if base in known_names():
        return True
    return bool(base) and any((data_folder(data_dir) / base).rglob('features.json'))


def find_tfds(
    name: str,
    *,
    split: str,
    data_dir: str | None,
    cache_dir: str | None,
    decode_later: bool = False,
    **form: Any,
) -> ImageSource:
    """Finds a TFDS image set; prepares CIFAR-10, CIFAR-100 and STL-10 first if needed.

    Its `read` takes the images of the feature `image` and the labels of the feature `label`, or of
    the only features of these kinds. If any example lacks a label (STL-10's unlabelled images), the
    set has none.

    Args:
        name: e.g. 'cifar10', 'imagenet_resized/64x64', 'cifar10:3.0.2'.
        split: TFDS's syntax, e.g. 'train', 'train+unlabelled', 'test[:1000]'.
        data_dir: see `data_folder`.
        cache_dir: see `cache.cached`.
        decode_later: decode the images on access (`LazyImages`) and cache only the labels.
        form: of the result, see `pixels.Form`.

    Raises:
        ValueError: not prepared, prepared as tfrecord only, no such split, no image feature.
    """
    builder = _prepared_builder(name, data_folder(data_dir))
    image_key, label_key = _feature_keys(name, builder.info.features)
    records = _records(builder, name, split)
    reader = _Reader(builder, records, image_key, label_key, pixels.Form(**form))
    loader = _undecoded if decode_later else _cached

    def read():
        source = _source(builder)
        named = files_sha256((file, num_bytes) for file, num_bytes, *_ in source['files'])
        image_set = loader(reader, name, split, source, cache_dir)
        return dataclasses.replace(image_set, files_sha256=named)

    return ImageSource(len(records), read)


def _source(builder) -> dict[str, Any]:
    """Everything but the split and the pixels' size that decides the content of the set."""
    files = sorted(pathlib.Path(builder.data_path).iterdir())
    return {
        'set': builder.info.full_name,
        'files': [(file.name, *file_state(file)) for file in files],
    }


def _cached(reader: '_Reader', name, split, source, cache_dir) -> ImageSet:
    return cached(
        name,
        split,
        source,
        reader.build,
        form=reader.form,
        cache_dir=cache_dir,
    )


def _undecoded(reader: '_Reader', name, split, source, cache_dir) -> ImageSet:
    labels = None
    if reader.label_key is not None:
        # Labels take a pass over all records, so they are cached, each with an image of one pixel.
        only = source | {'only': 'labels'}
        form = pixels.Form(1, 1)
        stored = cached(name, split, only, reader.build_labels, form=form, cache_dir=cache_dir)
        labels = stored.labels if stored.class_names else None
    names = reader.class_names if labels is not None else ()
    images = LazyImages((len(reader.records), *reader.form.shape), reader.read, reader.form.dtype)
    return undecoded(name, split, source, images, labels, names)


def _prepared_builder(name: str, folder: pathlib.Path):
    """TFDS's builder of the set; prepares the set if it is missing and an archive is known."""
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
    """Keys of the image and of the label; None for a set without a single class label."""
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
    """The split as a sequence of serialized examples."""
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
    """Reads images and labels of serialized examples by position.

    Args:
        builder: TFDS's builder of the set.
        records: see `_records`.
        image_key, label_key: see `_feature_keys`.
        form: of the images.
    """

    def __init__(self, builder, records, image_key: str, label_key: str | None, form: pixels.Form):
        import tensorflow_datasets as tfds

        self.builder, self.records, self.label_key = builder, records, label_key
        self.form = form
        self._image_key, self._features = image_key, builder.info.features
        # Skips the other features, and leaves decoding to Pillow, which is faster than TFDS.
        self._decoders = {image_key: tfds.decode.SkipDecoding()}
        self._parser = self._parser_of(image_key, label_key)
        self._label_parser = self._parser_of(label_key)

    def _parser_of(self, *keys):
        import tensorflow_datasets as tfds

        return tfds.features.FeaturesDict({k: self._features[k] for k in keys if k is not None})

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self._features[self.label_key].names)

    def read(self, positions: Sequence[int], images: np.ndarray, labels=None) -> None:
        """Stores the images at `positions` in `images`, and their labels in `labels` if given."""
        for to, record in enumerate(self.records.__getitems__(positions)):
            example: Any = self._parser.deserialize_example_np(record, decoders=self._decoders)
            images[to] = pixels.decode(example[self._image_key], self.form)
            if labels is not None:
                labels[to] = example[self.label_key]

    def build(self, workspace: Workspace) -> Built:
        """Reads the whole set, for `cached`."""
        num = len(self.records)
        shape = num, *self.form.shape
        images, labels = workspace.array('images', shape, self.form.dtype), None
        if self.label_key is not None:
            labels = workspace.array('read_labels', (num,), np.int32)

        def read(start, stop):
            into = None if labels is None else labels[start:stop]
            self.read(range(start, stop), images[start:stop], into)

        workspace.in_chunks(num, read, what=f'images of {self.builder.name} decoded')
        return self._with_names(images, labels)

    def build_labels(self, workspace: Workspace) -> Built:
        """Reads the labels only; each image is one black pixel."""
        num = len(self.records)
        images = workspace.array('images', (num, 1, 1, 1))
        labels = workspace.array('read_labels', (num,), np.int32)

        def read(start, stop):
            for i, record in enumerate(self.records.__getitems__(range(start, stop)), start):
                example: Any = self._label_parser.deserialize_example_np(record)
                labels[i] = example[self.label_key]

        workspace.in_chunks(num, read, what=f'labels of {self.builder.name} read')
        return self._with_names(images, labels)

    def _with_names(self, images, labels) -> Built:
        if labels is None or labels.min() < 0:
            return images, None, (), ''
        return images, labels, self.class_names, ''
