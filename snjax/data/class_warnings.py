"""Warnings of classes that are likely a mistake."""

import pathlib

import numpy as np
from absl import logging

from snjax.data.image_set import ImageSet
from snjax.data.label_tables import Classes

_SPLIT_NAMES = frozenset({'train', 'training', 'test', 'val', 'valid', 'validation'})
_UNEQUAL_CLASSES = 10  # the commonest class has this many times the images of the rarest
_FEW_IMAGES = 2  # per class: rather names or numbers of the images than classes


def warn(root: pathlib.Path, classes: Classes, image_set: ImageSet, table: str) -> None:
    """Warns of stray images, splits as classes, one class, unequal classes, a class an image.

    Args:
        root: the folder or archive.
        classes: of all its images.
        image_set: what was read of them.
        table: what gave the classes; '' for subfolders.
    """
    names = image_set.class_names
    if not names:
        num_loose = sum('/' not in name for name in classes.files)
        if num_loose < len(classes.files) and not table:
            logging.warning(
                '%s has %d images outside its subfolders, so the subfolders are not classes',
                root,
                num_loose,
            )
        return
    if len(names) > 1 and not table and {name.lower() for name in names} <= _SPLIT_NAMES:
        logging.warning(
            'the classes of %s are %s, which look like splits; give one: --config.data.path=%s',
            root,
            ', '.join(names),
            root / names[0],
        )
    counts = np.bincount(image_set.labels, minlength=len(names))
    if len(names) == 1:
        logging.warning('%s has one class only, %r (%d images)', root, names[0], counts[0])
    elif table and len(image_set.labels) < _FEW_IMAGES * len(names):
        logging.warning(
            '%s of %s has %d classes for %d images: are these classes?',
            table,
            root,
            len(names),
            len(image_set.labels),
        )
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
