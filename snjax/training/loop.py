"""The training loop. It knows no method: state in, state and scalars out, and what people watch is written."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from snjax import parallel
from snjax.data.host_order import HostOrder
from snjax.latents.sampling import seed_key
from snjax.runs.run_logger import Diverged, RunLogger
from snjax.runs.writer import Writer
from snjax.training import feed
from snjax.training.profiling import Profile
from snjax.training.program import StepProgram
from snjax.training.progress import Progress
from snjax.training.step import Options, compile_ahead, device_data, make_step

# Calls of the compiled program that may be queued. Two keep a device busy; more would only delay a SIGTERM.
_IN_FLIGHT = 2


class Preempted(RuntimeError):
    """The run was asked to stop, and saved."""


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
        record: where the run is written.
        say: prints a line for people.
        ahead: the step's program (`compile_ahead`), which is used if it is for a set of this shape.
    """

    def __init__(
        self,
        method,
        options: Options,
        pixels,
        labels,
        record: RunLogger,
        say=print,
        ahead: StepProgram | None = None,
    ):
        if record.live and (
            not options.checkpoint_every or record.live.every % options.checkpoint_every
        ):
            raise ValueError(
                f'eval.every {record.live.every} is not a multiple of checkpoint.every '
                f'{options.checkpoint_every}, and scores are of checkpoints: change one'
            )
        self.method, self.options, self.record, self.say = method, options, record, say
        check_set_size(len(pixels), method.batch_size)
        self._pixels = pixels
        images = jax.ShapeDtypeStruct(pixels.shape, np.uint8)
        self._ahead = ahead or compile_ahead(method, options, images, record.workdir, say)
        self.data = device_data(None if options.stream else pixels, labels, options.seed)
        record.prepare(keep=options.keep, keep_every=options.keep_every or None)
        # As checkpoints have it: whole arrays, whatever the number of devices.
        self._shapes = jax.eval_shape(method.init, seed_key(options.seed, 'init'))
        self.state, self.start = self._start()
        self.step = self.start or 0
        self._sample = jax.jit(method.sample, static_argnums=2)
        self._pending: list[tuple[int, dict]] = []

    def _start(self):
        """The state of the newest good checkpoint and its step, or a fresh one and None."""
        found = self.record.checkpoints.restore_latest(parallel.abstract(self._shapes))
        if found is None:
            init = parallel.compile(
                jax.jit(self.method.init).lower(seed_key(0, 'init')), quickly=True
            )
            step, state = None, init(self.record.key('init'))
        else:
            step, state = found
            if step % self.options.steps_per_call:
                raise ValueError(
                    f'the checkpoint is of step {step}, no multiple of steps_per_call '
                    f'{self.options.steps_per_call}: go on with --config.steps_per_call=1'
                )
            self.say(f'resuming from step {step}')
        return parallel.shard(state, self.method.state_axes), step

    def whole_state(self) -> Any:
        """The state as `method.init` makes it: nothing of it cut over the devices; every process has to ask."""
        return parallel.gather(self.state, self.method.state_axes, self._shapes)

    def run(self) -> Any:
        """Trains to `num_steps` and returns the final state, whole.

        Raises:
            Diverged: not all values are finite; the last checkpoint is from before.
            Preempted: SIGTERM came; the state is saved.
        """
        o, record = self.options, self.record
        step = self.start or 0
        stop = parallel.StopSignal()
        opened = False
        try:
            record.open(step)
            opened = True
            if self.start is None:
                self._write_grid(step)
            record.score_again(step, self.whole_state)
            if step < o.num_steps:
                self._loop(step, stop)
            record.checkpoints.wait()
            record.collect_scores()
        finally:
            stop.close()
            if opened:
                record.close()
        return self.whole_state()

    def write_scores(self, step: int, values: Mapping[str, float]) -> None:
        """Adds scores of the finished run to its logs and its row of the HParams table."""
        with Writer(self.record.workdir, start_step=step) as writer:
            writer.scalars(step, {f'eval/{name}': value for name, value in values.items()})

    def _loop(self, step, stop):
        with (
            open_feed(self.method, self.options, self._pixels, step) as self._feed,
            self._profile() as profile,
        ):
            program = self._program(self._feed.example())
            # Only now, so that what is shown is the speed of training, without the compilation.
            with Progress(step, self.options.num_steps, enabled=parallel.is_main()) as progress:
                self._train(program, step, stop, profile, progress)

    def _train(self, program, step, stop, profile, progress):
        o = self.options
        while step < o.num_steps:
            profile.before_call()
            streamed = self._feed.next(self._is_idle)
            self.state, metrics = program(self.state, self.data, *streamed)
            step += o.steps_per_call
            self.step = step
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
                self._save(step)
            if stopping and not last:
                self.record.checkpoints.wait()
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
        folder = self.record.workdir / 'tensorboard'
        return Profile(folder, num_calls, lambda: jax.block_until_ready(self.state), self.say)

    def _is_idle(self):
        """Whether the devices have done all that they were given."""
        return not self._pending or parallel.is_ready(self._pending[-1][1])

    def _save(self, step):
        self.record.checkpoints.wait()  # before it deletes the step before
        self.record.save(step, self.whole_state())

    def _log(self, step, progress):
        """Fetches what is pending, ends a run whose values are not finite, writes what is due."""
        fetched = [(s, jax.device_get(parallel.first_replica(m))) for s, m in self._pending]
        self._pending.clear()
        values: dict[str, float] = {}
        for s, metrics in fetched:
            values = {name: float(x) for name, x in metrics.items()}
            bad = {k: v for k, v in values.items() if not np.isfinite(v)}
            if bad:
                raise Diverged(self.record.diverged(s, bad))
        progress.show(values)
        if not _due(step, self.options.log_every):
            return
        values = {_tag(k): v for k, v in values.items()} | self._feed.measured()
        values['train/epoch'] = self._epoch(step)
        rate = progress.rate()
        if rate:
            per_update = self.method.batch_size * self.method.batches_per_step
            values |= {'perf/steps_per_s': rate, 'perf/images_per_s': rate * per_update}
        self.record.scalars(step, values)

    def _epoch(self, step):
        batches_per_epoch = len(self._pixels) // self.method.batch_size
        return step * self.method.batches_per_step / batches_per_epoch

    def _write_grid(self, step):
        """Images from fixed z; once per class where the method has classes."""
        if not self.options.num_samples:
            return
        # One column per class, where that is no wider than people look at.
        columns = self.method.num_classes if 1 < self.method.num_classes <= 20 else None
        state = parallel.first_replica(self.whole_state())
        if parallel.is_main():
            samples = self._sample(state, self.record.key('grid'), self.options.num_samples)
            self.record.grid(step, samples, columns)

    def _write_histograms(self, step):
        state = parallel.first_replica(self.whole_state())
        if parallel.is_main():
            self.record.histograms(step, self.method.histogram_arrays(jax.device_get(state)))


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def _tag(name: str) -> str:
    """Groups in TensorBoard: one per kind of value."""
    return name if '/' in name else f'train/{name}'
