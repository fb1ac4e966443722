"""What is written of one run: scalars, grids, histograms, checkpoints, scores, and that it diverged.

Order at one step: scalars, grid, then the checkpoint. So whatever a checkpoint's run had logged up to its step is on
disk before the checkpoint is, and a run that is killed and started again repeats nothing and leaves nothing out.
"""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snjax import parallel
from snjax.latents.sampling import seed_key
from snjax.metrics.live_scores import LiveScores
from snjax.runs import images
from snjax.runs.checkpoint import Checkpointer
from snjax.runs.workdir import DIVERGED_NAME
from snjax.runs.writer import Writer


class RunLogger:
    """One run in one workdir.

    Args:
        workdir: where everything goes; exists.
        seed: of everything that the run draws.
        config: for TensorBoard's text and HParams tabs.
        say: prints a line for people.
        live: scores checkpoints while training goes on, and tells the best; None for no scores.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        seed: int,
        config: Mapping,
        say: Callable[[str], None] = print,
        live: LiveScores | None = None,
    ):
        self.workdir, self.seed, self.config = pathlib.Path(workdir), seed, config
        self.live, self._say = live, say
        self.checkpoints: Checkpointer
        self._writer: Writer

    def prepare(self, *, keep: int, keep_every: int | None) -> None:
        """Looks at the checkpoints that are there."""
        self.checkpoints = Checkpointer(
            self.workdir / 'checkpoints', keep=keep, keep_every=keep_every
        )

    def open(self, step: int) -> None:
        """Begins to write, of a run that goes on from `step`: what was logged after it is removed."""
        self._writer = Writer(self.workdir, start_step=step, enabled=parallel.is_main())
        if parallel.is_main():
            (self.workdir / DIVERGED_NAME).unlink(missing_ok=True)
        text = json.dumps(self.config, indent=2, sort_keys=True)
        self._writer.text('config', f'```\n{text}\n```', step)
        self._writer.hparams(self.config, {})

    def close(self) -> None:
        """Ends what goes on in the background."""
        try:
            if self.live:
                self.live.close()
            self.checkpoints.close()
        finally:
            self._writer.close()

    def key(self, role: str) -> jax.Array:
        """The run's key for a role."""
        return seed_key(self.seed, role)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Logs numbers by tag."""
        self._writer.scalars(step, values)

    def histograms(self, step: int, arrays: Mapping[str, Any]) -> None:
        """Logs how arrays are distributed."""
        self._writer.histograms(step, arrays)

    def grid(self, step: int, samples: Any, columns: int | None) -> None:
        """Images (n, H, W, C) in [-1, 1] as PNG and in TensorBoard."""
        grid = images.grid(images.to_uint8(np.asarray(samples)), columns=columns)
        images.save_png(self.workdir / 'samples' / f'{step:08d}.png', grid)
        self._writer.images(step, 'samples', grid)

    def save(self, step: int, state: Any) -> None:
        """A checkpoint of a whole state, and its scores where they are due; every process has to ask."""
        self._check_finite(step, state)
        self.collect_scores()
        self._writer.flush()
        if self.live and step % self.live.every == 0:
            self.live.submit(step, state)
        self.checkpoints.save(step, state)

    def score_again(self, step: int, whole_state: Callable[[], Any]) -> None:
        """Takes the score of the checkpoint that the run starts from, if it was on its way when the last run ended."""
        if self.live and step and step % self.live.every == 0:
            if not parallel.from_main(self._writer.has(step, f'eval/{self.live.key}')):
                self.live.submit(step, whole_state())

    def collect_scores(self) -> None:
        """Writes the scores of the checkpoint before, and keeps it if it is the best."""
        found = self.live.collect() if self.live else None
        if self.live is None or found is None:
            return
        step, values = found
        score = values[self.live.key]
        if self.checkpoints.keep_best(step, score):
            self._say(f'best {self.live.key} so far: {score:.4g} at step {step}')
        self._writer.scalars(step, {f'eval/{name}': value for name, value in values.items()})

    def _check_finite(self, step, state):
        """Losses are of the state before an update; what is saved is the state after it."""
        leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(parallel.first_replica(state)))
        bad = {
            jax.tree_util.keystr(path): 'not finite'
            for path, leaf in leaves
            if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.all(np.isfinite(leaf))
        }
        if bad:
            raise Diverged(self.diverged(step, dict(list(bad.items())[:3])))

    def diverged(self, step: int, bad: Mapping[str, Any]) -> str:
        """Leaves `diverged.txt` with what is not finite, and returns its line."""
        values = ', '.join(f'{name} = {value}' for name, value in sorted(bad.items()))
        self.checkpoints.wait()
        kept = self.checkpoints.steps()
        last = (
            f'the last checkpoint is of step {kept[-1]}' if kept else 'there is no checkpoint yet'
        )
        message = f'diverged by step {step}: {values}; {last}'
        if parallel.is_main():
            (self.workdir / DIVERGED_NAME).write_text(f'{message}\n')
        return message


class Diverged(RuntimeError):
    """A logged value, or one that was to be saved, is no longer finite."""
