"""The images of each step and their pixels, as a pure function of (seed, step, example).

Nothing is stored. Each epoch's order is a pseudo-random permutation that can be entered at any
point, so a run resumes from its step counter, and the order is the same on any number of devices.
Per-example keys make flips and noise independent of the sharding as well. `snjax.data.host_order`
computes the same order on the host, to read ahead.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, UInt

from snjax.image_format import half_range

_ROUNDS = 6  # of the Feistel network


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """Images on a device, one a row.

    A TPU stores an array in tiles of its last two axes. Images of three channels would be copied
    into another layout before they can be picked, all of them in every call and at twelve times
    their size; rows are picked as they lie.

    Attributes:
        pixels: uint8 or uint16 (N, H * W * C).
        shape: of one image, (H, W, C).
    """

    pixels: Any
    shape: tuple[int, ...] = dataclasses.field(metadata={'static': True})

    @classmethod
    def of(cls, images: Any) -> 'Rows':
        """Of an array (N, H, W, C), or of its shape and dtype alone."""
        shape = images.shape[0], math.prod(images.shape[1:])
        if isinstance(images, jax.ShapeDtypeStruct):
            return cls(jax.ShapeDtypeStruct(shape, images.dtype), images.shape[1:])
        return cls(images.reshape(shape), images.shape[1:])

    def __getitem__(self, index: Int[Array, ' b']) -> UInt[Array, 'b h w c']:
        return self.pixels[index].reshape(*index.shape, *self.shape)


def permute(index: Int[Array, ' b'], num: int, keys: UInt[Array, ' rounds']) -> Int[Array, ' b']:
    """Maps each index below `num` to its place in the permutation of range(num) given by `keys`.

    A balanced Feistel network permutes the next power of four. Cycle walking (applying it again
    while the value is `num` or more) restricts it to range(num) and keeps it one to one. Constant
    memory, no table, no sort.

    Raises:
        ValueError: a `num` outside 1 .. 2**30.
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
    """Bits in each half of the Feistel network: half those of the next power of four from `num` on.

    Raises:
        ValueError: a `num` outside 1 .. 2**30.
    """
    if not 1 <= num <= 2**30:
        raise ValueError(f'permute works on 1 to 2**30 items, not {num}')
    return max(1, ((num - 1).bit_length() + 1) // 2)


def _mix(x):
    """A 32-bit hash in which every input bit changes every output bit."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def batch_indices(
    rng: Key[Array, ''], batch: Int[Array, ''], batch_size: int, num: int, ids: Int[Array, ' b']
) -> Int[Array, ' b']:
    """Positions in the set of examples `ids` (0 .. batch_size - 1) in batch number `batch`.

    An epoch is `num // batch_size` batches without repetition; the remaining images, different ones
    each epoch, are left out. Batches are counted instead of images, because their number fits into
    int32 for a run of any length.
    """
    epoch, batch = jnp.divmod(batch, num // batch_size)
    return permute(batch * batch_size + ids, num, epoch_keys(rng, epoch))


def epoch_keys(rng: Key[Array, ''], epoch: Int[Array, ''] | int) -> UInt[Array, ' rounds']:
    """The keys of an epoch's permutation, for `permute`."""
    return jax.random.bits(jax.random.fold_in(rng, epoch), (_ROUNDS,))


def example_keys(rng: Key[Array, ''], ids: Int[Array, ' b']) -> Key[Array, ' b']:
    """One key per example, from the example's index in the global batch."""
    return jax.vmap(jax.random.fold_in, (None, 0))(rng, ids)


def to_float(
    image: UInt[Array, 'h w c'], rng: Key[Array, ''], *, flip: bool, dequantize: bool
) -> Float[Array, 'h w c']:
    """One image in [-1, 1], for the network.

    `dequantize` gives x / 128 - 1 + U(0, 1/128), as the official code of the ResNet; otherwise
    x / 127.5 - 1, as the official code of the standard CNN. Of 16 bits x / 32768 - 1 + U(0, 1/32768)
    and x / 32767.5 - 1. `flip` mirrors half of the images.
    """
    half = half_range(image.dtype)
    flip_rng, noise_rng = jax.random.split(rng)
    x = image.astype(jnp.float32)
    if dequantize:
        x = (x + jax.random.uniform(noise_rng, x.shape)) / (half + 0.5) - 1
    else:
        x = x / half - 1
    if flip:
        mirrored: Bool[Array, ''] = jax.random.bernoulli(flip_rng)
        x = jnp.where(mirrored, x[:, ::-1], x)
    return x


def draw(
    data: Mapping[str, Any],
    rng: Key[Array, ''],
    step: Int[Array, ''],
    ids: Int[Array, ' b'],
    *,
    num_batches: int,
    batch_size: int,
    flip: bool,
    dequantize: bool,
    pixels: UInt[Array, 'k b h w c'] | None = None,
) -> dict[str, Array]:
    """The batches of one step, from a set on the device or from streamed images.

    Args:
        data: `label` int32 (N,), and `image` unless images are streamed: `Rows`, or an array
            (N, H, W, C).
        rng: key of the run, the same at every step.
        step: generator updates done.
        ids: this device's examples of the global batch.
        num_batches: batches per step (n_dis for a GAN).
        batch_size: of the global batch.
        flip, dequantize: see `to_float`.
        pixels: streamed images of this device's examples, (`num_batches`, b, H, W, C), which
            `snjax.training.feed` reads in the order of `batch_indices`.

    Returns:
        `image` float32 (num_batches, b, H, W, C), `label` (num_batches, b) and `index`
        (num_batches, b), the positions in the set.
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
