"""Checkpoints that are trusted only after their checksums.

A checkpoint is one folder, `<directory>/<step>/`, which Orbax writes under a temporary name and
renames when it is complete:

    state/                  every leaf in nested dicts, e.g. gen / params / Conv_0 / kernel
    digest/<process>.json   path, dtype, shape and SHA-256 of every leaf (`snjax.runs.digest`)

Orbax alone does not notice a changed byte, and casts a leaf of another dtype without a word. So the
digests are taken from the very host copies that Orbax writes, are committed by the same rename, and
are compared after reading, before a single value reaches a device. What fails is named in the log
and the next older checkpoint is tried.

Which steps exist is decided here and not by Orbax's own manager, because that one deletes old steps
file by file: killed in between, it leaves a step that looks whole. Here a step is first renamed,
then deleted. Names that are not plain numbers (`300.orbax-checkpoint-tmp`, `300.deleted`,
`300.rejected`) are never taken for checkpoints. Reading changes nothing on the disk; leftovers are
removed by the first `save` of a run.

Several processes: every process calls `save` and `restore_latest`, the folder is on a file system
that all of them see, process 0 alone deletes and renames. Each process reads a checkpoint whole and
without waiting for the others, so that one that fails cannot leave the others in a barrier; then
all of them agree on whether it is good.
"""

import concurrent.futures
import functools
import itertools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import logging
from jaxtyping import PyTree
from orbax.checkpoint import v1

from snjax import parallel
from snjax.runs import best, digest
from snjax.runs.checkpoint_files import (
    LiteralPath,
    check_written,
    failing_as_one_line,
    missing_files,
    orbax_options,
    placed,
    silence,
    try_read,
)
from snjax.runs.nested import nested
from snjax.runs.workdir import BEST, steps_in

# Names of barriers must differ; all processes save in the same order, so a count agrees among them.
_SAVES = itertools.count()


class Checkpointer:
    """Saves states in the background and restores the newest good one; a context manager.

    Args:
        directory: where the steps are, made when needed; shared by all processes.
        keep: how many of the latest checkpoints are kept, at least 1.
        keep_every: every step that is a multiple of this is kept as well; None keeps no others.

    Raises:
        ValueError: if `keep` or `keep_every` is not a positive integer.
    """

    def __init__(
        self, directory: str | os.PathLike, *, keep: int = 3, keep_every: int | None = None
    ):
        for key, value in (('keep', keep), ('keep_every', 1 if keep_every is None else keep_every)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(
                    f'checkpoint.{key} is {value!r}, which is not an integer of at least 1; change '
                    f'--config.checkpoint.{key}'
                )
        self._directory = Path(directory).absolute()
        self._keep = keep
        self._keep_every = keep_every
        # One thread waits for the commit, then deletes old steps: a caller waits for copies only.
        self._executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix='checkpoint')
        self._pending: concurrent.futures.Future | None = None
        # Steps that this object restored or saved: they are known to hold the run's own state.
        self._done: set[int] = set()
        # Bad steps newer than the restored one; the next save moves them out of its way.
        self._rejected: set[int] = set()
        self._is_cleaned = False

    def __enter__(self) -> 'Checkpointer':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        """Returns the committed steps that `restore_latest` has not rejected, ascending."""
        return [step for step in steps_in(self._directory) if self._is_whole(step)]

    def save(self, step: int, state: PyTree) -> None:
        """Saves `state` as `step`; returns when the host has a copy, so buffers may be donated.

        Writing, hashing and deleting old steps happen in the background. At most one save is in
        flight: a second waits for the first. A step that this object has already saved or restored
        is left as it is.

        Args:
            step: number of generator updates done, >= 0.
            state: pytree of arrays of any shape and numeric dtype; with several processes, global
                `jax.Array`s.

        Raises:
            ValueError: if the folder holds a checkpoint at or after `step` that this object neither
                restored nor wrote.
            OSError: this or the previous save failed; one line.
        """
        self.wait()
        if step in self._done:
            return
        newer = [other for other in self.steps() if other >= step]
        if newer:
            raise ValueError(
                f'step {step} cannot be saved: {self._directory} already holds step {newer[-1]}; '
                'resume from it or use another --workdir'
            )
        if parallel.is_main():
            self._clean(step)
        copies = digest.host_copies(state)
        barrier = functools.partial(
            v1.multihost.sync_global_processes, f'digest_{next(_SAVES)}', operation_id=str(step)
        )
        silence()
        with orbax_options(), failing_as_one_line(self._directory):
            response = v1.save_checkpointables_async(
                LiteralPath(self._directory / str(step)),
                {
                    'state': nested({copy.path: copy.value for copy in copies if copy.is_stored}),
                    'digest': digest.Writer(step, copies, barrier),
                },
            )
        # Orbax has passed a barrier by now, so process 0 has moved the rejected steps.
        self._rejected.clear()
        self._done.add(step)
        self._pending = self._executor.submit(self._commit, step, response.result)

    def restore_latest(self, like: PyTree) -> tuple[int, PyTree] | None:
        """Restores the newest checkpoint that passes every check; the log names the others.

        Args:
            like: pytree of `jax.Array` or `jax.ShapeDtypeStruct`; gives structure, shapes, dtypes
                and shardings. A leaf without a sharding goes to the default device.

        Returns:
            (step, state), bit for bit what was saved, or None where no checkpoint exists.

        Raises:
            ValueError: if checkpoints exist and none is good, or none fits `like`.
        """
        self.wait()
        leaves, treedef = jax.tree.flatten(like)
        wanted = dict(zip(digest.paths(like), leaves, strict=True))
        candidates = steps_in(self._directory)
        self._rejected, self._done = set(), set()
        rejected: dict[int, str] = {}
        # The folder as process 0 sees it counts.
        while (step := parallel.from_main(candidates.pop() if candidates else -1)) >= 0:
            arrays, reason = try_read(self._directory, step, wanted=wanted)
            if not parallel.any_process(bool(reason)):
                self._rejected, self._done = set(rejected), {step}
                return step, treedef.unflatten(placed(arrays, wanted))
            rejected[step] = reason or 'another process could not read it'
            logging.warning('checkpoint %s/%d rejected: %s', self._directory, step, rejected[step])
        if rejected:
            raise ValueError(_none_is_good(self._directory, rejected))
        return None

    def restore(self, step: int, like: PyTree) -> PyTree:
        """Restores one checkpoint, which another run may have saved.

        Args:
            step: which one.
            like: as for `restore_latest`.

        Raises:
            ValueError: it is damaged, or does not fit `like`; one line.
        """
        leaves, treedef = jax.tree.flatten(like)
        wanted = dict(zip(digest.paths(like), leaves, strict=True))
        arrays, reason = try_read(self._directory, step, wanted=wanted)
        if parallel.any_process(bool(reason)):
            what = reason or 'another process could not read it'
            raise ValueError(f'the checkpoint {self._directory}/{step} cannot be used: {what}')
        return treedef.unflatten(placed(arrays, wanted))

    def keep_best(self, step: int, score: float) -> bool:
        """Keeps a checkpoint in `best/`, next to the others' folder, if its score is the best.

        A lower score is better. Files are hard links where the file system has them, else copies.
        Only process 0 writes.

        Returns:
            Whether the score is the best so far.
        """
        self.wait()
        if not parallel.is_main():
            return False
        return best.keep(self._directory.parent / BEST, self._directory / str(step), score)

    def wait(self) -> None:
        """Waits until the save in flight is committed.

        Raises:
            OSError: it failed; one line. `errno` is ENOSPC if the disk is full.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            with failing_as_one_line(self._directory):
                pending.result()

    def close(self) -> None:
        """Waits for the save in flight and ends the background thread."""
        try:
            self.wait()
        finally:
            self._executor.shutdown()

    def _is_whole(self, step: int) -> bool:
        return step not in self._rejected and not missing_files(self._directory / str(step))

    def _commit(self, step: int, wait_for_orbax: Callable[[], object]) -> None:
        wait_for_orbax()
        check_written(self._directory / str(step))
        if not parallel.is_main():
            return
        for step in self.steps()[: -self._keep]:
            if self._keep_every is None or step % self._keep_every:
                # The rename is atomic: killed at any moment, no half of a step keeps its name.
                shutil.rmtree(self._rename(step, 'deleted'))

    def _clean(self, step: int) -> None:
        """Clears the way for `step`: leftovers of killed runs go, damaged steps are set aside."""
        if not self._is_cleaned and self._directory.exists():
            for path in list(self._directory.iterdir()):
                if path.name.endswith('.deleted') or '.orbax-checkpoint-tmp' in path.name:
                    shutil.rmtree(path)
        self._is_cleaned = True
        for bad in sorted(self._rejected | {step}):
            if (self._directory / str(bad)).exists():
                logging.warning('damaged checkpoint kept as %s', self._rename(bad, 'rejected'))

    def _rename(self, step: int, suffix: str) -> Path:
        target = self._directory / f'{step}.{suffix}'
        if target.exists():
            shutil.rmtree(target)
        return (self._directory / str(step)).rename(target)


def load_tree(
    directory: str | os.PathLike, step: int | None = None, *, prefix: Sequence[str] = ()
) -> tuple[int, Any]:
    """Reads a checkpoint, or a part of it, as NumPy arrays, without the state's types and devices.

    Args:
        directory: the folder of the checkpoints.
        step: which one; None takes the newest good one, and the log names the damaged ones.
        prefix: names from the root to the wanted part, e.g. ('gen', 'params'); the rest is neither
            read nor verified.

    Returns:
        (step, tree): nested dicts of arrays, whose keys are fields, dict keys and positions in
        tuples, all as strings. Empty subtrees are not stored. If `prefix` names a leaf, the array.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if it is damaged, or has nothing at `prefix`.
    """
    directory = Path(directory).absolute()
    steps = steps_in(directory)
    if not steps:
        raise FileNotFoundError(f'no checkpoint in {directory}')
    if step is not None and step not in steps:
        raise FileNotFoundError(f'no checkpoint of step {step} in {directory}, which has {steps}')
    rejected = {}
    for candidate in steps[::-1] if step is None else [step]:
        arrays, reason = try_read(directory, candidate, prefix=tuple(prefix))
        if not reason:
            return candidate, nested({path[len(prefix) :]: leaf for path, leaf in arrays.items()})
        if candidate not in steps_in(directory):  # a live run has just deleted it for newer ones
            return load_tree(directory, step, prefix=prefix)
        rejected[candidate] = reason
        logging.warning('checkpoint %s/%d rejected: %s', directory, candidate, reason)
    raise ValueError(_none_is_good(directory, rejected))


def as_tree(state: PyTree) -> Any:
    """A state in the form of `load_tree`: nested dicts with string keys; arrays are not copied."""
    return nested(dict(zip(digest.paths(state), jax.tree.leaves(state), strict=True)))


def _none_is_good(directory: Path, rejected: Mapping[int, str]) -> str:
    reasons = '; '.join(f'step {step}: {reason}' for step, reason in rejected.items())
    return (
        f'no good checkpoint in {directory} ({reasons}); use another --workdir, or move that '
        'folder away to start anew'
    )
