"""Which files of a folder are images that can be read."""

import functools
import os
import pathlib
from collections import Counter
from collections.abc import Iterator

from snjax.data.cache import file_state

# Formats that Pillow decodes and people train on; other files in the folder are skipped.
_SUFFIXES = (
    '.avif .bmp .gif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tga .tif .tiff .webp'
)
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())
_HEIF_SUFFIXES = frozenset({'.heic', '.heif'})
# Of documents, which nobody takes for images.
DOCUMENTS = frozenset('.csv .db .htm .html .ini .json .md .pdf .tsv .txt .xml .yaml .yml'.split())
_MAX_SUFFIXES = 8


def suffixes() -> frozenset[str]:
    """Endings of the files that are read; of HEIC where the package pillow-heif is installed."""
    return IMAGE_SUFFIXES | (_HEIF_SUFFIXES if _reads_heif() else frozenset())


@functools.cache
def _reads_heif() -> bool:
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def counted(passed_over: Counter[str]) -> str:
    """'.txt 3, .heic 2', and how to read what could be read."""
    shown = ', '.join(f'{suffix} {num}' for suffix, num in passed_over.most_common(_MAX_SUFFIXES))
    if len(passed_over) > _MAX_SUFFIXES:
        shown += ', ...'
    if any(suffix in _HEIF_SUFFIXES for suffix in passed_over):
        shown += '; for HEIC: pip install pillow-heif'
    return shown


class FolderFiles:
    """The images of a folder, and the tables beside them.

    Args:
        root: the folder.

    Attributes:
        root: as given.
        names: of the images, sorted, relative and with '/'.
        others: the endings of files that are not read, with their numbers.
    """

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.names, self.others = find(root)

    def image(self, name: str) -> pathlib.Path:
        """What `pixels.decode` takes for an image."""
        return self.root / name

    def state(self, name: str) -> tuple[int, ...]:
        """(bytes, whatever else tells that the image is the same as before)."""
        return file_state(self.root / name)

    def has(self, name: str) -> bool:
        """Whether there is a file of this name, image or not."""
        return (self.root / name).is_file()

    def num_bytes(self, name: str) -> int:
        """Size of a file, image or not."""
        return (self.root / name).stat().st_size

    def read(self, name: str) -> bytes:
        """Content of a file, image or not."""
        return (self.root / name).read_bytes()


def find(root: pathlib.Path) -> tuple[list[str], Counter[str]]:
    """The images under `root`, sorted, relative and with '/', and the endings of other files.

    It follows linked folders. Hidden files and documents are in neither. Anything but a regular file (a pipe, a
    device) is not opened, because reading it might never end.
    """
    images, others, accepted = [], Counter(), suffixes()
    for path in _visible_files(root):
        suffix = path.suffix.lower()
        if suffix in DOCUMENTS:
            continue
        if suffix not in accepted:
            others[suffix or 'no ending'] += 1
        elif path.exists() and not path.is_file():
            others['no regular file'] += 1
        else:
            images.append(path.relative_to(root).as_posix())
    return sorted(images), others


def _visible_files(root: pathlib.Path) -> Iterator[pathlib.Path]:
    seen = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a parent folder would loop forever
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
        for name in names:
            if not name.startswith('.'):
                yield pathlib.Path(folder, name)
