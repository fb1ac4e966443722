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
from snjax.latents.sampling import seed_key
from snjax.runs.checkpoint import Checkpointer
from snjax.runs.run_logger import Diverged, RunLogger, ScoresWhileTraining
from snjax.runs.workdir import CHECKPOINTS, event_folder
from snjax.runs.writer import Writer
from snjax.training import beginning, feed, rollbacks, sentinel
from snjax.training.conditioning import grid_columns
from snjax.training.method import Method
from snjax.training.profiling import Profile
from snjax.training.program import StepProgram
from snjax.training.progress import Progress
from snjax.training.step import Options, compile_ahead, compile_now, device_data
from snjax.training.transfer import Origin

# Calls of the compiled step in the device's queue. Two keep the device busy; more would only delay
# the reaction to SIGTERM.
_IN_FLIGHT = 2
# Grids have one column per class for up to this many classes.


class Preempted(RuntimeError):
    """The run was asked to stop by a signal, and saved its state."""


class Trainer:
    """Trains a method in one workdir, from the newest good checkpoint there or from the start.

    Args:
        method: to train.
        options: intervals and seed.
        pixels, labels: the training set, uint8 or uint16 (N, H, W, C) and int32 (N,); may be memory-mapped.
        workdir: where the run is written.
        config: nested dict, for TensorBoard.
        live: scores checkpoints during training; None for no scores.
        origin: the checkpoint of another run that a new run begins with.
        diagnose: scalars by name of one replica of a state, logged as 'diagnostics/...'; None where
            `options.diagnose_every` is 0.
        say: prints a line.
        ahead: the step compiled ahead (`compile_ahead`); used if its input shapes match.
        shorter: printed once beside an estimate of hours: what would make the run shorter.
        hparams: see `RunLogger`.

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
        origin: Origin | None = None,
        diagnose: Callable[[Any], Mapping[str, float]] | None = None,
        say: Callable[[str], None] = print,
        ahead: StepProgram | None = None,
        shorter: str = '',
        hparams: Mapping[str, Any] | None = None,
    ):
        beginning.check_set_size(len(pixels), method.batch_size)
        self._method, self._options, self._say = method, options, say
        self._pixels, self._workdir, self._config = pixels, pathlib.Path(workdir), config
        self._labels, self._shorter, self._hparams = labels, shorter, hparams
        self._live, self._origin, self._diagnose = live, origin, diagnose
        self._checkpoints = self._open_checkpoints()
        self._rollbacks = rollbacks.read(self._workdir)

        # Compile while the set is copied to the devices and the state is restored.
        images = jax.ShapeDtypeStruct(pixels.shape, pixels.dtype)
        self._ahead = ahead or compile_ahead(method, options, images, self._workdir, say)
        self.data = device_data(None if options.stream else pixels, labels, options.seed)

        # Checkpoints hold whole arrays, whatever the number of devices.
        # Traced once, for the shapes and for the program of a new run. Its key is an argument, so
        # one compiled program serves all seeds.
        self._init = jax.jit(method.init).trace(seed_key(0, 'init'))
        self._shapes = self._init.out_info
        self.state, self.start, self.step = self._begin()
        self._sample = jax.jit(method.sample, static_argnums=2)
        self._pending: list[tuple[int, dict]] = []  # metrics of calls that were not fetched yet

    def _open_checkpoints(self) -> Checkpointer:
        o = self._options
        folder = self._workdir / CHECKPOINTS
        return Checkpointer(folder, keep=o.keep, keep_every=o.keep_every or None)

    def _begin(self) -> tuple[Any, int | None, int]:
        like = parallel.abstract(self._shapes)
        state, start, step = beginning.state_of(
            self._init, self._options, self._checkpoints, like, self._origin, self._say
        )
        return parallel.shard(state, self._method.state_axes), start, step

    def whole_state(self) -> Any:
        """The state with no leaf sharded, as from `method.init`; every process must call it."""
        return parallel.gather(self.state, self._method.state_axes, self._shapes)

    def run(self) -> Any:
        """Trains to `num_steps` and returns the final state, with no leaf sharded.

        Raises:
            Diverged: a value is not finite; the last checkpoint is older.
            Preempted: SIGTERM, SIGHUP or Ctrl-C came; the state is saved.
        """
        while True:
            try:
                return self._run()
            except Diverged as error:
                if len(self._rollbacks) >= self._options.rollbacks:
                    raise
                self._roll_back(str(error))

    def _run(self) -> Any:
        """Trains from the present state to the end, or until a value is not finite."""
        with self._open_log() as log:
            for number, rollback in enumerate(self._rollbacks, start=1):
                if rollback.to == self.step:
                    log.warn(self.step, f'rollback {number}: {rollback.why}')
            if self.start is None:
                self._write_grid(log)
                if self._origin:  # from here on the run does not need the other one
                    log.save(self.step, self.whole_state())
            log.score_again(self.step, self.whole_state)
            if self.step < self._options.num_steps:
                self._train(log)
            log.finish()
        return self.whole_state()

    def _roll_back(self, why: str) -> None:
        """Goes back to the newest checkpoint, or the start, and on with other noise."""
        self._checkpoints = self._open_checkpoints()  # the log has closed them
        self._pending.clear()
        self.state, self.start, self.step = self._begin()
        self._rollbacks.append(rollbacks.Rollback(self.step, why))
        if parallel.is_main():
            rollbacks.write(self._workdir, self._rollbacks)
        self._say(
            f'{why}: rollback {len(self._rollbacks)} of {self._options.rollbacks} to step '
            f'{self.step}, and on with other noise'
        )

    def write_scores(self, values: Mapping[str, float]) -> None:
        """Adds scores of the finished run, by tag, to its logs and its row of the HParams table."""
        with Writer(self._workdir, start_step=self.step) as writer:
            writer.scalars(self.step, values)

    # ---- the loop

    def _train(self, log: RunLogger) -> None:
        o = self._options
        with contextlib.ExitStack() as stack:
            images = stack.enter_context(feed.open_feed(self._method, o, self._pixels, self.step))
            profile = stack.enter_context(self._profile())
            program = self._program(images.example())
            # The speed that is shown excludes the compilation.
            progress = stack.enter_context(
                Progress(self.step, o.num_steps, enabled=parallel.is_main(), shorter=self._shorter)
            )
            watch = sentinel.of(
                self._method, self._pixels, self._labels, num=o.watched, seed=o.seed
            )
            # Before the first update and after the last save there is nothing to save, and a signal
            # ends the process at once.
            stop = stack.enter_context(contextlib.closing(parallel.StopSignal()))
            stopping = False
            noise, data = 0, self.data
            while self.step < o.num_steps:
                if noise != (noise := rollbacks.count(self._rollbacks, self.step)):
                    data = rollbacks.with_noise(self.data, o.seed, noise)
                # `steps_per_call` updates; the call returns before they are computed.
                profile.before_call()
                self.state, metrics = program(self.state, data, *images.next(self._is_idle))
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
                        speed = images.measured() | progress.speed(
                            self.step, self._method, len(self._pixels)
                        )
                        signs, warning = self._watch(watch)
                        log.scalars(
                            self.step, {_tag(k): v for k, v in losses.items()} | speed | signs
                        )
                        if warning:
                            log.warn(self.step, warning)
                if self._is_due(o.histogram_every):
                    self._write_histograms(log)
                if self._diagnose and self._is_due(o.diagnose_every):
                    self._write_diagnostics(log, self._diagnose)
                if last or self._is_due(o.sample_every):
                    self._write_grid(log)
                if saving:
                    self._checkpoints.wait()  # before the state is gathered: one copy at a time
                    log.save(self.step, self.whole_state())
                if stopping:
                    break
            self._checkpoints.wait()
            if stopping or stop.is_requested:
                raise Preempted(f'asked to stop, and saved at step {self.step} of {o.num_steps}')

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
        return compile_now(self._method, self._options, self.state, self.data, streamed, self._say)

    # ---- output

    def _open_log(self) -> RunLogger:
        arguments = self._checkpoints, self._config, self._live, self._say, self._hparams
        return RunLogger(self._workdir, self.step, *arguments)

    def _profile(self) -> Profile:
        return Profile(
            event_folder(self._workdir),
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

    def _watch(self, watch: sentinel.Sentinel | None) -> tuple[dict[str, float], str]:
        """Signs of a collapse by tag, and a warning or ''; process 0 alone measures them."""
        every = self._options.log_every
        if watch is None or not parallel.is_main() or not watch.is_due(self.step, every):
            return {}, ''
        values = watch.measure(parallel.first_replica(self.state), self.step)
        return {f'sentinel/{k}': v for k, v in values.items()}, watch.judge(values)

    def _write_grid(self, log: RunLogger) -> None:
        """Images from fixed z, one column per class or step of a number."""
        if not self._options.num_samples:
            return
        columns = grid_columns(self._method.num_classes, self._method.num_conditions)
        state = parallel.first_replica(self.whole_state())
        if parallel.is_main():
            key = seed_key(self._options.seed, 'grid')
            samples = self._sample(state, key, self._options.num_samples)
            log.grid(self.step, samples, columns)

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
