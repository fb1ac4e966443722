"""Digests of a state: type, shape and SHA-256 of every leaf, taken before it is written.

A leaf is named by its path as strings: field names of dataclasses and NamedTuples, dict keys,
positions in tuples.

`digest/<process>.json` says the format of the checkpoint and lists every leaf in order with its
dtype, its shape and the shards that this process hashed, each as its place in the global array
(`[[start, stop], ...]`, one pair per axis) and the SHA-256 of its bytes in C order. A leaf that
every process has in full is one shard, hashed by process 0. A leaf sharded over processes is hashed
shard by shard where the shard is, once per shard (replica 0): no array is gathered, and the shards
together must cover the leaf exactly.
"""

import asyncio
import dataclasses
import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from snjax import parallel
from snjax.runs.files import Damaged, read_json, replace_file, whole

# Of checkpoints; greater when an older version could not read them. Those of version 0.2 and before
# name none, and are of format 1.
FORMAT = 1

_Place = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class HostCopy:
    """A leaf on its way to the disk.

    Attributes:
        path: names from the root.
        value: what Orbax writes: a private host copy, or where no process has the whole leaf, a
            private copy on the devices.
        shards: (place, private host copy) of the parts that this process hashes.
    """

    path: tuple[str, ...]
    value: np.ndarray | jax.Array
    shards: tuple[tuple[_Place, np.ndarray], ...]

    @property
    def is_stored(self) -> bool:
        """False for arrays without elements: Orbax refuses them, and the digest describes them."""
        return self.value.size > 0


@dataclasses.dataclass(frozen=True)
class Entry:
    """One leaf in a digest; `shards` maps the place of each shard to its SHA-256."""

    dtype: np.dtype
    shape: tuple[int, ...]
    shards: dict[_Place, str]

    @property
    def is_stored(self) -> bool:
        return math.prod(self.shape) > 0

    def verified(self, path: tuple[str, ...], array: np.ndarray) -> np.ndarray:
        """Returns `array` if it is what was saved, raises ValueError if not."""
        name = '/'.join(path)
        if array.dtype != self.dtype or array.shape != self.shape:
            raise ValueError(
                f'{name} is {_describe(array)} in the data and {_describe(self)} in its digest'
            )
        for place, sha256 in self.shards.items():
            part = np.asarray(array[_slices(place)])
            if _sha256(part) != sha256:
                raise ValueError(f'the bytes of {name} do not match their checksum')
        return array


class Writer:
    """Hashes host copies and writes `digest/<process>.json` in the background of an Orbax save.

    It is what Orbax calls a stateful checkpointable: `save` returns at once with the work to do.

    Args:
        step: of the checkpoint.
        copies: every leaf of the state.
        barrier: waits for all processes. The work ends after it, so that no file is missing when
            process 0 commits the checkpoint.
    """

    def __init__(
        self, step: int, copies: Sequence[HostCopy], barrier: Callable[[], Awaitable[None]]
    ):
        self._step = step
        self._copies = copies
        self._barrier = barrier

    async def save(self, directory: Any):
        return self._write(directory)

    async def load(self, directory: Any):
        """Checks that the digest in `directory` is of these leaves; Orbax asks for the method."""
        entries = read(Path(directory), self._step)
        check_fits(entries, {copy.path: copy.value for copy in self._copies})
        return asyncio.sleep(0)

    async def _write(self, directory: Any) -> None:
        # In a thread: hashlib releases Python's lock, so Orbax's event loop continues.
        text = await asyncio.to_thread(self._json)
        folder = await directory.await_creation()
        replace_file(Path(folder) / f'{parallel.process_index()}.json', text)
        await self._barrier()

    def _json(self) -> str:
        leaves = [
            {
                'path': copy.path,
                'dtype': str(copy.value.dtype),
                'shape': copy.value.shape,
                'shards': [
                    {'place': place, 'sha256': _sha256(part)} for place, part in copy.shards
                ],
            }
            for copy in self._copies
        ]
        about = {'format': FORMAT, 'step': self._step, 'processes': parallel.process_count()}
        return json.dumps({**about, 'leaves': leaves})


def paths(tree: PyTree) -> list[tuple[str, ...]]:
    """Returns the path of every leaf, in the order of `jax.tree.leaves`.

    Raises:
        ValueError: if a leaf is not an array, or two leaves have the same path as strings.
    """
    found = []
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
        path = tuple(jax.tree_util.keystr((key,), simple=True) for key in keys)
        if not hasattr(leaf, 'dtype'):
            raise ValueError(
                f'{"/".join(path)} in the state is of type {type(leaf).__name__}; every leaf must '
                'be an array, e.g. jnp.int32(0)'
            )
        found.append(path)
    if len(set(found)) < len(found):
        raise ValueError(
            'two leaves of the state have the same path; keys of a dict must differ as strings'
        )
    if () in found:
        raise ValueError('the state is a bare array; put it into a dict or a dataclass')
    return found


def host_copies(state: PyTree) -> list[HostCopy]:
    """Copies every leaf to memory that nobody else holds; all transfers run at once.

    A view would not do: on the CPU the host view of a `jax.Array` is its own buffer, which the
    caller could then not donate, and a NumPy leaf is the caller's to overwrite.
    """
    names, leaves = paths(state), jax.tree.leaves(state)
    parts = [_local_parts(leaf) for leaf in leaves]
    for part, _ in (pair for pairs in parts for pair in pairs):
        # The CPU has nothing to transfer, and there jax 0.11 will not donate a buffer after it.
        if isinstance(part, jax.Array) and all(d.platform != 'cpu' for d in part.devices()):
            part.copy_to_host_async()
    copies = []
    for path, leaf, pairs in zip(names, leaves, parts, strict=True):
        shards = tuple((place, np.array(part, order='C')) for part, place in pairs)
        if isinstance(leaf, jax.Array) and leaf.is_fully_replicated:
            # Every process has it whole; one digest is enough.
            hashed = shards if parallel.is_main() else ()
            copies.append(HostCopy(path, shards[0][1], hashed))
        elif isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            # Orbax fetches these itself; this copy is one that the caller cannot donate.
            copies.append(HostCopy(path, jnp.copy(leaf), shards))
        else:
            whole = np.empty(leaf.shape, leaf.dtype)
            for place, part in shards:
                whole[_slices(place)] = part
            copies.append(HostCopy(path, whole, shards))
    return copies


def _local_parts(leaf: Any) -> list[tuple[Any, _Place]]:
    """Returns the different parts of a leaf that this process has, with their places."""
    if not isinstance(leaf, jax.Array):
        return [(leaf, tuple((0, size) for size in leaf.shape))]
    shards = [shard for shard in leaf.addressable_shards if shard.replica_id == 0]
    if leaf.is_fully_replicated:
        shards = leaf.addressable_shards[:1]
    return [(shard.data, _place(shard.index, leaf.shape)) for shard in shards]


def read(folder: Path, step: int) -> dict[tuple[str, ...], Entry]:
    """Reads the digests of all processes in `folder`, merged.

    Raises:
        ValueError: if they are damaged, of another step, or do not cover every leaf exactly.
        FileNotFoundError: if one is missing.
    """
    entries: dict[tuple[str, ...], Entry] = {}
    process, num_processes = 0, 1
    while process < num_processes:
        path = folder / f'{process}.json'
        try:
            content = read_json(path)
            if content is None:
                raise ValueError('it is missing')
            if whole(content.get('format', 1)) > FORMAT:
                raise Damaged(
                    f'{path} is of format {content["format"]}, of a newer version of snjax; this '
                    f'one reads formats up to {FORMAT}'
                )
            found_step, num_processes = content['step'], content['processes']
            _merge(entries, content['leaves'])
        except Damaged:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            kind = type(error).__name__
            raise ValueError(f'digest/{path.name} is damaged ({kind}: {error})') from None
        if found_step != step:
            raise ValueError(f'the digest is of step {found_step} and not {step}')
        process += 1
    for path, entry in entries.items():
        covered = sum(math.prod(stop - start for start, stop in place) for place in entry.shards)
        if covered != math.prod(entry.shape) or not entry.shards:
            raise ValueError(f'the digest of {"/".join(path)} covers {covered} elements of it')
    return entries


def _merge(entries: dict[tuple[str, ...], Entry], leaves: list[dict[str, Any]]) -> None:
    """Adds the digest of one process to `entries`."""
    for leaf in leaves:
        dtype, shape = jnp.dtype(leaf['dtype']), tuple(leaf['shape'])
        entry = entries.setdefault(tuple(leaf['path']), Entry(dtype, shape, {}))
        if (entry.dtype, entry.shape) != (dtype, shape):
            raise ValueError(f'processes disagree on {"/".join(leaf["path"])}')
        for shard in leaf['shards']:
            entry.shards[tuple((start, stop) for start, stop in shard['place'])] = shard['sha256']


def check_fits(entries: dict[tuple[str, ...], Entry], wanted: dict[tuple[str, ...], Any]) -> None:
    """Raises ValueError, naming the first difference, unless paths, dtypes and shapes are the same.

    Args:
        entries: what the checkpoint holds.
        wanted: the leaves of the run, with `.dtype` and `.shape`.
    """
    for path in sorted(entries.keys() ^ wanted.keys()):
        owner, other = ('checkpoint', 'run') if path in entries else ('run', 'checkpoint')
        raise ValueError(f'{"/".join(path)} is in the {owner} and not in the {other}')
    for path, leaf in wanted.items():
        entry = entries[path]
        if entry.dtype != leaf.dtype or entry.shape != tuple(leaf.shape):
            found, expected = _describe(entry), _describe(leaf)
            raise ValueError(
                f'{"/".join(path)} is {found} in the checkpoint and {expected} in the run'
            )


def _describe(array: Any) -> str:
    return f'{array.dtype}{list(array.shape)}'


def _place(index: tuple[slice, ...], shape: tuple[int, ...]) -> _Place:
    return tuple(slice_.indices(size)[:2] for slice_, size in zip(index, shape, strict=True))


def _slices(place: _Place) -> tuple[slice, ...]:
    return tuple(slice(start, stop) for start, stop in place)


def _sha256(array: np.ndarray) -> str:
    # As bytes, because bfloat16 has no buffer format; flat, because a scalar has no axis to view.
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8)).hexdigest()
