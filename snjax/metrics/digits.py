"""The yardstick of digits: are these samples handwritten digits, and are all ten classes there?

It needs no download and no network weights. A fixed seed splits the 1,797 real 8x8 digits of
scikit-learn into 1,297 for training and 500 held-out ones. Samples are reduced to 8x8; a classifier
fitted to the training digits counts their classes, and precision and recall are computed in pixel
space against the training digits. Three references have the same score computed: held-out real
digits (attainable), a Gaussian fitted to the pixels, and uniform noise (useless models).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import sklearn
from jaxtyping import Array, Float, Int, Num
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from snjax.metrics import manifold, scores

NUM_CLASSES = 10
NUM_TRAIN = 1297
SIZE = 8
K = 3  # neighbour at the radius, as in Kynkaanniemi et al. 2019
SEED = 0

MIN_CLASS_SHARE = 0.03
MIN_PRECISION = 0.5

# Images may overshoot 1 by rounding; another range (0 .. 255) is an error.
RANGE_TOLERANCE = 1e-3

Images = Num[np.ndarray, 'n h w c'] | Num[Array, 'n h w c']


@dataclass(frozen=True)
class DigitsScore:
    """Score of one set of samples, with its protocol.

    Attributes:
        class_shares: share of the samples in each of the ten classes, by the classifier.
        precision, recall: improved precision and recall on 8x8 pixels, in [0, 1].
        manifest: the protocol of the comparison (JSON types only).
        references: the scores of the references by name.
    """

    class_shares: tuple[float, ...]
    precision: float
    recall: float
    manifest: Mapping[str, Any]
    references: Mapping[str, 'DigitsScore'] = field(default_factory=dict)

    @property
    def classes_found(self) -> int:
        """Number of classes with at least one sample."""
        return sum(share > 0 for share in self.class_shares)

    @property
    def smallest_class_share(self) -> float:
        """Share of the rarest class; 0 if a class is missing."""
        return min(self.class_shares)

    @property
    def values(self) -> dict[str, float]:
        """The scores by name."""
        return {
            'classes_found': float(self.classes_found),
            'smallest_class_share': self.smallest_class_share,
            'precision': self.precision,
            'recall': self.recall,
        }

    @property
    def details(self) -> dict[str, Any]:
        """The share of every class, and the precision of each reference (JSON types)."""
        references = {name: reference.precision for name, reference in self.references.items()}
        return {'class_shares': list(self.class_shares), 'references': references}

    def lines(self) -> list[str]:
        """Table for the terminal: a header and three rows, with a column per reference."""
        columns = {f'{self.manifest["fake_count"]:,} samples': self, **self.references}
        rows = {
            '': list(columns),
            'classes (smallest share)': [
                f'{s.classes_found}/{NUM_CLASSES} ({100 * s.smallest_class_share:.1f} %)'
                for s in columns.values()
            ],
            'precision': [f'{s.precision:.2f}' for s in columns.values()],
            'recall': [f'{s.recall:.2f}' for s in columns.values()],
        }
        return [
            f'{title:<24}' + ''.join(f'{c:>16}' for c in cells) for title, cells in rows.items()
        ]

    def __str__(self) -> str:
        return '\n'.join(self.lines())

    def to_dict(self) -> dict[str, Any]:
        """The score, its protocol and the references as JSON types."""
        out = {
            'classes_found': self.classes_found,
            'smallest_class_share': self.smallest_class_share,
            'class_shares': list(self.class_shares),
            'precision': self.precision,
            'recall': self.recall,
            'manifest': dict(self.manifest),
        }
        if self.references:
            out['references'] = {name: ref.to_dict() for name, ref in self.references.items()}
        return out


def passes(score: DigitsScore) -> bool:
    """Whether samples are digits of every kind: ten classes, none under 3 %, precision >= 0.5.

    Held-out real digits pass; a Gaussian fitted to the pixels, uniform noise and a collapsed
    generator do not.
    """
    return (
        score.classes_found == NUM_CLASSES
        and score.smallest_class_share >= MIN_CLASS_SHARE
        and score.precision >= MIN_PRECISION
    )


class Part(NamedTuple):
    """Digits of one part of the split.

    Attributes:
        pixels: (n, 64), in [0, 1].
        labels: digit of each row.
        indices: rows in `load_digits`, to find the same digits at another size.
    """

    pixels: Float[np.ndarray, 'n 64']
    labels: Int[np.ndarray, ' n']
    indices: Int[np.ndarray, ' n']


def split() -> dict[str, Part]:
    """The fixed split: 1,297 digits for training ('train') and 500 others ('held_out')."""
    data, labels = map(np.asarray, load_digits(return_X_y=True))
    pixels = data / 16  # 17 grey levels, 0 .. 16
    parts = train_test_split(np.arange(len(pixels)), train_size=NUM_TRAIN, random_state=SEED)
    return {
        name: Part(pixels[rows], labels[rows], np.asarray(rows))
        for name, rows in zip(('train', 'held_out'), parts, strict=True)
    }


class DigitsYardstick:
    """Scores samples against the real digits of `sklearn.datasets.load_digits`.

    Split, classifier, k and seeds of the references are fixed, so scores are comparable, and the
    same samples give the same score.

    Attributes:
        train, held_out: 8x8 pixels in [0, 1], (1297, 64) and (500, 64).
        train_labels, held_out_labels: digit of each row.
        train_indices, held_out_indices: rows in `load_digits`, to find the same digits at another
            size.
        held_out_accuracy: share of correct answers of the classifier on the held-out digits.
    """

    def __init__(self):
        train, held_out = (split()[part] for part in ('train', 'held_out'))
        self.train, self.train_labels, self.train_indices = train
        self.held_out, self.held_out_labels, self.held_out_indices = held_out
        self._classifier = SVC(C=10).fit(self.train, self.train_labels)
        self.held_out_accuracy = float(
            np.mean(self._classifier.predict(self.held_out) == self.held_out_labels)
        )

    def score(self, images: Images) -> DigitsScore:
        """Scores samples.

        Args:
            images: at least 4 samples, (N, H, W, 1 or 3), float in [-1, 1] or uint8; the demo
                checks 1,000.

        Returns:
            The score, with `references`.

        Raises:
            ValueError: fewer than 4 samples, or images that `pixel_features` refuses.
        """
        score = self._score_features(pixel_features(images), np.shape(images)[1:])
        return replace(score, references=self.references)

    def classify(self, images: Images) -> Int[np.ndarray, ' n']:
        """Digit of each image, 0 .. 9; images as in `score`."""
        return self._classifier.predict(pixel_features(images))

    @cached_property
    def references(self) -> dict[str, DigitsScore]:
        """Scores of the references: held-out real digits, Gaussian pixels, uniform noise."""
        rng = np.random.default_rng(SEED)
        # Some border pixels are 0 in every digit. A ridge of standard deviation 0.001 makes the
        # covariance definite.
        covariance = np.cov(self.train, rowvar=False) + 1e-6 * np.eye(SIZE * SIZE)
        gaussian = rng.multivariate_normal(
            self.train.mean(axis=0), covariance, size=1000, method='cholesky'
        )
        sets = {
            'held-out digits': self.held_out,
            'Gaussian': gaussian.clip(0, 1),
            'noise': rng.uniform(size=(1000, SIZE * SIZE)),
        }
        return {
            name: self._score_features(pixels, (SIZE, SIZE, 1)) for name, pixels in sets.items()
        }

    def _score_features(
        self, features: Float[np.ndarray, 'n 64'], image_shape: tuple[int, ...]
    ) -> DigitsScore:
        precision, recall = manifold.precision_recall(self.train, features, k=K)
        shares = scores.class_coverage(self._classifier.predict(features), NUM_CLASSES)
        return DigitsScore(
            tuple(shares.tolist()), precision, recall, self._manifest(len(features), image_shape)
        )

    def _manifest(self, fake_count: int, image_shape: tuple[int, ...]) -> dict[str, Any]:
        split = np.asarray(self.train_indices, '<i4')
        return {
            'real': 'sklearn.datasets.load_digits, training part of a random split',
            'real_count': len(self.train),
            'split_seed': SEED,
            'split_sha256': hashlib.sha256(split.tobytes()).hexdigest(),
            'fake_count': fake_count,
            'image_shape': [int(side) for side in image_shape],
            'resize': 'area average to 8x8',
            'extractor': 'pixels 8x8 in [0, 1]',
            'k': K,
            'classifier': 'sklearn.svm.SVC(C=10), RBF, fitted to the same 1,297 digits',
            'held_out_count': len(self.held_out),
            'held_out_accuracy': self.held_out_accuracy,
            'versions': {
                'numpy': np.__version__,
                'scikit-learn': sklearn.__version__,
            },
        }


def pixel_features(images: Images) -> Float[np.ndarray, 'n 64']:
    """Grey 8x8 pixels in [0, 1] of images of any size from 8x8 up.

    Reduced by area average: a pixel that straddles two cells is shared between them. For sides that
    are multiples of 8 that is the mean of each cell. Three channels are averaged.

    Args:
        images: (N, H, W, 1 or 3), float in [-1, 1] or uint8.

    Returns:
        (N, 64), float64, rows of the image one after the other.

    Raises:
        ValueError: another shape or type, or a value that is not finite or outside [-1, 1].
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or min(images.shape[1:3]) < SIZE:
        raise ValueError(
            f'images have shape {images.shape}: '
            'give (N, H, W, C) with H and W at least 8 and C of 1 or 3'
        )
    grey = _unit_range(images).mean(axis=-1)
    num, height, width = grey.shape
    small = area_weights(height) @ grey @ area_weights(width).T
    # The weights sum to 1 only up to rounding.
    return small.reshape(num, SIZE * SIZE).clip(0, 1)


def area_weights(length: int) -> Float[np.ndarray, 'size length']:
    """Matrix that averages `length` pixels into 8 cells: the share of pixel p in cell i."""
    edges = np.arange(SIZE + 1)[:, None] * length / SIZE
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return overlap.clip(0) * SIZE / length


def _unit_range(images: np.ndarray) -> np.ndarray:
    """Images as float64 in [0, 1], from uint8 or from floats in [-1, 1]."""
    if images.dtype == np.uint8:
        return images / 255
    # bfloat16 of ml_dtypes has kind 'V'.
    if images.dtype.kind not in 'fV':
        raise ValueError(f'images are {images.dtype}: give float in [-1, 1], or uint8')
    images = images.astype(np.float64)
    if not np.isfinite(images).all():
        raise ValueError('images have NaN or infinite values: the generator has diverged')
    if images.size and np.abs(images).max() > 1 + RANGE_TOLERANCE:
        raise ValueError(
            f'images run from {images.min():.4g} to {images.max():.4g}: '
            'give float in [-1, 1], or uint8'
        )
    return (images.clip(-1, 1) + 1) / 2
