"""The devices of a run, and the batch sizes, memory and loops that depend on them."""

import contextlib
import contextvars
import operator
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from snjax import host
from snjax.parallel import targets


def all_devices() -> list[Any]:
    """The devices of the run, over all processes, or those that programs are compiled for."""
    target = targets.current()
    return list(target.devices) if target else jax.devices()


def device_count() -> int:
    """Number of devices of the run, over all processes."""
    return len(all_devices())


_forms_of: contextvars.ContextVar[str | None] = contextvars.ContextVar('forms_of', default=None)


def backend() -> str:
    """The platform that programs are traced for: 'cpu', 'gpu' or 'tpu', or that of `forms_of`."""
    target = targets.current()
    compiled_for = target.chip.backend if target and target.chip else None
    return _forms_of.get() or compiled_for or jax.default_backend()


@contextlib.contextmanager
def forms_of(platform: str) -> Iterator[None]:
    """What is traced inside has the forms of a platform, for a program that will run elsewhere.

    `targets.compiling_for` is for programs that are compiled here for other devices.

    Args:
        platform: 'cpu', 'gpu', 'tpu', or 'onnx' for operations that ONNX has.
    """
    token = _forms_of.set(platform)
    try:
        yield
    finally:
        _forms_of.reset(token)


def device_kind() -> str:
    """The model of the devices, as JAX names it, e.g. 'NVIDIA H200' or 'cpu'."""
    return '/'.join(sorted({d.device_kind for d in all_devices()}))


def describe() -> str:
    """One line to print, e.g. '4 cpu devices in 2 processes (cpu)'."""
    n, p = device_count(), len({device.process_index for device in all_devices()})
    processes = f' in {p} processes' if p > 1 else ''
    return f'{n} {device_kind()} device{"s" * (n > 1)}{processes} ({backend()})'


def check_batch_size(**sizes: int) -> None:
    """Raises a ValueError for the first of `sizes` that is no multiple of the device count."""
    n = device_count()
    for name, size in sizes.items():
        if size % n:
            lower, upper = size // n * n, (size // n + 1) * n
            near = f'{lower} or {upper}' if lower else f'{upper}'
            raise ValueError(
                f'{name} {size} does not divide over {n} devices: '
                f'use {near}, --config.{name}={upper}'
            )


def divisible(batch_size: int) -> int:
    """The smallest multiple of the device count that is at least `batch_size`."""
    return -(-batch_size // device_count()) * device_count()


def device_memory() -> int:
    """Bytes of memory of this process's smallest device; CPU devices share the host's memory."""
    target = targets.current()
    if target and target.chip:
        return target.chip.memory
    limits = [(d.memory_stats() or {}).get('bytes_limit') for d in jax.local_devices()]
    known = [limit for limit in limits if limit]
    if known:
        return min(known)
    return host.memory() // jax.local_device_count()


def on_host() -> contextlib.AbstractContextManager[None]:
    """A context in which JAX computes on a CPU device.

    Where JAX_PLATFORMS leaves no CPU device, JAX computes on its default device.
    """
    try:
        device = jax.local_devices(backend='cpu')[0]
    except RuntimeError:
        device = None
    return jax.default_device(device)


def scan_or_unroll(
    body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any, length: int
) -> tuple[Any, Any]:
    """`lax.scan` on accelerators, an unrolled loop on the CPU.

    XLA's CPU backend runs convolutions inside a loop many times slower, even in a loop of length 1.
    """
    if backend() != 'cpu':
        return lax.scan(body, carry, xs, length)
    body, out = jax.jit(body), []  # traced once
    for i in range(length):
        carry, y = body(carry, jax.tree.map(operator.itemgetter(i), xs))
        out.append(y)
    return carry, jax.tree.map(lambda *ys: jnp.stack(ys), *out)


def default_steps_per_call() -> int:
    """Updates per XLA program: 50 to amortize launches; 1 on the CPU, where they are unrolled."""
    return 1 if backend() == 'cpu' else 50
