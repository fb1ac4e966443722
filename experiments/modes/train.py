"""Training: `launch.py` without a --mode."""

import dataclasses
import functools
import logging
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from absl import flags

from experiments import build
from experiments.modes import (
    command_line,
    going_on,
    lines,
    outcome,
    streaming,
    training_diagnostics,
    training_scores,
)
from experiments.settings import keys
from experiments.settings.check import Config
from snjax import data, from_config, parallel
from snjax.data.image_set import check_conditions
from snjax.metrics.evaluate import Evaluator
from snjax.runs import conditions_file, config_file, lock, set_file
from snjax.runs.workdir import CONFIG_NAME, SAMPLES, check_kinds, newest_step
from snjax.training import beginning, loop, transfer
from snjax.training.program import StepProgram
from snjax.training.step import compile_ahead
from snjax.training.transfer import Origin

# Images a class below which a conditional run is warned. On digits, 180 a class collapse.
ENOUGH_IMAGES = 500


def main(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Trains with the flags of `launch.py`."""
    set_origin(given, workdir)
    run_train(given.config, workdir, profile=given.profile)


def set_origin(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Writes the checkpoint that `--init_from` means into the config."""
    if given.init_from:
        if not given.workdir:
            raise ValueError(going_on.NO_WORKDIR)
        given.config.init_from = going_on.resolve(given.init_from, workdir)
        if not (workdir / CONFIG_NAME).is_file():
            command_line.forget_beginning()


def run_train(config: Config, workdir: pathlib.Path, profile: int = 0) -> None:
    """Trains in `workdir`, from its newest good checkpoint if there is one, and scores the result.

    Args:
        config: of the run.
        workdir: its folder.
        profile: calls of the training step to trace; 0 for none.
    """
    plan = build.plan(config)
    plan = dataclasses.replace(plan, options=dataclasses.replace(plan.options, profile=profile))
    record = plan.record
    say = lines.say if parallel.is_main() else _silent
    say(f'{record["method"]} on {parallel.describe()}; workdir {workdir}')
    with (
        lock.WorkdirLock(workdir, process_index=parallel.process_index()) as held,
        AheadOfTime(plan, workdir, say) as ahead,
    ):
        if parallel.is_main():  # before anything is loaded or compiled
            check_kinds(workdir)
            for line in compare(workdir, record):
                say(line)
        image_set = load_data(record, say, ahead.announce)
        _check_set(plan, image_set, workdir)
        evaluator = training_scores.evaluator_of(plan.scores, lambda split: image_set, say)
        trainer = _trainer(plan, image_set, evaluator, workdir, say, ahead)
        for line in going_on.notes(record, trainer.step, workdir):
            say(line)
        start = time.perf_counter()
        trainer.run()
        seconds = time.perf_counter() - start
        held.check()
        say(f'trained to step {trainer.step} in {seconds:.0f} s, compilation included')
        state, step = trainer.whole_state(), trainer.step
        scores = training_scores.score_finished(
            plan.scores, record, evaluator, state, step, workdir, say
        )
        if parallel.is_main():
            held.check()
            trainer.write_scores(scores)
            say(f'how it went  {outcome.of(workdir)}')
            _show_where(step, workdir, plan.method.num_classes)


def _trainer(
    plan: build.Plan,
    image_set: data.ImageSet,
    evaluator: Evaluator | None,
    workdir: pathlib.Path,
    say,
    ahead: 'AheadOfTime',
) -> loop.Trainer:
    """The trainer of a plan. Writes `config.json` after every check of the config has passed."""
    options = streaming.choose_options(plan.stream, plan.options, image_set.images, say)
    check_num_classes(plan.method.num_classes, image_set)
    labels = image_set.labels_for(plan.method.num_conditions)
    beginning.check_set_size(len(image_set.images), plan.method.batch_size)
    method = plan.method.with_images(image_set.images, labels)
    live = training_scores.live_scores(plan.scores, plan.record, evaluator)
    trainer = loop.Trainer(
        method,
        options,
        image_set.images,
        labels,
        workdir,
        plan.record,
        live=live,
        origin=_origin(plan.record),
        diagnose=training_diagnostics.measurement(method, options.diagnose_every, image_set),
        say=say,
        ahead=ahead.program,
        shorter=going_on.shorter(plan.record),
        hparams=keys.hparams(plan.record),
    )
    if parallel.is_main():
        config_file.check_config(workdir, plan.record, resumable(workdir))
        set_file.write(workdir, image_set)
        if plan.method.num_conditions:
            conditions_file.write(workdir, image_set)
    return trainer


def _origin(config: Mapping[str, Any]) -> Origin | None:
    """The checkpoint that a run begins with; None for a fresh start."""
    folder, step = going_on.split(config['init_from'])
    if not folder:
        return None
    if step is None:
        raise ValueError(
            f'init_from {folder!r} names no step: use --init_from={folder}, which does'
        )
    t = config['transfer']
    return Origin(pathlib.Path(folder), step, transfer.Options(t['take'], t['optimizer'], t['ema']))


class AheadOfTime:
    """Compiles the training step while the images are decoded; a context manager.

    An error inside cancels the compilation.

    Attributes:
        program: the step that is being compiled; None before `announce`, and if compiling has to
            wait for the images (`snjax.training.step.compile_ahead`).
    """

    def __init__(
        self,
        plan: build.Plan,
        workdir: pathlib.Path,
        say,
    ):
        self._plan, self._workdir, self._say = plan, workdir, say
        self.program: StepProgram | None = None

    def __enter__(self) -> 'AheadOfTime':
        return self

    def __exit__(self, kind, *_) -> None:
        if kind and self.program:
            self.program.cancel()

    def announce(self, num_images: int) -> None:
        """Starts to compile for a set of `num_images` images."""
        plan, method = self._plan, self._plan.method
        images = from_config.images_shape(plan.record, num_images)
        # Several processes and streamed sets need arrays to compile; GLO's state has the size of
        # its images. The shares of the classes are numbers in the program.
        by_shares = plan.record['model']['fake_classes'] == 'set'
        waits = by_shares or parallel.process_count() > 1 or method.state_axes is not None
        if waits or streaming.is_streamed(plan.stream, images):
            return
        if num_images >= method.batch_size:
            self.program = compile_ahead(method, plan.options, images, self._workdir, self._say)


def load_data(config: Mapping[str, Any], say, announce=None) -> data.ImageSet:
    """Loads the training set of a config, and says a line about it.

    `announce` is called with the number of images before they are decoded.
    """
    source = from_config.image_source(config)
    if num_conditions := config['model'].get('num_conditions', 0):  # before images are decoded
        check_conditions(config['data']['name'], source.condition_names, num_conditions)
    if announce and source.num_images is not None:
        announce(source.num_images)
    image_set = source.read()
    n, h, w, c = image_set.images.shape
    depth = ' and 16 bits' if image_set.images.dtype == np.uint16 else ''
    say(
        f'{image_set.name} ({image_set.split}): {n} images of {h}x{w}x{c}{depth}, '
        f'sha256 {image_set.sha256[:12]}'
    )
    if image_set.conditions is not None:
        low, high = image_set.conditions.min(0), image_set.conditions.max(0)
        each = zip(image_set.condition_names, low, high, strict=True)
        shown = [f'{name} {a:.3g} to {b:.3g}' for name, a, b in each]
        say(f'{len(shown)} number{"s" * (len(shown) > 1)} per image: {", ".join(shown[:12])}')
    if image_set.class_names:
        say(data.class_histogram(image_set.labels, image_set.class_names))
        _warn_of_few_images(config['model'], image_set.labels, say)
    return image_set


def _warn_of_few_images(model: Mapping[str, Any], labels: np.ndarray, say) -> None:
    """Says what to change if the classes are so small that conditional batch norm collapses."""
    fewest = np.bincount(labels).min()
    at_risk = model['num_classes'] and model['gen_conditioning'] == 'batch_norm'
    if at_risk and not model['conditioning_end'] and fewest < ENOUGH_IMAGES:
        say(
            f'the smallest class has {fewest} images: below about {ENOUGH_IMAGES}, samples of a '
            'class tend to become alike (docs/results/projection_acgan.md); '
            '--config.model.gen_conditioning=concat keeps them apart'
        )


def resumable(workdir: pathlib.Path) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Returns, of a config, what must be the same for the run in `workdir` to go on."""
    is_set_known = set_file.read(workdir) is not None
    step = newest_step(workdir)
    return functools.partial(keys.resumable, is_set_known=is_set_known, step=step)


def compare(workdir: pathlib.Path, record: Mapping[str, Any]) -> list[str]:
    """Lines on a schedule that is another one from now on.

    Raises:
        ValueError: a run with this config may not go on in the workdir; one line.
    """
    try:
        changed = config_file.compare_config(workdir, record, resumable(workdir))
    except ValueError as error:
        raise going_on.explained(error, workdir) from None
    return [
        f'{key} was {old} and is {new} from step {newest_step(workdir)} on'
        for key, old, new in changed
        if not keys.is_incidental(key) and key not in keys.PATHS
    ]


def _check_set(plan: build.Plan, image_set: data.ImageSet, workdir: pathlib.Path) -> None:
    """Raises a ValueError unless all processes have the images that the run was trained on."""
    start = int(set_file.identity(image_set)[:7], 16)
    if parallel.any_process(start != parallel.from_main(start)):
        raise ValueError(
            f'the processes of this run read different sets as {image_set.name} '
            f'({len(image_set.images)} images here): give all the same --config.data.path'
        )
    if parallel.is_main():
        set_file.check(
            workdir,
            image_set,
            accept_changed=plan.accept_changed,
            has_rows=plan.method.state_axes is not None,
        )


def check_num_classes(wanted: int, image_set: data.ImageSet) -> None:
    """Raises a ValueError if a conditional model has another number of classes than the set."""
    there = len(image_set.class_names)
    if wanted and wanted != there:
        found = f'{there} classes: use --config.model.num_classes={there}' if there else 'no labels'
        raise ValueError(f'model.num_classes is {wanted}, but {image_set.name} has {found}')


def _show_where(step: int, workdir: pathlib.Path, num_classes: int) -> None:
    grid = workdir / SAMPLES / f'{step:08d}.png'
    if grid.exists():
        named = set_file.columns_line(workdir, num_classes)
        lines.say(f'samples      {grid}' + (f', {named}' if named else ''))
    # Of the folder above, so that the run has a name there and others of it are beside it.
    has_others = len(list(workdir.parent.glob(f'*/{CONFIG_NAME}'))) > 1
    above = workdir.parent if has_others or workdir.parent.name == 'runs' else workdir
    lines.say(f'to look      tensorboard --logdir {above}')


def _silent(line: str) -> None:
    logging.getLogger(__name__).debug(line)
