"""Everything that one training run writes: scalars, grids, histograms, checkpoints and scores.

The order at one step is scalars, grid, checkpoint. So all logs up to a checkpoint's step are on
disk before the checkpoint is, and a run that is killed and resumed logs every point once.
"""

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from snjax import parallel
from snjax.runs import best, images, tags, workdir
from snjax.runs.checkpoint import Checkpointer
from snjax.runs.files import replace_file
from snjax.runs.writer import Writer


class Diverged(RuntimeError):
    """A logged value, or a state that was to be saved, is not finite."""


@runtime_checkable
class ScoresWhileTraining(Protocol):
    """Scores checkpoints while training continues, e.g. `snjax.metrics.live_scores.LiveScores`.

    Attributes:
        every: generator updates between scores.
        key: name of the score that decides which checkpoint is best; lower is better.

    One with an attribute `group` (`snjax.runs.tags`) has its tags in that group.
    """

    every: int
    key: str

    def submit(self, step: int, state: Any) -> None:
        """Starts scoring a whole state; every process must call it."""
        ...

    def collect(self) -> tuple[int, dict[str, float]] | None:
        """Waits for the scores of the state submitted last; None if there is none."""
        ...

    def close(self) -> None:
        """Ends the background work."""
        ...


class RunLogger:
    """Writes to the workdir of one run; a context manager.

    Points that an earlier start logged after `step` are removed.

    Args:
        folder: the workdir.
        step: generator updates done; the run starts or resumes here.
        checkpoints: where states are saved; closed with the logger.
        config: for the text tab of TensorBoard.
        hparams: the columns of the run's row in its HParams tab; None for the whole config.
        live: scores checkpoints during training; None for no scores.
        say: prints a line.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        step: int,
        checkpoints: Checkpointer,
        config: Mapping,
        live: ScoresWhileTraining | None = None,
        say: Callable[[str], None] = print,
        hparams: Mapping | None = None,
    ):
        self._folder, self._checkpoints = pathlib.Path(folder), checkpoints
        self._live, self._say = live, say
        self._group = getattr(live, 'group', tags.EVAL)
        if parallel.is_main():
            if removed := workdir.clean(folder):
                say(f'removed what a killed process left: {", ".join(removed)}')
            best.tidy(self._folder / workdir.BEST)
            (self._folder / workdir.DIVERGED_NAME).unlink(missing_ok=True)
        self._writer = Writer(folder, start_step=step, enabled=parallel.is_main(), say=say)
        self._identity = os.stat(self._folder) if parallel.is_main() else None
        text = json.dumps(config, indent=2, sort_keys=True)
        self._writer.text('config', f'```\n{text}\n```', step)
        self._writer.hparams(config if hparams is None else hparams, {})

    def __enter__(self) -> 'RunLogger':
        return self

    def __exit__(self, *_) -> None:
        """Waits for the checkpoint in flight, drops the scores in flight, closes the files."""
        try:
            if self._live:
                self._live.close()
            self._checkpoints.close()
        finally:
            self._writer.close()

    def check_there(self, step: int) -> None:
        """Raises a ValueError if the workdir that the run began to write was removed or moved.

        Asked before every write, because writers make folders that are missing.
        """
        if not parallel.is_main():
            return
        try:
            identity = self._identity
            is_there = identity is not None and os.path.samestat(self._folder.stat(), identity)
            is_there = is_there and (self._folder / workdir.METRICS_NAME).exists()
        except OSError:
            is_there = False
        if not is_there:
            raise ValueError(
                f'{self._folder} is gone: it was removed or moved while the run wrote there, at '
                f'step {step}; move it back, or use another --workdir'
            )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Logs numbers by tag."""
        self.check_there(step)
        self._writer.scalars(step, values)

    def warn(self, step: int, warning: str) -> None:
        """Prints a warning, and writes it to TensorBoard's texts."""
        self._say(f'warning at step {step}: {warning}')
        self._writer.text('sentinel', warning, step)

    def histograms(self, step: int, arrays: Mapping[str, Any]) -> None:
        """Logs the distribution of the values of each array."""
        self.check_there(step)
        self._writer.histograms(step, arrays)

    def grid(self, step: int, samples: Any, columns: int | None) -> None:
        """Writes images (n, H, W, C) in [-1, 1] as a PNG and to TensorBoard."""
        self.check_there(step)
        pixels = images.shown(images.to_uint8(np.asarray(samples)))
        grid = images.grid(pixels, columns=columns)
        images.save_png(self._folder / workdir.SAMPLES / f'{step:08d}.png', grid)
        self._writer.images(step, 'samples', grid)

    def save(self, step: int, state: Any) -> None:
        """Saves a whole state and submits it for scoring if that is due.

        Every process must call it. At most one save is in flight.

        Raises:
            ValueError: the workdir is gone.
            Diverged: the state is not finite. Logged losses are of the state before an update, so
                the state after it is checked here.
        """
        self._check_finite(step, state)
        self.check_there(step)
        self.collect_scores()
        self._writer.flush()
        if self._live and step % self._live.every == 0:
            self._live.submit(step, state)
        self._checkpoints.save(step, state)

    def score_again(self, step: int, whole_state: Callable[[], Any]) -> None:
        """Scores the checkpoint that the run resumes from if its score is due and was lost."""
        if self._live and step and step % self._live.every == 0:
            if not parallel.from_main(self._writer.has(step, f'{self._group}/{self._live.key}')):
                self._live.submit(step, whole_state())

    def collect_scores(self) -> None:
        """Logs the scores of the checkpoint submitted last, and keeps it if it is the best."""
        found = self._live.collect() if self._live else None
        if self._live is None or found is None:
            return
        step, values = found
        score = values[self._live.key]
        if self._checkpoints.keep_best(step, score):
            self._say(f'best {self._live.key} so far: {score:.4g} at step {step}')
        self._writer.scalars(step, {f'{self._group}/{name}': x for name, x in values.items()})

    def finish(self) -> None:
        """Waits for the checkpoint and the scores in flight, and logs the scores."""
        self._checkpoints.wait()
        self.collect_scores()

    def diverged(self, step: int, bad: Mapping[str, Any]) -> Diverged:
        """Writes `diverged.txt` and returns the exception to raise.

        Args:
            step: generator updates done.
            bad: the values that are not finite, by name.
        """
        values = ', '.join(f'{name} = {value}' for name, value in sorted(bad.items()))
        self._checkpoints.wait()
        kept = self._checkpoints.steps()
        last = (
            f'the last checkpoint is of step {kept[-1]}' if kept else 'there is no checkpoint yet'
        )
        message = f'diverged by step {step}: {values}; {last}'
        if parallel.is_main():
            replace_file(self._folder / workdir.DIVERGED_NAME, f'{message}\n')
        return Diverged(message)

    def _check_finite(self, step, state):
        leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(parallel.first_replica(state)))
        bad = {
            jax.tree_util.keystr(path): 'not finite'
            for path, leaf in leaves
            if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.all(np.isfinite(leaf))
        }
        if bad:
            raise self.diverged(step, dict(list(bad.items())[:3]))
