"""Counts and seed of an evaluation, and what they need."""

import dataclasses

from snjax import parallel
from snjax.metrics import comparison, extrapolated, intervals
from snjax.metrics.extractors import Extractor
from snjax.metrics.protocols import Protocol

MIN_SAMPLES = 6  # for the fifth nearest neighbour


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Counts and seed of an evaluation.

    Attributes:
        batch_size: fakes per call, a multiple of the number of devices; also the number of fakes
            that share batch statistics.
        neighbour_num: see `snjax.metrics.comparison.full`.
        seed: of z and of the random pairs.
        half_samples: number of random halves for error bars (`snjax.metrics.intervals`); 0: none.
        confidence: of the error bars.
        extrapolate: add the scores of infinitely many fakes (`snjax.metrics.extrapolated`).
    """

    batch_size: int = 128
    neighbour_num: int = 10_000
    seed: int = 0
    half_samples: int = 0
    confidence: float = 0.95
    extrapolate: bool = False

    def __post_init__(self):
        for key in ('batch_size', 'neighbour_num'):
            if getattr(self, key) < MIN_SAMPLES:
                raise ValueError(
                    f'eval.{key} is {getattr(self, key)}: at least {MIN_SAMPLES} are needed'
                )
        parallel.check_batch_size(**{'eval.batch_size': self.batch_size})
        if self.half_samples:
            try:
                intervals.check(self.half_samples, self.confidence)
            except ValueError as error:
                keys = 'evaluate.half_samples, evaluate.confidence'
                raise ValueError(f'{error} ({keys})') from error

    def check(self, extractor: Extractor, protocol: Protocol, *, real: int, dim: int) -> None:
        """Raises a ValueError of one line for a protocol with too few images.

        Args:
            extractor: the network.
            protocol: which images.
            real: number of the real images.
            dim: number of features, or of classes if that is more.
        """
        fewest, needed, key = min(protocol.fake, real), MIN_SAMPLES, ''
        if self.half_samples:
            needed = intervals.MIN_IMAGES
            key = f' for evaluate.half_samples={self.half_samples}'
        if fewest < needed:
            raise ValueError(
                f'protocol {protocol.name} has {fewest} images: at least {needed} are needed{key}'
            )
        if self.extrapolate and extractor.is_pixels:
            raise ValueError(
                f'evaluate.extrapolate: no law is known of how the {comparison.title(extractor)} '
                'depends on the number of fakes; use it with a feature network'
            )
        if self.extrapolate and protocol.fake < extrapolated.needed(dim):
            raise ValueError(
                f'evaluate.extrapolate: protocol {protocol.name} has {protocol.fake:,} fakes, but '
                f'{dim:,} features need at least {extrapolated.needed(dim):,}'
            )
