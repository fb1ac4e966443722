"""All scores of fakes against real images, computed from the features of both."""

import dataclasses

import numpy as np

from snjax.metrics import diversity, patches, scores
from snjax.metrics.extractors import Extractor, Features
from snjax.metrics.manifold import prdc
from snjax.metrics.patches import PatchSet
from snjax.metrics.scores import Moments

K = 5
SPLITS = 10
SUBSETS = 100
SUBSET_SIZE = 1000


@dataclasses.dataclass(frozen=True)
class ScoredSet:
    """Features, classes and pixels of real images or of fakes.

    Attributes:
        features: of all n images.
        labels: classes (n,), or None.
        images: pixels of the first images or of all; None if no score needs them.
    """

    features: Features
    labels: np.ndarray | None = None
    images: np.ndarray | None = None

    def first(self, num: int) -> 'ScoredSet':
        """The set of the first `num` images."""
        cut = [None if x is None else x[:num] for x in (self.labels, self.images)]
        return ScoredSet(Features(*(x[:num] for x in self.features)), *cut)

    def take(self, rows: np.ndarray) -> 'ScoredSet':
        """The images at increasing positions `rows`; of pixels those that are there."""
        labels = None if self.labels is None else self.labels[rows]
        images = None if self.images is None else self.images[rows[rows < len(self.images)]]
        return ScoredSet(Features(*(x[rows] for x in self.features)), labels, images)

    def __len__(self) -> int:
        return len(self.features.features)


def names(extractor: Extractor) -> dict[str, str]:
    """Names of the distribution scores; FID, KID and Inception score are for Inception only."""
    if extractor.is_inception:
        return {'frechet': 'fid', 'class': 'inception_score', 'kernel': 'kid', 'intra': 'intra_fid'}
    return {
        'frechet': 'frechet_distance',
        'class': 'classifier_score',
        'kernel': 'kernel_distance',
        'intra': 'intra_frechet_distance',
    }


def main_score(extractor: Extractor) -> str:
    """The key of the score by which checkpoints of a run are compared; lower is better."""
    return 'swd' if extractor.is_pixels else names(extractor)['frechet']


def title(extractor: Extractor) -> str:
    """The main score in tables and messages: 'FID', or 'Frechet distance (digits)'."""
    if extractor.is_pixels:
        return 'sliced Wasserstein distance x 1000'
    is_fid = extractor.is_inception
    return 'FID' if is_fid else f'Frechet distance ({extractor.title or extractor.name})'


def columns(extractor: Extractor) -> dict[str, str]:
    """The scores of a short table: heads and keys."""
    if extractor.is_pixels:
        return {title(extractor): 'swd', 'precision': 'precision', 'recall': 'recall'}
    name = names(extractor)
    return {
        title(extractor): name['frechet'],
        name['class'].replace('_', ' '): name['class'],
        name['kernel'].replace('_', ' '): name['kernel'],
        **({'CMMD': 'cmmd'} if extractor.name == 'clip' else {}),
        **{x: x for x in ('precision', 'recall', 'density', 'coverage')},
    }


def has_classes(features: Features) -> bool:
    """Whether the extractor is a classifier; a network of features alone has one empty class."""
    return features.logits.shape[1] > 1


def quick(
    extractor: Extractor,
    real: Moments | PatchSet,
    fake: Features,
    class_names: tuple[str, ...],
) -> dict[str, float]:
    """The fast scores: Frechet distance, classifier score, and the classes among the fakes.

    Args:
        extractor: the network that made the features.
        real: `Reference.summary` of the real images.
        fake: features of the fakes.
        class_names: of the real images.
    """
    if isinstance(real, PatchSet):
        return patches.compare(real, patches.patches(fake.features))
    name, got = names(extractor), scores.moments(fake.features)
    splits = SPLITS if len(fake.logits) >= 100 * SPLITS else 1
    values = {name['frechet']: scores.frechet_distance(real.mean, real.cov, got.mean, got.cov)}
    if has_classes(fake):
        by_class = scores.inception_score(fake.logits, splits)
        values |= {name['class']: by_class.mean, f'{name["class"]}_std': by_class.std}
    if class_names and extractor.classes == class_names:
        shares = scores.class_coverage(np.argmax(fake.logits, axis=1), len(class_names))
        values['classes_found'] = float(np.count_nonzero(shares))
        values['smallest_class_share'] = float(shares.min())
    return values


def full(
    extractor: Extractor,
    real: ScoredSet,
    summary: Moments | PatchSet,
    fake: ScoredSet,
    class_names: tuple[str, ...],
    *,
    neighbour_num: int | tuple[int, int] = 10_000,
    seed: int = 0,
) -> dict[str, float]:
    """`quick`, the kernel distance, the four neighbour scores, and scores inside each class.

    Features of CLIP also have CMMD.

    Args:
        extractor: the network that made the features.
        real, fake: with labels if they have classes, and pixels for MS-SSIM.
        summary: `Reference.summary` of the real images.
        class_names: of the real images.
        neighbour_num: the most points of each set for precision, recall, density and coverage;
            larger sets are subsampled evenly. Two numbers are those of real images and of fakes.
        seed: of the random pairs inside classes.
    """
    name = names(extractor)
    values = quick(extractor, summary, fake.features, class_names)
    if isinstance(summary, PatchSet):
        return values
    a, b = real.features.features, fake.features.features
    size = min(SUBSET_SIZE, len(a), len(b))
    kernel = scores.kernel_distance(a, b, subsets=SUBSETS, subset_size=size)
    values |= {name['kernel']: kernel.mean, f'{name["kernel"]}_error': kernel.standard_error}
    if extractor.name == 'clip':
        values['cmmd'] = scores.cmmd(a, b)
    most = (neighbour_num,) * 2 if isinstance(neighbour_num, int) else neighbour_num
    near = prdc(_subsample(a, most[0]), _subsample(b, most[1]), k=K)
    values |= near._asdict()
    # Fakes of other classes than the reference have no scores per class.
    if fake.labels is not None and fake.labels.max() < len(class_names):
        values |= _inside_classes(extractor, real, fake, class_names, seed)
    return values


def _inside_classes(extractor, real, fake, class_names, seed):
    """Scores of fakes that were generated for a class; means over the classes."""
    num = len(class_names)
    values = {}
    if extractor.classes == class_names:
        accuracy = scores.classification_accuracy(fake.features.logits, fake.labels)
        values['accuracy'] = accuracy
    sets = {'': fake, 'real_': real}
    for prefix, scored in sets.items():
        apart = diversity.class_feature_distance(
            scored.features.features, scored.labels, num, seed=seed
        )
        values |= _mean_of_classes(f'{prefix}class_feature_distance', apart)
        if scored.images is not None and min(scored.images.shape[1:3]) >= 11:
            labels = scored.labels[: len(scored.images)]
            alike = diversity.class_ms_ssim(scored.images, labels, num, seed=seed)
            values |= _mean_of_classes(f'{prefix}class_ms_ssim', alike)
    counts = [np.bincount(scored.labels, minlength=num).min() for scored in sets.values()]
    if min(counts) >= 2 and real.labels is not None and fake.labels is not None:
        distances = scores.class_frechet_distances(
            real.features.features, real.labels, fake.features.features, fake.labels, num
        )
        values[names(extractor)['intra']] = float(distances.mean())
    return values


def _mean_of_classes(name, values):
    """The mean over the classes with at least one pair; no score if there is none."""
    known = values[np.isfinite(values)]
    return {name: float(known.mean())} if len(known) else {}


def _subsample(points, num):
    """At most `num` points, evenly spaced in the given order."""
    if len(points) <= num:
        return points
    return points[np.arange(num) * len(points) // num]
