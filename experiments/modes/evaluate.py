"""`launch.py --mode=evaluate`: scores of one finished run or of many.

The options are in `configs/modes/evaluate.py`.
"""

import contextlib
import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from configs.modes import evaluate as defaults
from experiments.modes import command_line
from experiments.modes.options import NO_PLACES, Options
from experiments.report import leaderboard_files
from experiments.settings import memory, ranges
from experiments.settings.check import Config
from experiments.settings.scores import check_extractor, check_scores, options_of, own_protocol
from snjax import from_config, parallel
from snjax.data import ImageSet
from snjax.generate import fakes
from snjax.generate.fakes import Variant
from snjax.generate.load import load
from snjax.generate.neighbours import nearest_vectors
from snjax.generate.trained import TrainedGenerator
from snjax.host import paths
from snjax.metrics import extractors, protocols, score_table
from snjax.metrics.evaluate import Evaluator
from snjax.metrics.protocols import Protocol
from snjax.runs import config_file, images, lock, scores_file, set_file, tags
from snjax.runs.best import best_scores
from snjax.runs.checkpoint import load_tree
from snjax.runs.files import read_lines
from snjax.runs.scores_file import Row
from snjax.runs.workdir import (
    BEST,
    CHECKPOINTS,
    CONFIG_NAME,
    METRICS_NAME,
    SCORES_NAME,
    steps_in,
)
from snjax.runs.writer import Writer

_NEAREST = 5  # training images beside each fake
# Options that are also keys of `eval` in the config of a training.
_SHARED = ('extractor', 'weights', 'num_samples', 'batch_size', 'neighbour_num', 'seed')
# Entries of a manifest that make up the name of a group of tags in TensorBoard.
_TAGS = ('extractor', 'protocol', 'checkpoint', 'weights', 'batch_statistics')


def main(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Runs `--mode=evaluate` with the flags of `launch.py`."""
    run_evaluate(given.evaluate, given.config, workdir, command_line.places())


def run_evaluate(
    options: Options,
    config: Config,
    workdir: pathlib.Path,
    places: Mapping[str, Any] = NO_PLACES,
) -> None:
    """Scores the run in `workdir`, or every run that matches it as a pattern, and compares them.

    Among several runs, those without a checkpoint are named and left out.

    Args:
        options: see `configs/modes/evaluate.py`.
        config: of the run, or of the first matching run; it gives the values of empty options.
        workdir: of the run, or a pattern as in `glob`.
        places: where the image sets lie, if they are not where the runs found them.

    Raises:
        ValueError, FileNotFoundError: an option is not accepted, or a run or file is missing; one
            line.
    """
    with _messages_of_this_mode():
        ranges.check('evaluate', options)
        e = _filled(options, config)
        _check(e)
        own = own_protocol(config.data.split, e.num_samples)
        asked = protocols.parse(e.protocols) if e.protocols else (own,)
        runs = [
            (folder, config_file.read_config(_config_file(folder))) for folder in _folders(workdir)
        ]
        evaluators: dict[Any, Evaluator] = {}
        splits: dict[Any, Callable[[str], ImageSet]] = {}
        runs = _with_checkpoints(runs)
        for folder, run_config in runs:
            data = run_config['data'] = {**run_config['data'], **places}
            own_split = data['split']
            form = ('name', 'image_size', 'fit', 'channels', 'bits', 'path')
            key = tuple(str(data.get(k)) for k in form)
            if key not in evaluators:
                check_extractor(e.extractor, {'bits': 8, **data})
                splits[key] = functools.cache(_splits_of(run_config))
                evaluators[key] = _evaluator(e, run_config, splits[key])
            if e.nearest or own_split in [protocol.split for protocol in asked]:
                accept = places.get('accept_changed', False)
                set_file.check(folder, splits[key](own_split), accept_changed=accept)
            _evaluate_one(e, folder, evaluators[key], asked)
        if parallel.is_main() and len(runs) > 1:
            leaderboard_files.write([folder for folder, _ in runs], e.extractor)


@contextlib.contextmanager
def _messages_of_this_mode() -> Iterator[None]:
    """Replaces keys of a training by options of this mode in the messages of errors."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        text = re.sub(
            rf'(--)?(config\.)?\beval\.({"|".join(_SHARED)})\b', r'\1evaluate.\3', str(error)
        )
        # The loaders name the key of a training that holds the split.
        text = re.sub(r'--config\.data\.split=(\w+)', r'--evaluate.protocols=\1/all/1000', text)
        if text == str(error):
            raise
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(text) from error


def _filled(options: Options, config: Config) -> Options:
    """Returns the options; an option left at its default has the value of the run's own config."""
    default = defaults.get_config()
    own = {key: config.eval[key] for key in _SHARED if options[key] == default[key]}
    return ConfigDict({**options.to_dict(), **own})


def _check(e: Options) -> None:
    """Raises a ValueError for impossible options, before anything is loaded."""
    if not e.extractor:
        raise ValueError(
            'evaluate.extractor is empty: name the feature network, as --evaluate.extractor='
            f'{extractors.EXTRACTORS[0]}; accepted are {", ".join(extractors.EXTRACTORS)}'
        )
    check_scores(e)
    memory.check_scores(e)
    _steps(e)


def _folders(workdir: pathlib.Path) -> list[pathlib.Path]:
    """The folders of the runs that a workdir or pattern names."""
    found = paths.matches(workdir, CONFIG_NAME)
    return [path.parent for path in found if path.is_file()] or [workdir]


def _config_file(folder: pathlib.Path) -> pathlib.Path:
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f'{folder} holds no run: there is no {path}; give the --workdir of a training, '
            'or a pattern'
        )
    return path


def _with_checkpoints(
    runs: Sequence[tuple[pathlib.Path, Any]],
) -> Sequence[tuple[pathlib.Path, Any]]:
    """The runs with a checkpoint, or all runs if none has one: loading then gives the reason."""
    without = [folder for folder, _ in runs if not steps_in(folder / CHECKPOINTS)]
    if len(without) == len(runs):
        return runs
    # A run that diverged early has saved nothing.
    for folder in without if parallel.is_main() else []:
        print(f'left out: no checkpoint in {folder}', flush=True)
    return [(folder, config) for folder, config in runs if folder not in without]


def _splits_of(config: Mapping[str, Any]) -> Callable[[str], ImageSet]:
    """Maps the name of a split of a run's image set to its images, which are loaded once."""

    @functools.cache
    def load_split(split):
        return from_config.image_set(config, split=split)

    return load_split


def _evaluator(
    e: Options, config: Mapping[str, Any], load_split: Callable[[str], ImageSet]
) -> Evaluator:
    """The evaluator of runs on the image set of a config."""
    cache_dir = config['data']['cache_dir'] or None
    extractor = extractors.load(
        e.extractor,
        e.weights,
        training_set=lambda: load_split(config['data']['split']),
        cache_dir=cache_dir,
    )
    return Evaluator(extractor, load_split, options_of(e), cache_dir)


# ---- one run


def _evaluate_one(
    e: Options, folder: pathlib.Path, evaluator: Evaluator, asked: Sequence[Protocol]
) -> None:
    """Scores the checkpoints of a run; writes `scores.json` and TensorBoard, and prints a table."""
    by_step: dict[int, list[Row]] = {}
    rows, known = [], scores_file.read(folder / SCORES_NAME)
    for name, trained in _checkpoints(folder, e):
        about = {'checkpoint': name, 'seed': trained.config['seed']}
        if trained.step not in by_step:
            chosen = fakes.variants(e.variants, trained)
            by_step[trained.step] = evaluator.rows(trained, asked, chosen, about, known)
            if e.nearest:
                _show_nearest(evaluator, trained, chosen[0], e.nearest, folder)
        found = [
            dataclasses.replace(row, manifest=row.manifest | about) for row in by_step[trained.step]
        ]
        # Saved at once, so that a job killed among many checkpoints loses one of them.
        if parallel.is_main():
            scores_file.add(folder / SCORES_NAME, found)
        rows += found
    if not parallel.is_main():
        return
    print(folder)
    for line in score_table.lines(rows, evaluator.extractor):
        print(line)
    _log(folder, rows)
    print(flush=True)


def _checkpoints(folder: pathlib.Path, e: Options) -> Iterator[tuple[str, TrainedGenerator]]:
    """Loads, one by one, the checkpoints of the chosen steps, or the newest and the best."""
    asked = _steps(e)
    if asked:
        for step in asked:
            yield 'step', load(folder, step)
        return
    yield 'last', load(folder)
    kept = best_scores(folder / BEST)
    if kept:
        best = min(kept, key=lambda i: kept[i])
        yield 'best', load(folder, best, BEST)


def _steps(e: Options) -> list[int]:
    """The steps in `evaluate.step` or `evaluate.steps`; empty if neither is set."""
    if not e.steps:
        return [e.step] if e.step else []
    parts = [part.strip() for part in e.steps.split(',')]
    if e.step or not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(
            f'evaluate.steps is {e.steps!r} and evaluate.step {e.step}: one of them is accepted, '
            'as --evaluate.steps=10000,20000'
        )
    return [int(part) for part in parts]


def _log(folder: pathlib.Path, rows: Sequence[Row]) -> None:
    """Writes scores to TensorBoard, unless a training is writing there."""
    try:
        with lock.WorkdirLock(folder):
            last = rows[-1].manifest['step']
            if steps_in(folder / CHECKPOINTS):  # a generator alone has none
                last = load_tree(folder / CHECKPOINTS, prefix=('step',))[0]
            with Writer(folder, start_step=max(last, _last_line(folder))) as writer:
                for row in rows:
                    group = tags.score_group(*(row.manifest[key] for key in _TAGS))
                    found = {f'{group}/{name}': x for name, x in row.scores.items()}
                    writer.scalars(last, found)
    except ValueError as error:
        print(f'TensorBoard was not written: {error}')


def _last_line(folder: pathlib.Path) -> int:
    """The last step in metrics.jsonl; 0 without any."""
    steps = (point.get('step') for _, point in read_lines(folder / METRICS_NAME).good)
    return max((step for step in steps if isinstance(step, int)), default=0)


def _show_nearest(
    evaluator: Evaluator,
    trained: TrainedGenerator,
    variant: Variant,
    num: int,
    folder: pathlib.Path,
) -> None:
    """Writes a grid of fakes, each beside the training images with the nearest features."""
    fake = evaluator.fakes(trained, variant, num)
    if fake.images is None or not parallel.is_main():
        return
    reference = evaluator.reference(trained.config['data']['split'])
    found = nearest_vectors(fake.features.features, reference.features.features, _NEAREST)
    pixels = reference.image_set.images
    cells = [
        cell
        for x, ids in zip(fake.images, found.index, strict=True)
        for cell in (x, *(pixels[i] for i in ids))
    ]
    extractor = evaluator.extractor.name
    name = f'nearest_{extractor}_step{trained.step}_{variant.weights}_{variant.statistics}.png'
    path = folder / 'generated' / name
    path.parent.mkdir(exist_ok=True)
    images.save_png(path, images.grid(np.stack(cells), columns=1 + _NEAREST))
    print(f'fakes and their nearest training images at {path}')
