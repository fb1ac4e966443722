"""All that is said of fakes beside real images, from the features of both."""

import dataclasses

import numpy as np

from snjax.metrics import diversity, scores
from snjax.metrics.extractors import Extractor, Features
from snjax.metrics.manifold import prdc
from snjax.metrics.scores import Moments

K = 5
SPLITS = 10
SUBSETS = 100
SUBSET_SIZE = 1000


@dataclasses.dataclass(frozen=True)
class ScoredSet:
    """Real images or fakes.

    Attributes:
        features: of all of them.
        labels: their classes (n,), or None.
        images: pixels of some of them, the first, or of all; None where nothing looks at them.
    """

    features: Features
    labels: np.ndarray | None = None
    images: np.ndarray | None = None

    def first(self, num: int) -> 'ScoredSet':
        """The first `num`."""
        cut = [None if x is None else x[:num] for x in (self.labels, self.images)]
        return ScoredSet(Features(*(x[:num] for x in self.features)), *cut)

    def __len__(self) -> int:
        return len(self.features.features)


def names(extractor: Extractor) -> dict[str, str]:
    """What the distribution scores are called: the established names are Inception's alone."""
    if extractor.is_inception:
        return {'frechet': 'fid', 'class': 'inception_score', 'kernel': 'kid', 'intra': 'intra_fid'}
    return {
        'frechet': 'frechet_distance',
        'class': 'classifier_score',
        'kernel': 'kernel_distance',
        'intra': 'intra_frechet_distance',
    }


def title(extractor: Extractor) -> str:
    """The Frechet distance as people are told of it: 'FID', or 'Frechet distance (digits)'."""
    return 'FID' if extractor.is_inception else f'Frechet distance ({extractor.name})'


def quick(
    extractor: Extractor, real: Moments, fake: Features, class_names: tuple[str, ...]
) -> dict[str, float]:
    """Scores that take no time: the Frechet distance, the score of the classes, and how many there are of them.

    Args:
        extractor: of both.
        real: moments of the real images' features.
        fake: of the fakes.
        class_names: of the real images.
    """
    name, got = names(extractor), scores.moments(fake.features)
    splits = SPLITS if len(fake.logits) >= 100 * SPLITS else 1
    by_class = scores.inception_score(fake.logits, splits)
    values = {
        name['frechet']: scores.frechet_distance(real.mean, real.cov, got.mean, got.cov),
        name['class']: by_class.mean,
        f'{name["class"]}_std': by_class.std,
    }
    if class_names and extractor.classes == class_names:
        shares = scores.class_coverage(np.argmax(fake.logits, axis=1), len(class_names))
        values['classes_found'] = float(np.count_nonzero(shares))
        values['smallest_class_share'] = float(shares.min())
    return values


def full(
    extractor: Extractor,
    real: ScoredSet,
    real_moments: Moments,
    fake: ScoredSet,
    class_names: tuple[str, ...],
    *,
    neighbour_num: int = 10_000,
    seed: int = 0,
) -> dict[str, float]:
    """`quick`, the kernel distance, the four scores by neighbours, and for fakes with classes what is inside them.

    Args:
        extractor: of both.
        real, fake: with labels where they have classes, and pixels for MS-SSIM.
        real_moments: of the real features.
        class_names: of the real images.
        neighbour_num: precision, recall, density and coverage are of at most so many of each, evenly drawn.
        seed: of the draws.
    """
    name = names(extractor)
    values = quick(extractor, real_moments, fake.features, class_names)
    a, b = real.features.features, fake.features.features
    size = min(SUBSET_SIZE, len(a), len(b))
    kernel = scores.kernel_distance(a, b, subsets=SUBSETS, subset_size=size)
    values |= {name['kernel']: kernel.mean, f'{name["kernel"]}_error': kernel.standard_error}
    near = prdc(_spread(a, neighbour_num), _spread(b, neighbour_num), k=K)
    values |= near._asdict()
    # Of a reference with other classes, or none, nothing can be said of single ones.
    if fake.labels is not None and fake.labels.max() < len(class_names):
        values |= _inside_classes(extractor, real, fake, class_names, seed)
    return values


def _inside_classes(extractor, real, fake, class_names, seed):
    """What is said of fakes that were to be of a class; means over the classes."""
    num = len(class_names)
    values = {}
    if extractor.classes == class_names:
        accuracy = scores.classification_accuracy(fake.features.logits, fake.labels)
        values['accuracy'] = accuracy
    sides = {'': fake, 'real_': real}
    for prefix, side in sides.items():
        apart = diversity.class_feature_distance(
            side.features.features, side.labels, num, seed=seed
        )
        values |= _mean_of_classes(f'{prefix}class_feature_distance', apart)
        if side.images is not None and min(side.images.shape[1:3]) >= 11:
            labels = side.labels[: len(side.images)]
            alike = diversity.class_ms_ssim(side.images, labels, num, seed=seed)
            values |= _mean_of_classes(f'{prefix}class_ms_ssim', alike)
    counts = [np.bincount(side.labels, minlength=num).min() for side in sides.values()]
    if min(counts) >= 2 and real.labels is not None and fake.labels is not None:
        distances = scores.class_frechet_distances(
            real.features.features, real.labels, fake.features.features, fake.labels, num
        )
        values[names(extractor)['intra']] = float(distances.mean())
    return values


def _mean_of_classes(name, values):
    """The mean over classes that have pairs; nothing where none has."""
    known = values[np.isfinite(values)]
    return {name: float(known.mean())} if len(known) else {}


def _spread(points, num):
    """At most `num` of the points, evenly over their order."""
    if len(points) <= num:
        return points
    return points[np.arange(num) * len(points) // num]
