"""A folder of images, read recursively; the first level of subfolders gives the classes."""

import dataclasses
import pathlib
import re

import numpy as np
from absl import logging
from PIL import Image

from snjax.data import folder_files, image_warnings, pixels
from snjax.data.cache import Built, cached, file_state, undecoded
from snjax.data.image_set import ImageSet, ImageSource, files_sha256
from snjax.data.lazy_images import LazyImages
from snjax.data.workspace import Workspace
from snjax.host import paths

_SPLIT_NAMES = frozenset({'train', 'training', 'test', 'val', 'valid', 'validation'})
_MAX_NAMED_FILES = 20
_MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # Pillow refuses more, and warns of half of them
_UNEQUAL_CLASSES = 10  # the commonest class has this many times the images of the rarest


def find_folder(
    path: str | None,
    *,
    split: str,
    image_size: int,
    channels: int,
    skip_broken: bool,
    cache_dir: str | None,
    decode_later: bool = False,
) -> ImageSource:
    """Finds every image under `path`, in the order of the sorted paths.

    The classes are the first-level subfolders, sorted by name, if every image lies in one;
    otherwise the set has no labels. Hidden files and folders (a leading dot) are skipped.

    Args:
        path: the folder.
        split: 'train'; a folder has no other split.
        image_size, channels: of the result, see `pixels`.
        skip_broken: leave out files that cannot be decoded and name them in a warning, instead of
            stopping at the first.
        cache_dir: see `cache.cached`.
        decode_later: decode the images on access (`LazyImages`) and cache nothing.

    Raises:
        ValueError: no such folder, no image in it, or another split; `read` raises it for a broken
            file.
    """
    root = _root(path)
    if split != 'train':
        raise ValueError(
            f"a folder has no split {split!r}; accepted: 'train' (all its images); "
            'set --config.data.path to the folder of that split'
        )
    files, passed_over = folder_files.find(root)
    if not files:
        there = f' ({folder_files.counted(passed_over)})' if passed_over else ''
        raise ValueError(
            f'{root} has no images{there}; accepted: files named {" ".join(sorted(folder_files.suffixes()))}, '
            'also in subfolders; set --config.data.path to another folder'
        )
    if decode_later and skip_broken:
        raise ValueError(
            'data.skip_broken=True has every file decoded to find the broken ones, which '
            'data.stream=decode does not: remove them, or use --config.data.stream=on'
        )
    size = image_size, channels

    def read():
        if passed_over:
            logging.warning(
                '%d of %d files in %s are not images that this program reads: %s',
                passed_over.total(),
                passed_over.total() + len(files),
                root,
                folder_files.counted(passed_over),
            )
        states = [(name, *file_state(root / name)) for name in files]
        source = {'files': states, 'skip_broken': skip_broken}
        if decode_later:
            image_set = _undecoded(root, files, size, source)
        else:
            image_set = _cached(root, files, size, source, cache_dir)
        if len(image_set.images) == len(files):
            image_set = dataclasses.replace(image_set, names=files)
        named = files_sha256((name, num_bytes) for name, num_bytes, *_ in states)
        image_set = dataclasses.replace(image_set, files_sha256=named)
        _warn_of_classes(root, image_set, files)
        return image_set

    return ImageSource(len(files), read)


def _undecoded(root, files, size, source) -> ImageSet:
    def read(positions, out):
        for to, i in enumerate(positions):
            out[to] = _decode(root / files[i], *size)

    image_size, channels = size
    images = LazyImages((len(files), image_size, image_size, channels), read)
    class_names, labels = _classes(files)
    return undecoded('folder', 'train', source, images, labels, class_names)


def _cached(root, files, size, source, cache_dir) -> ImageSet:
    image_size, channels = size
    return cached(
        'folder',
        'train',
        source,
        lambda workspace: _build(root, files, size, source['skip_broken'], workspace),
        image_size=image_size,
        channels=channels,
        cache_dir=cache_dir,
    )


def class_folders(path: str | None) -> tuple[str, ...]:
    """Names of the classes of a folder, without reading an image.

    Raises:
        ValueError: no such folder, or a folder without classes.
    """
    root = _root(path)
    names, _ = _classes(folder_files.find(root)[0])
    if not names:
        raise ValueError(
            f'{root} has no classes: every image must lie in a subfolder named after its class'
        )
    return names


def _root(path: str | None) -> pathlib.Path:
    if not path:
        raise ValueError("the set 'folder' needs a folder; set --config.data.path=<folder>")
    root = paths.absolute(path, 'data.path')
    if not root.is_dir():
        raise ValueError(f'{root} is not a folder; set --config.data.path to a folder of images')
    return root


def _classes(files: list[str]) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Class names and labels (N,) from the first-level subfolders; ((), None) without classes."""
    if any('/' not in name for name in files):
        return (), None
    folders = [name.split('/', 1)[0] for name in files]
    class_names, labels = np.unique(folders, return_inverse=True)
    return tuple(str(name) for name in class_names), labels


def _decode(file: pathlib.Path, image_size: int, channels: int) -> np.ndarray:
    """One image; raises a ValueError of one line for a broken file."""
    try:
        with image_warnings.of_file(file):
            return pixels.decode(file, image_size, channels, upright=True)
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        size = re.search(r'\d+', str(error))
        pixels_there = f'{int(size[0]) / 1e6:.0f} ' if size else 'too many '
        raise ValueError(
            f'{file} has {pixels_there}megapixels, and at most {_MAX_PIXELS / 1e6:.0f} are decoded: '
            'make it smaller, or leave such files out with --config.data.skip_broken=True'
        ) from error
    except Exception as error:  # Pillow's plugins raise many types on broken bytes
        raise ValueError(
            f'{file} is broken ({_one_line(error)}); repair or remove it, '
            'or leave such files out with --config.data.skip_broken=True'
        ) from error


def _build(
    root: pathlib.Path,
    files: list[str],
    size: tuple[int, int],
    skip_broken: bool,
    workspace: Workspace,
) -> Built:
    """Decodes the files into the arrays of a workspace, for `cached`."""
    image_size, channels = size
    images = workspace.array('images', (len(files), image_size, image_size, channels))
    is_good = workspace.array('is_good', (len(files),), bool)

    def read(start, stop):
        for i in range(start, stop):
            try:
                images[i] = _decode(root / files[i], image_size, channels)
                is_good[i] = True
            except ValueError:
                if not skip_broken:
                    raise
                is_good[i] = False

    with image_warnings.named(str(root)):
        workspace.in_chunks(len(files), read, what=f'images of {root} decoded')
    class_names, labels = _classes(files)
    if is_good.all():
        return images, labels, class_names, ''
    if not is_good.any():
        raise ValueError(f'all {len(files)} images in {root} are broken; set --config.data.path')
    broken = [files[i] for i in np.flatnonzero(~is_good)]
    named = ', '.join(broken[:_MAX_NAMED_FILES])
    if len(broken) > _MAX_NAMED_FILES:
        named += f' and {len(broken) - _MAX_NAMED_FILES} more'
    note = f'left out {len(broken)} broken of {len(files)} images in {root}: {named}'
    # Moved one by one, because the array may be larger than the memory.
    kept = np.flatnonzero(is_good)
    for to, i in enumerate(kept):
        if to != i:
            images[to] = images[i]
    return images[: len(kept)], None if labels is None else labels[kept], class_names, note


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__


def _warn_of_classes(root: pathlib.Path, image_set: ImageSet, files: list[str]) -> None:
    """Warns of likely mistakes: stray images, splits as classes, one class, unequal classes."""
    names = image_set.class_names
    if not names:
        num_loose = sum('/' not in name for name in files)
        if num_loose < len(files):
            logging.warning(
                '%s has %d images outside its subfolders, so the subfolders are not classes',
                root,
                num_loose,
            )
        return
    if len(names) > 1 and {name.lower() for name in names} <= _SPLIT_NAMES:
        logging.warning(
            'the classes of %s are %s, which look like splits; give one: --config.data.path=%s',
            root,
            ', '.join(names),
            root / names[0],
        )
    counts = np.bincount(image_set.labels, minlength=len(names))
    if len(names) == 1:
        logging.warning('%s has one class only, %r (%d images)', root, names[0], counts[0])
    elif counts.max() >= _UNEQUAL_CLASSES * max(counts.min(), 1):
        fewest, most = counts.argmin(), counts.argmax()
        logging.warning(
            'the classes of %s are unequal: %r has %d images, %r has %d',
            root,
            names[fewest],
            counts[fewest],
            names[most],
            counts[most],
        )
