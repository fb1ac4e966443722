"""Encoded images with classes, wherever they lie, decoded into an `ImageSet`."""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections import Counter
from typing import Protocol, runtime_checkable

import numpy as np
from absl import logging
from PIL import Image

from snjax.data import class_warnings, folder_files, image_warnings, pixels
from snjax.data.cache import Built, cached, undecoded
from snjax.data.condition_tables import Conditions
from snjax.data.image_set import ImageSet, ImageSource, files_sha256, with_conditions
from snjax.data.label_tables import Classes
from snjax.data.lazy_images import LazyImages
from snjax.data.workspace import Workspace

_MAX_NAMED_FILES = 20
_MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # Pillow refuses more, and warns of half of them


@runtime_checkable
class ImageFiles(Protocol):
    """Encoded images by name: `folder_files.FolderFiles`, `zip_files.ZipFiles` and Parquet's rows.

    Attributes:
        root: the folder or archive.
        names: of the images.
        others: what is passed over, by ending, with numbers.
    """

    root: pathlib.Path
    names: list[str]
    others: Counter[str]

    def image(self, name: str) -> bytes | pathlib.Path:
        """What `pixels.decode` takes for an image; safe to call from several threads."""
        ...

    def state(self, name: str) -> tuple[int, ...]:
        """(bytes, whatever else tells that the image is the same as before)."""
        ...


def source(
    name: str,
    split: str,
    files: ImageFiles,
    classes: Classes,
    *,
    table: str,
    conditions: Conditions | None = None,
    form: pixels.Form,
    skip_broken: bool,
    cache_dir: str | None,
    decode_later: bool,
) -> ImageSource:
    """The set of `files` in the order and with the labels of `classes`.

    Args:
        name, split: of the set.
        files: where the images are.
        classes: of all of them.
        table: what gave the classes; '' for the names of the files.
        conditions: numbers of all images, in the order of `classes`; None for none.
        form: of the result.
        skip_broken, cache_dir, decode_later: see `sets.find`.

    Raises:
        ValueError: `skip_broken` with `decode_later`; `read` raises it for a broken image.
    """
    if decode_later and skip_broken:
        raise ValueError(
            'data.skip_broken=True has every file decoded to find the broken ones, which '
            'data.stream=decode does not: remove them, or use --config.data.stream=on'
        )
    said = _sha256(classes) if table else ''

    def read() -> ImageSet:
        _warn_of_others(files)
        states = [(file, *files.state(file)) for file in classes.files]
        state = {'files': states, 'skip_broken': skip_broken} | ({'labels': said} if said else {})
        if decode_later:
            image_set = _undecoded(name, split, files, classes, form, state)
        else:
            image_set = cached(
                name,
                split,
                state,
                lambda workspace: _build(files, classes, form, skip_broken, workspace),
                form=form,
                cache_dir=cache_dir,
            )
        if len(image_set.images) == len(classes.files):
            image_set = dataclasses.replace(image_set, names=classes.files)
        named = [(file, num_bytes) for file, num_bytes, *_ in states]
        named += [(f'labels {said}', 0)] if said else []
        if conditions:
            image_set = with_conditions(image_set, conditions.values, conditions.names)
        image_set = dataclasses.replace(image_set, files_sha256=files_sha256(named))
        class_warnings.warn(files.root, classes, image_set, table)
        return image_set

    numbers = conditions.names if conditions else ()
    return ImageSource(len(files.names), read, classes.names, numbers)


def _sha256(classes: Classes) -> str:
    """Of all that a table says."""
    digest = hashlib.sha256(json.dumps([classes.files, classes.names]).encode())
    if classes.labels is not None:
        digest.update(classes.labels.astype('<i4').tobytes())
    return digest.hexdigest()


def _warn_of_others(files: ImageFiles) -> None:
    if files.others:
        logging.warning(
            '%d of %d files in %s are not images that this program reads: %s',
            files.others.total(),
            files.others.total() + len(files.names),
            files.root,
            folder_files.counted(files.others),
        )


def _undecoded(name, split, files: ImageFiles, classes: Classes, form, state) -> ImageSet:
    def read(positions, out):
        for to, i in enumerate(positions):
            out[to] = _decode(files, classes.files[i], form)

    images = LazyImages((len(classes.files), *form.shape), read, form.dtype)
    return undecoded(name, split, state, images, classes.labels, classes.names)


def _decode(files: ImageFiles, name: str, form: pixels.Form) -> np.ndarray:
    """One image; raises a ValueError of one line for a broken file."""
    file = files.root / name
    try:
        with image_warnings.of_file(file):
            return pixels.decode(files.image(name), form, upright=True)
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
    source: ImageFiles,
    classes: Classes,
    form: pixels.Form,
    skip_broken: bool,
    workspace: Workspace,
) -> Built:
    """Decodes the files into the arrays of a workspace, for `cached`."""
    root, (files, labels, class_names) = source.root, classes
    images = workspace.array('images', (len(files), *form.shape), form.dtype)
    is_good = workspace.array('is_good', (len(files),), bool)

    def read(start, stop):
        for i in range(start, stop):
            try:
                images[i] = _decode(source, files[i], form)
                is_good[i] = True
            except ValueError:
                if not skip_broken:
                    raise
                is_good[i] = False

    with image_warnings.named(str(root)):
        workspace.in_chunks(len(files), read, what=f'images of {root} decoded')
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
