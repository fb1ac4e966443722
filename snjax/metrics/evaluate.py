"""Scores of a run under several protocols from one pass over its fakes, with their manifests."""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from snjax import from_config, parallel
from snjax.data.image_set import ImageSet
from snjax.generate import fakes
from snjax.generate.fakes import Follow, Variant
from snjax.generate.trained import TrainedGenerator
from snjax.image_format import bits_of
from snjax.metrics import comparison, extrapolated, imported, intervals, patches
from snjax.metrics.comparison import ScoredSet
from snjax.metrics.extractors import Extractor
from snjax.metrics.options import Options
from snjax.metrics.patches import PatchSet
from snjax.metrics.protocols import Protocol
from snjax.metrics.reference import Reference, summarized
from snjax.metrics.scores import Moments
from snjax.runs import tags
from snjax.runs.scores_file import MERGED, Row

# What a manifest says of the fakes' pixels, by their bits.
_PIXELS = {
    8: '8 bits, cut as clip(127.5 x + 127.5)',
    16: '16 bits, cut as clip(32767.5 x + 32767.5)',
}
_IMAGES_KEPT = 2000  # for MS-SSIM


class Evaluator:
    """Scores runs against the real images of a data set.

    Args:
        extractor: the network.
        load_split: maps the name of a split to its images.
        options: counts and seed.
        cache_dir: see `Reference`.
    """

    def __init__(
        self,
        extractor: Extractor,
        load_split: Callable[[str], ImageSet],
        options: Options,
        cache_dir: str | None = None,
    ):
        self.extractor, self.options = extractor, options
        self._load_split, self._cache_dir = load_split, cache_dir
        self._references: dict[str, Reference] = {}

    def reference(self, split: str) -> Reference:
        """The real images of a split; their features are computed once."""
        if split not in self._references:
            self._references[split] = Reference(
                self.extractor,
                self._load_split(split),
                cache_dir=self._cache_dir,
                batch_size=self.options.batch_size,
            )
        return self._references[split]

    def tag_group(self, protocol: Protocol) -> str:
        """The tag of a group of scores that are taken while training (`snjax.runs.tags`)."""
        return tags.score_group(self.extractor.name, protocol.name)

    def check(self, protocols: Iterable[Protocol]) -> None:
        """Raises a ValueError of one line for a protocol with too many or too few images."""
        for protocol in protocols:
            real = len(self.reference(protocol.split).of(protocol).features)
            dim = self._dim(protocol.split)
            self.options.check(self.extractor, protocol, real=real, dim=dim)

    def _dim(self, split: str) -> int:
        """What a covariance of full rank, and a distribution over classes, need points for."""
        return max(x.shape[-1] for x in self.reference(split).features)

    def follow(self, trained: TrainedGenerator) -> Follow:
        """What the labels of a run's fakes follow (`snjax.generate.fakes`)."""
        numbers = trained.num_conditions
        if not numbers and (trained.inputs.fake_classes == 'uniform' or not trained.num_classes):
            return ()
        training = self._load_split(from_config.training_split(trained.config))
        if numbers:
            return training.labels_for(numbers)
        counts = np.bincount(training.labels, minlength=trained.num_classes)
        return tuple(counts.tolist())

    def fakes(self, trained: TrainedGenerator, variant: Variant, num: int) -> ScoredSet:
        """Generates `num` fakes: their features and classes, and the pixels of the first."""
        o, kept, follow = self.options, [], self.follow(trained)

        def batches():
            for images, count in fakes.fakes(
                trained,
                variant,
                num,
                seed=o.seed,
                batch_size=o.batch_size,
                follow=follow,
            ):
                if sum(map(len, kept)) < _IMAGES_KEPT:
                    kept.append(np.asarray(images)[:count])
                yield images, count

        features = self.extractor.of(batches())
        classes = fakes.labels_of(trained, num, follow) if trained.num_classes else None
        return ScoredSet(features, classes, np.concatenate(kept))

    def rows(
        self,
        trained: TrainedGenerator,
        protocols: Sequence[Protocol],
        variants: Sequence[Variant],
        about: dict[str, Any],
        known: Sequence[Row] = (),
    ) -> list[Row]:
        """One row per protocol and variant; the fakes of a variant serve all protocols.

        Args:
            trained: the run.
            protocols: which real images and how many fakes.
            variants: weights and batch statistics.
            about: more entries for the manifests, such as the name of the checkpoint.
            known: rows of this run. One whose manifest says the same (on another device or of
                other versions, too) is returned instead of being computed again.

        Raises:
            ValueError: a protocol with too many or too few images.
        """
        self.check(protocols)
        rows = []
        for variant in variants:
            manifests = [self.manifest(protocol, variant) for protocol in protocols]
            for manifest in manifests:
                manifest['step'] = trained.step
                if trained.num_classes:
                    is_set = trained.inputs.fake_classes != 'uniform'
                    manifest['classes'] = 'as in the training set' if is_set else 'in turn'
            found = [self._known(manifest, known) for manifest in manifests]
            missing = [p.fake for p, row in zip(protocols, found, strict=True) if row is None]
            fake = self.fakes(trained, variant, max(missing)) if missing else None
            for protocol, manifest, row in zip(protocols, manifests, found, strict=True):
                if row is None and fake is not None:
                    some = fake.first(protocol.fake)
                    row = Row(self.compare(protocol, some), manifest)
                    if self.options.half_samples:
                        bars = self.error_bars(protocol, some, row.scores)
                        row = dataclasses.replace(row, intervals=bars)
                assert row is not None
                rows.append(dataclasses.replace(row, manifest=row.manifest | about))
        return rows

    def _known(self, manifest: dict[str, Any], known: Sequence[Row]) -> Row | None:
        """The row with these entries and all scores of the extractor; None if there is none."""
        wanted = _compared(json.loads(json.dumps(manifest)))
        names = set(comparison.columns(self.extractor).values())
        if imported.is_path(self.extractor.name):  # which may be no classifier
            names -= {comparison.names(self.extractor)['class']}
        both = self.options.half_samples and self.options.extrapolate
        return next(
            (
                row
                for row in known
                if names <= row.scores.keys()
                and not (both and MERGED in row.manifest)
                and all(row.manifest.get(key) == value for key, value in wanted.items())
            ),
            None,
        )

    def compare(self, protocol: Protocol, fake: ScoredSet) -> dict[str, float]:
        """Scores of fakes under one protocol."""
        reference = self.reference(protocol.split)
        return self._compare(
            protocol, self._real(protocol), reference.summary(protocol), fake, is_all=True
        )

    def error_bars(
        self, protocol: Protocol, fake: ScoredSet, values: Mapping[str, float] | None = None
    ) -> dict[str, intervals.Interval]:
        """Error bars of the scores `values` of fakes under one protocol, by name."""
        o, whole = self.options, self._real(protocol)
        size = functools.partial(intervals.size_in_half, most=o.neighbour_num)
        neighbours = size(len(whole)), size(len(fake))

        def score(real, fake):
            summary = summarized(self.extractor, real.features)
            return self._compare(protocol, real, summary, fake, neighbours=neighbours)

        return intervals.of_scores(
            score,
            whole,
            fake,
            num=o.half_samples,
            confidence=o.confidence,
            seed=o.seed,
            values=self.compare(protocol, fake) if values is None else values,
        )

    def _real(self, protocol: Protocol) -> ScoredSet:
        reference = self.reference(protocol.split)
        rows, images = reference.rows(protocol), reference.image_set.images
        pixels = images[rows if isinstance(rows, slice) else rows[:_IMAGES_KEPT]][:_IMAGES_KEPT]
        return ScoredSet(reference.of(protocol), reference.labels(protocol), np.asarray(pixels))

    def _compare(
        self,
        protocol: Protocol,
        real: ScoredSet,
        summary: Moments | PatchSet,
        fake: ScoredSet,
        *,
        is_all: bool = False,
        neighbours: tuple[int, int] | None = None,
    ) -> dict[str, float]:
        o = self.options
        values = comparison.full(
            self.extractor,
            real,
            summary,
            fake,
            self.reference(protocol.split).image_set.class_names,
            neighbour_num=neighbours or o.neighbour_num,
            seed=o.seed,
        )
        # Halves of few fakes have no such score, and then it has no error bar.
        features, logits = fake.features
        enough = len(fake) >= extrapolated.needed(self._dim(protocol.split))
        if o.extrapolate and (is_all or enough) and not isinstance(summary, PatchSet):
            name = comparison.names(self.extractor)
            found = extrapolated.frechet(summary, features, seed=o.seed)
            values[f'{name["frechet"]}_infinity'] = found.value
            if comparison.has_classes(fake.features):
                found = extrapolated.classifier_score(logits, seed=o.seed)
                values[f'{name["class"]}_infinity'] = found.value
        return values

    def manifest(self, protocol: Protocol, variant: Variant) -> dict[str, Any]:
        """Everything that a score depends on, except the run and its step."""
        reference, o = self.reference(protocol.split), self.options
        real = reference.of(protocol)
        out = {
            'protocol': protocol.name,
            'real': f'{reference.image_set.name}, {protocol.split}',
            'real_count': len(real.features),
            'real_sha256': reference.image_set.sha256,
            'fake_count': protocol.fake,
            'pixels': _PIXELS[bits_of(reference.image_set.images.dtype)],
            'extractor': self.extractor.name,
            'extractor_sha256': self.extractor.sha256,
            'resize': self.extractor.resize,
            **self.extractor.about,
            'weights': variant.weights,
            'batch_statistics': variant.statistics,
            'eval_seed': o.seed,
            'k': comparison.K,
            'versions': {'jax': jax.__version__, 'numpy': np.__version__},
            'device': parallel.device_kind(),
        }
        if variant.statistics != 'running':
            out['batch_size'] = o.batch_size
        if variant.statistics == 'reestimated':
            out['reestimated_from'] = fakes.REESTIMATED_BATCHES * o.batch_size
        if o.half_samples:
            out['half_samples'], out['confidence'] = o.half_samples, o.confidence
        if o.extrapolate:
            out['extrapolated_through'] = extrapolated.POINTS
        return out | self._counts(len(real.features), protocol.fake, real.features.shape[1])

    def _counts(self, real: int, fake: int, dim: int) -> dict[str, Any]:
        """Counts that the scores depend on, for a manifest."""
        if self.extractor.is_pixels:
            return {
                'most_images': patches.MOST_IMAGES,
                'patches_per_image': patches.PATCHES,
                'directions': patches.DIRECTIONS,
                'neighbour_num': patches.NEIGHBOUR_NUM,
            }
        out: dict[str, Any] = {
            'neighbour_num': min(self.options.neighbour_num, real, fake),
            'class_score_splits': comparison.SPLITS if fake >= 1000 else 1,
            'kernel_subsets': comparison.SUBSETS,
            'kernel_subset_size': min(comparison.SUBSET_SIZE, real, fake),
        }
        if min(real, fake) <= dim:
            out['warning'] = f'fewer images than the {dim} features: covariances are rank-deficient'
        return out


def _compared(manifest: dict[str, Any]) -> dict[str, Any]:
    """The entries of a manifest without those that change a score by rounding at most."""
    return {k: v for k, v in manifest.items() if k not in ('versions', 'device')}
