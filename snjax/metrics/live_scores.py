"""Scores of checkpoints during training; the device only spends the time to generate the fakes.

Fakes and their features are queued on the device among the training steps. A thread waits for them
and computes the scores in NumPy while training continues. Scores depend on the checkpoint only, so
a resumed run computes those again that a kill interrupted.
"""

import concurrent.futures
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from snjax.generate import fakes
from snjax.generate.fakes import Variant
from snjax.generate.load import from_tree
from snjax.metrics import comparison
from snjax.metrics.evaluate import Evaluator
from snjax.metrics.extractors import Features
from snjax.metrics.protocols import Protocol
from snjax.runs.checkpoint import as_tree


class LiveScores:
    """Computes `snjax.metrics.comparison.quick` for submitted states, one at a time.

    Args:
        evaluator: with the extractor and the real images.
        protocol: which real images, and how many fakes.
        config: of the run.
        every: generator updates between submissions; read by the training loop.
    """

    def __init__(
        self, evaluator: Evaluator, protocol: Protocol, config: Mapping[str, Any], every: int
    ):
        evaluator.check([protocol])
        self.every = every
        self.key = comparison.main_score(evaluator.extractor)
        self.group = evaluator.tag_group(protocol)
        self._evaluator, self._protocol, self._config = evaluator, protocol, config
        reference = evaluator.reference(protocol.split)
        self._real, self._class_names = (
            reference.summary(protocol),
            reference.image_set.class_names,
        )
        self._executor = _thread()
        self._pending: tuple[int, concurrent.futures.Future] | None = None

    def submit(self, step: int, state: Any) -> None:
        """Queues the fakes of a state that is replicated on the devices; all processes call it."""
        trained = from_tree(self._config, step, as_tree(state))
        variant = Variant(trained.kept('auto'), 'running')
        o = self._evaluator.options
        batches = fakes.fakes(
            trained,
            variant,
            self._protocol.fake,
            seed=o.seed,
            batch_size=o.batch_size,
            follow=self._evaluator.follow(trained),
        )
        queued = [(self._evaluator.extractor(images), count) for images, count in batches]
        self._pending = step, self._executor.submit(self._score, queued)

    def collect(self) -> tuple[int, dict[str, float]] | None:
        """Waits for the submitted step and its scores; None if nothing was submitted."""
        if self._pending is None:
            return None
        (step, future), self._pending = self._pending, None
        return step, future.result()

    def close(self) -> None:
        """Ends the thread; drops scores that were not collected. `submit` starts another."""
        self._executor.shutdown(cancel_futures=True)
        self._executor, self._pending = _thread(), None

    def _score(self, queued):
        parts = [[np.asarray(x)[:count] for x in jax.device_get(out)] for out, count in queued]
        features = Features(*map(np.concatenate, zip(*parts, strict=True)))
        return comparison.quick(self._evaluator.extractor, self._real, features, self._class_names)


def _thread() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix='scores')
