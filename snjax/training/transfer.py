"""Beginning a run with the weights of another: which fit, which are fresh, which stay frozen.

Fine-tuning a GAN on few images starts both players from a model of many (Wang et al. 2018,
arXiv:1805.01677), and may keep the lowest layers of the discriminator as they are: FreezeD (Mo et
al. 2020, arXiv:2002.10964).
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from snjax.runs import digest
from snjax.runs.checkpoint import as_tree
from snjax.runs.checkpoint_files import placed

_PLAYERS = ('gen', 'dis')
# Parameters and statistics of a batch norm without classes, and of one with a row for each class.
_NORMS = (('scale', 'gamma'), ('bias', 'beta'))
_INNER = 'batch_norm'  # a conditional batch norm has its statistics in a layer of its own

Path = tuple[str, ...]
Leaves = dict[Path, Any]


@dataclasses.dataclass(frozen=True)
class Options:
    """What a new run takes of the checkpoint that it begins with.

    Attributes:
        take: 'state', all of it, which must fit, so the count of steps goes on; or 'weights', the
            weights and batch statistics of both players that fit, at step 0.
        optimizer: 'fresh', or 'kept' for players whose weights were all taken as they are; with
            'weights'.
        ema: 'kept', or 'fresh', which begins with the weights that were taken; with 'weights'.
    """

    take: str = 'state'
    optimizer: str = 'fresh'
    ema: str = 'kept'


@dataclasses.dataclass(frozen=True)
class Origin:
    """The checkpoint that a new run begins with: the workdir, or the file of a generator, the step,
    and what is taken.
    """

    folder: pathlib.Path
    step: int
    options: Options = Options()


@dataclasses.dataclass(frozen=True)
class Transferred:
    """A state that begins with weights of another run.

    Attributes:
        state: with the structure of the fresh one.
        taken: number of arrays of weights and batch statistics that were taken.
        fresh: those that were not, by player, with the reason.
    """

    state: Any
    taken: int
    fresh: dict[str, str]

    def lines(self) -> Iterator[str]:
        """What was taken and what was not, for people."""
        yield f'{self.taken} arrays of weights and batch statistics taken, {len(self.fresh)} fresh'
        for why in sorted(set(self.fresh.values())):
            names = [name for name, reason in self.fresh.items() if reason == why]
            yield f'fresh ({why}): {", ".join(names)}'


def transferred(fresh: Any, tree: Mapping[str, Any], options: Options, like: Any) -> Transferred:
    """A fresh state with the weights of another run's checkpoint in it.

    An array is taken if both runs have it with one shape. Batch norms of a generator with and
    without classes, or with other classes, fit, too: every class begins with the mean row. Numbers
    in place of classes begin without an effect, as in a fresh run.

    Args:
        fresh: as a method's `init` returns it.
        tree: of the checkpoint, as from `snjax.runs.checkpoint.load_tree`.
        options: what to take.
        like: shapes, types and places of the state.

    Raises:
        ValueError: no weight fits.
    """
    wanted, there = _flat(as_tree(fresh)), _flat(tree)
    taken, why = {}, {}
    for path, leaf in wanted.items():
        if not _is_weight(path):
            continue
        found = _found(there, path, leaf)
        if isinstance(found, str):
            why['/'.join(path)] = found
        else:
            taken[path] = found
    if not taken:
        names = ', '.join(sorted({path[0] for path in there}))
        raise ValueError(f'no weight of the checkpoint fits this run: it has {names}')
    out = {**wanted, **taken}
    for player in _PLAYERS if options.optimizer == 'kept' else ():
        if not any(name.startswith(f'{player}/') for name in why):
            out |= _optimizer(out, there, player)
    _average(out, there, options.ema)
    places, structure = jax.tree.flatten(like)
    places = dict(zip(digest.paths(like), places, strict=True))
    leaves = placed({path: np.asarray(out[path]) for path in places}, places)
    return Transferred(structure.unflatten(leaves), len(taken), why)


def held(params: Mapping[str, Any], layers: Collection[str]) -> Mapping[str, Any]:
    """Parameters of which those of `layers` are constants, as far as gradients are concerned.

    With a fresh optimizer their update is exactly 0, whatever the penalties.
    """
    return {k: jax.lax.stop_gradient(v) if k in layers else v for k, v in params.items()}


def _is_weight(path: Path) -> bool:
    return path[0] in _PLAYERS and path[1] in ('params', 'model_state')


def _found(there: Leaves, path: Path, leaf: Any) -> Any:
    """The array for a path, in the shape of `leaf`; or why there is none."""
    if path in there and np.shape(there[path]) == np.shape(leaf):
        return _cast(there[path], leaf)
    other = next((p for p in (path, *_norm_names(path)) if p in there), None)
    if other is None:
        return 'new'
    array = np.asarray(there[other])
    if path[-1] in itertools.chain(*_NORMS):  # rows of classes
        row = array.mean(0) if other[-1] in ('gamma', 'beta') and array.ndim > 1 else array
        if row.shape == np.shape(leaf)[-1:]:
            return _cast(np.broadcast_to(row, np.shape(leaf)), leaf)
    elif array.shape == np.shape(leaf):
        return _cast(array, leaf)
    return 'of another shape'


def _norm_names(path: Path) -> Iterator[Path]:
    """The names that the array of a batch norm has with classes, or without."""
    *layer, name = path
    for plain, conditional in _NORMS:
        if name in (plain, conditional):
            yield (*layer, conditional if name == plain else plain)
    if layer[-1] == _INNER:
        yield (*layer[:-1], name)
    else:
        yield (*layer, _INNER, name)


def _optimizer(out: Leaves, there: Leaves, player: str) -> Leaves:
    """The state of a player's optimizer, if all of it fits: a count of steps beside moments of 0, as
    of rows of new classes, would make the first steps too long.
    """
    paths = [path for path in out if path[:2] == (player, 'opt_state')]
    fits = (path in there and np.shape(there[path]) == np.shape(out[path]) for path in paths)
    return {} if not all(fits) else {path: _cast(there[path], out[path]) for path in paths}


def _average(out: Leaves, there: Leaves, ema: str) -> None:
    """Fills in the moving average: the other run's, or the generator as it was taken."""
    for path, leaf in list(out.items()):
        if path[0] != 'ema':
            continue
        own = ('gen', *path[1:]) if path[1] == 'params' else ('gen', 'model_state', *path[1:])
        found = _found(there, path, leaf) if ema == 'kept' else 'not asked for'
        out[path] = out[own] if isinstance(found, str) else found


def _cast(array: Any, like: Any) -> np.ndarray:
    return np.asarray(array, np.asarray(like).dtype)


def _flat(tree: Mapping[str, Any], prefix: Path = ()) -> Leaves:
    out: Leaves = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out |= _flat(value, (*prefix, key))
        else:
            out[(*prefix, key)] = value
    return out
