"""The training loop. It knows no method: state in, state and scalars out, and what people watch is written.

One program trains one run, or several that are stacked (`snjax.training.members`); each has its own
`snjax.runs.run_logger.RunLogger`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from snjax import parallel
from snjax.data.host_order import HostOrder
from snjax.latents.sampling import seed_key
from snjax.runs.run_logger import Diverged, RunLogger
from snjax.runs.writer import Writer
from snjax.training import feed, members
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
    """One run in one workdir, or several in as many.

    Args:
        method: see `experiments/method.py`; of several runs a `Members`.
        options: intervals and seed.
        pixels, labels: the training set, uint8 (N, H, W, C) and int32 (N,); may be mapped from a file.
        records: of each run, where it is written.
        say: prints a line for people.
        ahead: the step's program (`compile_ahead`), which is used if it is for a set of this shape.
    """

    def __init__(
        self,
        method,
        options: Options,
        pixels,
        labels,
        records: Sequence[RunLogger],
        say=print,
        ahead: StepProgram | None = None,
    ):
        for live in filter(None, (record.live for record in records)):
            if not options.checkpoint_every or live.every % options.checkpoint_every:
                raise ValueError(
                    f'eval.every {live.every} is not a multiple of checkpoint.every {options.checkpoint_every}, and '
                    'scores are of checkpoints: change one'
                )
        self.method, self.options, self.records, self.say = method, options, records, say
        self._num, self._one = members.num_of(method), members.one_of(method)
        check_set_size(len(pixels), method.batch_size)
        self._pixels = pixels
        images = jax.ShapeDtypeStruct(pixels.shape, np.uint8)
        first = records[0].workdir
        self._ahead = ahead or compile_ahead(method, options, images, first, say)
        seeds = [record.seed for record in records]
        self.data = device_data(
            None if options.stream else pixels, labels, seeds[0] if self._num == 1 else seeds
        )
        # Of several runs two, so that there is a step that all have while some have saved the next.
        keep = 2 if self._num > 1 and options.keep == 1 else options.keep
        for record in records:
            record.prepare(keep=keep, keep_every=options.keep_every or None)
        # What ended the runs of a program that others go on in; a run alone is tried again.
        self.over = {
            i: 'diverged before'
            for i, r in enumerate(records)
            if self._num > 1 and r.has_diverged()
        }
        # As checkpoints have it: whole arrays, whatever the number of devices.
        self._shapes = jax.eval_shape(self._one.init, seed_key(options.seed, 'init'))
        self.state, self.start = self._start()
        self.step = self.start or 0
        self._sample = jax.jit(self._one.sample, static_argnums=2)
        self._pending: list[tuple[int, dict]] = []

    def _start(self):
        """The state of the newest good checkpoint, of several runs the newest that all have, or a fresh one."""
        axes = self.method.state_axes
        step, states = self._restored()
        if step is None:
            init = parallel.compile(
                jax.jit(self._one.init).lower(seed_key(0, 'init')), quickly=True
            )
            states = {i: init(record.key('init')) for i, record in enumerate(self.records)}
        elif step % self.options.steps_per_call:
            raise ValueError(
                f'the checkpoint is of step {step}, no multiple of steps_per_call '
                f'{self.options.steps_per_call}: go on with --config.steps_per_call=1'
            )
        else:
            self.say(f'resuming from step {step}')
        # One that is over goes along as another's double, and is not looked at.
        double = next(iter(states.values()))
        stacked = members.stack([states.get(i, double) for i in range(self._num)])
        return parallel.shard(stacked, axes), step

    def _restored(self) -> tuple[int | None, dict[int, Any]]:
        """The newest step of which all runs that go on have a good checkpoint, and these; None without."""
        going = {i: r for i, r in enumerate(self.records) if i not in self.over}
        if not going:
            raise Diverged(self._over_line())
        steps_there = {step for r in going.values() for step in r.checkpoints.steps()}
        limit = None
        while True:
            found = {
                i: record.checkpoints.restore_latest(parallel.abstract(self._shapes), up_to=limit)
                for i, record in going.items()
            }
            steps = {-1 if one is None else one[0] for one in found.values()}
            if len(steps) == 1:
                step = steps.pop()
                return (None if step < 0 else step), {i: one[1] for i, one in found.items() if one}
            limit = min(steps)
            if limit < 0 and len(steps_there) > 1:  # a kill at the first save leaves one step
                lacks = next(going[i].workdir for i, one in found.items() if one is None)
                has = next(going[i].workdir for i, one in found.items() if one)
                raise ValueError(
                    f'{lacks} has no checkpoint of a step that {has} has: bring it back, or use another --workdir'
                )

    def whole_state(self) -> Any:
        """The state as `method.init` makes it: nothing of it cut over the devices. Of several runs stacked."""
        return parallel.gather(
            self.state, self.method.state_axes, members.stacked(self._shapes, self._num)
        )

    def state_of(self, index: int) -> Any:
        """`whole_state` of one run; every process has to ask."""
        return members.take(self.whole_state(), index, self._num)

    def _going(self):
        return [(i, record) for i, record in enumerate(self.records) if i not in self.over]

    def run(self) -> Any:
        """Trains to `num_steps` and returns the final state, whole.

        Raises:
            Diverged: in no run all values are finite; the last checkpoints are from before.
            Preempted: SIGTERM came; the state is saved.
        """
        o = self.options
        step = self.start or 0
        stop = parallel.StopSignal()
        opened = []
        try:
            for _, record in self._going():
                record.open(step)
                opened.append(record)
            if self.start is None:
                self._write_grids(step)
            for i, record in self._going():
                record.score_again(step, lambda i=i: self.state_of(i))
            if step < o.num_steps:
                self._loop(step, stop)
            for _, record in self._going():
                record.checkpoints.wait()
                record.collect_scores()
        finally:
            stop.close()
            for record in opened:
                record.close()
        return self.whole_state()

    def write_scores(self, step: int, values: Mapping[str, float], index: int = 0) -> None:
        """Adds scores of a finished run, of several that of `index`, to its logs and its row of the HParams table."""
        with Writer(self.records[index].workdir, start_step=step) as writer:
            writer.scalars(step, {f'eval/{name}': value for name, value in values.items()})

    def check_diverged(self) -> None:
        """Raises Diverged with a line that names the runs that ended so while others went on."""
        if self.over:
            raise Diverged(self._over_line())

    def _over_line(self):
        return '; '.join(f'{self.records[i].workdir} {why}' for i, why in sorted(self.over.items()))

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
                self._write_grids(step)
            if saving:
                self._save(step)
            if stopping and not last:
                for _, record in self._going():
                    record.checkpoints.wait()
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
        folder = self.records[0].workdir / 'tensorboard'
        return Profile(folder, num_calls, lambda: jax.block_until_ready(self.state), self.say)

    def _is_idle(self):
        """Whether the devices have done all that they were given."""
        return not self._pending or parallel.is_ready(self._pending[-1][1])

    def _save(self, step):
        for _, record in self._going():
            record.checkpoints.wait()  # before any of them deletes the step before
        for i, record in self._going():
            state = self.state_of(i)
            try:
                record.save(step, state)
            except Diverged as error:
                self._end(i, str(error))
            del state  # it may hold a table of its own

    def _end(self, index, why):
        """Goes on without a run that diverged; of the last one that is the end."""
        self.over[index] = why
        if len(self.over) == self._num:
            raise Diverged(why if self._num == 1 else self._over_line())
        self.say(f'{self.records[index].workdir} {why}; the others go on')

    def _log(self, step, progress):
        """Fetches what is pending, ends runs whose values are not finite, writes what is due."""
        fetched = [(s, jax.device_get(parallel.first_replica(m))) for s, m in self._pending]
        self._pending.clear()
        for i, record in self._going():
            for s, metrics in fetched:
                values = members.take_value(metrics, i, self._num)
                bad = {k: v for k, v in values.items() if not np.isfinite(v)}
                if bad:
                    self._end(i, record.diverged(s, bad))
                    break
        going = self._going()
        latest = fetched[-1][1]
        progress.show(members.take_value(latest, going[0][0], self._num))
        if not _due(step, self.options.log_every):
            return
        common = self._feed.measured() | {'train/epoch': self._epoch(step)}
        rate = progress.rate()
        if rate:
            per_update = self.method.batch_size * self.method.batches_per_step
            common |= {'perf/steps_per_s': rate, 'perf/images_per_s': rate * per_update}
        for i, record in going:
            values = members.take_value(latest, i, self._num)
            record.scalars(step, {_tag(k): v for k, v in values.items()} | common)

    def _epoch(self, step):
        batches_per_epoch = len(self._pixels) // self.method.batch_size
        return step * self.method.batches_per_step / batches_per_epoch

    def _write_grids(self, step):
        """Images from fixed z; once per class where the method has classes."""
        if not self.options.num_samples:
            return
        # One column per class, where that is no wider than people look at.
        columns = self.method.num_classes if 1 < self.method.num_classes <= 20 else None
        for i, record in self._going():
            state = parallel.first_replica(self.state_of(i))
            if parallel.is_main():
                samples = self._sample(state, record.key('grid'), self.options.num_samples)
                record.grid(step, samples, columns)

    def _write_histograms(self, step):
        for i, record in self._going():
            state = parallel.first_replica(self.state_of(i))
            if parallel.is_main():
                record.histograms(step, self._one.watched(jax.device_get(state)))


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def _tag(name: str) -> str:
    """Groups in TensorBoard: one per kind of value."""
    return name if '/' in name else f'train/{name}'
