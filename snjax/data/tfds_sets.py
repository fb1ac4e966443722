"""Any image set of TensorFlow Datasets that lies on disk as array_record, read without TensorFlow.

`tensorflow_datasets` is imported by the functions, not by this file: only runs that read such a set
wait for it.
"""

import os
import pathlib
from typing import Any

import numpy as np

from snjax.data import archives, pixels
from snjax.data.cache import Allocate, Built, cached
from snjax.data.image_set import ImageSet


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
) -> ImageSet:
    """Reads a TFDS image set; CIFAR-10, CIFAR-100 and STL-10 are prepared first where needed.

    Args:
        name: e.g. 'cifar10', 'imagenet_resized/64x64', 'cifar10:3.0.2'.
        split: TFDS's syntax, e.g. 'train', 'train+unlabelled', 'test[:1000]'.
        image_size, channels: of the result, see `pixels`.
        data_dir: see `data_folder`.
        cache_dir: see `cache.cached`.

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
    files = [(file.name, file.stat()) for file in sorted(pathlib.Path(builder.data_path).iterdir())]
    source = {
        'set': builder.info.full_name,
        'folder': os.fspath(builder.data_path),
        'files': [(file, stat.st_size, stat.st_mtime_ns) for file, stat in files],
    }

    def build(allocate):
        return _build(builder, records, image_key, label_key, image_size, channels, allocate)

    return cached(
        name,
        split,
        source,
        build,
        image_size=image_size,
        channels=channels,
        cache_dir=cache_dir,
    )


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


def _build(
    builder, records, image_key, label_key, image_size, channels, allocate: Allocate
) -> Built:
    import tensorflow_datasets as tfds

    keys = [image_key] if label_key is None else [image_key, label_key]
    # Only what is needed is parsed, and Pillow decodes, which takes less time than TFDS's decoding.
    parser = tfds.features.FeaturesDict({key: builder.info.features[key] for key in keys})
    decoders = {image_key: tfds.decode.SkipDecoding()}
    images = allocate((len(records), image_size, image_size, channels))
    labels = np.zeros(len(records), np.int32)

    def read(start, stop):
        for i, record in enumerate(records.__getitems__(range(start, stop)), start):
            example: Any = parser.deserialize_example_np(record, decoders=decoders)
            images[i] = pixels.decode(example[image_key], image_size, channels)
            if label_key is not None:
                labels[i] = example[label_key]

    pixels.in_chunks(len(records), read, what=f'images of {builder.name} decoded')
    if label_key is None or labels.min() < 0:
        return images, None, (), ''
    return images, labels, tuple(builder.info.features[label_key].names), ''
