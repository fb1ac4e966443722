"""Scores of a training run, by the group `eval` of its config: while it trains, and at its end."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.settings.check import Config
from snjax import parallel
from snjax.data import ImageSet
from snjax.generate import fakes as generation
from snjax.generate.fakes import Variant
from snjax.generate.load import from_tree
from snjax.generate.trained import TrainedGenerator
from snjax.metrics import comparison, evaluate, extractors
from snjax.metrics.evaluate import Evaluator, Row
from snjax.metrics.extractors import Yardstick
from snjax.metrics.live_scores import LiveScores
from snjax.metrics.protocols import Protocol
from snjax.runs.checkpoint import as_tree, best_scores
from snjax.runs.workdir import BEST

# ---- before a training


def check(config: Config) -> None:
    """Raises a ValueError for scores that cannot be computed, before anything is trained."""
    e = config.eval
    if e.extractor:
        check_scores(e)
    if e.every < 0 or (e.every and not e.extractor):
        raise ValueError(
            f'eval.every is {e.every} and eval.extractor {e.extractor!r}: --config.eval.every=0 is '
            'accepted (no scores while training), or more with one of '
            f'{", ".join(extractors.EXTRACTORS)}'
        )


def evaluator_of(config: Config, load_split: Callable[[str], ImageSet]) -> Evaluator | None:
    """The evaluator of a training; None if `eval.extractor` is empty.

    Args:
        config: of the run.
        load_split: maps the name of a split to its images.

    Raises:
        ValueError, FileNotFoundError: the weights of the extractor are missing or damaged; one line.
    """
    if not config.eval.extractor:
        return None
    extractor = extractors.load(config.eval.extractor, config.eval.weights)
    return Evaluator(extractor, load_split, options_of(config.eval), config.data.cache_dir or None)


def live_scores(config: Config, evaluator: Evaluator | None) -> LiveScores | None:
    """Scores while a run trains; None if its config asks for none."""
    e = config.eval
    if not e.every or evaluator is None:
        return None
    protocol = own_protocol(config.data.split, e.num_samples)
    return LiveScores(evaluator, protocol, config.to_dict(), e.every)


def own_protocol(split: str, num_samples: int) -> Protocol:
    """The protocol of a run's own scores: its whole training set and `num_samples` fakes."""
    return Protocol(f'{split}/all/{num_samples}', split, None, num_samples)


def check_scores(e: Config) -> None:
    """Raises a ValueError for impossible values of the keys that `--mode=evaluate` has as well.

    Args:
        e: `eval` of a config, or the options of `--mode=evaluate`.
    """
    extractors.check_name(e.extractor)
    if e.num_samples < evaluate.MIN_SAMPLES:
        raise ValueError(
            f'eval.num_samples is {e.num_samples}: at least {evaluate.MIN_SAMPLES} are needed, for '
            'the fifth nearest neighbour'
        )
    options_of(e)


def options_of(e: Config) -> evaluate.Options:
    """The evaluator's options; `e` as for `check_scores`."""
    return evaluate.Options(batch_size=e.batch_size, neighbour_num=e.neighbour_num, seed=e.seed)


# ---- at the end of a training


def score_finished(
    config: Config,
    evaluator: Evaluator | None,
    state: Any,
    step: int,
    folder: pathlib.Path,
    say: Callable[[str], None],
) -> dict[str, float]:
    """Scores the last state of a run into `scores.json`; every process has to call it.

    Args:
        config: of the run.
        evaluator: of `evaluator_of`.
        state: on the devices.
        step: of the state.
        folder: the workdir.
        say: prints a line.

    Returns:
        The scores, for the run's logs.
    """
    if evaluator is None:
        return {}
    trained = from_tree(config.to_dict(), step, as_tree(state))
    variant = Variant(trained.kept('auto'), 'running')
    about = {'checkpoint': 'last', 'seed': config.seed}
    protocol = own_protocol(config.data.split, config.eval.num_samples)
    rows = evaluator.rows(trained, [protocol], [variant], about)
    lines = evaluate.table(rows, evaluator.extractor)
    values = rows[0].scores
    yardstick = evaluator.extractor.yardstick
    if yardstick is not None and config.data.channels in yardstick.channels:
        row, more = _yardstick_row(yardstick, config.eval, trained, variant, about)
        rows.append(row)
        lines += ['', *more]
    if parallel.is_main():
        evaluate.add(folder / 'scores.json', rows)
        title = comparison.title(evaluator.extractor)
        best = best_scores(folder / BEST)
        lines += [f'best {title} {s:.4g}, at step {i}: {folder / BEST}' for i, s in best.items()]
        for line in lines:
            say(line)
    return values


def _yardstick_row(
    yardstick: Yardstick,
    e: Config,
    trained: TrainedGenerator,
    variant: Variant,
    about: Mapping[str, Any],
) -> tuple[Row, list[str]]:
    """Scores of fakes beside the references of a yardstick: a row of `scores.json`, and lines to print."""
    batches = generation.fakes(
        trained, variant, e.num_samples, seed=e.seed, batch_size=e.batch_size
    )
    found = yardstick.score(np.concatenate([np.asarray(x)[:count] for x, count in batches]))
    manifest = {
        **found.manifest,
        **about,
        'protocol': yardstick.name,
        'step': trained.step,
        'weights': variant.weights,
        'batch_statistics': variant.statistics,
        'eval_seed': e.seed,
        **found.details,
    }
    return Row(found.values, manifest), found.lines()
