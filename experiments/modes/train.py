"""What `launch.py --mode=...` does: a config and a workdir to a finished run, or to samples of one."""

import contextlib
import dataclasses
import logging
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments import build
from experiments.modes import streaming, training_scores
from experiments.settings import keys
from experiments.settings.check import Config
from snjax import data, from_config, parallel
from snjax.runs import config_file, lock
from snjax.runs.run_logger import RunLogger
from snjax.training import loop
from snjax.training.program import StepProgram


def run_train(config: Config, workdir: pathlib.Path, profile: int = 0) -> None:
    """Trains, or goes on training, in `workdir`, and traces `profile` calls of the step."""
    plan = build.plan(config)
    method, options = plan.method, dataclasses.replace(plan.options, profile=profile)
    main = parallel.is_main()
    say = _say if main else _silent
    record = plan.record
    say(f'{record["method"]} on {parallel.describe()}; workdir {workdir}')
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock.WorkdirLock(workdir, process_index=parallel.process_index()))
        if main:  # before anything is loaded or compiled
            config_file.compare_config(workdir, record, keys.computed)
        ahead = stack.enter_context(AheadOfTime(plan, workdir, say))
        # Whatever is wrong is found before config.json is written, which would refuse the corrected config.
        image_set = load_data(record, say, ahead.announce)
        options = streaming.choose_options(plan.stream, options, image_set.images, say)
        _check_num_classes(method.num_classes, image_set)
        loop.check_set_size(len(image_set.images), method.batch_size)
        evaluator = training_scores.evaluator_of(plan.scores, lambda split: image_set)
        method = method.with_images(image_set.images)
        live = training_scores.live_scores(plan.scores, record, evaluator)
        logger = RunLogger(workdir, options.seed, record, say, live)
        if main:
            config_file.check_config(workdir, record, keys.computed)
        trainer = loop.Trainer(
            method, options, image_set.images, image_set.labels, logger, say, ahead.program
        )
        began = time.perf_counter()
        trainer.run()
        say(f'trained to step {trainer.step} in {time.perf_counter() - began:.0f} s')
        values = training_scores.score_finished(
            plan.scores, record, evaluator, trainer.whole_state(), trainer.step, workdir, say
        )
        if main:
            trainer.write_scores(trainer.step, values)
            _show_where(trainer.step, workdir)


class AheadOfTime:
    """Compiles the training step as soon as it is known how many images there will be, while they are decoded.

    Attributes:
        program: see `snjax.training.step.compile_ahead`; None before, and where it has to wait for the images.
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
        """Starts it for a set of so many images."""
        plan, method, d = self._plan, self._plan.method, self._plan.record['data']
        images = jax.ShapeDtypeStruct(
            (num_images, d['image_size'], d['image_size'], d['channels']), np.uint8
        )
        # Several processes compile with arrays, GLO is made for its images, and a set may be one to stream.
        waits = parallel.process_count() > 1 or method.state_axes is not None
        if waits or streaming.is_streamed(plan.stream, images):
            return
        if num_images >= method.batch_size:
            self.program = loop.compile_ahead(
                method, plan.options, images, self._workdir, self._say
            )


def load_data(config: Mapping[str, Any], say, announce=None) -> data.ImageSet:
    """The training set of a config, and a line about it.

    `announce` gets the number of images before they are decoded.
    """
    source = from_config.image_source(config)
    if announce and source.num_images is not None:
        announce(source.num_images)
    image_set = source.read()
    n, h, w, c = image_set.images.shape
    say(
        f'{image_set.name} ({image_set.split}): {n} images of {h}x{w}x{c}, sha256 {image_set.sha256[:12]}'
    )
    if image_set.class_names:
        say(data.class_histogram(image_set.labels, image_set.class_names))
    return image_set


def _check_num_classes(told: int, image_set: data.ImageSet) -> None:
    """Raises a ValueError of one line for a conditional model of other classes than the set's."""
    there = len(image_set.class_names)
    if told and told != there:
        found = f'{there} classes: use --config.model.num_classes={there}' if there else 'no labels'
        raise ValueError(f'model.num_classes is {told}, but {image_set.name} has {found}')


def _show_where(step: int, workdir: pathlib.Path) -> None:
    grid = workdir / 'samples' / f'{step:08d}.png'
    if grid.exists():
        _say(f'samples      {grid}')
    _say(f'TensorBoard  {workdir / "tensorboard"}')
    _say(f'to look      tensorboard --logdir {workdir / "tensorboard"}')


def _say(line: str) -> None:
    print(line, flush=True)


def _silent(line: str) -> None:
    logging.getLogger(__name__).debug(line)
