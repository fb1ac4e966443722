"""Arrays of a set under construction, filled chunk by chunk, so that a build can resume."""

import os
import pathlib
import threading
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import logging

from snjax import host
from snjax.data import pixels

_JOURNAL = 'chunks.txt'


class Workspace:
    """Arrays under construction.

    Every finished chunk is noted in a journal with its CRC-32. A later build in the same folder
    fills the chunks that are not noted, and those that do not match because the machine went down
    before they reached the disk.

    Args:
        name: of the set, for messages.
        folder: for the files; None keeps the arrays in memory.
    """

    def __init__(self, name: str, folder: pathlib.Path | None):
        self.name, self.folder = name, folder
        self.arrays: dict[str, np.ndarray] = {}  # returned by `array`, by name
        self._lock = threading.Lock()

    def array(self, what: str, shape: tuple[int, ...], dtype: Any = np.uint8) -> np.ndarray:
        """An array of zeros, or the array of an earlier build; `what` is its name.

        Raises:
            ValueError: it fits neither on the disk nor in memory.
        """
        if self.folder is not None:
            path = self.folder / f'{what}.npy'
            try:
                self.arrays[what] = _reserve(path, shape, np.dtype(dtype))
                return self.arrays[what]
            except OSError as error:
                reason = f'no room for {self.name} in the cache ({error})'
                path.unlink(missing_ok=True)
                self.folder = None
                logging.warning('%s; it stays in memory', reason)
        else:
            reason = f'{self.name} cannot be cached'
        num_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if num_bytes > host.memory() // 2:
            raise ValueError(
                f'{reason}, and its {num_bytes / 1e9:.1f} GB are too many for memory: set '
                '--config.data.cache_dir to a folder on a larger disk, or --config.data.stream=decode'
            )
        self.arrays[what] = np.zeros(shape, dtype)
        return self.arrays[what]

    def in_chunks(self, count: int, work: Callable[[int, int], None], *, what: str) -> None:
        """`pixels.in_chunks` without the chunks of an earlier build. Call once, after `array`."""
        done = self._noted()
        if done:
            logging.warning('resuming the unfinished build of %s', self.name)

        def fill(start, stop):
            chunk = start, stop
            if chunk not in done or done[chunk] != self._crc(start, stop):
                work(start, stop)
                self._note(start, stop)

        pixels.in_chunks(count, fill, what=what)

    def _crc(self, start, stop):
        crc = 0
        for _, array in sorted(self.arrays.items()):
            crc = zlib.crc32(np.ascontiguousarray(array[start:stop]), crc)
        return crc

    def _noted(self) -> dict[tuple[int, int], int]:
        if self.folder is None or not (self.folder / _JOURNAL).is_file():
            return {}
        noted = {}
        for line in (self.folder / _JOURNAL).read_text(errors='replace').splitlines():
            parts = line.split()
            if len(parts) == 3 and all(
                part.isdecimal() for part in parts
            ):  # the last line may be cut
                start, stop, crc = map(int, parts)
                noted[start, stop] = crc
        return noted

    def _note(self, start, stop):
        if self.folder is None:
            return
        line = f'{start} {stop} {self._crc(start, stop)}\n'
        with self._lock, open(self.folder / _JOURNAL, 'a') as file:
            file.write(line)


def _reserve(path: pathlib.Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array mapped to a `.npy` file, old or new, whose space on disk is reserved."""
    array = _left(path, shape, dtype)
    if array is None:
        array = np.lib.format.open_memmap(path, mode='w+', dtype=dtype, shape=shape)
    if hasattr(os, 'posix_fallocate'):
        # Without the reservation, writing a mapped page on a full disk kills the process (SIGBUS).
        with open(path, 'r+b') as file:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
    return array


def _left(path, shape, dtype) -> np.ndarray | None:
    """The array of an earlier build; None if its shape or type is another."""
    try:
        array = np.load(path, mmap_mode='r+', allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if (array.shape, array.dtype) == (shape, dtype) else None
