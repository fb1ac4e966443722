"""The training loop: runs the compiled step, and logs, samples, saves and stops when it is due.

The loop knows no particular method. It holds a state, and asks the method for updates and samples.
"""

import contextlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from snjax import parallel
from snjax.data.host_order import HostOrder
from snjax.latents.sampling import seed_key
from snjax.runs.checkpoint import Checkpointer
from snjax.runs.run_logger import RunLogger, ScoresWhileTraining
from snjax.runs.workdir import CHECKPOINTS, TENSORBOARD
from snjax.runs.writer import Writer
from snjax.training import feed
from snjax.training.method import Method
from snjax.training.profiling import Profile
from snjax.training.program import StepProgram
from snjax.training.progress import Progress
from snjax.training.step import Options, compile_ahead, device_data, make_step

# Calls of the compiled step in the device's queue. Two keep the device busy; more would only delay
# the reaction to SIGTERM.
_IN_FLIGHT = 2
# Grids have one column per class for up to this many classes.
_MAX_COLUMNS = 20


class Preempted(RuntimeError):
    """The run received SIGTERM and saved its state."""


def open_feed(
    method: Method, options: Options, pixels: Any, step: int
) -> feed.Resident | feed.Streamed:
    """The source of images for all calls from `step` on."""
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
    """Trains a method in one workdir, from the newest good checkpoint there or from the start.

    Args:
        method: to train.
        options: intervals and seed.
        pixels, labels: the training set, uint8 (N, H, W, C) and int32 (N,); may be memory-mapped.
        workdir: where the run is written.
        config: nested dict, for TensorBoard.
        live: scores checkpoints during training; None for no scores.
        diagnose: scalars by name of one replica of a state, logged as 'diagnostics/...'; None where
            `options.diagnose_every` is 0.
        say: prints a line.
        ahead: the step compiled ahead (`compile_ahead`); used if its input shapes match.

    Attributes:
        state: the state on the devices.
        step: generator updates done.
        start: step of the checkpoint that the run resumed from; None for a new run.

    Raises:
        ValueError: the set does not fill a batch, options exclude each other, or there are
            checkpoints, but no usable one.
    """

    def __init__(
        self,
        method: Method,
        options: Options,
        pixels: Any,
        labels: np.ndarray,
        workdir: pathlib.Path,
        config: Mapping[str, Any],
        *,
        live: ScoresWhileTraining | None = None,
        diagnose: Callable[[Any], Mapping[str, float]] | None = None,
        say: Callable[[str], None] = print,
        ahead: StepProgram | None = None,
    ):
        check_set_size(len(pixels), method.batch_size)
        self._method, self._options, self._say = method, options, say
        self._pixels, self._workdir, self._config = pixels, pathlib.Path(workdir), config
        self._live, self._diagnose = live, diagnose
        self._checkpoints = Checkpointer(
            self._workdir / CHECKPOINTS, keep=options.keep, keep_every=options.keep_every or None
        )

        # Compile while the set is copied to the devices and the state is restored.
        images = jax.ShapeDtypeStruct(pixels.shape, np.uint8)
        self._ahead = ahead or compile_ahead(method, options, images, self._workdir, say)
        self.data = device_data(None if options.stream else pixels, labels, options.seed)

        # Checkpoints hold whole arrays, whatever the number of devices.
        self._shapes = jax.eval_shape(method.init, seed_key(options.seed, 'init'))
        self.state, self.start = self._restore_or_init()
        self.step = self.start or 0
        self._sample = jax.jit(method.sample, static_argnums=2)
        self._pending: list[tuple[int, dict]] = []  # metrics of calls that were not fetched yet

    def _restore_or_init(self) -> tuple[Any, int | None]:
        """The state on the devices, and the step of its checkpoint; None for a new state."""
        found = self._checkpoints.restore_latest(parallel.abstract(self._shapes))
        if found is None:
            # The key is an argument of the program, so one compiled program serves all seeds.
            lowered = jax.jit(self._method.init).lower(seed_key(0, 'init'))
            init = parallel.compile(lowered, quickly=True)
            step, state = None, init(seed_key(self._options.seed, 'init'))
        else:
            step, state = found
            if step % self._options.steps_per_call:
                raise ValueError(
                    f'the checkpoint is of step {step}, no multiple of steps_per_call '
                    f'{self._options.steps_per_call}: resume with --config.steps_per_call=1'
                )
            self._say(f'resuming from step {step}')
        return parallel.shard(state, self._method.state_axes), step

    def whole_state(self) -> Any:
        """The state with no leaf sharded, as from `method.init`; every process must call it."""
        return parallel.gather(self.state, self._method.state_axes, self._shapes)

    def run(self) -> Any:
        """Trains to `num_steps` and returns the final state, with no leaf sharded.

        Raises:
            Diverged: a value is not finite; the last checkpoint is older.
            Preempted: SIGTERM came; the state is saved.
        """
        with contextlib.closing(parallel.StopSignal()) as stop, self._open_log() as log:
            if self.start is None:
                self._write_grid(log)
            log.score_again(self.step, self.whole_state)
            if self.step < self._options.num_steps:
                self._train(log, stop)
            log.finish()
        return self.whole_state()

    def write_scores(self, values: Mapping[str, float]) -> None:
        """Adds scores of the finished run to its logs and its row of the HParams table."""
        with Writer(self._workdir, start_step=self.step) as writer:
            writer.scalars(self.step, {f'eval/{name}': value for name, value in values.items()})

    # ---- the loop

    def _train(self, log: RunLogger, stop: parallel.StopSignal) -> None:
        o = self._options
        with contextlib.ExitStack() as stack:
            images = stack.enter_context(open_feed(self._method, o, self._pixels, self.step))
            profile = stack.enter_context(self._profile())
            program = self._program(images.example())
            # The speed that is shown excludes the compilation.
            progress = stack.enter_context(
                Progress(self.step, o.num_steps, enabled=parallel.is_main())
            )
            while self.step < o.num_steps:
                # `steps_per_call` updates; the call returns before they are computed.
                profile.before_call()
                self.state, metrics = program(self.state, self.data, *images.next(self._is_idle))
                self.step += o.steps_per_call
                self._pending.append((self.step, metrics))
                if len(self._pending) >= _IN_FLIGHT:
                    jax.block_until_ready(self._pending[-_IN_FLIGHT])
                progress.advance(self.step)

                # Logs come before the checkpoint of the same step: see `snjax.runs.run_logger`.
                stopping, last = stop.at(self.step), self.step >= o.num_steps
                saving = stopping or last or self._is_due(o.checkpoint_every)
                if saving or self._is_due(o.log_every):
                    losses = self._fetch_losses(log)
                    progress.show(losses)
                    if self._is_due(o.log_every):
                        speed = images.measured() | self._speed(progress.rate())
                        log.scalars(self.step, {_tag(k): v for k, v in losses.items()} | speed)
                if self._is_due(o.histogram_every):
                    self._write_histograms(log)
                if self._diagnose and self._is_due(o.diagnose_every):
                    self._write_diagnostics(log, self._diagnose)
                if last or self._is_due(o.sample_every):
                    self._write_grid(log)
                if saving:
                    self._checkpoints.wait()  # before the state is gathered: one copy at a time
                    log.save(self.step, self.whole_state())
                if stopping and not last:
                    self._checkpoints.wait()
                    raise Preempted(
                        f'asked to stop, and saved at step {self.step} of {o.num_steps}'
                    )

    def _is_due(self, every: int) -> bool:
        return bool(every) and self.step % every == 0

    def _is_idle(self) -> bool:
        """Whether the devices have computed everything in their queue."""
        return not self._pending or parallel.is_ready(self._pending[-1][1])

    def _program(self, streamed: tuple) -> Callable:
        """The compiled step: the one compiled ahead if its input shapes match, else a new one."""
        if self._ahead and self._ahead.fits(self.state, self.data, streamed):
            return self._ahead.result()
        if self._ahead:
            self._ahead.cancel()
            self._say('the set has another shape than announced: compiling for it again')
        step = parallel.DataParallel(
            make_step(self._method, self._options), self._method.state_axes
        )
        per_call = self._options.steps_per_call
        program = StepProgram(
            step, self.state, self.data, streamed, updates_per_call=per_call, say=self._say
        )
        return program.result()

    # ---- output

    def _open_log(self) -> RunLogger:
        return RunLogger(
            self._workdir, self.step, self._checkpoints, self._config, self._live, self._say
        )

    def _profile(self) -> Profile:
        return Profile(
            self._workdir / TENSORBOARD,
            self._options.profile if parallel.is_main() else 0,
            lambda: jax.block_until_ready(self.state),
            self._say,
        )

    def _fetch_losses(self, log: RunLogger) -> dict[str, float]:
        """Fetches the metrics of all calls since the last fetch, and returns those of the last.

        Raises:
            Diverged: a value of any of these calls is not finite.
        """
        calls = [(s, jax.device_get(parallel.first_replica(m))) for s, m in self._pending]
        self._pending.clear()
        losses: dict[str, float] = {}
        for step, metrics in calls:
            losses = {name: float(value) for name, value in metrics.items()}
            bad = {name: value for name, value in losses.items() if not np.isfinite(value)}
            if bad:
                raise log.diverged(step, bad)
        return losses

    def _speed(self, steps_per_s: float) -> dict[str, float]:
        """The epoch, and images per second where a speed is known."""
        batches_per_epoch = len(self._pixels) // self._method.batch_size
        per_step = self._method.batches_per_step
        values = {'train/epoch': self.step * per_step / batches_per_epoch}
        if steps_per_s:
            images_per_s = steps_per_s * self._method.batch_size * per_step
            values |= {'perf/steps_per_s': steps_per_s, 'perf/images_per_s': images_per_s}
        return values

    def _write_grid(self, log: RunLogger) -> None:
        """Images from fixed z, one column per class if there are few classes."""
        if not self._options.num_samples:
            return
        num_classes = self._method.num_classes
        state = parallel.first_replica(self.whole_state())
        if parallel.is_main():
            key = seed_key(self._options.seed, 'grid')
            samples = self._sample(state, key, self._options.num_samples)
            log.grid(self.step, samples, num_classes if 1 < num_classes <= _MAX_COLUMNS else None)

    def _write_diagnostics(
        self, log: RunLogger, diagnose: Callable[[Any], Mapping[str, float]]
    ) -> None:
        state = parallel.first_replica(self.whole_state())
        if parallel.is_main():
            found = diagnose(state)
            log.scalars(self.step, {f'diagnostics/{name}': x for name, x in found.items()})

    def _write_histograms(self, log: RunLogger) -> None:
        state = parallel.first_replica(self.whole_state())
        if parallel.is_main():
            log.histograms(self.step, self._method.histogram_arrays(jax.device_get(state)))


def _tag(name: str) -> str:
    """The tag of a metric: names without a group belong to `train`."""
    return name if '/' in name else f'train/{name}'
