"""The training step of a method: what is drawn, `steps_per_call` updates in one program, compiled ahead."""

import dataclasses
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snjax import parallel
from snjax.data import sampler
from snjax.latents.sampling import seed_key
from snjax.runs.checkpoint import Checkpointer
from snjax.training.program import StepProgram


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """When the loop does what, in generator updates; 0 for never.

    Attributes:
        num_steps: the run stops here.
        steps_per_call: updates per XLA program; divides every other number.
        log_every, histogram_every: scalars; histograms of weights.
        sample_every, num_samples: grids of that many images from fixed z.
        checkpoint_every, keep, keep_every: the latest `keep` checkpoints stay, and every multiple of `keep_every`.
        flip, dequantize: see `snjax.data.sampler.to_float`.
        seed: of everything.
        stream: the set stays on the host and is read ahead (`snjax.training.feed`); it changes no bit of a run.
        workers: threads that read it; 0 for one per core.
        profile: calls of the program to trace (`snjax.training.profiling`); 0 for none.
    """

    num_steps: int
    steps_per_call: int
    log_every: int
    histogram_every: int
    sample_every: int
    num_samples: int
    checkpoint_every: int
    keep: int
    keep_every: int
    flip: bool
    dequantize: bool
    seed: int
    stream: bool = False
    workers: int = 0
    profile: int = 0

    def __post_init__(self):
        if self.steps_per_call < 1 or self.num_steps < 1 or self.log_every < 1:
            raise ValueError(
                f'num_steps {self.num_steps}, steps_per_call {self.steps_per_call}, log.every '
                f'{self.log_every}: each must be at least 1'
            )
        if not 0 <= self.seed < 2**32:  # larger ones repeat these
            raise ValueError(f'seed {self.seed}: 0 up to 2**32 - 1 is accepted')
        intervals = {
            'num_steps': self.num_steps,
            'log.every': self.log_every,
            'log.histograms_every': self.histogram_every,
            'sampling.every': self.sample_every,
            'checkpoint.every': self.checkpoint_every,
        }
        for name, value in (intervals | {'sampling.num': self.num_samples}).items():
            if value < 0:
                raise ValueError(f'{name} {value} is negative: 0 (never) or more is accepted')
        if self.checkpoint_every and self.keep_every % self.checkpoint_every:
            raise ValueError(
                f'checkpoint.keep_every {self.keep_every} is not a multiple of checkpoint.every '
                f'{self.checkpoint_every}, so none would be kept: change one'
            )
        for name, value in intervals.items():
            if value % self.steps_per_call:
                raise ValueError(
                    f'{name} {value} is not a multiple of steps_per_call {self.steps_per_call}: '
                    f'change one, as --config.{name}={math.ceil(value / self.steps_per_call) * self.steps_per_call}'
                )


def make_step(method: Any, options: Options) -> Callable:
    """`(state, data) -> (state, metrics)`: `steps_per_call` updates on one device's share, for `parallel`."""

    def run(state, data, streamed=None):
        data_rng, train_rng = (jax.random.wrap_key_data(data[k]) for k in ('data_rng', 'train_rng'))
        ids = parallel.example_ids(method.batch_size)

        def step(state, pixels):
            batch = sampler.draw(
                data,
                data_rng,
                state.step,
                ids,
                num_batches=method.batches_per_step,
                batch_size=method.batch_size,
                flip=options.flip,
                dequantize=options.dequantize,
                pixels=pixels,
            )
            return method.train_step(state, batch, train_rng)

        state, metrics = parallel.scan_or_unroll(step, state, streamed, options.steps_per_call)
        return state, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)

    return run


def device_data(pixels: np.ndarray | None, labels: np.ndarray, seed: int) -> dict[str, jax.Array]:
    """The set and the run's keys on every device. Keys are data, so that another seed needs no other program.

    Of a set that is streamed, whose `pixels` are None here, the labels are there all the same.
    """
    keys = {f'{role}_rng': jax.random.key_data(seed_key(seed, role)) for role in ('data', 'train')}
    images = {} if pixels is None else {'image': pixels}
    return parallel.replicate({**images, 'label': labels, **keys})


def compile_ahead(
    method: Any,
    options: Options,
    images: jax.ShapeDtypeStruct,
    workdir: pathlib.Path,
    say: Callable[[str], None],
) -> StepProgram | None:
    """The step's program for a resident set like `images`, compiled while that is being read; None if it cannot be.

    A streamed set's program, and one over several processes, needs arrays: the trainer compiles it. The finished run
    in `workdir` needs none.
    """
    if options.stream or parallel.process_count() > 1:
        return None
    if any(step >= options.num_steps for step in Checkpointer(workdir / 'checkpoints').steps()):
        return None
    keys = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
    labels = jax.ShapeDtypeStruct(images.shape[:1], np.int32)
    data = {'image': images, 'label': labels, 'data_rng': keys, 'train_rng': keys}
    state = jax.eval_shape(method.init, seed_key(options.seed, 'init'))
    return StepProgram(
        parallel.DataParallel(make_step(method, options), method.state_axes),
        parallel.shard_shapes(state, method.state_axes),
        data,
        updates_per_call=options.steps_per_call,
        say=say,
    )
