"""`find` and `load`: an image set by name; `check_request`: whether a name could be found."""

import difflib
import functools
import pathlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from snjax.data import npz
from snjax.data.digits import load_digits
from snjax.data.folder import find_folder
from snjax.data.image_set import ImageSet, ImageSource
from snjax.data.parquet import find_parquet
from snjax.data.pixels import FITS, Form
from snjax.data.tfds_sets import find_tfds, is_known, known_names
from snjax.image_format import DEPTHS, MAX_CHANNELS, ImageSize, check_size


class OwnSet(NamedTuple):
    """An image set that is not of TFDS.

    Attributes:
        find: takes `split`, `image_size`, `channels`, `fit`, `bits`, `path`, `skip_broken`,
            `cache_dir`, `decode_later`, `labels` and `conditions`, as `find` below, by keyword.
        takes_path: whether the set is a folder or a file of the user's.
        takes_labels: whether it can be told what gives the classes.
        takes_conditions: whether it can be told what gives the numbers.
    """

    find: Callable[..., ImageSource]
    takes_path: bool = False
    takes_labels: bool = False
    takes_conditions: bool = False


def _find_parquet(*, conditions: str | None, **options: Any) -> ImageSource:
    del conditions  # refused by `check_request`
    return find_parquet(**options)


def _find_digits(*, split: str, **options: Any) -> ImageSource:
    form = {name: options[name] for name in Form._fields}
    return ImageSource(None, functools.partial(load_digits, split=split, **form))


def _find_npz(
    *,
    path: str | None,
    skip_broken: bool,
    decode_later: bool,
    labels: str,
    conditions: str | None,
    **options: Any,
) -> ImageSource:
    del skip_broken, decode_later  # nothing in an .npz is encoded
    del labels  # refused by `check_request`, as the name of a table of numbers
    with_numbers = conditions is not None
    names = npz.condition_names(path, options['split']) if with_numbers else ()
    read = functools.partial(npz.load_npz, path, with_numbers=with_numbers, **options)
    return ImageSource(None, read, condition_names=names)


OWN_SETS = {
    'digits': OwnSet(_find_digits),
    'folder': OwnSet(find_folder, takes_path=True, takes_labels=True, takes_conditions=True),
    'npz': OwnSet(_find_npz, takes_path=True),
    'parquet': OwnSet(_find_parquet, takes_path=True, takes_labels=True),
}
_PARQUET_PATTERNS = ('*.parquet', 'data/*.parquet', 'train/*.parquet')


def load(name: str, **options: Any) -> ImageSet:
    """Loads an image set as arrays of one size; takes the options of `find`."""
    return find(name, **options).read()


def find(
    name: str,
    *,
    image_size: ImageSize,
    channels: int = 3,
    fit: str = 'crop',
    bits: int = 8,
    split: str = 'train',
    data_dir: str | None = None,
    path: str | None = None,
    skip_broken: bool = False,
    cache_dir: str | None = None,
    decode_later: bool = False,
    labels: str = '',
    conditions: str | None = None,
) -> ImageSource:
    """Finds an image set and counts its images; its `read` decodes them. Never imports TensorFlow.

    Args:
        name: 'digits' (embedded in scikit-learn), 'folder', 'npz', 'parquet' (they need `path`), or
            any image set of TFDS, e.g. 'cifar10'. CIFAR-10, CIFAR-100 and STL-10 are downloaded and
            prepared if they are missing.
        image_size: pixels of a square's side, or (height, width); other images are made to fit.
        channels: 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGBA), or those of an .npz, up to 16.
        fit: how they are made to fit: 'crop', 'pad' or 'stretch', see `pixels`.
        bits: of a value: 8, or 16 for grey images and .npz files.
        split: 'train' or another split of the set; TFDS's syntax for TFDS sets.
        data_dir: TFDS's data folder; None for `$TFDS_DATA_DIR`, or else `~/tensorflow_datasets`.
        path: the folder, zip archive, `.npz` file or Parquet file.
        skip_broken: for 'folder', leave out files that cannot be decoded.
        cache_dir: folder of the prepared sets; None for `$SNJAX_CACHE`, or else `~/.cache/snjax`.
        decode_later: decode the images of a folder or a TFDS set on access (`LazyImages`) and cache
            nothing, for disks with no room for the prepared set.
        labels: what gives the classes: for 'folder' the name of a table in it, or 'folders', see
            `folder.find_folder`; for 'parquet' the name of a column. '' finds it.
        conditions: what gives numbers to the images of 'folder': the name of a table in it, alone
            or with columns, see `folder.find_folder`. '' finds it, and an .npz has them as an
            array. None, by default, reads no numbers.

    Raises:
        ValueError: in one line, the wrong value, the accepted ones and the config key to change.
            `read` raises it too, for images that cannot be decoded.
    """
    form = {'image_size': image_size, 'channels': channels, 'fit': fit, 'bits': bits}
    check_request(name, **form, data_dir=data_dir, path=path, labels=labels, conditions=conditions)
    form['split'] = split
    places = {'cache_dir': cache_dir, 'decode_later': decode_later}
    if name in OWN_SETS:
        own = {'path': path, 'skip_broken': skip_broken, 'labels': labels}
        own |= {'conditions': conditions}
        return OWN_SETS[name].find(**own, **places, **form)
    return find_tfds(name, data_dir=data_dir, **places, **form)


def name_of(path: str) -> str:
    """The set that reads a path of the user's: 'npz' or 'parquet' for such a file, or 'folder'; and
    'parquet' for a folder with such files.
    """
    file = pathlib.Path(path)
    if (suffix := file.suffix.lower()) in ('.npz', '.parquet'):
        return suffix[1:]
    try:
        # Where `datasets` and its hub put the files.
        found = any(any(file.expanduser().glob(pattern)) for pattern in _PARQUET_PATTERNS)
    except (OSError, RuntimeError, ValueError):  # said by `find`, which reads it
        return 'folder'
    return 'parquet' if path and found else 'folder'


def class_names(name: str, path: str) -> tuple[str, ...]:
    """The names of the classes of a folder, an archive or a file, without decoding an image.

    Args:
        name, path: see `find`.

    Raises:
        ValueError: of one line: no such set, or it has no classes.
    """
    found = find(name, image_size=1, path=path).class_names
    if not found:
        raise ValueError(
            f'{path} has no classes: every image must lie in a subfolder named after its class, or '
            'have a row in labels.csv or labels.json (of an .npz, none are looked for here)'
        )
    return found


def condition_names(name: str, path: str) -> tuple[str, ...]:
    """The names of the numbers of a folder's, an archive's or an .npz's images, without decoding one;
    () if it has none, as where only a table of another name has them.

    Args:
        name, path: see `find`.

    Raises:
        ValueError: of one line: no such set, or its table is malformed.
    """
    return find(name, image_size=1, path=path, conditions='').condition_names


def check_request(
    name: str,
    image_size: ImageSize,
    channels: int,
    fit: str = 'crop',
    bits: int = 8,
    *,
    data_dir: str | None = None,
    path: str | None = None,
    labels: str = '',
    conditions: str | None = None,
) -> None:
    """Checks the arguments of `find` as far as that needs no data.

    Raises:
        ValueError: in one line, the wrong value, the accepted ones and the config key to change.
    """
    check_pixels(image_size, channels, fit, bits)
    _check_kept(name, channels, bits)
    with_path = [own for own, found in OWN_SETS.items() if found.takes_path]
    if path and name not in with_path:
        raise ValueError(
            f'the set {name!r} takes no path, but path is {path!r}; accepted with a path: '
            f'{", ".join(map(repr, with_path))}; set --config.data.name or leave '
            '--config.data.path empty'
        )
    with_labels = [own for own, found in OWN_SETS.items() if found.takes_labels]
    if labels and name not in with_labels:
        raise ValueError(
            f'the set {name!r} has labels of its own, but data.labels is {labels!r}; accepted with '
            f'data.labels: {", ".join(map(repr, with_labels))}; leave --config.data.labels empty'
        )
    with_conditions = [own for own, found in OWN_SETS.items() if found.takes_conditions]
    if conditions and name not in with_conditions:
        raise ValueError(
            f'the set {name!r} takes no table of numbers, but data.conditions is {conditions!r}; '
            f'accepted with data.conditions: {", ".join(map(repr, with_conditions))}; leave '
            '--config.data.conditions empty'
        )
    if name not in OWN_SETS:
        _check_name(name, data_dir)


def check_pixels(image_size: ImageSize, channels: int, fit: str = 'crop', bits: int = 8) -> None:
    """Raises a ValueError of one line for an impossible size, number of channels or bits, or fit."""
    check_size(image_size)
    if channels not in range(1, MAX_CHANNELS + 1):
        raise ValueError(
            f'channels is {channels!r}; accepted: 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGBA), up to '
            f'{MAX_CHANNELS}; set --config.data.channels'
        )
    if fit not in FITS:
        raise ValueError(f'fit is {fit!r}; accepted: {", ".join(FITS)}; set --config.data.fit')
    if bits not in DEPTHS:
        raise ValueError(f'bits is {bits!r}; accepted: 8 or 16; set --config.data.bits')


def _check_kept(name: str, channels: int, bits: int) -> None:
    """Raises a ValueError for channels or bits that only arrays have."""
    if name == 'npz':
        return
    if channels > 4:
        raise ValueError(
            f'channels is {channels}, and images of the set {name!r} have at most 4 (RGBA): give an '
            '.npz file with --config.data.name=npz'
        )
    if bits == 16 and channels > 1:
        raise ValueError(
            f'bits is 16 and channels {channels}: files of images are read with 16 bits in grey alone; '
            'set --config.data.channels=1, or give an .npz file with --config.data.name=npz'
        )


def _check_name(name: str, data_dir: str | None) -> None:
    """Raises a ValueError with the nearest names for an unknown one."""
    base = re.split('[/:]', name)[0]
    if is_known(base, data_dir):
        return
    nearest = difflib.get_close_matches(name.lower(), [*OWN_SETS, *known_names()], n=3)
    hint = f'did you mean {" or ".join(nearest)}? ' if nearest else ''
    raise ValueError(
        f"unknown image set {name!r}; {hint}accepted: {', '.join(OWN_SETS)} and TFDS's sets; "
        'set --config.data.name'
    )
