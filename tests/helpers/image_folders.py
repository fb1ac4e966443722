"""Small image folders, and how often an image of them is decoded."""

import pathlib
from typing import Any

import numpy as np
from PIL import Image

from snjax import data
from snjax.data import pixels

RED, GREEN, BLUE = [220, 10, 10], [10, 220, 10], [10, 10, 220]


def write(path: pathlib.Path, array: Any, **options: Any) -> pathlib.Path:
    """Writes an image, with `options` of PIL, and the folders that lead to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path, **options)
    return path


def flat(colour: list[int], height: int = 8, width: int = 8) -> np.ndarray:
    """Returns an image of one colour."""
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, len(colour)))


def load(root: pathlib.Path, cache_dir: str, **options: Any) -> data.ImageSet:
    """Loads the folder at 8 px, or as `options` say."""
    options = {'image_size': 8, 'cache_dir': cache_dir, **options}
    return data.load('folder', path=str(root), **options)


def two_classes(root: pathlib.Path) -> pathlib.Path:
    """Makes two classes; dog has a nested folder, the cat a grey and a palette image."""
    write(root / 'cat' / 'a.png', flat(RED))
    write(root / 'cat' / 'b.png', np.full((8, 8), 77))
    palette = Image.new('P', (8, 8), 1)
    palette.putpalette(RED + GREEN)
    palette.save(root / 'cat' / 'c.gif')
    write(root / 'dog' / 'deep' / 'a.PNG', flat(BLUE))
    (root / 'dog' / 'notes.txt').write_text('no image')
    (root / '.DS_Store').write_bytes(b'\0')
    write(root / '.thumbnails' / 'a.png', flat(RED))
    return root


class Counter:
    """Counts the calls of the real `pixels.decode`."""

    def __init__(self, monkeypatch):
        self.num_calls = 0
        real = pixels.decode

        def counted(*args, **options):
            self.num_calls += 1
            return real(*args, **options)

        monkeypatch.setattr(pixels, 'decode', counted)
