"""Decoded and resized sets on disk, so that the second run starts at once.

One entry is three files, `<stem>.images.npy`, `<stem>.labels.npy` and `<stem>.json`. The stem ends
in a hash of everything that decides the content: source files, split, size, channels, Pillow's
version. The JSON file is written last and holds the SHA-256 of the arrays, checked at every load:
an entry that does not match is rebuilt. A build that was killed is gone on with by the next one.
Little here can stop a run: in a folder that is full or cannot be written the set is built in memory, with a warning;
only one that is too large for that is an error.
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
from snjax.data.lazy_images import LazyImages
from snjax.data.workspace import Workspace

try:
    import fcntl
except ImportError:  # not a POSIX system: concurrent runs repeat each other's work
    fcntl = None

# Raised when what is stored, or how pixels are made from the same files, changes.
_FORMAT = 1

# (images uint8 (N, H, W, C), labels (N,) or None, class names, a line to warn with or '')
Built = tuple[np.ndarray, np.ndarray | None, tuple[str, ...], str]


def cached(
    name: str,
    split: str,
    source: Mapping,
    build: Callable[[Workspace], Built],
    *,
    image_size: int,
    channels: int,
    cache_dir: str | None,
) -> ImageSet:
    """Loads a set from the cache, or builds it and stores it.

    Args:
        name, split: of the set.
        source: what else decides the content (files with sizes and times, versions); JSON types.
        build: makes the set in a `Workspace`, whose arrays may lie on disk, so that a set larger than
            the memory can be built too. It returns the images (the room's array `images` or a
            leading part of it, or another), labels or None, class names, and a line to warn with on
            every load ('' for none).
        image_size, channels: of the built images.
        cache_dir: the folder; None for `$SNJAX_CACHE`, or else `~/.cache/snjax`.

    Returns:
        The set; images mapped from the cache's file where there is one.

    Raises:
        ValueError: neither the folder nor the memory has room for it.
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
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            logging.warning('cannot write the cache %s (%s); building %s anew', folder, error, name)
            return _build_in_memory(name, split, build)
        with exclusive(stem.with_name(stem.name + '.lock')) as is_alone:
            # Another process may have built it while this one waited for the lock.
            found = _read(stem, name, split, quiet=True)
            if found is None:
                with _workspace(stem, is_alone) as workspace:
                    return _build_and_store(name, split, build, stem=stem, workspace=workspace)
    image_set_found, note = found
    if note:
        logging.warning('%s', note)
    return image_set_found


def undecoded(
    name: str,
    split: str,
    source: Mapping,
    images: LazyImages,
    labels: np.ndarray | None,
    class_names: tuple[str, ...],
) -> ImageSet:
    """A set whose images are decoded when they are asked for; it is known by its source instead of its pixels.

    Args:
        name, split, source: see `cached`.
        images: as many as labels.
        labels: integers (N,), or None where the set has none.
        class_names: names of the classes, empty where the set has no labels.
    """
    labels = np.zeros(len(images), np.int32) if labels is None else labels.astype(np.int32)
    labels.flags.writeable = False
    key = [name, split, source, _FORMAT, images.shape, PIL.__version__]
    sha256 = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return ImageSet(name, split, images, labels, tuple(class_names), sha256)


@contextlib.contextmanager
def exclusive(path: pathlib.Path) -> Iterator[bool]:
    """Holds an advisory lock on `path`, which the system drops even when the process is killed.

    Gives whether it does: not every file system has locks.
    """
    try:
        file = open(path, 'a')
    except OSError:  # a folder that can only be read: nothing will be written there either
        yield False
        return
    with file:
        is_alone = False
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
                is_alone = True
        yield is_alone


@contextlib.contextmanager
def _workspace(stem: pathlib.Path, is_alone: bool) -> Iterator[pathlib.Path]:
    """A folder to build in. One that a killed build of the same entry left is used again, if nobody else can."""
    if is_alone:
        workspace = stem.with_name(f'.building-{stem.name}')
        workspace.mkdir(exist_ok=True)
    else:
        workspace = pathlib.Path(tempfile.mkdtemp(prefix='.building-', dir=stem.parent))
    try:
        yield workspace
    except KeyboardInterrupt:  # the next run goes on here, as after a kill
        raise
    except BaseException:
        shutil.rmtree(workspace, ignore_errors=True)
        raise
    shutil.rmtree(workspace, ignore_errors=True)


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
    images, labels, class_names, note = build(Workspace(name, None))
    if note:
        logging.warning('%s', note)
    return image_set(name, split, images, labels, class_names)


def _build_and_store(name, split, build, *, stem, workspace) -> ImageSet:
    """Builds in `workspace` and moves the files to their names; only builds on a full disk."""
    room = Workspace(name, workspace)
    images, labels, class_names, note = build(room)
    built = image_set(name, split, images, labels, class_names)
    if note:
        logging.warning('%s', note)
    if room.folder is None:
        return built
    try:
        mapped = room.arrays.get('images')
        if mapped is not None and len(built.images) == len(mapped):
            mapped.flush()
        else:  # never on disk, or broken files were left out and the header must say so
            np.save(workspace / 'whole.npy', images)
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


def _meta_sha256(meta: Mapping) -> str:
    rest = {name: value for name, value in meta.items() if name != 'meta_sha256'}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
