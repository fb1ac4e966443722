"""Reads the files of one checkpoint through Orbax and verifies them against their digest."""

import contextlib
import errno
import functools
import glob
import logging as standard_logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath
from orbax.checkpoint import v1

from snjax import parallel
from snjax.runs import digest
from snjax.runs.nested import nested

# What a committed checkpoint holds at the least.
_REQUIRED = (
    'commit_success.txt',
    '_CHECKPOINT_METADATA',
    'state',
    'state/manifest.ocdbt',  # Orbax writes it last, and only warns if it found nothing to list
    'digest/0.json',
)


class LiteralPath(type(epath.Path())):
    """A path that means itself, also with [, ], * or ? in it.

    Orbax looks for its files with `glob`, which joins the folder's own name to the pattern: in a
    folder `lr=[1e-4]` it finds nothing, commits a checkpoint without its arrays, and says so in a
    warning only.
    """

    def glob(self, pattern: str) -> Iterator['LiteralPath']:
        for found in glob.iglob(os.path.join(glob.escape(str(self)), pattern)):
            yield type(self)(found)


def missing_files(folder: Path) -> list[str]:
    """Names of the files that a complete checkpoint has and `folder` lacks."""
    return [name for name in _REQUIRED if not (folder / name).exists()]


def check_written(folder: Path) -> None:
    """Raises a ValueError if Orbax has committed a checkpoint that cannot be restored."""
    if missing := missing_files(folder):
        raise ValueError(
            f'checkpoint {folder} was written without {" and ".join(missing)}, so it cannot be '
            'restored: use another --workdir'
        )


def orbax_options(*, is_alone: bool = False, is_partial: bool = False) -> v1.Context:
    """Orbax's options.

    Args:
        is_alone: this process reads without waiting for the others.
        is_partial: only a part of the checkpoint is read.
    """
    context = v1.Context()
    # Weights do not compress and the copies given to Orbax are private: both would cost time only.
    context.array.saving.use_compression = False
    context.memory.deepcopy_host_arrays = False
    # Fails at once if a folder cannot be made; in the background that takes a timeout of minutes.
    context.asynchronous.create_directories_asynchronously = False
    context.pytree.loading.partial_load = is_partial
    if is_alone:
        context.multiprocessing.primary_host = parallel.process_index()
        context.multiprocessing.active_processes = {parallel.process_index()}
    return context


def try_read(directory: Path, step: int, **kwargs: Any) -> tuple[dict, str]:
    """Reads and verifies a checkpoint; never raises for damage.

    Args:
        directory: folder of the checkpoints.
        step: which one.
        **kwargs: of `_read`.

    Returns:
        The leaves by path and ''; or {} and one line that says why it cannot be used.
    """
    silence()
    try:
        return _read(directory / str(step), step, **kwargs), ''
    except Exception as error:  # Orbax and TensorStore answer damage with errors of many types
        return {}, reason(error)


def reason(error: BaseException) -> str:
    """One line that says why Orbax or TensorStore failed.

    Their outermost error says only that they did; the first one says what is broken.
    """
    while cause := error.__cause__ or (not error.__suppress_context__ and error.__context__):
        error = cause
    text = ' '.join(str(error).split('[tensorstore_spec')[0].split())
    # Every layer appends where it is in its own source.
    text = re.split(r" \[source locations|'?, source_location", text)[0]
    return text if isinstance(error, ValueError | OSError) else f'{type(error).__name__} {text}'


@functools.cache  # once in a process
def silence() -> None:
    """Keeps Orbax and TensorStore from printing tracebacks of errors that they raise as well.

    Orbax logs them in each of its threads, asyncio logs those of other leaves, later. When one leaf
    cannot be read, Orbax also closes its event loop while other reads are in progress. TensorStore's
    threads then find the loop closed, at any later time, and only the interpreter's hook sees their
    error.
    """
    standard_logging.getLogger('asyncio').addFilter(_is_news)
    standard_logging.getLogger('absl').addFilter(_is_news)
    report = sys.unraisablehook

    def hook(unraisable: 'sys.UnraisableHookArgs') -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == 'Event loop is closed'):
            report(unraisable)

    sys.unraisablehook = hook


class SaveFailed(OSError):
    """A checkpoint could not be written."""


@contextlib.contextmanager
def failing_as_one_line(directory: Path) -> Iterator[None]:
    """Raises what makes a save fail as an OSError: Orbax and TensorStore have many types for it."""
    try:
        yield
    except Exception as error:
        what = reason(error)
        parallel.exit_if_peer_lost(error)
        is_full = 'RESOURCE_EXHAUSTED' in what or getattr(error, 'errno', None) == errno.ENOSPC
        is_full = is_full or os.strerror(errno.ENOSPC) in what
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory)) from None
        raise SaveFailed(f'a checkpoint cannot be saved in {directory}: {what}') from error


def _is_news(record: standard_logging.LogRecord) -> bool:
    # TensorStore's messages have no common text, so asyncio's text and the type must do.
    late = record.getMessage().startswith('Task exception was never retrieved')
    if late and record.exc_info and isinstance(record.exc_info[1], ValueError | OSError):
        return False
    is_orbax = f'{os.sep}orbax{os.sep}' in record.pathname
    return not (is_orbax and record.levelno >= standard_logging.ERROR)


def _read(
    folder: Path,
    step: int,
    *,
    wanted: dict[tuple[str, ...], Any] | None = None,
    prefix: tuple[str, ...] = (),
) -> dict[tuple[str, ...], np.ndarray]:
    """Reads the leaves under `prefix` and verifies them: structure, dtypes, shapes, bytes.

    Raises:
        ValueError: if they are not what was saved, or not what `wanted` (all leaves by path) is.
        Exception: whatever Orbax raises on damaged files.
    """
    if missing := missing_files(folder):
        raise ValueError(f'incomplete, {" and ".join(missing)} missing')
    entries = digest.read(folder / 'digest', step)
    if wanted is not None:
        digest.check_fits(entries, wanted)
    chosen = {path: entry for path, entry in entries.items() if path[: len(prefix)] == prefix}
    if not chosen:
        tops = ', '.join(sorted({path[0] for path in entries}))
        raise ValueError(f'nothing is stored at prefix {prefix}; at the root are {tops}')
    # Plain `np.ndarray` keeps the stored dtype; Orbax would cast silently to one it is asked for.
    target = nested({path: np.ndarray for path, entry in chosen.items() if entry.is_stored})
    stored = {}
    if target:
        with orbax_options(is_alone=True, is_partial=len(chosen) < len(entries)):
            stored = v1.load_checkpointables(LiteralPath(folder), {'state': target})['state']
    arrays = {}
    for path, entry in chosen.items():
        if entry.is_stored:
            array = functools.reduce(lambda tree, key: tree[key], path, stored)
        else:
            array = np.empty(entry.shape, entry.dtype)
        arrays[path] = entry.verified(path, array)  # pyright: ignore[reportArgumentType]
    return arrays


def placed(arrays: Mapping[Any, np.ndarray], wanted: Mapping[Any, Any]) -> Iterator[jax.Array]:
    return (_to_device(arrays[path], leaf) for path, leaf in wanted.items())


def _to_device(array: np.ndarray, like: jax.Array | jax.ShapeDtypeStruct) -> jax.Array:
    """Places an array as `like` is placed; every process gives the shards of its own devices."""
    sharding = getattr(like, 'sharding', None)
    if sharding is None:
        return jax.device_put(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
