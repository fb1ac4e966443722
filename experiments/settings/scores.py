"""How a run is scored while it trains and at its end, from the group `eval` of its config."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from experiments.settings.check import Config
from snjax.metrics import extractors
from snjax.metrics.options import MIN_SAMPLES, Options
from snjax.metrics.protocols import Protocol


@dataclasses.dataclass(frozen=True)
class ScorePlan:
    """How a run is scored.

    Attributes:
        extractor: name of the feature network; '' for no scores.
        weights: file or folder of the extractor's weights; '' for the default place.
        protocol: of the run's own scores.
        options: of the evaluator.
        every: generator updates between scores while training; 0 for none.
        cache_dir: where features are kept; None for the default place.
    """

    extractor: str
    weights: str
    protocol: Protocol
    options: Options
    every: int
    cache_dir: str | None


def score_plan(config: Config) -> ScorePlan:
    """The scores that a config asks for.

    Raises:
        ValueError: they cannot be computed; one line.
        FileNotFoundError: the weights of the extractor are not there; one line.
    """
    e = config.eval
    if e.extractor:
        check_scores(e)
        check_extractor(e.extractor, config.data)
        extractors.check_weights(e.extractor, e.weights)
    if e.every < 0 or (e.every and not e.extractor):
        raise ValueError(
            f'eval.every is {e.every} and eval.extractor {e.extractor!r}: --config.eval.every=0 is '
            'accepted (no scores while training), or more with one of '
            f'{", ".join(extractors.EXTRACTORS)}'
        )
    saves = config.checkpoint.every
    if e.every and (not saves or e.every % saves):
        raise ValueError(
            f'eval.every {e.every} is not a multiple of checkpoint.every {saves}, but only '
            'checkpoints are scored: change one'
        )
    return ScorePlan(
        extractor=e.extractor,
        weights=e.weights,
        protocol=own_protocol(config.data.split, e.num_samples),
        # Without an extractor these values are unused and not checked.
        options=options_of(e) if e.extractor else Options(),
        every=e.every,
        cache_dir=config.data.cache_dir or None,
    )


def own_protocol(split: str, num_samples: int) -> Protocol:
    """The protocol of a run's own scores: its whole training set and `num_samples` fakes."""
    return Protocol(f'{split}/all/{num_samples}', split, None, num_samples)


def check_scores(e: Any) -> None:
    """Raises a ValueError for impossible values of the keys that `--mode=evaluate` has as well.

    Args:
        e: `eval` of a config, or the options of `--mode=evaluate`.
    """
    extractors.check_name(e.extractor)
    if e.num_samples < MIN_SAMPLES:
        raise ValueError(
            f'eval.num_samples is {e.num_samples}: at least {MIN_SAMPLES} are needed, for '
            'the fifth nearest neighbour'
        )
    options_of(e)


def check_extractor(extractor: str, data: Mapping[str, Any]) -> None:
    """Raises a ValueError for a classifier of digits on other images, and for images that a network
    does not see.

    Args:
        extractor: its name.
        data: the group `data` of a config.
    """
    image_set = data['name']
    extractors.check_images(extractor, data['channels'], data['bits'])
    if extractor == 'digits' and image_set != 'digits':
        raise ValueError(
            f"eval.extractor is 'digits', whose distances mean nothing for {image_set}: use patches "
            '(any images), fitted (images with classes), or cifar_resnet56 or inception (photos)'
        )


def options_of(e: Any) -> Options:
    """The evaluator's options; `e` as for `check_scores`."""
    # A training takes scores without error bars: `eval` of its config has no such keys.
    more = {key: e[key] for key in ('half_samples', 'confidence', 'extrapolate') if key in e}
    return Options(batch_size=e.batch_size, neighbour_num=e.neighbour_num, seed=e.seed, **more)
