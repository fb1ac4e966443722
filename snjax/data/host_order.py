"""The order of `snjax.data.sampler` on the host, in NumPy: the images of a step before it runs.

Why not the jitted `sampler.batch_indices` on a CPU device: on the CPU backend it waits for the
training steps that are queued on that device. With a program of 270 ms queued, a batch of 64 took
250 ms in place of 0.17 ms here (idle: 0.05 ms and 0.16 ms; two cores, jax 0.10.2). Besides,
JAX_PLATFORMS=cuda leaves no CPU device.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt

from snjax import parallel
from snjax.data import sampler


def permute(
    index: Int[np.ndarray, ' b'], num: int, keys: UInt[np.ndarray, ' rounds']
) -> Int[np.ndarray, ' b']:
    """`sampler.permute`, bit for bit.

    Raises:
        ValueError: a `num` outside 1 .. 2**30.
    """
    half = np.uint32(sampler.half_bits(num))
    mask = np.uint32((1 << int(half)) - 1)

    def network(x):
        left, right = x >> half, x & mask
        for key in keys.astype(np.uint32):
            left, right = right, left ^ (_mix(right ^ key) & mask)
        return (left << half) | right

    walked = network(index.astype(np.uint32))
    while (outside := walked >= num).any():
        walked[outside] = network(walked[outside])
    return walked.astype(np.int64)


def _mix(x):
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


class HostOrder:
    """Positions in the set of the images in any batch of a run.

    Args:
        data_rng: key of the run, as for `sampler.draw`.
        batch_size: of the global batch.
        num: images of the set.
    """

    def __init__(self, data_rng: Key[Array, ''], batch_size: int, num: int):
        rng, _ = jax.random.split(data_rng)
        self._rng_data, self._rng_impl = (
            np.asarray(jax.random.key_data(rng)),
            jax.random.key_impl(rng),
        )
        self._batch_size, self._num = batch_size, num
        self._keys = functools.lru_cache(maxsize=4)(self._keys_of)

    def _keys_of(self, epoch):
        # On an accelerator this would wait for the updates that are queued there.
        with parallel.on_host():
            rng = jax.random.wrap_key_data(jnp.asarray(self._rng_data), impl=self._rng_impl)
            return np.asarray(sampler.epoch_keys(rng, epoch))

    def indices(self, batch: int, ids: Int[np.ndarray, ' b']) -> Int[np.ndarray, ' b']:
        """`sampler.batch_indices` of examples `ids` in batch number `batch` since the start."""
        epoch, batch = divmod(batch, self._num // self._batch_size)
        return permute(batch * self._batch_size + ids, self._num, self._keys(epoch))
