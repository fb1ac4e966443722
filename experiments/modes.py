"""What `launch.py --mode=...` does: a config and a workdir to a finished run, or to samples of one."""

import logging
import pathlib
import time

import jax
import numpy as np

from experiments import method as methods
from experiments.invert import run_invert
from experiments.sample import run_sample
from snjax import data, evaluate, parallel, resume, train
from snjax.sampling import seed_key
from snjax.workdir import image_set_of

# Keys that another run in the same workdir may change: none of them touches what is computed at a step.
HARMLESS = (
    'num_steps',
    'log.*',
    'checkpoint.*',
    'sampling.*',
    'inversion.*',
    'eval.*',
    'data.data_dir',
    'data.cache_dir',
)


def run_train(config: methods.Config, workdir: pathlib.Path) -> None:
    """Trains, or goes on training, in `workdir`."""
    options = train_options(config)
    method = methods.load(config)
    evaluate.check_extractor(config.eval.extractor, config.eval.num_samples)
    main = parallel.is_main()
    say = _say if main else _silent
    say(f'{config.method} on {parallel.describe()}; workdir {workdir}')
    with resume.WorkdirLock(workdir, process_index=jax.process_index()):
        # Whatever is wrong is found before config.json is written, which would refuse the corrected config.
        image_set = load_data(config, say)
        _check_num_classes(config, image_set)
        train.check_set_size(len(image_set.images), method.batch_size)
        method = method.with_images(image_set.images)
        if main:
            resume.check_config(workdir, config.to_dict(), harmless=HARMLESS)
        trainer = train.Trainer(
            method, options, image_set.images, image_set.labels, workdir, config.to_dict(), say
        )
        began = time.perf_counter()
        state = trainer.run()
        if main:
            _finish(config, method, state, trainer, workdir, time.perf_counter() - began)


def train_options(config: methods.Config) -> train.Options:
    """The loop's options, with the updates per call of this backend where the config leaves them open."""
    return train.Options(
        num_steps=config.num_steps,
        steps_per_call=config.steps_per_call or parallel.default_steps_per_call(),
        log_every=config.log.every,
        histogram_every=config.log.histograms_every,
        sample_every=config.sampling.every,
        num_samples=config.sampling.num,
        checkpoint_every=config.checkpoint.every,
        keep=config.checkpoint.keep,
        keep_every=config.checkpoint.keep_every,
        flip=config.data.flip,
        dequantize=config.data.dequantize,
        seed=config.seed,
    )


def load_data(config: methods.Config, say) -> data.ImageSet:
    """The training set of a config, and a line about it."""
    d, image_set = config.data, image_set_of(config)
    n, h, w, c = image_set.images.shape
    say(f'{d.name} ({d.split}): {n} images of {h}x{w}x{c}, sha256 {image_set.sha256[:12]}')
    if image_set.class_names:
        say(data.class_histogram(image_set.labels, image_set.class_names))
    return image_set


def _check_num_classes(config: methods.Config, image_set: data.ImageSet) -> None:
    """Raises a ValueError of one line for a conditional model of other classes than the set's."""
    told, there = config.model.num_classes, len(image_set.class_names)
    if told and told != there:
        found = f'{there} classes: use --config.model.num_classes={there}' if there else 'no labels'
        raise ValueError(f'model.num_classes is {told}, but {image_set.name} has {found}')


def _finish(config, method, state, trainer, workdir, seconds):
    """Scores, and where everything is."""
    step = int(parallel.local(state).step)
    _say(f'trained to step {step} in {seconds:.0f} s')
    if config.eval.extractor:
        rng = seed_key(config.seed, 'sample')
        sample = jax.jit(method.sample, static_argnums=2)
        samples = np.asarray(sample(parallel.local(state), rng, config.eval.num_samples))
        scores = evaluate.score(config.eval.extractor, samples)
        scores.manifest |= {
            'step': step,
            'seed': config.seed,
            'weights': 'ema' if config.optimizer.ema_decay else 'raw',
            'batch_statistics': 'running',
        }
        evaluate.write(workdir / 'scores.json', scores)
        trainer.write_scores(step, scores.values)
        for line in scores.lines:
            _say(line)
    grid = workdir / 'samples' / f'{step:08d}.png'
    if grid.exists():
        _say(f'samples      {grid}')
    _say(f'TensorBoard  {workdir / "tensorboard"}')
    _say(f'to look      tensorboard --logdir {workdir / "tensorboard"}')


MODES = {'train': run_train, 'sample': run_sample, 'invert': run_invert}


def _say(line: str) -> None:
    print(line, flush=True)


def _silent(line: str) -> None:
    logging.getLogger(__name__).debug(line)
