"""What `launch.py --mode=...` does: a config and a workdir to a finished run, or to samples of one."""

import contextlib
import dataclasses
import glob
import logging
import pathlib
import time
from typing import Any

import jax
import numpy as np

from experiments import build
from experiments.modes import evaluate, streaming
from experiments.modes.invert import run_invert
from experiments.modes.sample import run_sample
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
    say(f'{config.method} on {parallel.describe()}; workdir {workdir}')
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock.WorkdirLock(workdir, process_index=parallel.process_index()))
        if main:  # before anything is loaded or compiled
            config_file.compare_config(workdir, config.to_dict(), keys.computed)
        ahead = stack.enter_context(AheadOfTime(config, method, options, workdir, say))
        # Whatever is wrong is found before config.json is written, which would refuse the corrected config.
        image_set = load_data(config, say, ahead.announce)
        options = streaming.choose_options(config, options, image_set.images, say)
        _check_num_classes(config, image_set)
        loop.check_set_size(len(image_set.images), method.batch_size)
        evaluator = evaluate.evaluator_of(config, lambda split: image_set)
        method = method.with_images(image_set.images)
        live = evaluate.live_scores(config, evaluator)
        record = RunLogger(workdir, config.seed, config.to_dict(), say, live)
        if main:
            config_file.check_config(workdir, config.to_dict(), keys.computed)
        trainer = loop.Trainer(
            method, options, image_set.images, image_set.labels, record, say, ahead.program
        )
        began = time.perf_counter()
        trainer.run()
        say(f'trained to step {trainer.step} in {time.perf_counter() - began:.0f} s')
        values = evaluate.score_finished(
            config, evaluator, trainer.whole_state(), trainer.step, workdir, say
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
        config: Config,
        method: Any,
        options: loop.Options,
        workdir: pathlib.Path,
        say,
    ):
        self._config, self._method, self._options = config, method, options
        self._workdir, self._say = workdir, say
        self.program: StepProgram | None = None

    def __enter__(self) -> 'AheadOfTime':
        return self

    def __exit__(self, kind, *_) -> None:
        if kind and self.program:
            self.program.cancel()

    def announce(self, num_images: int) -> None:
        """Starts it for a set of so many images."""
        d, method = self._config.data, self._method
        images = jax.ShapeDtypeStruct(
            (num_images, d.image_size, d.image_size, d.channels), np.uint8
        )
        # Several processes compile with arrays, GLO is made for its images, and a set may be one to stream.
        waits = parallel.process_count() > 1 or method.state_axes is not None
        if waits or streaming.is_streamed(self._config, images):
            return
        if num_images >= method.batch_size:
            self.program = loop.compile_ahead(
                method, self._options, images, self._workdir, self._say
            )


def load_data(config: Config, say, announce=None) -> data.ImageSet:
    """The training set of a config, and a line about it.

    `announce` gets the number of images before they are decoded.
    """
    d, source = config.data, from_config.image_source(config)
    if announce and source.num_images is not None:
        announce(source.num_images)
    image_set = source.read()
    n, h, w, c = image_set.images.shape
    say(f'{d.name} ({d.split}): {n} images of {h}x{w}x{c}, sha256 {image_set.sha256[:12]}')
    if image_set.class_names:
        say(data.class_histogram(image_set.labels, image_set.class_names))
    return image_set


def _check_num_classes(config: Config, image_set: data.ImageSet) -> None:
    """Raises a ValueError of one line for a conditional model of other classes than the set's."""
    told, there = config.model.num_classes, len(image_set.class_names)
    if told and told != there:
        found = f'{there} classes: use --config.model.num_classes={there}' if there else 'no labels'
        raise ValueError(f'model.num_classes is {told}, but {image_set.name} has {found}')


def _show_where(step: int, workdir: pathlib.Path) -> None:
    grid = workdir / 'samples' / f'{step:08d}.png'
    if grid.exists():
        _say(f'samples      {grid}')
    _say(f'TensorBoard  {workdir / "tensorboard"}')
    _say(f'to look      tensorboard --logdir {workdir / "tensorboard"}')


def _run_evaluate(config: Config, workdir: pathlib.Path) -> None:
    """Scores the run in `workdir`, or all that it matches as a pattern."""
    found = sorted(pathlib.Path(p) for p in glob.glob(str(workdir)))
    folders = [p for p in found if (p / 'config.json').is_file()] or [workdir]
    evaluate.run_evaluate(config, folders)


MODES = {
    'train': run_train,
    'sample': run_sample,
    'invert': run_invert,
    'evaluate': _run_evaluate,
}


def _say(line: str) -> None:
    print(line, flush=True)


def _silent(line: str) -> None:
    logging.getLogger(__name__).debug(line)
