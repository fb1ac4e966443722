"""What a method is, and how a config names one: `config.method` is a file in this folder."""

import difflib
import importlib
import pathlib
from collections.abc import Iterable
from typing import Any, Protocol

import jax

Config = Any  # an ml_collections.ConfigDict, whose attributes no type checker knows


class Method(Protocol):
    """A way to train a generator. `state` is any pytree with an int32 leaf `.step`, counting generator updates.

    Attributes:
        batch_size: examples of a batch over all devices.
        batches_per_step: batches that one `train_step` takes.
        num_classes: classes that it is told of; 0 for none.
        state_axes: which leaves of the state are cut over the devices (`snjax.parallel.shard`). In `train_step` they
            are this device's rows, everywhere else whole.
    """

    batch_size: int
    batches_per_step: int
    num_classes: int
    state_axes: Any

    def with_images(self, images: Any) -> 'Method':
        """The method for a training set of these images, uint8 (n, H, W, C); most do not care which.

        Raises:
            ValueError: it does not work with them.
        """
        ...

    def init(self, rng: jax.Array) -> Any:
        """A fresh state, whole: with nothing cut over the devices."""
        ...

    def train_step(
        self, state: Any, batch: dict[str, jax.Array], rng: jax.Array
    ) -> tuple[Any, dict[str, jax.Array]]:
        """One step on this device's share of the batches: pure; runs under the axis of `snjax.parallel`."""
        ...

    def watched(self, state: Any) -> dict[str, Any]:
        """Arrays by name whose histograms tell how training goes: weights, above all."""
        ...

    def sample(
        self, state: Any, rng: jax.Array, num: int, labels: jax.Array | None = None
    ) -> jax.Array:
        """Images (num, H, W, C) in [-1, 1]; without labels, of all classes in turn where there are any."""
        ...


def names() -> list[str]:
    """The methods there are: the files of this folder that define `Method` as a class of their own."""
    here = pathlib.Path(__file__).parent
    files = (p for p in here.glob('*.py') if p.stem != 'method')  # that one has the contract
    return sorted(p.stem for p in files if '\nclass Method(' in p.read_text())


def load(config: Config) -> Method:
    """The method that `config.method` names.

    Raises:
        ValueError: there is no such method, or the config does not fit it.
    """
    choose('method', config.method, names())
    return importlib.import_module(f'experiments.{config.method}').Method(config)


def choose(key: str, value: str, accepted: Iterable[str]) -> str:
    """`value`, if it is one of `accepted`; else a ValueError of one line that names the nearest.

    Raises:
        ValueError: it is not.
    """
    accepted = list(accepted)
    if value in accepted:
        return value
    near = difflib.get_close_matches(str(value), accepted, n=1, cutoff=0.5)
    hint = f'; did you mean --config.{key}={near[0]}?' if near else ''
    raise ValueError(f'{key} is {value!r}: accepted are {", ".join(accepted)}{hint}')


def require(config: Config, key: str, value: str) -> None:
    """Raises a ValueError of one line unless `key` has the value without which the method would be another."""
    found = config
    for name in key.split('.'):
        found = found[name]
    if found != value:
        raise ValueError(
            f'{key} is {found!r}, but {config.method} is defined by {key}={value}: leave it so, or take another '
            '--config.method (gan takes them all)'
        )
