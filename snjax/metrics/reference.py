"""Features of the real images, computed once on the devices and cached by content."""

import hashlib
import json
import os
import pathlib
import tempfile
import zipfile

import jax
import numpy as np
from absl import logging

from snjax import parallel
from snjax.data.image_set import ImageSet
from snjax.host.folders import cache_folder
from snjax.metrics import patches
from snjax.metrics.extractors import Extractor, Features, batches_of
from snjax.metrics.patches import PatchSet
from snjax.metrics.protocols import Protocol
from snjax.metrics.scores import Moments, moments

# To be raised with every change of the stored arrays.
_FORMAT = 1
_SUBSET_SEED = 0


class Reference:
    """Features of the real images of one split.

    Args:
        extractor: the network.
        image_set: the split.
        cache_dir: folder of the cached features, whose names hold a hash of images, weights and
            kind of device; None for `$SNJAX_CACHE`, or else `~/.cache/snjax`.
        batch_size: images per call.
    """

    def __init__(
        self,
        extractor: Extractor,
        image_set: ImageSet,
        *,
        cache_dir: str | None = None,
        batch_size: int = 128,
    ):
        self.extractor, self.image_set = extractor, image_set
        key = [_FORMAT, image_set.sha256, extractor.name, extractor.sha256, extractor.resize]
        key += [parallel.backend(), jax.__version__]
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
        self._stem = _stem(cache_dir, f'features-{extractor.name}-{digest}')
        self._batch_size = parallel.divisible(batch_size)
        self.features = self._pixels() if extractor.is_pixels else self._kept('', self._extract)

    def rows(self, protocol: Protocol) -> np.ndarray | slice:
        """Positions of a protocol's real images in the split: all, or a fixed random subset.

        Raises:
            ValueError: the split has too few images.
        """
        there = len(self.image_set.images)
        if protocol.real is None or protocol.real == there:
            return slice(None)
        if protocol.real > there:
            s = self.image_set
            raise ValueError(
                f'protocol {protocol.name} compares with {protocol.real:,} images of {s.split}, but {s.name} has '
                f'{there:,}: use another, as --evaluate.protocols={s.split}/all/{protocol.fake}'
            )
        return np.sort(np.random.default_rng(_SUBSET_SEED).permutation(there)[: protocol.real])

    def of(self, protocol: Protocol) -> Features:
        """Features of a protocol's real images."""
        rows = self.rows(protocol)
        return Features(*(x[rows] for x in self.features))

    def labels(self, protocol: Protocol) -> np.ndarray:
        """Classes of a protocol's real images."""
        return self.image_set.labels[self.rows(protocol)]

    def summary(self, protocol: Protocol) -> Moments | PatchSet:
        """What `snjax.metrics.comparison.quick` compares fakes with."""
        if self.extractor.is_pixels:
            return patches.patches(self.of(protocol).features)
        return self.moments(protocol)

    def moments(self, protocol: Protocol) -> Moments:
        """Mean and covariance of the features of a protocol's real images."""
        real = self.of(protocol).features
        kept = self._kept(f'-moments-{len(real)}', lambda: moments(real)[:2])
        return Moments(*kept, len(real))

    def _pixels(self) -> Features:
        images = np.asarray(self.image_set.images)
        return Features(images, np.zeros((len(images), 1), np.float32))

    def _extract(self) -> Features:
        return self.extractor.of(batches_of(self.image_set.images, self._batch_size))

    def _kept(self, end, build):
        """The arrays in a cache file; on a miss, builds them and writes the file."""
        path = self._stem and self._stem.with_name(self._stem.name + end + '.npz')
        cached = _read(path) if path else None
        # Building needs all processes, so all of them build if one lacks the file.
        if not parallel.any_process(cached is None) and cached is not None:
            return cached
        built = build()
        if path and parallel.is_main():
            _write(path, built)
        return Features(*built)


def summarized(extractor: Extractor, features: Features) -> Moments | PatchSet:
    """`Reference.summary` of any real images, by their features."""
    if extractor.is_pixels:
        return patches.patches(features.features)
    return moments(features.features)


def _stem(cache_dir: str | None, name: str) -> pathlib.Path | None:
    """The cache file without its ending; None where there is no home folder for a cache."""
    try:
        return cache_folder(cache_dir) / name
    except ValueError as error:
        if cache_dir:
            raise
        logging.warning('%s; features of images are not kept', error)
        return None


def _read(path):
    try:
        # Opened here, because NumPy leaves a damaged file open.
        with open(path, 'rb') as file, np.load(file, allow_pickle=False) as arrays:
            return Features(arrays['a'], arrays['b'])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logging.warning('the cached %s is damaged (%s); building it again', path, error)
        return None


def _write(path, arrays):
    """Writes the file completely or not at all; only warns if the folder cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In a temporary folder, which is removed even if the disk is full.
        with tempfile.TemporaryDirectory(prefix='.building-', dir=path.parent) as folder:
            new = pathlib.Path(folder) / path.name
            np.savez(new, a=arrays[0], b=arrays[1])
            os.replace(new, path)
    except OSError as error:
        logging.warning('cannot keep %s (%s)', path, error)
