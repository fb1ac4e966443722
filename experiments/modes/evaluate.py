"""Scores: what a run says of itself, and `launch.py --mode=evaluate` of one run or of many."""

import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from experiments.report import leaderboard
from experiments.settings.check import Config
from snjax import from_config, parallel
from snjax.data import ImageSet
from snjax.generate import fakes as generation
from snjax.generate.fakes import Variant
from snjax.generate.load import from_tree, load
from snjax.generate.neighbours import nearest_vectors
from snjax.generate.trained import TrainedGenerator
from snjax.metrics import comparison, evaluate, extractors, protocols
from snjax.metrics.evaluate import Evaluator, Row
from snjax.metrics.live_scores import LiveScores
from snjax.metrics.protocols import Protocol
from snjax.runs import config_file, images, lock
from snjax.runs.checkpoint import as_tree, best_scores, load_tree
from snjax.runs.workdir import BEST
from snjax.runs.writer import Writer

_NEAREST = 5


def check(config: Config) -> None:
    """Raises a ValueError of one line for a config whose scores cannot be taken, before anything is trained."""
    e = config.eval
    if e.extractor:
        extractors.check_name(e.extractor)
        if e.num_samples < evaluate.MIN_SAMPLES:
            raise ValueError(
                f'eval.num_samples is {e.num_samples}: at least {evaluate.MIN_SAMPLES} are needed, for the fifth '
                'nearest neighbour'
            )
        _options(config)
    if e.nearest < 0:
        raise ValueError(f'eval.nearest is {e.nearest}: 0 (no picture) or more fakes are accepted')
    if e.every < 0 or (e.every and not e.extractor):
        raise ValueError(
            f'eval.every is {e.every} and eval.extractor {e.extractor!r}: --config.eval.every=0 is accepted (no scores '
            f'while training), or more with one of {", ".join(extractors.EXTRACTORS)}'
        )


def own_protocol(config: Config) -> Protocol:
    """What a run's own scores are taken by: its whole training set and `eval.num_samples` fakes."""
    name = f'{config.data.split}/all/{config.eval.num_samples}'
    return Protocol(name, config.data.split, None, config.eval.num_samples)


def live_scores(config: Config, evaluator: Evaluator | None) -> LiveScores | None:
    """Scores while a run trains, where its config asks for them."""
    e = config.eval
    if not e.every or evaluator is None:
        return None
    return LiveScores(evaluator, own_protocol(config), config.to_dict(), e.every)


def evaluator_of(config: Config, load_split: Callable[[str], ImageSet]) -> Evaluator | None:
    """With the extractor of a config, whose weights have to be there; None where it has none."""
    if not config.eval.extractor:
        return None
    extractor = extractors.load(config.eval.extractor, config.eval.weights)
    return Evaluator(extractor, load_split, _options(config), config.data.cache_dir or None)


def _options(config):
    e = config.eval
    return evaluate.Options(batch_size=e.batch_size, neighbour_num=e.neighbour_num, seed=e.seed)


# ---- at the end of a training


def score_finished(
    config: Config, evaluator: Evaluator | None, state: Any, step: int, folder: pathlib.Path, say
) -> dict[str, float]:
    """Scores a run's last state by its own protocol into `scores.json`, and says them; every process has to ask.

    Returns:
        The scores, for the run's logs.
    """
    if evaluator is None:
        return {}
    trained = from_tree(config.to_dict(), step, as_tree(state))
    variant = Variant(trained.kept('auto'), 'running')
    about = {'checkpoint': 'last', 'seed': config.seed}
    rows = evaluator.rows(trained, [own_protocol(config)], [variant], about)
    lines = evaluate.table(rows, evaluator.extractor)
    values = rows[0].scores
    if config.eval.extractor == 'digits' and config.data.channels == 1:
        yardstick, more = _digits_yardstick(config, trained, about)
        rows.append(yardstick)
        lines += ['', *more]
    if parallel.is_main():
        evaluate.add(folder / 'scores.json', rows)
        title = comparison.title(evaluator.extractor)
        best = best_scores(folder / BEST)
        lines += [f'best {title} {s:.4g}, at step {i}: {folder / BEST}' for i, s in best.items()]
        for line in lines:
            say(line)
    return values


def _digits_yardstick(config, trained, about):
    """The demo's: pixels instead of features, beside held-out digits, a Gaussian and noise."""
    from snjax.metrics.digits import DigitsYardstick

    num, seed = config.eval.num_samples, config.eval.seed
    variant = Variant(trained.kept('auto'), 'running')
    made = generation.fakes(trained, variant, num, seed=seed, batch_size=config.eval.batch_size)
    found = DigitsYardstick().score(np.concatenate([np.asarray(x)[:n] for x, n in made]))
    details = found.to_dict()
    values = {
        k: details[k] for k in ('classes_found', 'smallest_class_share', 'precision', 'recall')
    }
    manifest = details['manifest'] | about
    manifest |= {
        'protocol': 'digits yardstick',
        'step': trained.step,
        'weights': variant.weights,
        'batch_statistics': variant.statistics,
        'eval_seed': seed,
        'class_shares': details['class_shares'],
        'references': {k: v['precision'] for k, v in details['references'].items()},
    }
    return Row({k: float(v) for k, v in values.items()}, manifest), found.lines()


# ---- --mode=evaluate


def run_evaluate(config: Config, folders: Sequence[pathlib.Path]) -> None:
    """Scores the runs in `folders`, each with its own config but for `eval` and places of data, and compares them.

    Of several, those without any checkpoint are named and left out.
    """
    e = config.eval
    if not e.extractor:
        raise ValueError(
            f'eval.extractor is empty: say what to score with, as --config.eval.extractor='
            f'{extractors.EXTRACTORS[0]}; accepted are {", ".join(extractors.EXTRACTORS)}'
        )
    check(config)
    _steps(e)
    asked = protocols.parse(e.protocols) if e.protocols else (own_protocol(config),)
    runs = [(folder, config_file.read_config(_config_file(folder))) for folder in folders]
    extractor = extractors.load(e.extractor, e.weights)
    evaluators: dict[Any, Evaluator] = {}
    without = [folder for folder in folders if not _has_checkpoint(folder)]
    if len(without) < len(folders):  # of many, one may have diverged before it saved
        runs = [(folder, own) for folder, own in runs if folder not in without]
        for folder in without if parallel.is_main() else []:
            print(f'left out: no checkpoint in {folder}', flush=True)
    for folder, own in runs:
        own['data'] |= {k: config.data[k] for k in ('data_dir', 'cache_dir') if config.data[k]}
        d = own['data']
        key = tuple(str(d[k]) for k in ('name', 'image_size', 'channels', 'path'))
        if key not in evaluators:
            evaluators[key] = Evaluator(
                extractor, _splits_of(own), _options(config), d['cache_dir'] or None
            )
        _evaluate_one(config, folder, evaluators[key], asked)
    if parallel.is_main() and len(runs) > 1:
        leaderboard.write([folder for folder, _ in runs], e.extractor)


def _has_checkpoint(folder):
    return any(path.name.isdecimal() for path in (folder / 'checkpoints').glob('*'))


def _config_file(folder):
    path = folder / 'config.json'
    if not path.is_file():
        raise FileNotFoundError(
            f'{folder} holds no run: there is no config.json; give the --workdir of a training, or a pattern'
        )
    return path


def _splits_of(own):
    def load_split(split):
        return from_config.image_set(own, split=split)

    return load_split


def _evaluate_one(config, folder, evaluator, asked):
    e = config.eval
    by_step: dict[int, list[Row]] = {}
    rows = []
    for name, trained in _checkpoints(folder, e):
        about = {'checkpoint': name, 'seed': trained.config['seed']}
        if trained.step not in by_step:
            chosen = generation.variants(e.variants, trained)
            by_step[trained.step] = evaluator.rows(trained, asked, chosen, about)
            if e.nearest:
                _show_nearest(evaluator, trained, chosen[0], e.nearest, folder)
        found = [Row(row.scores, row.manifest | about) for row in by_step[trained.step]]
        # Kept at once: a job that is killed among many checkpoints has lost one.
        if parallel.is_main():
            evaluate.add(folder / 'scores.json', found)
        rows += found
    if not parallel.is_main():
        return
    print(folder)
    for line in evaluate.table(rows, evaluator.extractor):
        print(line)
    _log(folder, rows)
    print(flush=True)


def _checkpoints(folder, e) -> Iterator[tuple[str, TrainedGenerator]]:
    """The checkpoints to score: those of some steps, or the newest and the best; each read when it is its turn."""
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


def _steps(e) -> list[int]:
    """The steps that `eval.step` or `eval.steps` names."""
    if not e.steps:
        return [e.step] if e.step else []
    parts = [part.strip() for part in e.steps.split(',')]
    if e.step or not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(
            f'eval.steps is {e.steps!r} and eval.step {e.step}: one of them is accepted, as '
            '--config.eval.steps=10000,20000'
        )
    return [int(part) for part in parts]


def _log(folder, rows):
    """Scores into TensorBoard, if no training writes there at this moment."""
    try:
        with lock.WorkdirLock(folder):
            last = load_tree(folder / 'checkpoints', prefix=('step',))[0]
            with Writer(folder, start_step=max(last, _last_line(folder))) as writer:
                for row in rows:
                    m = row.manifest
                    group = '/'.join(
                        m[k] for k in ('extractor', 'protocol', 'checkpoint', 'weights')
                    )
                    tags = {
                        f'eval/{group}/{m["batch_statistics"]}/{k}': v
                        for k, v in row.scores.items()
                    }
                    writer.scalars(last, tags)
    except ValueError as error:
        print(f'TensorBoard was not written: {error}')


def _last_line(folder):
    path = folder / 'metrics.jsonl'
    lines = path.read_text().splitlines() if path.exists() else []
    return max((json.loads(line)['step'] for line in lines if line.endswith('}')), default=0)


def _show_nearest(evaluator, trained, variant, num, folder):
    """A grid: fakes, each beside the training images nearest to it by features."""
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
    name = f'nearest_{evaluator.extractor.name}_step{trained.step}_{variant.weights}_{variant.statistics}.png'
    path = folder / 'generated' / name
    path.parent.mkdir(exist_ok=True)
    images.save_png(path, images.grid(np.stack(cells), columns=1 + _NEAREST))
    print(f'fakes and their nearest training images at {path}')
