"""Which images a step sees, and how they reach the network, as a pure function of (seed, step, example).

Nothing is stored: each epoch's order is a pseudo-random permutation that can be entered at any point, so a run resumes
from its step counter alone, and the order does not depend on the number of devices. Per-example keys make flips and
noise independent of the sharding too. `snjax.data.host_order` has the same order for hosts that read ahead.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, UInt, UInt8

_ROUNDS = 6  # of the Feistel network


def permute(index: Int[Array, ' b'], num: int, keys: UInt[Array, ' rounds']) -> Int[Array, ' b']:
    """Sends each index below `num` to its place in the permutation of range(num) that `keys` names.

    A balanced Feistel network permutes the next power of four; cycle walking (apply it again while the value is
    `num` or more) restricts that to range(num) and keeps it one to one. Constant memory, no table, no sort.

    Raises:
        ValueError: if `num` is not in 1 .. 2**30.
    """
    half = half_bits(num)
    mask = jnp.uint32((1 << half) - 1)

    def network(x):
        left, right = x >> half, x & mask
        for i in range(keys.shape[0]):
            left, right = right, left ^ (_mix(right ^ keys[i]) & mask)
        return (left << half) | right

    walked = lax.while_loop(
        lambda x: jnp.any(x >= num),
        lambda x: jnp.where(x >= num, network(x), x),
        network(index.astype(jnp.uint32)),
    )
    return walked.astype(jnp.int32)


def half_bits(num: int) -> int:
    """Half the bits of the next power of four from `num` on: what each side of the Feistel network holds.

    Raises:
        ValueError: if `num` is not in 1 .. 2**30.
    """
    if not 1 <= num <= 2**30:
        raise ValueError(f'permute works on 1 to 2**30 items, not {num}')
    return max(1, ((num - 1).bit_length() + 1) // 2)


def _mix(x):
    """Avalanche of 32 bits: multiplications and shifts such that every input bit moves every output bit."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def batch_indices(
    rng: Key[Array, ''], batch: Int[Array, ''], batch_size: int, num: int, ids: Int[Array, ' b']
) -> Int[Array, ' b']:
    """Positions in the set of examples `ids` (0 .. batch_size - 1) of the `batch`-th batch since the start.

    An epoch is `num // batch_size` batches without repetition; the remainder, other images each time, is left out.
    Counting batches instead of images keeps the arithmetic inside int32 for any length of run.
    """
    epoch, batch = jnp.divmod(batch, num // batch_size)
    return permute(batch * batch_size + ids, num, epoch_keys(rng, epoch))


def epoch_keys(rng: Key[Array, ''], epoch: Int[Array, ''] | int) -> UInt[Array, ' rounds']:
    """The permutation of an epoch, as `permute` takes it."""
    return jax.random.bits(jax.random.fold_in(rng, epoch), (_ROUNDS,))


def example_keys(rng: Key[Array, ''], ids: Int[Array, ' b']) -> Key[Array, ' b']:
    """One key per example, from its global index in the batch."""
    return jax.vmap(jax.random.fold_in, (None, 0))(rng, ids)


def to_float(
    image: UInt8[Array, 'h w c'], rng: Key[Array, ''], *, flip: bool, dequantize: bool
) -> Float[Array, 'h w c']:
    """One image as the network sees it, in [-1, 1].

    `dequantize` gives x / 128 - 1 + U(0, 1/128), as the official ResNet code does; without it x / 127.5 - 1, as the
    official code of the standard CNN. `flip` mirrors half of the images.
    """
    flip_rng, noise_rng = jax.random.split(rng)
    x = image.astype(jnp.float32)
    if dequantize:
        x = (x + jax.random.uniform(noise_rng, x.shape)) / 128 - 1
    else:
        x = x / 127.5 - 1
    if flip:
        mirrored: Bool[Array, ''] = jax.random.bernoulli(flip_rng)
        x = jnp.where(mirrored, x[:, ::-1], x)
    return x


def draw(
    data: Mapping[str, Array],
    rng: Key[Array, ''],
    step: Int[Array, ''],
    ids: Int[Array, ' b'],
    *,
    num_batches: int,
    batch_size: int,
    flip: bool,
    dequantize: bool,
    pixels: UInt8[Array, 'k b h w c'] | None = None,
) -> dict[str, Array]:
    """The batches of one step, from a set that lies on the device or whose images are streamed.

    Args:
        data: `label` int32 (N,), and `image` uint8 (N, H, W, C) unless its images are streamed.
        rng: key of the run, the same at every step.
        step: generator updates done.
        ids: this device's examples of the global batch.
        num_batches: batches per step (n_dis for a GAN).
        batch_size: of the global batch.
        flip, dequantize: see `to_float`.
        pixels: the images of this device's examples (`num_batches`, b, H, W, C), where they are streamed: read by
            `snjax.training.feed` in the order that `batch_indices` says.

    Returns:
        `image` float32 (num_batches, b, H, W, C), `label` (num_batches, b) and `index` (num_batches, b), the
        examples' positions in the set.
    """
    order_rng, pixel_rng = jax.random.split(rng)
    num = data['label'].shape[0]
    batches = step * num_batches + jnp.arange(num_batches, dtype=jnp.int32)

    def one(i):
        batch = batches[i]
        index = batch_indices(order_rng, batch, batch_size, num, ids)
        keys = example_keys(jax.random.fold_in(pixel_rng, batch), ids)
        as_float = jax.vmap(lambda i, k: to_float(i, k, flip=flip, dequantize=dequantize))
        return {
            'image': as_float(data['image'][index] if pixels is None else pixels[i], keys),
            'label': data['label'][index],
            'index': index,
        }

    drawn = [one(i) for i in range(num_batches)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn)
