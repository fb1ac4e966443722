"""Images in a NumPy `.npz` file, as `images` and `labels` or `<split>_images` and so on.

`arr_0` and `arr_1`, the names that NumPy gives unnamed arrays, are read as images and labels, too:
many codes write samples so.
"""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32

from snjax.data import npz_file, pixels
from snjax.data.cache import cached, file_state
from snjax.data.image_set import ImageSet, image_set, with_conditions
from snjax.host import paths
from snjax.image_format import DEPTHS, MAX_CHANNELS

_MAX_NAMED = 12
_UNNAMED = ('arr_0', 'arr_1')
# Names that the training images may have, the first that is there counts.
IMAGES = ('train_images', 'images', _UNNAMED[0])


def load_npz(
    path: str | None,
    *,
    split: str,
    cache_dir: str | None,
    with_numbers: bool = False,
    **form: Any,
) -> ImageSet:
    """Reads images (N, H, W) or (N, H, W, C), C up to 16, and integer labels (N,) if any.

    Class names come from the array `class_names` if there is one; otherwise they are '0', '1', ...,
    and each of them needs an image. `with_numbers`, `conditions` (N, k) or (N,) are numbers of the
    images, and `condition_names` their names. Other arrays are not read. Images are uint8, or
    uint16, which `bits` keeps.

    Args:
        path: the file.
        split: reads `<split>_images`; 'train' also reads `images`, or else `arr_0`.
        cache_dir: see `cache.cached`.
        form: of the result, see `pixels.Form`. Images that are resized or recoloured are cached.

    Raises:
        ValueError: no such file or array, or an array of another type or shape.
    """
    file = _file(path)
    wanted = pixels.Form(**form)
    images, labels, class_names = _read(file, split)
    values, names = _numbers(file, split) if with_numbers else (None, ())
    if images.shape[1:] == wanted.shape and images.dtype == wanted.dtype:
        found = image_set('npz', split, images, labels, class_names)
        return found if values is None else with_conditions(found, values, names)

    def build(workspace):
        del workspace  # the source is already in memory
        return pixels.fit_arrays(images, *wanted), labels, class_names, ''

    found = cached(
        'npz',
        split,
        {'file': file.name, 'state': file_state(file)},
        build,
        form=wanted,
        cache_dir=cache_dir,
    )
    return found if values is None else with_conditions(found, values, names)


def condition_names(path: str | None, split: str) -> tuple[str, ...]:
    """The names of the numbers of the images, without reading these; () without numbers.

    Raises:
        ValueError: as `load_npz`.
    """
    return _numbers(_file(path), split)[1]


def _file(path: str | None) -> pathlib.Path:
    if not path:
        raise ValueError("the set 'npz' needs a file; set --config.data.path=<file.npz>")
    file = paths.absolute(path, 'data.path')
    if not file.is_file():
        raise ValueError(f'{file} is not a file; set --config.data.path to an .npz file')
    return file


def _prefix(names: list[str], split: str) -> str | None:
    """What stands before `images`, `labels` and `conditions` of a split; None if no images do."""
    prefixes = (f'{split}_', '') if split == 'train' else (f'{split}_',)
    return next((prefix for prefix in prefixes if f'{prefix}images' in names), None)


def _wanted(names: list[str], split: str) -> list[str]:
    """Names of the arrays of images, labels and classes of a split; [] without images."""
    prefix = _prefix(names, split)
    if prefix is None and split == 'train' and _UNNAMED[0] in names:
        return [*_UNNAMED, 'class_names']
    return [] if prefix is None else [f'{prefix}images', f'{prefix}labels', 'class_names']


def _arrays(file: pathlib.Path, wanted: Callable[[list[str]], list[str]]):
    try:
        return npz_file.read(file, wanted)
    except ValueError as error:
        raise ValueError(f'{file} cannot be read as .npz: {error}') from error


def _read(file: pathlib.Path, split: str):
    """(images (N, H, W, C), labels (N,) or None, class names) as stored, checked."""
    wanted = functools.partial(_wanted, split=split)
    arrays, names = _arrays(file, wanted)
    if not wanted(names):
        raise ValueError(
            f'{file} has no array {split}_images for split {split!r}; it has: '
            f'{", ".join(names[:_MAX_NAMED]) or "nothing"}; set --config.data.split'
        )
    images, labels = (arrays.get(name) for name in wanted(names)[:2])
    images = _checked_images(file, images)
    if labels is None:
        return images, None, ()
    if labels.shape == (len(images), 1):
        labels = labels[:, 0]
    if labels.shape != (len(images),) or labels.dtype.kind not in 'iu' or labels.min() < 0:
        raise ValueError(
            f'labels in {file} are {labels.dtype} {labels.shape}; accepted: integers >= 0 of '
            f'shape ({len(images)},)'
        )
    num_classes = int(labels.max()) + 1
    if 'class_names' in arrays:
        class_names = tuple(str(name) for name in np.ravel(arrays['class_names']))
        if len(class_names) < num_classes:
            raise ValueError(
                f'{file} names {len(class_names)} classes; its labels need {num_classes}'
            )
        return images, labels, class_names
    there = np.unique(labels)
    if len(there) < num_classes:
        empty = int(np.argmax(there != np.arange(len(there)))) if there[0] == 0 else 0
        raise ValueError(
            f'labels in {file} are {len(there)} numbers from {there[0]} to {there[-1]}, so that '
            f'class {empty} would have no image: number the classes 0 to {len(there) - 1}, or add '
            'an array class_names'
        )
    return images, labels, tuple(str(i) for i in range(num_classes))


def _numbers(
    file: pathlib.Path, split: str
) -> tuple[Float32[np.ndarray, 'n k'] | None, tuple[str, ...]]:
    """The numbers of the images, and their names; (None, ()) without."""

    def wanted(names: list[str]) -> list[str]:
        return [f'{_prefix(names, split) or ""}conditions', 'condition_names']

    arrays, there = _arrays(file, wanted)
    found = arrays.get(wanted(there)[0])
    if found is None:
        return None, ()
    images = next(iter(_wanted(there, split)), '')
    num = npz_file.shape_of(file, (images,))[0]
    values = found[:, None] if found.ndim == 1 else found
    if values.ndim != 2 or len(values) != num or values.dtype.kind not in 'biuf':
        raise ValueError(
            f'conditions in {file} are {found.dtype} {found.shape}; accepted: numbers ({num}, k)'
        )
    with np.errstate(over='ignore'):  # said below
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(
            f'conditions in {file} have {(~np.isfinite(values)).sum()} values that are not finite'
        )
    width = values.shape[1]
    names = arrays.get('condition_names')
    names = [str(i) for i in range(width)] if names is None else [str(x) for x in np.ravel(names)]
    if len(names) != width:
        raise ValueError(f'{file} names {len(names)} conditions, and has {width}')
    return values, tuple(names)


def _checked_images(file: pathlib.Path, images: Any) -> np.ndarray:
    """The images as (N, H, W, C)."""
    if images.ndim == 3:
        images = images[..., None]
    is_image = images.ndim == 4 and 1 <= images.shape[3] <= MAX_CHANNELS and images.size > 0
    if images.dtype not in DEPTHS.values() or not is_image:
        raise ValueError(
            f'images in {file} are {images.dtype} {images.shape}; accepted: uint8, 0..255, or '
            f'uint16, 0..65535, of shape (N, H, W) or (N, H, W, C) with C from 1 to {MAX_CHANNELS}'
        )
    return images
