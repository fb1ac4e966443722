"""Scores of a training run, by the group `eval` of its config: while it trains, and at its end."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.settings.scores import ScorePlan
from snjax import parallel
from snjax.data import ImageSet
from snjax.generate import fakes
from snjax.generate.fakes import Follow, Variant
from snjax.generate.load import from_tree
from snjax.generate.trained import TrainedGenerator
from snjax.metrics import comparison, extractors, score_table
from snjax.metrics.evaluate import Evaluator
from snjax.metrics.extractors import Yardstick
from snjax.metrics.live_scores import LiveScores
from snjax.runs import scores_file
from snjax.runs.best import best_scores
from snjax.runs.checkpoint import as_tree
from snjax.runs.scores_file import Row
from snjax.runs.workdir import BEST, SCORES_NAME


def evaluator_of(
    scores: ScorePlan, load_split: Callable[[str], ImageSet], say: Callable[[str], None]
) -> Evaluator | None:
    """The evaluator of a training; None without an extractor.

    Args:
        scores: how the run is scored.
        load_split: maps the name of a split to its images.
        say: prints a line.

    Raises:
        ValueError, FileNotFoundError: the weights of the extractor are missing or damaged; one
            line.
    """
    if not scores.extractor:
        return None
    if scores.extractor == 'fitted':
        say('the extractor is a classifier of this set, which takes minutes the first time')
    extractor = extractors.load(
        scores.extractor,
        scores.weights,
        training_set=lambda: load_split(scores.protocol.split),
        cache_dir=scores.cache_dir,
    )
    return Evaluator(extractor, load_split, scores.options, scores.cache_dir)


def live_scores(
    scores: ScorePlan, config: Mapping[str, Any], evaluator: Evaluator | None
) -> LiveScores | None:
    """Makes the scores of a training run; None if they are off. `config` is nested."""
    if not scores.every or evaluator is None:
        return None
    return LiveScores(evaluator, scores.protocol, config, scores.every)


# ---- at the end of a training


def score_finished(
    scores: ScorePlan,
    config: Mapping[str, Any],
    evaluator: Evaluator | None,
    state: Any,
    step: int,
    folder: pathlib.Path,
    say: Callable[[str], None],
) -> dict[str, float]:
    """Scores the last state of a run into `scores.json`; every process has to call it.

    Args:
        scores: how the run is scored.
        config: of the run, nested.
        evaluator: of `evaluator_of`.
        state: on the devices.
        step: of the state.
        folder: the workdir.
        say: prints a line.

    Returns:
        The scores by tag, for the run's logs.
    """
    if evaluator is None:
        return {}
    trained = from_tree(config, step, as_tree(state))
    variant = Variant(trained.kept('auto'), 'running')
    about = {'checkpoint': 'last', 'seed': config['seed']}
    known = scores_file.read(folder / SCORES_NAME) if parallel.process_count() == 1 else ()
    rows = evaluator.rows(trained, [scores.protocol], [variant], about, known)
    lines = score_table.lines(rows, evaluator.extractor)
    group = evaluator.tag_group(scores.protocol)
    values = {f'{group}/{name}': value for name, value in rows[0].scores.items()}
    yardstick = evaluator.extractor.yardstick
    if yardstick is not None and config['data']['channels'] in yardstick.channels:
        follow = evaluator.follow(trained)
        row, more = _yardstick_row(yardstick, scores, trained, variant, about, follow)
        rows.append(row)
        lines += ['', *more]
    if parallel.is_main():
        scores_file.add(folder / SCORES_NAME, rows)
        title = comparison.title(evaluator.extractor)
        best = best_scores(folder / BEST)
        lines += [f'best {title} {s:.4g}, at step {i}: {folder / BEST}' for i, s in best.items()]
        for line in lines:
            say(line)
    return values


def _yardstick_row(
    yardstick: Yardstick,
    scores: ScorePlan,
    trained: TrainedGenerator,
    variant: Variant,
    about: Mapping[str, Any],
    follow: Follow,
) -> tuple[Row, list[str]]:
    """Scores fakes by a yardstick: a row of `scores.json`, and lines with the references."""
    o = scores.options
    num = scores.protocol.fake
    options = {'seed': o.seed, 'batch_size': o.batch_size, 'follow': follow}
    batches = fakes.fakes(trained, variant, num, **options)
    found = yardstick.score(np.concatenate([np.asarray(x)[:count] for x, count in batches]))
    manifest = {
        **found.manifest,
        **about,
        'protocol': yardstick.name,
        'step': trained.step,
        'weights': variant.weights,
        'batch_statistics': variant.statistics,
        'eval_seed': o.seed,
        **found.details,
    }
    return Row(found.values, manifest), found.lines()
