"""The training loop. It knows no method: state in, state and scalars out, and what people watch is written.

Order at one step: scalars, grid, then the checkpoint. So whatever a checkpoint's run had logged up to its step is on
disk before the checkpoint is, and a run that is killed and started again repeats nothing and leaves nothing out.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snjax import feed, images, parallel
from snjax.checkpoint import Checkpointer
from snjax.data import sampler
from snjax.data.host_order import HostOrder
from snjax.live_scores import LiveScores
from snjax.profiling import Profile
from snjax.program import StepProgram
from snjax.progress import Progress
from snjax.resume import DIVERGED_NAME
from snjax.sampling import seed_key
from snjax.writer import Writer

# Calls of the compiled program that may be queued. Two keep a device busy; more would only delay a SIGTERM.
_IN_FLIGHT = 2


class Diverged(RuntimeError):
    """A logged value is no longer finite."""


class Preempted(RuntimeError):
    """The run was asked to stop, and saved."""


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
        stream: the set stays on the host and is read ahead (`snjax.feed`); it changes no bit of a run.
        workers: threads that read it; 0 for one per core.
        profile: calls of the program to trace (`snjax.profiling`); 0 for none.
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

        state, metrics = parallel.scan(step, state, streamed, options.steps_per_call)
        return state, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)

    return run


def device_data(pixels: np.ndarray | None, labels: np.ndarray, seed: int) -> dict[str, jax.Array]:
    """The set and the run's keys on every device. Keys are data, so that another seed needs no other program.

    Of a set that is streamed, whose `pixels` are None here, the labels are there all the same.
    """
    keys = {f'{role}_rng': jax.random.key_data(seed_key(seed, role)) for role in ('data', 'train')}
    images = {} if pixels is None else {'image': pixels}
    return parallel.place({**images, 'label': labels, **keys})


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
    if options.stream or jax.process_count() > 1:
        return None
    if any(step >= options.num_steps for step in Checkpointer(workdir / 'checkpoints').steps()):
        return None
    keys = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
    labels = jax.ShapeDtypeStruct(images.shape[:1], np.int32)
    data = {'image': images, 'label': labels, 'data_rng': keys, 'train_rng': keys}
    state = jax.eval_shape(method.init, seed_key(options.seed, 'init'))
    return StepProgram(
        parallel.DataParallel(make_step(method, options), method.state_axes),
        parallel.spread_shapes(state, method.state_axes),
        data,
        updates_per_call=options.steps_per_call,
        say=say,
    )


def open_feed(
    method: Any, options: Options, pixels: Any, step: int
) -> feed.Resident | feed.Streamed:
    """What feeds the calls from `step` on."""
    if not options.stream:
        return feed.Resident()
    order = HostOrder(seed_key(options.seed, 'data'), method.batch_size, len(pixels))
    return feed.Streamed(
        pixels,
        order,
        batch_size=method.batch_size,
        num_batches=method.batches_per_step,
        steps_per_call=options.steps_per_call,
        steps=range(step, options.num_steps),
        workers=options.workers,
    )


def check_set_size(num_images: int, batch_size: int) -> None:
    """Raises a ValueError for a set that does not fill a batch."""
    if num_images < batch_size:
        raise ValueError(
            f'batch_size {batch_size} is more than the {num_images} images of the set: '
            f'use at most that, --config.batch_size={num_images}'
        )


class Trainer:
    """One run in one workdir.

    Args:
        method: see `experiments/method.py`.
        options: intervals and seed.
        pixels, labels: the training set, uint8 (N, H, W, C) and int32 (N,); may be mapped from a file.
        workdir: where everything goes; exists.
        config: for TensorBoard's text and HParams tabs.
        say: prints a line for people.
        live: scores checkpoints while training goes on, and tells the best; None for no scores.
        ahead: the step's program (`compile_ahead`), which is used if it is for a set of this shape.
    """

    def __init__(
        self,
        method,
        options: Options,
        pixels,
        labels,
        workdir,
        config: Mapping,
        say=print,
        live: LiveScores | None = None,
        ahead: StepProgram | None = None,
    ):
        if live and (not options.checkpoint_every or live.every % options.checkpoint_every):
            raise ValueError(
                f'eval.every {live.every} is not a multiple of checkpoint.every {options.checkpoint_every}, and scores '
                'are of checkpoints: change one'
            )
        self.live = live
        self.method, self.options, self.config, self.say = method, options, config, say
        self.workdir = pathlib.Path(workdir)
        check_set_size(len(pixels), method.batch_size)
        self._pixels = pixels
        images = jax.ShapeDtypeStruct(pixels.shape, np.uint8)
        self._ahead = ahead or compile_ahead(method, options, images, self.workdir, say)
        self.data = device_data(None if options.stream else pixels, labels, options.seed)
        self.checkpoints = Checkpointer(
            self.workdir / 'checkpoints', keep=options.keep, keep_every=options.keep_every or None
        )
        # As checkpoints have it: whole arrays, whatever the number of devices.
        self._shapes = jax.eval_shape(method.init, seed_key(options.seed, 'init'))
        self.state, self.start = self._start()
        self._sample = jax.jit(method.sample, static_argnums=2)
        self._pending: list[tuple[int, dict]] = []

    def _start(self):
        """The newest good checkpoint's state, or a fresh one."""
        axes = self.method.state_axes
        restored = self.checkpoints.restore_latest(parallel.like(self._shapes))
        if restored is not None:
            step, state = restored
            if step % self.options.steps_per_call:
                raise ValueError(
                    f'the checkpoint is of step {step}, no multiple of steps_per_call '
                    f'{self.options.steps_per_call}: go on with --config.steps_per_call=1'
                )
            self.say(f'resuming from step {step}')
            return parallel.spread(state, axes), step
        init_rng = seed_key(self.options.seed, 'init')
        return parallel.spread(parallel.run_once(self.method.init, init_rng), axes), None

    def whole_state(self) -> Any:
        """The state as `method.init` makes it: nothing of it cut over the devices."""
        return parallel.whole(self.state, self.method.state_axes, self._shapes)

    def _local_state(self) -> Any:
        """`whole_state` on this process's first device; every process has to ask."""
        return parallel.local(self.whole_state())

    def run(self) -> Any:
        """Trains to `num_steps` and returns the final state, whole.

        Raises:
            Diverged: a logged value is not finite; the last checkpoint is from before.
            Preempted: SIGTERM came; the state is saved.
        """
        o = self.options
        step = self.start or 0
        stop = parallel.StopSignal()
        with Writer(self.workdir, start_step=step, enabled=parallel.is_main()) as self.writer:
            try:
                if parallel.is_main():
                    (self.workdir / DIVERGED_NAME).unlink(missing_ok=True)
                self._describe(step)
                if self.start is None:
                    self._write_grid(step)
                self._score_again(step)
                if step < o.num_steps:
                    self._loop(step, stop)
                self.checkpoints.wait()
                self._collect_scores()
            finally:
                stop.close()
                if self.live:
                    self.live.close()
                self.checkpoints.close()
        return self.whole_state()

    def write_scores(self, step: int, values: Mapping[str, float]) -> None:
        """Adds scores of the finished run to its logs and its row of the HParams table."""
        with Writer(self.workdir, start_step=step) as writer:
            writer.scalars(step, {f'eval/{name}': value for name, value in values.items()})

    def _loop(self, step, stop):
        o = self.options
        with (
            open_feed(self.method, o, self._pixels, step) as self._feed,
            Progress(step, o.num_steps, enabled=parallel.is_main()) as progress,
            self._profile() as profile,
        ):
            program = self._program(self._feed.example())
            while step < o.num_steps:
                profile.before_call()
                streamed = self._feed.next(self._is_idle)
                self.state, metrics = program(self.state, self.data, *streamed)
                step += o.steps_per_call
                self._pending.append((step, metrics))
                if len(self._pending) >= _IN_FLIGHT:
                    jax.block_until_ready(self._pending[-_IN_FLIGHT])
                progress.advance(step)
                stopping = stop.at(step)
                last = step >= o.num_steps
                saving = stopping or last or _due(step, o.checkpoint_every)
                if saving or _due(step, o.log_every):
                    self._log(step, progress)
                if _due(step, o.histogram_every):
                    self._write_histograms(step)
                if last or _due(step, o.sample_every):
                    self._write_grid(step)
                if saving:
                    state = self.whole_state()
                    self._check_state(step, state)
                    self._collect_scores()
                    self.writer.flush()
                    if self.live and _due(step, self.live.every):
                        self.live.submit(step, state)
                    self.checkpoints.save(step, state)
                    del state  # it may hold a table of its own
                if stopping and not last:
                    self.checkpoints.wait()
                    raise Preempted(f'asked to stop, and saved at step {step} of {o.num_steps}')

    def _program(self, streamed):
        """The step's program: the one that was compiled meanwhile, if it is for what there is."""
        if self._ahead and self._ahead.fits(self.state, self.data, streamed):
            return self._ahead.result()
        if self._ahead:
            self._ahead.cancel()
            self.say('the set is not what it was taken for: compiling for it again')
        step = parallel.DataParallel(make_step(self.method, self.options), self.method.state_axes)
        return StepProgram(
            step,
            self.state,
            self.data,
            streamed,
            updates_per_call=self.options.steps_per_call,
            say=self.say,
        ).result()

    def _profile(self):
        num_calls = self.options.profile if parallel.is_main() else 0
        folder = self.workdir / 'tensorboard'
        return Profile(folder, num_calls, lambda: jax.block_until_ready(self.state), self.say)

    def _is_idle(self):
        """Whether the devices have done all that they were given."""
        return not self._pending or parallel.is_ready(self._pending[-1][1])

    def _log(self, step, progress):
        """Fetches what is pending, stops on the first value that is not finite, writes what is due."""
        fetched = [(s, jax.device_get(parallel.local(m))) for s, m in self._pending]
        self._pending.clear()
        for s, metrics in fetched:
            bad = {k: float(v) for k, v in metrics.items() if not np.isfinite(v)}
            if bad:
                self._diverged(s, bad)
        progress.show(fetched[-1][1])
        if _due(step, self.options.log_every):
            scalars = {_tag(k): float(v) for k, v in fetched[-1][1].items()}
            rate = progress.rate()
            if rate:
                per_update = self.method.batch_size * self.method.batches_per_step
                scalars |= {'perf/steps_per_s': rate, 'perf/images_per_s': rate * per_update}
            scalars |= self._feed.measured()
            batches_per_epoch = len(self._pixels) // self.method.batch_size
            epoch = step * self.method.batches_per_step / batches_per_epoch
            self.writer.scalars(step, {**scalars, 'train/epoch': epoch})

    def _score_again(self, step):
        """Takes the score of the checkpoint that the run starts from, if it was on its way when the last run ended."""
        if self.live and step and _due(step, self.live.every):
            if not parallel.main_says(self.writer.has(step, f'eval/{self.live.key}')):
                self.live.submit(step, self.whole_state())

    def _collect_scores(self):
        """Writes the scores of the checkpoint before, and keeps it if it is the best."""
        live = self.live
        found = live.collect() if live else None
        if live is None or found is None:
            return
        step, values = found
        score = values[live.key]
        if self.checkpoints.keep_best(step, score):
            self.say(f'best {live.key} so far: {score:.4g} at step {step}')
        self.writer.scalars(step, {f'eval/{name}': value for name, value in values.items()})

    def _check_state(self, step, state):
        """Losses are of the state before an update; what is saved is the state after it."""
        leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(parallel.local(state)))
        bad = {
            jax.tree_util.keystr(path): 'not finite'
            for path, leaf in leaves
            if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.all(np.isfinite(leaf))
        }
        if bad:
            self._diverged(step, dict(list(bad.items())[:3]))

    def _diverged(self, step, bad):
        values = ', '.join(f'{name} = {value}' for name, value in sorted(bad.items()))
        self.checkpoints.wait()
        kept = self.checkpoints.steps()
        last = (
            f'the last checkpoint is of step {kept[-1]}' if kept else 'there is no checkpoint yet'
        )
        message = f'diverged by step {step}: {values}; {last}'
        if parallel.is_main():
            (self.workdir / DIVERGED_NAME).write_text(f'{message}\n')
        raise Diverged(message)

    def _write_grid(self, step):
        """Images from fixed z, as PNG and in TensorBoard; once per class where the method has classes."""
        if not self.options.num_samples:
            return
        state = self._local_state()
        if not parallel.is_main():
            return
        rng = seed_key(self.options.seed, 'grid')
        samples = self._sample(state, rng, self.options.num_samples)
        # One column per class, where that is no wider than people look at.
        columns = self.method.num_classes if 1 < self.method.num_classes <= 20 else None
        grid = images.grid(images.to_uint8(np.asarray(samples)), columns=columns)
        images.save_png(self.workdir / 'samples' / f'{step:08d}.png', grid)
        self.writer.images(step, 'samples', grid)

    def _write_histograms(self, step):
        state = self._local_state()
        if parallel.is_main():
            self.writer.histograms(step, self.method.watched(jax.device_get(state)))

    def _describe(self, step):
        self.writer.text(
            'config', f'```\n{json.dumps(self.config, indent=2, sort_keys=True)}\n```', step
        )
        self.writer.hparams(self.config, {})


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def _tag(name: str) -> str:
    """Groups in TensorBoard: one per kind of value."""
    return name if '/' in name else f'train/{name}'
