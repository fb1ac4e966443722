"""`set.json`: which images a run was trained on, so that no start goes on with others in silence.

The file holds the SHA-256 of the decoded images and labels, that of the numbers of a model with
conditions and, for up to 200,000 images, a short digest of each and its name, by which a refusal
says what has changed. Where the images lie does not count: a set that was moved or copied is the
same. Images that are decoded only as they are read (`LazyImages`) are known by the names and sizes
of their files instead.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from absl import logging
from jaxtyping import UInt

from snjax.data import ImageSet, LazyImages
from snjax.host.paths import printable
from snjax.image_format import MAX_COLUMNS
from snjax.runs.files import replace_file
from snjax.runs.workdir import SET_NAME, newest_step

_FORMAT = 1
_MAX_DESCRIBED = 200_000  # images; more have no digests of their own
_DIGEST_BYTES = 8
_MAX_NAMED = 3
_DIGESTS = ('sha256', 'files_sha256', 'digests')


def read(workdir: Path) -> dict[str, Any] | None:
    """What a run was trained on; None if that is not known, as of a run of an older version."""
    return _read(workdir)[0]


def _read(workdir: Path) -> tuple[dict[str, Any] | None, str]:
    """The record, or None and why a file that is there cannot be used."""
    try:
        record = json.loads((workdir / SET_NAME).read_bytes())
        _check_record(record)
    except FileNotFoundError:
        return None, ''
    except (OSError, ValueError, KeyError, TypeError) as error:
        return None, str(error)
    return record, ''


def _check_record(record: Any) -> None:
    """Raises an error of one of several types unless a record has what this module reads."""
    num = record['num_images']
    texts = all(isinstance(record[key], str) for key in ('name', 'pillow', *_DIGESTS))
    lists = all(isinstance(record[key], list) for key in ('names', 'replaced'))
    if record['format'] != _FORMAT or not (isinstance(num, int) and texts and lists):
        raise ValueError('it is of another format')
    sizes = len(record['digests']), len(record['names'])
    if sizes[0] not in (0, 2 * _DIGEST_BYTES * num) or sizes[1] not in (0, num):
        raise ValueError('it does not describe each image')


def check(
    workdir: Path, image_set: ImageSet, *, accept_changed: bool = False, has_rows: bool = False
) -> None:
    """Checks that a set is the one that the run in `workdir` was trained on.

    Args:
        workdir: of the run; without `set.json`, any set is accepted.
        image_set: the run's split, as it is now.
        accept_changed: only warn of another set.
        has_rows: the state of the run has a row for each image, so their number cannot change.

    Raises:
        ValueError: it is another one; the message says what has changed.
    """
    record, problem = _read(workdir)
    if problem:
        logging.warning(
            '%s cannot be used (%s): whether the images are those of the run is not checked',
            workdir / SET_NAME,
            problem,
        )
    what = _changed(record, image_set) if record else ''
    if record is None or not what:
        return
    what = f'{workdir} was trained on another set: {what}'
    if has_rows and record['num_images'] != len(image_set.images):
        raise ValueError(
            f'{what}; it has a latent for each image, so restore the images, or use another '
            '--workdir'
        )
    if not accept_changed:
        raise ValueError(
            f'{what}; restore the images, or accept them with --config.data.accept_changed=true'
        )
    logging.warning('%s', what)


def write(workdir: Path, image_set: ImageSet) -> None:
    """Writes what a run is trained on from now on. Process 0 alone calls it, after `check`."""
    old = read(workdir)
    is_same = old and not _changed(old, image_set)
    if old and is_same and (old['sha256'] or not _sha256(image_set)):
        return
    images = image_set.images
    is_described = len(images) <= _MAX_DESCRIBED and not isinstance(images, LazyImages)
    record = {
        'format': _FORMAT,
        'name': image_set.name,
        'split': image_set.split,
        'num_images': len(images),
        'sha256': _sha256(image_set),
        'files_sha256': image_set.files_sha256,
        'conditions_sha256': image_set.conditions_sha256,
        'pillow': PIL.__version__,
        'digests': _digests(np.asarray(images)) if is_described else '',
        'names': list(image_set.names) if len(images) <= _MAX_DESCRIBED else [],
        'class_names': list(image_set.class_names),
        'replaced': old['replaced'] if old else [],
    }
    if old and not is_same:
        until = {'until_step': newest_step(workdir)}
        record['replaced'] = [*old['replaced'], {k: old[k] for k in ('sha256', 'name')} | until]
    replace_file(workdir / SET_NAME, json.dumps(record) + '\n')


def columns_line(workdir: Path, num: int) -> str:
    """'columns: ant, bee, cow' for a grid whose columns are the `num` classes of a run; '' where
    their names are not known, as of a run of an older version, or are mere numbers."""
    record = read(workdir) or {}
    names = record.get('class_names')
    if not isinstance(names, list) or len(names) != num or not 1 < num <= MAX_COLUMNS:
        return ''
    if [str(name) for name in names] == [str(i) for i in range(num)]:
        return ''
    return 'columns: ' + ', '.join(printable(name) for name in names)


def identity(image_set: ImageSet) -> str:
    """The hex digest that processes which read the same images agree on."""
    images = _sha256(image_set) or image_set.files_sha256
    if not image_set.conditions_sha256:
        return images
    return hashlib.sha256(f'{images} {image_set.conditions_sha256}'.encode()).hexdigest()


def _sha256(image_set: ImageSet) -> str:
    """Of the pixels and labels; '' if they are not decoded yet."""
    return '' if isinstance(image_set.images, LazyImages) else image_set.sha256


def _digests(images: UInt[np.ndarray, 'n h w c']) -> str:
    """16 hexadecimal digits per image."""
    return ''.join(hashlib.blake2b(x, digest_size=_DIGEST_BYTES).hexdigest() for x in images)


def _changed(record: Mapping[str, Any], image_set: ImageSet) -> str:
    """What differs between the set of a record and a set; '' if nothing is known to."""
    was, now = record.get('conditions_sha256'), image_set.conditions_sha256
    numbers = ['other numbers of the images, or other names of them'] if was and was != now else []
    return ', '.join(filter(None, [_changed_images(record, image_set), *numbers]))


def _changed_images(record: Mapping[str, Any], image_set: ImageSet) -> str:
    sha256, num = _sha256(image_set), len(image_set.images)
    if sha256 and record['sha256']:
        if sha256 == record['sha256']:
            return ''
    elif image_set.files_sha256 and record['files_sha256']:
        if image_set.files_sha256 == record['files_sha256']:
            return ''
    elif record['num_images'] == num:
        return ''
    details = _details(record, image_set)
    if record['num_images'] != num:
        details = [f'{record["num_images"]} images then, {num} now', *details]
    if sha256 and image_set.files_sha256 == record['files_sha256'] != '':
        details.append('the files have the same names and sizes')
        if record['pillow'] != PIL.__version__:
            details.append(f'Pillow was {record["pillow"]} and is {PIL.__version__}')
    return ', '.join(details or ['the images or their labels differ'])


def _details(record: Mapping[str, Any], image_set: ImageSet) -> list[str]:
    """Which images are missing, new or different, as far as that is known."""
    is_lazy = isinstance(image_set.images, LazyImages)
    old_names, new_names = record['names'], list(image_set.names)
    if is_lazy or not record['digests']:
        if not (old_names and new_names):
            return []
        return _listed(old_names, new_names)
    old, new = _split(record['digests']), _split(_digests(np.asarray(image_set.images)))
    if not (old_names and new_names):
        # Without names an image is known by its pixels, and told by its number.
        if new == old:
            return ['other labels']
        if Counter(new) == Counter(old):
            return ['another order']
        missing = Counter(old) - Counter(new)
        added = Counter(new) - Counter(old)
        gone = [f'number {i}' for i, x in enumerate(old) if x in missing]
        come = [f'number {i}' for i, x in enumerate(new) if x in added]
        return _counted(gone, 'missing') + _counted(come, 'new')
    was, now = (dict(zip(*pair, strict=True)) for pair in ((old_names, old), (new_names, new)))
    other = [name for name in old_names if name in now and was[name] != now[name]]
    found = _listed(old_names, new_names) + _counted(other, 'with other pixels')
    return found or ['other labels or another order']


def _split(digests: str) -> list[str]:
    width = 2 * _DIGEST_BYTES
    return [digests[i : i + width] for i in range(0, len(digests), width)]


def _listed(old: Sequence[str], new: Sequence[str]) -> list[str]:
    before, after = set(old), set(new)
    gone = [f'{name} (number {i})' for i, name in enumerate(old) if name not in after]
    come = [name for name in new if name not in before]
    return _counted(gone, 'missing') + _counted(come, 'new')


def _counted(names: Sequence[str], what: str) -> list[str]:
    if not names:
        return []
    more = f' and {len(names) - _MAX_NAMED} more' if len(names) > _MAX_NAMED else ''
    return [f'{len(names)} {what}: {", ".join(names[:_MAX_NAMED])}{more}']
