"""Scores of a run under every protocol asked for, from one pass over its fakes, each with its manifest."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from snjax import parallel
from snjax.data.image_set import ImageSet
from snjax.generate import fakes as generation
from snjax.generate.fakes import Variant
from snjax.generate.trained import TrainedGenerator
from snjax.metrics import comparison
from snjax.metrics.comparison import ScoredSet
from snjax.metrics.extractors import Extractor
from snjax.metrics.protocols import Protocol
from snjax.metrics.reference import Reference
from snjax.runs.scores_file import Row as Row
from snjax.runs.scores_file import add as add
from snjax.runs.scores_file import identity as identity
from snjax.runs.scores_file import read as read

MIN_SAMPLES = 6  # for the fifth nearest neighbour
_IMAGES_KEPT = 2000  # for MS-SSIM


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How scores are taken.

    Attributes:
        batch_size: fakes a call; under batch statistics also what they are of. The devices divide it.
        neighbour_num: see `snjax.metrics.comparison.full`.
        seed: of z and of draws.
    """

    batch_size: int = 128
    neighbour_num: int = 10_000
    seed: int = 0

    def __post_init__(self):
        for key in ('batch_size', 'neighbour_num'):
            if getattr(self, key) < MIN_SAMPLES:
                raise ValueError(
                    f'eval.{key} is {getattr(self, key)}: at least {MIN_SAMPLES} are needed'
                )
        parallel.check_batch_size(**{'eval.batch_size': self.batch_size})


class Evaluator:
    """Scores runs beside the real images that `load_split` gives.

    Args:
        extractor: the network.
        load_split: a split's name to its images.
        options: counts.
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
        """The real images of a split, looked at once."""
        if split not in self._references:
            self._references[split] = Reference(
                self.extractor,
                self._load_split(split),
                cache_dir=self._cache_dir,
                batch_size=self.options.batch_size,
            )
        return self._references[split]

    def check(self, protocols: Iterable[Protocol]) -> None:
        """Raises a ValueError of one line for a protocol that the data or the scores do not allow."""
        for protocol in protocols:
            self.reference(protocol.split).rows(protocol)
            fewest = min(protocol.fake, protocol.real or protocol.fake)
            if fewest < MIN_SAMPLES:
                raise ValueError(
                    f'protocol {protocol.name} has {fewest} images: at least {MIN_SAMPLES} are needed'
                )

    def fakes(self, trained: TrainedGenerator, variant: Variant, num: int) -> ScoredSet:
        """Features, classes and the first pixels of `num` fakes."""
        o, kept = self.options, []

        def watched():
            batches = generation.fakes(trained, variant, num, seed=o.seed, batch_size=o.batch_size)
            for images, count in batches:
                if sum(map(len, kept)) < _IMAGES_KEPT:
                    kept.append(np.asarray(images)[:count])
                yield images, count

        features = self.extractor.of(watched())
        return ScoredSet(features, generation.labels_of(trained, num), np.concatenate(kept))

    def rows(
        self,
        trained: TrainedGenerator,
        protocols: Sequence[Protocol],
        variants: Sequence[Variant],
        about: dict[str, Any],
    ) -> list[Row]:
        """A row for each protocol and variant; the fakes of a variant are made once and serve all protocols.

        Args:
            trained: the run.
            protocols: see `check`.
            variants: what of the run.
            about: what else the manifest says, as which checkpoint it is.
        """
        self.check(protocols)
        found = []
        for variant in variants:
            fake = self.fakes(trained, variant, max(p.fake for p in protocols))
            for protocol in protocols:
                values = self.compare(protocol, fake.first(protocol.fake))
                manifest = self.manifest(protocol, variant) | {'step': trained.step} | about
                if trained.num_classes:
                    manifest['classes'] = 'in turn'
                found.append(Row(values, manifest))
        return found

    def compare(self, protocol: Protocol, fake: ScoredSet) -> dict[str, float]:
        """Scores of fakes under one protocol."""
        reference, o = self.reference(protocol.split), self.options
        rows = reference.rows(protocol)
        images = reference.image_set.images
        pixels = images[rows if isinstance(rows, slice) else rows[:_IMAGES_KEPT]][:_IMAGES_KEPT]
        real = ScoredSet(reference.of(protocol), reference.labels(protocol), np.asarray(pixels))
        return comparison.full(
            self.extractor,
            real,
            reference.moments(protocol),
            fake,
            reference.image_set.class_names,
            neighbour_num=o.neighbour_num,
            seed=o.seed,
        )

    def manifest(self, protocol: Protocol, variant: Variant) -> dict[str, Any]:
        """What a score depends on, the run and its step apart."""
        reference, o = self.reference(protocol.split), self.options
        real = reference.of(protocol)
        out = {
            'protocol': protocol.name,
            'real': f'{reference.image_set.name}, {protocol.split}',
            'real_count': len(real.features),
            'real_sha256': reference.image_set.sha256,
            'fake_count': protocol.fake,
            'pixels': '8 bits, cut as clip(127.5 x + 127.5)',
            'extractor': self.extractor.name,
            'extractor_sha256': self.extractor.sha256,
            'resize': self.extractor.resize,
            'weights': variant.weights,
            'batch_statistics': variant.statistics,
            'eval_seed': o.seed,
            'k': comparison.K,
            'neighbour_num': min(o.neighbour_num, len(real.features), protocol.fake),
            'class_score_splits': comparison.SPLITS if protocol.fake >= 1000 else 1,
            'kernel_subsets': comparison.SUBSETS,
            'kernel_subset_size': min(comparison.SUBSET_SIZE, len(real.features), protocol.fake),
            'versions': {'jax': jax.__version__, 'numpy': np.__version__},
            'device': parallel.device_kind(),
        }
        if variant.statistics != 'running':
            out['batch_size'] = o.batch_size
        if variant.statistics == 'reestimated':
            out['reestimated_from'] = generation.REESTIMATED_BATCHES * o.batch_size
        dim = real.features.shape[1]
        if min(len(real.features), protocol.fake) <= dim:
            out['warning'] = f'fewer images than the {dim} features: covariances are rank-deficient'
        return out


def table(rows: Sequence[Row], extractor: Extractor) -> list[str]:
    """Lines for the terminal: a row per protocol and variant."""
    name = comparison.names(extractor)
    columns = {
        comparison.title(extractor): name['frechet'],
        name['class'].replace('_', ' '): name['class'],
        name['kernel'].replace('_', ' '): name['kernel'],
        **{x: x for x in ('precision', 'recall', 'density', 'coverage')},
    }
    heads = ['protocol', 'checkpoint', 'variant', *columns]
    body = [
        [
            row.manifest['protocol'],
            f'{row.manifest.get("checkpoint", "")} {row.manifest["step"]}'.strip(),
            f'{row.manifest["weights"]}/{row.manifest["batch_statistics"]}',
            *(f'{row.scores[key]:.4g}' for key in columns.values()),
        ]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [heads, *body]) for i in range(len(heads))]
    return [
        '  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [heads, *body]
    ]
