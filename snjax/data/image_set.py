"""What every loader returns: a named set of uint8 images, its labels and a hash of them."""

import dataclasses
import hashlib

import numpy as np
from jaxtyping import Int32, UInt8

from snjax.data.lazy_images import LazyImages

_MAX_LISTED_CLASSES = 12


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Square images with integer labels; both arrays are read-only.

    Attributes:
        name: what the set is called in a config, e.g. 'digits' or 'cifar10'.
        split: which part of it, e.g. 'train' or 'train+unlabelled'.
        images: uint8 (N, H, W, C), 0..255, C = 1 (grey) or 3 (RGB); may be mapped from a file, or be
            decoded when they are asked for.
        labels: int32 (N,), indices into `class_names`; zeros where the set has no labels.
        class_names: one name per class, () where the set has no labels.
        sha256: hex digest of the bytes of `images` followed by those of `labels`; of a `LazyImages`, of
            what is known of its files without reading them: names, sizes, times.
    """

    name: str
    split: str
    images: UInt8[np.ndarray | LazyImages, 'n h w c']
    labels: Int32[np.ndarray, ' n']
    class_names: tuple[str, ...]
    sha256: str


def content_sha256(images: UInt8[np.ndarray, 'n h w c'], labels: Int32[np.ndarray, ' n']) -> str:
    """Hex SHA-256 of the bytes of `images`, then of `labels` (little-endian int32)."""
    digest = hashlib.sha256(np.ascontiguousarray(images))
    digest.update(np.ascontiguousarray(labels, dtype='<i4'))
    return digest.hexdigest()


def image_set(name, split, images, labels, class_names) -> ImageSet:
    """Makes an `ImageSet` from arrays in memory: hashes them and marks them read-only.

    Args:
        name, split: see `ImageSet`.
        images: uint8 (N, H, W, C).
        labels: integers (N,), or None where the set has none.
        class_names: names of the classes, empty where the set has no labels.
    """
    images = np.ascontiguousarray(images)
    labels = np.zeros(len(images), np.int32) if labels is None else labels.astype(np.int32)
    sha256 = content_sha256(images, labels)
    images.flags.writeable = False
    labels.flags.writeable = False
    return ImageSet(name, split, images, labels, tuple(class_names), sha256)


def class_histogram(labels: Int32[np.ndarray, ' n'], class_names: tuple[str, ...]) -> str:
    """One line on how many images each class has.

    Args:
        labels: indices into `class_names`, (N,).
        class_names: () for a set without labels.

    Returns:
        E.g. '2 classes, 10 to 20 images each: cat 10, dog 20'. Beyond 12 classes only the rarest
        and the commonest are named.
    """
    if not class_names:
        return f'{len(labels)} images without labels'
    counts = np.bincount(labels, minlength=len(class_names))
    if len(class_names) == 1:
        return f'1 class: {class_names[0]} {counts[0]}'
    fewest, most = int(counts.argmin()), int(counts.argmax())
    if counts[fewest] == counts[most]:
        noun = 'image' if counts[0] == 1 else 'images'
        head = f'{len(class_names)} classes, {counts[0]} {noun} each'
    else:
        head = f'{len(class_names)} classes, {counts[fewest]} to {counts[most]} images each'
    if len(class_names) <= _MAX_LISTED_CLASSES:
        pairs = zip(class_names, counts, strict=True)
        return f'{head}: ' + ', '.join(f'{name} {count}' for name, count in pairs)
    if counts[fewest] == counts[most]:
        return head
    return f'{head}: fewest {class_names[fewest]}, most {class_names[most]}'
