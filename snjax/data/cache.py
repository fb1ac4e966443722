"""Decoded and resized sets on disk, so that the second run starts at once.

One entry is three files, `<stem>.images.npy`, `<stem>.labels.npy` and `<stem>.json`. The stem ends
in a hash of everything that decides the content: source files, split, size, channels, Pillow's
version. The JSON file is written last and holds the SHA-256 of the arrays, checked at every load:
an entry that does not match is rebuilt. Nothing here can stop a run: an unwritable folder only
warns, and the set is built in memory.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import PIL
from absl import logging

from snjax.data.image_set import ImageSet, content_sha256, image_set

try:
    import fcntl
except ImportError:  # not a POSIX system: concurrent runs repeat each other's work
    fcntl = None

# Raised when what is stored, or how pixels are made from the same files, changes.
_FORMAT = 1

Allocate = Callable[[tuple[int, ...]], np.ndarray]
# (images uint8 (N, H, W, C), labels (N,) or None, class names, a line to warn with or '')
Built = tuple[np.ndarray, np.ndarray | None, tuple[str, ...], str]


def cached(
    name: str,
    split: str,
    source: Mapping,
    build: Callable[[Allocate], Built],
    *,
    image_size: int,
    channels: int,
    cache_dir: str | None,
) -> ImageSet:
    """Loads a set from the cache, or builds it and stores it.

    Args:
        name, split: of the set.
        source: what else decides the content (files with sizes and times, versions); JSON types.
        build: makes the set. It is given `allocate(shape)`, which returns a uint8 array to fill
            that may lie on disk, so that a set larger than the memory can be built too. It returns
            the images (that array or a leading part of it), labels or None, class names, and a line
            to warn with on every load ('' for none).
        image_size, channels: of the built images.
        cache_dir: the folder; None for `$SNJAX_CACHE`, or else `~/.cache/snjax`.

    Returns:
        The set; images mapped from the cache's file where there is one.
    """
    folder = pathlib.Path(cache_dir or os.environ.get('SNJAX_CACHE') or '~/.cache/snjax')
    folder = folder.expanduser()
    key = {'name': name, 'split': split, 'image_size': image_size, 'channels': channels}
    key |= {'source': source, 'format': _FORMAT, 'pillow': PIL.__version__}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    label = ''.join(c if c.isalnum() else '_' for c in f'{name}-{split}')[:48]
    stem = folder / f'{label}-{image_size}x{channels}-{digest}'

    found = _read(stem, name, split)
    if found is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            workspace = tempfile.mkdtemp(prefix='.building-', dir=folder)
        except OSError as error:
            logging.warning('cannot write the cache %s (%s); building %s anew', folder, error, name)
            return _build_in_memory(name, split, build)
        try:
            with exclusive(stem.with_name(stem.name + '.lock')):
                # Another process may have built it while this one waited for the lock.
                found = _read(stem, name, split, quiet=True)
                if found is None:
                    return _build_and_store(
                        name, split, build, stem=stem, workspace=pathlib.Path(workspace)
                    )
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
    image_set_found, note = found
    if note:
        logging.warning('%s', note)
    return image_set_found


@contextlib.contextmanager
def exclusive(path: pathlib.Path) -> Iterator[None]:
    """Holds an advisory lock on `path`, which the system drops even when the process is killed."""
    try:
        file = open(path, 'a')
    except OSError:  # a folder that can only be read: nothing will be written there either
        yield
        return
    with file:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # file systems without locks
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _paths(stem: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """(images, labels, meta) of one entry."""
    images, labels, meta = (f'{stem}{end}' for end in ('.images.npy', '.labels.npy', '.json'))
    return pathlib.Path(images), pathlib.Path(labels), pathlib.Path(meta)


def _read(stem, name, split, *, quiet=False) -> tuple[ImageSet, str] | None:
    """The entry with its note, or None where it is missing or does not match its checksum."""
    images_path, labels_path, meta_path = _paths(stem)
    try:
        meta = json.loads(meta_path.read_text())
        images = np.load(images_path, mmap_mode='r', allow_pickle=False)
        labels = np.load(labels_path, allow_pickle=False)
        class_names, note = tuple(meta['class_names']), meta['note']
        if images.dtype != np.uint8 or labels.dtype != np.int32 or images.ndim != 4:
            raise ValueError('its arrays have other types')
        if meta['meta_sha256'] != _meta_sha256(meta):
            raise ValueError('its description does not match its checksum')
        if content_sha256(images, labels) != meta['sha256']:
            raise ValueError('its arrays do not match their checksum')
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        if not quiet:
            logging.warning('the cached %s is damaged (%s); building it anew', meta_path, error)
        return None
    labels.flags.writeable = False
    return ImageSet(name, split, images, labels, class_names, meta['sha256']), note


def _build_in_memory(name, split, build) -> ImageSet:
    images, labels, class_names, note = build(lambda shape: np.empty(shape, np.uint8))
    if note:
        logging.warning('%s', note)
    return image_set(name, split, images, labels, class_names)


def _build_and_store(name, split, build, *, stem, workspace) -> ImageSet:
    """Builds in `workspace` and moves the files to their names; only builds on a full disk."""
    mapped = []
    is_full = False

    def allocate(shape):
        nonlocal is_full
        try:
            mapped.append(_reserve(workspace / 'images.npy', shape))
        except OSError as error:
            logging.warning('no room for %s in the cache (%s); it stays in memory', name, error)
            is_full = True
            return np.empty(shape, np.uint8)
        return mapped[0]

    images, labels, class_names, note = build(allocate)
    built = image_set(name, split, images, labels, class_names)
    if note:
        logging.warning('%s', note)
    if is_full:
        return built
    try:
        if mapped and len(built.images) == len(mapped[0]):
            mapped[0].flush()
        else:  # never on disk, or broken files were left out and the header must say so
            np.save(workspace / 'whole.npy', built.images)
            os.replace(workspace / 'whole.npy', workspace / 'images.npy')
        _store(built, note, stem=stem, workspace=workspace)
    except OSError as error:
        logging.warning('cannot store %s in the cache (%s)', name, error)
    return built


def _store(built: ImageSet, note: str, *, stem: pathlib.Path, workspace: pathlib.Path) -> None:
    """Writes what goes with `images.npy` in `workspace` and makes the three files an entry."""
    meta = {'name': built.name, 'split': built.split, 'class_names': built.class_names}
    meta |= {'sha256': built.sha256, 'note': note}
    meta['meta_sha256'] = _meta_sha256(meta)
    np.save(workspace / 'labels.npy', built.labels)
    (workspace / 'meta.json').write_text(json.dumps(meta, indent=1))
    for file, path in zip(('images.npy', 'labels.npy', 'meta.json'), _paths(stem), strict=True):
        os.replace(workspace / file, path)


def _reserve(path: pathlib.Path, shape: tuple[int, ...]) -> np.ndarray:
    """An uint8 array of `shape` mapped to a new `.npy` file whose space on disk is reserved."""
    array = np.lib.format.open_memmap(path, mode='w+', dtype=np.uint8, shape=shape)
    if hasattr(os, 'posix_fallocate'):
        # Writing to a mapped page that the full disk has no room for kills the process (SIGBUS).
        with open(path, 'r+b') as file:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
    return array


def _meta_sha256(meta: Mapping) -> str:
    rest = {name: value for name, value in meta.items() if name != 'meta_sha256'}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
