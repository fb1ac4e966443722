"""`find` and `load`: an image set by name; `check_request`: whether a name could be found."""

import difflib
import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from snjax.data.digits import load_digits
from snjax.data.folder import find_folder
from snjax.data.image_set import ImageSet, ImageSource
from snjax.data.npz import load_npz
from snjax.data.tfds_sets import find_tfds, is_known, known_names


class OwnSet(NamedTuple):
    """An image set that is not of TFDS.

    Attributes:
        find: takes `split`, `image_size`, `channels`, `path`, `skip_broken`, `cache_dir` and
            `decode_later`, as `find` below, by keyword.
        takes_path: whether the set is a folder or a file of the user's.
    """

    find: Callable[..., ImageSource]
    takes_path: bool = False


def _find_digits(*, split: str, image_size: int, channels: int, **_: Any) -> ImageSource:
    read = functools.partial(load_digits, split=split, image_size=image_size, channels=channels)
    return ImageSource(None, read)


def _find_npz(
    *, path: str | None, skip_broken: bool, decode_later: bool, **options: Any
) -> ImageSource:
    del skip_broken, decode_later  # nothing in an .npz is encoded
    return ImageSource(None, functools.partial(load_npz, path, **options))


OWN_SETS = {
    'digits': OwnSet(_find_digits),
    'folder': OwnSet(find_folder, takes_path=True),
    'npz': OwnSet(_find_npz, takes_path=True),
}


def load(name: str, **options: Any) -> ImageSet:
    """Loads an image set as square uint8 arrays; takes the options of `find`."""
    return find(name, **options).read()


def find(
    name: str,
    *,
    image_size: int,
    channels: int = 3,
    split: str = 'train',
    data_dir: str | None = None,
    path: str | None = None,
    skip_broken: bool = False,
    cache_dir: str | None = None,
    decode_later: bool = False,
) -> ImageSource:
    """Finds an image set and counts its images; its `read` decodes them. Never imports TensorFlow.

    Args:
        name: 'digits' (embedded in scikit-learn), 'folder', 'npz' (both need `path`), or any image
            set of TFDS, e.g. 'cifar10'. CIFAR-10, CIFAR-100 and STL-10 are downloaded and prepared
            if they are missing.
        image_size: height and width of the images, pixels; others are resized and cropped.
        channels: 1 (grey) or 3 (RGB).
        split: 'train' or another split of the set; TFDS's syntax for TFDS sets.
        data_dir: TFDS's data folder; None for `$TFDS_DATA_DIR`, or else `~/tensorflow_datasets`.
        path: the folder or the `.npz` file.
        skip_broken: for 'folder', leave out files that cannot be decoded.
        cache_dir: folder of the prepared sets; None for `$SNJAX_CACHE`, or else `~/.cache/snjax`.
        decode_later: decode the images of a folder or a TFDS set on access (`LazyImages`) and cache
            nothing, for disks with no room for the prepared set.

    Raises:
        ValueError: in one line, the wrong value, the accepted ones and the config key to change.
            `read` raises it too, for images that cannot be decoded.
    """
    check_request(name, image_size, channels, data_dir=data_dir, path=path)
    pixels = {'split': split, 'image_size': image_size, 'channels': channels}
    places = {'cache_dir': cache_dir, 'decode_later': decode_later}
    if name in OWN_SETS:
        return OWN_SETS[name].find(path=path, skip_broken=skip_broken, **places, **pixels)
    return find_tfds(name, data_dir=data_dir, **places, **pixels)


def check_request(
    name: str,
    image_size: int,
    channels: int,
    *,
    data_dir: str | None = None,
    path: str | None = None,
) -> None:
    """Checks the arguments of `find` as far as that needs no data.

    Raises:
        ValueError: in one line, the wrong value, the accepted ones and the config key to change.
    """
    check_pixels(image_size, channels)
    with_path = [own for own, found in OWN_SETS.items() if found.takes_path]
    if path and name not in with_path:
        raise ValueError(
            f'the set {name!r} takes no path, but path is {path!r}; accepted with a path: '
            f'{", ".join(map(repr, with_path))}; set --config.data.name or leave '
            '--config.data.path empty'
        )
    if name not in OWN_SETS:
        _check_name(name, data_dir)


def check_pixels(image_size: int, channels: int) -> None:
    """Raises a ValueError of one line for an impossible size or number of channels."""
    if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 1:
        raise ValueError(
            f'image_size is {image_size!r}; accepted: a whole number of pixels >= 1; '
            'set --config.data.image_size'
        )
    if channels not in (1, 3):
        raise ValueError(
            f'channels is {channels!r}; accepted: 1 (grey) or 3 (RGB); set --config.data.channels'
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
