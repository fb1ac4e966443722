"""Where a run's images come from: a set on the devices, or batches streamed from the host.

Both give the same images in the same order, which is a function of the seed and the step
(`snjax.data.host_order`). So a feed can start at any step, has no state to save, and the number of
workers only changes the speed. Each process reads only its own devices' share of a batch.
"""

import contextlib
import importlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from snjax import host, parallel
from snjax.data.host_order import HostOrder
from snjax.latents.sampling import seed_key
from snjax.training.method import Method
from snjax.training.step import Options

# Calls whose images are on the devices in advance.
_AHEAD = 2
_POLL_S = 1e-3


def check_installed(asked: str) -> None:
    """Raises a ValueError if Grain, which reads images ahead, is not installed.

    Args:
        asked: why it is needed, for the message.
    """
    try:
        importlib.import_module('grain')  # finds a broken installation as well
    except ImportError as error:
        raise ValueError(
            f'{asked}, and streaming needs Grain, which is not installed ({error}): '
            'pip install grain, or --config.data.stream=off for a set that fits'
        ) from error


class Resident:
    """The feed of a set that is already on the devices: every call gets no further arrays."""

    def __enter__(self) -> 'Resident':
        return self

    def __exit__(self, *_) -> None:
        pass

    def example(self) -> tuple:
        return ()

    def next(self, is_idle: Callable[[], bool]) -> tuple:
        return ()

    def measured(self) -> dict[str, float]:
        return {}


class Streamed:
    """Reads the images of each call and copies them to the devices ahead of time.

    Args:
        images: (N, H, W, C): an array, a memory-mapped array or `snjax.data.LazyImages`.
        order: the indices of the images in each batch.
        batch_size: size of the global batch.
        num_batches: batches per step.
        steps_per_call: steps per call.
        steps: range of the steps to read.
        workers: threads that read; 0 for one per core.
    """

    def __init__(
        self,
        images: Any,
        order: HostOrder,
        *,
        batch_size: int,
        num_batches: int,
        steps_per_call: int,
        steps: range,
        workers: int,
    ):
        self._examples = parallel.own_examples(batch_size)
        self._shape = (steps_per_call, num_batches, len(self._examples[0]), *images.shape[1:])
        self._dtype = images.dtype
        self._calls = len(steps) // steps_per_call
        batches = Batches(
            images,
            order,
            np.concatenate(self._examples),
            range(steps.start * num_batches, steps.stop * num_batches),
        )
        self._batches = read_ahead(batches, workers)
        self._ready: queue.Queue = queue.Queue(_AHEAD)
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name='snjax-feed', daemon=True)
        self._waited, self._since = 0.0, time.perf_counter()

    def __enter__(self) -> 'Streamed':
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._is_closed.set()
        self._thread.join()
        self._batches.close()

    def example(self) -> tuple[jax.Array]:
        """Black images of the shape that `next` returns, to compile for.

        `pmap` over several processes cannot be compiled for shapes.
        """
        return (parallel.shard_batch([np.zeros(self._shape, self._dtype) for _ in self._examples]),)

    def next(self, is_idle: Callable[[], bool]) -> tuple[jax.Array]:
        """The next call's images (devices, steps_per_call, num_batches, b, H, W, C).

        Args:
            is_idle: returns whether the devices have nothing to compute; then the time until the
                images arrive counts as waiting.

        Raises:
            ValueError: an image cannot be read.
        """
        idle_since = None
        while True:
            with contextlib.suppress(queue.Empty):
                found = self._ready.get(timeout=_POLL_S)
                break
            if idle_since is None and is_idle():
                idle_since = time.perf_counter()
        if idle_since is not None:
            self._waited += time.perf_counter() - idle_since
        if isinstance(found, BaseException):
            raise found
        return (found,)

    def measured(self) -> dict[str, float]:
        """`perf/data_wait`: the fraction of the time since the last call that devices waited."""
        elapsed = time.perf_counter() - self._since
        share = self._waited / max(1e-9, elapsed)
        self._waited, self._since = 0.0, time.perf_counter()
        return {'perf/data_wait': share}

    def _work(self):
        try:
            for _ in range(self._calls):
                images = parallel.shard_batch(self._call())
                # Handed out after the copy, so that a slow copy counts as waiting too.
                if not self._hand_out(jax.block_until_ready(images)):
                    return
        except BaseException as error:
            self._hand_out(error)

    def _call(self):
        """The images of one call for each of this process's devices, in new arrays."""
        arrays = [np.empty(self._shape, self._dtype) for _ in self._examples]
        for step in range(self._shape[0]):
            for number in range(self._shape[1]):
                batch = next(self._batches)
                for array, part in zip(arrays, np.split(batch, len(arrays)), strict=True):
                    array[step, number] = part
                if self._is_closed.is_set():
                    return arrays
        return arrays

    def _hand_out(self, item) -> bool:
        while not self._is_closed.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put(item, timeout=0.1)
                return True
        return False


class Batches:
    """One process's share of the batches, as a sequence; reads a batch on access.

    Args:
        images: see `Streamed`.
        order: the indices of the images in each batch.
        examples: positions in the global batch that this process reads.
        numbers: numbers of the batches, counted from the run's start.
    """

    def __init__(self, images: Any, order: HostOrder, examples: np.ndarray, numbers: range):
        self._images, self._order = images, order
        self._examples, self._numbers = examples, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, i: int) -> np.ndarray:
        return self._images[self._order.indices(self._numbers[i], self._examples)]


def read_ahead(batches: Batches, workers: int) -> Any:
    """An iterator over `batches` in order; Grain's threads read ahead.

    Threads suffice because decoding and copying release Python's lock.
    """
    import grain

    workers = workers or host.num_cores()
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=2 * workers)
    source: Any = batches  # Grain uses only its length and items
    return iter(grain.MapDataset.source(source).to_iter_dataset(options))


def streamed_shape(method: Method, options: Options, images: Any) -> jax.ShapeDtypeStruct:
    """The shape of what a streamed call is given, to compile for without images.

    Args:
        method, options: of the run.
        images: of the set, (N, H, W, C), or their shape and type.
    """
    devices = parallel.device_count()
    share = method.batch_size // devices
    shape = devices, options.steps_per_call, method.batches_per_step, share, *images.shape[1:]
    return jax.ShapeDtypeStruct(shape, images.dtype)


def open_feed(method: Method, options: Options, pixels: Any, step: int) -> Resident | Streamed:
    """The source of images for all calls from `step` on."""
    if not options.stream:
        return Resident()
    order = HostOrder(seed_key(options.seed, 'data'), method.batch_size, len(pixels))
    return Streamed(
        pixels,
        order,
        batch_size=method.batch_size,
        num_batches=method.batches_per_step,
        steps_per_call=options.steps_per_call,
        steps=range(step, options.num_steps),
        workers=options.workers,
    )
