"""Decoded and resized sets on disk, so that the next run starts at once.

An entry is three files, `<stem>.images.npy`, `<stem>.labels.npy` and `<stem>.json`. The stem ends
in a hash of everything that decides the content: source files, split, size, channels, Pillow's
version. The JSON file is written last and holds the SHA-256 of the arrays, which every load checks;
an entry that does not match is built again. A killed build is continued by the next one.

The cache seldom stops a run. If the folder is full or cannot be written, the set is built in memory
with a warning; only a set too large for the memory is an error.
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
from snjax.data.pixels import Form
from snjax.data.workspace import Workspace
from snjax.host import file_lock
from snjax.host.folders import cache_folder

# To be raised with every change of the stored arrays or of the way from files to pixels.
_FORMAT = 1

# (images (N, H, W, C), labels (N,) or None, class names, a warning of one line or '')
Built = tuple[np.ndarray, np.ndarray | None, tuple[str, ...], str]


def cached(
    name: str,
    split: str,
    source: Mapping,
    build: Callable[[Workspace], Built],
    *,
    form: Form,
    cache_dir: str | None,
) -> ImageSet:
    """Loads a set from the cache, or builds and stores it.

    Args:
        name, split: of the set.
        source: everything else that decides the content (files with sizes and times, versions), in
            JSON types.
        build: builds the set in a `Workspace`, whose arrays may lie on disk, so that the set may be
            larger than the memory. It returns the images (the workspace's array `images`, a leading
            part of it, or another array), labels or None, class names, and a warning for every load
            ('' for none).
        form: of the built images.
        cache_dir: the folder; None for `$SNJAX_CACHE`, or else `~/.cache/snjax`.

    Returns:
        The set, with its images mapped from the cache file if there is one.

    Raises:
        ValueError: neither the folder nor the memory has room for the set, or `cache_dir` means
            nothing.
    """
    try:
        folder = cache_folder(cache_dir)
    except ValueError as error:
        if cache_dir:
            raise
        logging.warning('%s; building %s in memory', error, name)
        return _build_in_memory(name, split, build)
    key = {'name': name, 'split': split, **form.key}
    key |= {'source': source, 'format': _FORMAT, 'pillow': PIL.__version__}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    label = ''.join(c if c.isalnum() else '_' for c in f'{name}-{split}')[:48]
    stem = folder / f'{label}-{form.label}-{digest}'

    found = _read(stem, name, split, form.dtype)
    if found is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            logging.warning(
                'cannot write the cache %s (%s); building %s in memory', folder, error, name
            )
            return _build_in_memory(name, split, build)
        with exclusive(stem.with_name(stem.name + '.lock')) as is_alone:
            # Another process may have built it while this one waited for the lock.
            found = _read(stem, name, split, form.dtype, quiet=True)
            if found is None:
                with _workspace(stem, is_alone) as building:
                    return _build_and_store(name, split, build, stem=stem, folder=building)
    image_set_found, note = found
    if note:
        logging.warning('%s', note)
    return image_set_found


def file_state(path: pathlib.Path) -> tuple[int, ...]:
    """What changes with the content of a file: (bytes, time of modification, inode, time of change).

    Times are in nanoseconds. The last two differ also where a program exchanged the file and set
    its old time of modification. Zeros for a broken link, which reading reports.
    """
    try:
        stat = path.stat()
    except OSError:
        return 0, 0, 0, 0
    return stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns


def undecoded(
    name: str,
    split: str,
    source: Mapping,
    images: LazyImages,
    labels: np.ndarray | None,
    class_names: tuple[str, ...],
) -> ImageSet:
    """A set that decodes its images on access; its hash is of its source, not of its pixels.

    Args:
        name, split, source: see `cached`.
        images: N images.
        labels: integers (N,), or None for a set without labels.
        class_names: names of the classes; empty for a set without labels.
    """
    labels = np.zeros(len(images), np.int32) if labels is None else labels.astype(np.int32)
    labels.flags.writeable = False
    key = [name, split, source, _FORMAT, images.shape, PIL.__version__]
    sha256 = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return ImageSet(name, split, images, labels, tuple(class_names), sha256)


@contextlib.contextmanager
def exclusive(path: pathlib.Path) -> Iterator[bool]:
    """Waits for the lock on `path` and holds it; a context manager.

    Yields whether the lock is held. Not every system has locks: concurrent runs then repeat each
    other's work.
    """
    try:
        file = open(path, 'a')
    except OSError:  # the folder is read-only, so nobody writes there
        yield False
        return
    with file:
        try:
            file_lock.lock(file, wait=True)
            is_alone = True
        except OSError:
            is_alone = False
        yield is_alone


@contextlib.contextmanager
def _workspace(stem: pathlib.Path, is_alone: bool) -> Iterator[pathlib.Path]:
    """A folder to build in; with the lock held, the folder of a killed build of the same entry."""
    if is_alone:
        workspace = stem.with_name(f'.building-{stem.name}')
        workspace.mkdir(exist_ok=True)
    else:
        workspace = pathlib.Path(tempfile.mkdtemp(prefix='.building-', dir=stem.parent))
    try:
        yield workspace
    except KeyboardInterrupt:  # the next run continues here, as after a kill
        raise
    except BaseException:
        shutil.rmtree(workspace, ignore_errors=True)
        raise
    shutil.rmtree(workspace, ignore_errors=True)


def _paths(stem: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """(images, labels, meta) of one entry."""
    images, labels, meta = (f'{stem}{end}' for end in ('.images.npy', '.labels.npy', '.json'))
    return pathlib.Path(images), pathlib.Path(labels), pathlib.Path(meta)


def _read(stem, name, split, dtype, *, quiet=False) -> tuple[ImageSet, str] | None:
    """The entry and its warning; None if it is missing or does not match its checksum."""
    images_path, labels_path, meta_path = _paths(stem)
    try:
        meta = json.loads(meta_path.read_text())
        images = np.load(images_path, mmap_mode='r', allow_pickle=False)
        labels = np.load(labels_path, allow_pickle=False)
        class_names, note = tuple(meta['class_names']), meta['note']
        if images.dtype != dtype or labels.dtype != np.int32 or images.ndim != 4:
            raise ValueError('its arrays have other types')
        if meta['meta_sha256'] != _meta_sha256(meta):
            raise ValueError('its description does not match its checksum')
        if content_sha256(images, labels) != meta['sha256']:
            raise ValueError('its arrays do not match their checksum')
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        if not quiet:
            logging.warning('the cached %s is damaged (%s); building it again', meta_path, error)
        return None
    labels.flags.writeable = False
    return ImageSet(name, split, images, labels, class_names, meta['sha256']), note


def _build_in_memory(name, split, build) -> ImageSet:
    images, labels, class_names, note = build(Workspace(name, None))
    if note:
        logging.warning('%s', note)
    return image_set(name, split, images, labels, class_names)


def _build_and_store(name, split, build, *, stem, folder) -> ImageSet:
    """Builds in `folder` and stores the entry; on a full disk it only builds."""
    workspace = Workspace(name, folder)
    images, labels, class_names, note = build(workspace)
    built = image_set(name, split, images, labels, class_names)
    if note:
        logging.warning('%s', note)
    if workspace.folder is None:
        return built
    try:
        mapped = workspace.arrays.get('images')
        if mapped is not None and len(built.images) == len(mapped):
            mapped.flush()
        else:  # not on disk, or shorter than the mapped file because broken files were left out
            np.save(folder / 'whole.npy', images)
            os.replace(folder / 'whole.npy', folder / 'images.npy')
        _store(built, note, stem=stem, folder=folder)
    except OSError as error:
        logging.warning('cannot store %s in the cache (%s)', name, error)
    return built


def _store(built: ImageSet, note: str, *, stem: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes labels and description beside `images.npy`, then renames all three files."""
    meta = {'name': built.name, 'split': built.split, 'class_names': built.class_names}
    meta |= {'sha256': built.sha256, 'note': note}
    meta['meta_sha256'] = _meta_sha256(meta)
    np.save(folder / 'labels.npy', built.labels)
    (folder / 'meta.json').write_text(json.dumps(meta, indent=1))
    for file, path in zip(('images.npy', 'labels.npy', 'meta.json'), _paths(stem), strict=True):
        os.replace(folder / file, path)


def _meta_sha256(meta: Mapping) -> str:
    rest = {name: value for name, value in meta.items() if name != 'meta_sha256'}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
