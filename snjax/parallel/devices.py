"""How many devices there are, and what that means for batches, memory and loops."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from snjax import host


def device_count() -> int:
    """Devices of the whole run, over all processes."""
    return jax.device_count()


def describe() -> str:
    """One line for people: how many devices of what kind in how many processes."""
    kinds = sorted({d.device_kind for d in jax.devices()})
    n, p = jax.device_count(), jax.process_count()
    processes = f' in {p} processes' if p > 1 else ''
    return f'{n} {"/".join(kinds)} device{"s" * (n > 1)}{processes} ({jax.default_backend()})'


def check_batch_size(**sizes: int) -> None:
    """Raises a ValueError that names the first of `sizes` that the devices do not divide."""
    n = device_count()
    for name, size in sizes.items():
        if size % n:
            lower, upper = size // n * n, (size // n + 1) * n
            near = f'{lower} or {upper}' if lower else f'{upper}'
            raise ValueError(
                f'{name} {size} does not divide over {n} devices: use {near}, --config.{name}={upper}'
            )


def divisible(batch_size: int) -> int:
    """The smallest number from `batch_size` on that the devices divide."""
    return -(-batch_size // jax.device_count()) * jax.device_count()


def device_memory() -> int:
    """Bytes of the smallest of this process's devices; CPU devices share the host's."""
    limits = [(d.memory_stats() or {}).get('bytes_limit') for d in jax.local_devices()]
    known = [limit for limit in limits if limit]
    if known:
        return min(known)
    return host.memory() // jax.local_device_count()


def scan_or_unroll(
    body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any, length: int
) -> tuple[Any, Any]:
    """`lax.scan` on accelerators, written out on the CPU: there convolutions in a loop, even of one turn, crawl."""
    if jax.default_backend() != 'cpu':
        return lax.scan(body, carry, xs, length)
    body, out = jax.jit(body), []  # traced once
    for i in range(length):
        carry, y = body(carry, jax.tree.map(lambda x: x[i], xs))  # noqa: B023 (called at once)
        out.append(y)
    return carry, jax.tree.map(lambda *ys: jnp.stack(ys), *out)


def default_steps_per_call() -> int:
    """Updates per XLA program: many where launches cost, one on the CPU, where they would be unrolled."""
    return 1 if jax.default_backend() == 'cpu' else 50
