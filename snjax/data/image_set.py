"""The result of every loader: a named set of uint8 images, its labels and a hash of both."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8, UInt16

from snjax.data.lazy_images import LazyImages
from snjax.image_format import to_floats

Images = UInt8[np.ndarray | LazyImages, 'n h w c'] | UInt16[np.ndarray | LazyImages, 'n h w c']
_MAX_LISTED_CLASSES = 12


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images of one size with integer labels, and numbers if the set has any; arrays are read-only.

    Attributes:
        name: the set's name in a config, e.g. 'digits' or 'cifar10'.
        split: part of the set, e.g. 'train' or 'train+unlabelled'.
        images: (N, H, W, C), uint8, 0..255, or uint16, 0..65535; C = 1 (grey), 2 (grey, alpha),
            3 (RGB), 4 (RGBA) or up to 16; in memory, mapped from a file, or decoded on access
            (`LazyImages`).
        labels: int32 (N,), indices into `class_names`; zeros if the set has no labels.
        class_names: one name per class; () if the set has no labels.
        sha256: hex digest of the bytes of `images` and then of `labels`; for a `LazyImages`, of the
            names, sizes and times of its files.
        names: of the files of the images, in order; () if images are no files, or some of the files
            were left out.
        files_sha256: hex digest of the names and sizes of the files that the set was read from, the
            same wherever they lie; '' for a set that was not read from files.
        conditions: a row of numbers for each image, float32 (N, k); None where there are none, or
            none were asked for.
        condition_names: of the k numbers.
        conditions_sha256: hex digest of both; '' without.
    """

    name: str
    split: str
    images: Images
    labels: Int32[np.ndarray, ' n']
    class_names: tuple[str, ...]
    sha256: str
    names: Sequence[str] = ()
    files_sha256: str = ''
    conditions: Float32[np.ndarray, 'n k'] | None = None
    condition_names: tuple[str, ...] = ()
    conditions_sha256: str = ''

    def labels_for(self, num_conditions: int) -> np.ndarray:
        """What a model is conditioned on: classes int32 (N,), or numbers float32 (N, k).

        Args:
            num_conditions: numbers per image that the model takes; 0 for classes or nothing.

        Raises:
            ValueError: of one line: the set has another number of them, or none.
        """
        if not num_conditions:
            return self.labels
        check_conditions(self.name, self.condition_names, num_conditions)
        assert self.conditions is not None  # as many as it has names
        return self.conditions

    def floats(self, rows: slice | Sequence[int] = slice(None)) -> Float[np.ndarray, 'n h w c']:
        """Images in [-1, 1], x / 127.5 - 1 of 8 bits: those of `rows`, by default all."""
        return to_floats(np.asarray(self.images[rows]))


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """An image set that was found but not yet decoded.

    Attributes:
        num_images: number of files or records; None for a set that is read in one go, without
            decoding. Fewer images come out if broken files are skipped.
        read: decodes the set, or takes it from the cache.
        class_names: one name per class, of a set of files; () if it has none, and for other sets.
        condition_names: of the numbers of each image; () if it has none, or none were asked for.
    """

    num_images: int | None
    read: Callable[[], ImageSet]
    class_names: tuple[str, ...] = ()
    condition_names: tuple[str, ...] = ()


def check_conditions(set_name: str, names: Sequence[str], num_conditions: int) -> None:
    """Raises a ValueError of one line unless a set with numbers of these names has as many as a model
    takes.
    """
    if not names:
        raise ValueError(
            f'model.num_conditions is {num_conditions}, but {set_name} has no numbers: give a '
            'table conditions.csv in its folder, name another one with --config.data.conditions, '
            'or put an array conditions into its .npz'
        )
    if len(names) != num_conditions:
        raise ValueError(
            f'model.num_conditions is {num_conditions}, but {set_name} has {len(names)} numbers per '
            f'image ({", ".join(names[:12])}): use --config.model.num_conditions={len(names)}, or '
            'choose with --config.data.conditions=TABLE:COLUMN,COLUMN'
        )


def with_conditions(
    found: ImageSet, values: Float32[np.ndarray, 'n k'], names: Sequence[str]
) -> ImageSet:
    """The set with a row of numbers for each image. They have a hash of their own: images are the
    same, and so are scores against them, whatever a model is conditioned on.

    Raises:
        ValueError: another number of rows than of images, as when broken images were left out.
    """
    if len(values) != len(found.images):
        raise ValueError(
            f'{found.name} has numbers for {len(values)} images, and {len(found.images)} images: '
            'remove the broken ones from the folder and its tables'
        )
    values = np.ascontiguousarray(values, np.float32)
    values.flags.writeable = False
    digest = hashlib.sha256(json.dumps(list(names)).encode())
    digest.update(values.astype('<f4').tobytes())
    return dataclasses.replace(
        found,
        conditions=values,
        condition_names=tuple(names),
        conditions_sha256=digest.hexdigest(),
    )


def content_sha256(images: Images, labels: Int32[np.ndarray, ' n']) -> str:
    """Hex SHA-256 of the bytes of `images`, then of `labels` (little-endian int32)."""
    digest = hashlib.sha256(np.ascontiguousarray(images))
    digest.update(np.ascontiguousarray(labels, dtype='<i4'))
    return digest.hexdigest()


def files_sha256(files: Iterable[tuple[str, int]]) -> str:
    """Hex SHA-256 of names and sizes in bytes, in their order."""
    return hashlib.sha256(json.dumps([list(file) for file in files]).encode()).hexdigest()


def image_set(name, split, images, labels, class_names) -> ImageSet:
    """Makes an `ImageSet` of arrays in memory: hashes them and marks them read-only.

    Args:
        name, split: see `ImageSet`.
        images: uint8 or uint16 (N, H, W, C).
        labels: integers (N,), or None for a set without labels.
        class_names: names of the classes; empty for a set without labels.
    """
    images = np.ascontiguousarray(images)
    labels = np.zeros(len(images), np.int32) if labels is None else labels.astype(np.int32)
    sha256 = content_sha256(images, labels)
    images.flags.writeable = False
    labels.flags.writeable = False
    return ImageSet(name, split, images, labels, tuple(class_names), sha256)


def class_histogram(labels: Int32[np.ndarray, ' n'], class_names: tuple[str, ...]) -> str:
    """Number of images per class, in one line.

    Args:
        labels: indices into `class_names`, (N,).
        class_names: () for a set without labels.

    Returns:
        E.g. '2 classes, 10 to 20 images each: cat 10, dog 20'. With more than 12 classes it names
        the rarest and the commonest only.
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
