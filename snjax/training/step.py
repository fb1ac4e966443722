"""The training step: options of a run, `steps_per_call` updates in one program, compiled ahead."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snjax import parallel
from snjax.data import sampler
from snjax.latents.sampling import seed_key
from snjax.runs.workdir import newest_step
from snjax.training.method import Method
from snjax.training.program import StepProgram


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Length, intervals and seed of a run. Intervals are in generator updates; 0 for never.

    Attributes:
        num_steps: length of the run in generator updates.
        steps_per_call: updates per XLA program; divides `num_steps` and every interval.
        log_every, histogram_every: interval of scalars, and of histograms of weights.
        sample_every, num_samples: interval of grids, and their number of images; z is fixed.
        checkpoint_every, keep, keep_every: interval of checkpoints; the newest `keep` are kept, and
            those at multiples of `keep_every`.
        flip, dequantize: see `snjax.data.sampler.to_float`.
        seed: of the initial state, the data order, z and augmentations.
        stream: the set stays on the host and is read ahead (`snjax.training.feed`); the results
            are the same, bit for bit.
        workers: threads that read the set ahead; 0 for one per core.
        diagnose_every: interval of the diagnostics that the trainer is given.
        profile: calls of the step to trace (`snjax.training.profiling`); 0 for none.
        watched: images by which signs of a collapse are measured (`snjax.training.sentinel`).
        rollbacks: times that a run which diverges goes back to its newest checkpoint
            (`snjax.training.rollbacks`).

    Raises:
        ValueError: a value is out of range, or an interval is no multiple of `steps_per_call`.
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
    diagnose_every: int = 0
    profile: int = 0
    watched: int = 0
    rollbacks: int = 0

    def __post_init__(self):
        if self.steps_per_call < 1 or self.num_steps < 1 or self.log_every < 1:
            raise ValueError(
                f'num_steps {self.num_steps}, steps_per_call {self.steps_per_call}, log.every '
                f'{self.log_every}: each must be at least 1'
            )
        if not 0 <= self.seed < 2**32:  # larger seeds would repeat the results of these
            raise ValueError(f'seed {self.seed}: 0 up to 2**32 - 1 is accepted')
        if self.keep < 1:
            raise ValueError(f'checkpoint.keep {self.keep}: at least 1 is accepted')
        intervals = {
            'num_steps': self.num_steps,
            'log.every': self.log_every,
            'log.histograms_every': self.histogram_every,
            'sampling.every': self.sample_every,
            'diagnostics.every': self.diagnose_every,
            'checkpoint.every': self.checkpoint_every,
        }
        counts = {
            'sampling.num': self.num_samples,
            'sentinel.num': self.watched,
            'sentinel.rollbacks': self.rollbacks,
        }
        for name, value in (intervals | counts).items():
            if value < 0:
                raise ValueError(f'{name} {value} is negative: 0 (never) or more is accepted')
        if self.checkpoint_every and self.keep_every % self.checkpoint_every:
            raise ValueError(
                f'checkpoint.keep_every {self.keep_every} is not a multiple of checkpoint.every '
                f'{self.checkpoint_every}, so none would be kept: change one'
            )
        for name, value in intervals.items():
            if value % self.steps_per_call:
                multiple = -(-value // self.steps_per_call) * self.steps_per_call
                raise ValueError(
                    f'{name} {value} is not a multiple of steps_per_call {self.steps_per_call}: '
                    f'change one, as --config.{name}={multiple}'
                )


def make_step(method: Method, options: Options) -> Callable:
    """A function `(state, data, streamed) -> (state, metrics)` of `steps_per_call` updates.

    It is one device's part and runs under `snjax.parallel.DataParallel`. `data` is from
    `device_data`; `streamed` are this device's images of a streamed set. The metrics are means over
    the updates.
    """

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


def device_data(pixels: np.ndarray | None, labels: np.ndarray, seed: int) -> dict[str, Any]:
    """The training set and the run's keys on every device.

    Keys are data and not constants, so that all seeds share one program.

    Args:
        pixels: (N, H, W, C); None for a streamed set.
        labels: classes int32 (N,), or numbers float32 (N, k).
        seed: of the run.
    """
    keys = {f'{role}_rng': jax.random.key_data(seed_key(seed, role)) for role in ('data', 'train')}
    images = {} if pixels is None else {'image': sampler.Rows.of(pixels)}
    return parallel.replicate({**images, 'label': labels, **keys})


def labels_like(method: Method, num: int) -> jax.ShapeDtypeStruct:
    """Shape and type of the labels of `num` training images."""
    if method.num_conditions:
        return jax.ShapeDtypeStruct((num, method.num_conditions), np.float32)
    return jax.ShapeDtypeStruct((num,), np.int32)


def compile_now(
    method: Method,
    options: Options,
    state: Any,
    data: dict[str, Any],
    streamed: tuple,
    say: Callable[[str], None],
) -> Callable:
    """The compiled step for these arrays; arguments as `make_step`'s."""
    step = parallel.DataParallel(make_step(method, options), method.state_axes)
    per_call = options.steps_per_call
    return StepProgram(step, state, data, streamed, updates_per_call=per_call, say=say).result()


def compile_ahead(
    method: Method,
    options: Options,
    images: jax.ShapeDtypeStruct,
    workdir: pathlib.Path,
    say: Callable[[str], None],
) -> StepProgram | None:
    """Starts to compile the step for a set of the shape of `images`, before the set is read.

    Returns:
        The program; None for a streamed set or several processes, where compilation needs arrays,
        and for a run in `workdir` that is finished.
    """
    if options.stream or parallel.process_count() > 1:
        return None
    if newest_step(workdir) >= options.num_steps:
        return None
    keys = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
    labels = labels_like(method, images.shape[0])
    rows = sampler.Rows.of(images)
    data = {'image': rows, 'label': labels, 'data_rng': keys, 'train_rng': keys}
    init = method.init
    state = jax.eval_shape(init, seed_key(options.seed, 'init'))
    return StepProgram(
        parallel.DataParallel(make_step(method, options), method.state_axes),
        parallel.shard_shapes(state, method.state_axes),
        data,
        updates_per_call=options.steps_per_call,
        say=say,
        traced=init,
    )
