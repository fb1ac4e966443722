"""Several runs in one program: states stacked along a first axis, the training set on the device once.

A big device is idle in most of a small network's step; S runs that differ in their seeds, or in numbers as the learning
rate, fill it, and come out as mean and spread. Every member is the run that it would be alone: it has its own keys, so
its own images, z and initial weights, and a folder of its own in which it is written (`snjax.runs.run_logger`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snjax import parallel

KEYS = ('data_rng', 'train_rng')  # of a step's data, what every member has of its own


@dataclasses.dataclass(frozen=True)
class Members:
    """`num` runs of one method.

    Attributes:
        method: of one of them, see `experiments/method.py`; nothing of its state is cut over the devices.
        num: members.
        numbers: arrays (num,) of what they differ in besides their keys; often empty.
        with_numbers: `(method, numbers of one) -> method`.
    """

    method: Any
    num: int
    numbers: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    with_numbers: Callable[[Any, Mapping[str, Any]], Any] = lambda method, _: method

    state_axes = None

    @property
    def batch_size(self) -> int:
        """Of each member."""
        return self.method.batch_size

    @property
    def batches_per_step(self) -> int:
        """Of each member."""
        return self.method.batches_per_step

    @property
    def num_classes(self) -> int:
        """That each is told of."""
        return self.method.num_classes

    def run(self, make_step: Callable[[Any], Callable]) -> Callable:
        """`(state, data) -> (state, metrics)`, all with a first axis of members but for the set in `data`.

        Args:
            make_step: of one member's method, `(state, data) -> (state, metrics)`.
        """

        def run(state, data):
            shared = {name: leaf for name, leaf in data.items() if name not in KEYS}
            own = {name: data[name] for name in KEYS}

            def one(state, own, numbers):
                method = self.with_numbers(self.method, numbers)
                return make_step(method)(state, {**shared, **own})

            numbers = {name: jnp.asarray(x, jnp.float32) for name, x in self.numbers.items()}
            return parallel.vmap_or_unroll(one, (state, own, numbers), self.num)

        return run


def num_of(method: Any) -> int:
    """How many runs a method's steps are of."""
    return method.num if isinstance(method, Members) else 1


def one_of(method: Any) -> Any:
    """The method of one of them."""
    return method.method if isinstance(method, Members) else method


def stacked(shapes: Any, num: int) -> Any:
    """The shapes of `num` states as one; of a run alone its own."""
    if num == 1:
        return shapes
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((num, *x.shape), x.dtype), shapes)


def stack(trees: list[Any]) -> Any:
    """States of all members as one."""
    if len(trees) == 1:
        return trees[0]
    return jax.jit(lambda *trees: jax.tree.map(lambda *x: jnp.stack(x), *trees))(*trees)


def take(tree: Any, index: int, num: int) -> Any:
    """One member's part of what is stacked; of a run alone all of it."""
    return tree if num == 1 else _take(tree, index)


@jax.jit
def _take(tree, index):
    return jax.tree.map(lambda x: x[index], tree)


def take_value(metrics: Mapping[str, Any], index: int, num: int) -> dict[str, float]:
    """One member's numbers in fetched scalars."""
    return {name: float(x if num == 1 else x[index]) for name, x in metrics.items()}
