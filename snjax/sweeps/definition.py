"""What a sweep runs: a list of items, each a dict of overrides, made with `product`, `zipped`, `chain` and `sample`.

    def get_sweep(h):  # beside get_config, or in a file of its own; h is this module
        return h.product({'optimizer.lr': [2e-4, 1e-3], 'n_dis': [1, 5]}, {'seed': range(3)})

A key is a config's, with dots, or 'config' for another file: {'config': 'configs/sngan_paper.py:wgan_gp,C,cifar'}. An
item is nothing but flags, so that each run can be repeated without the sweep.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

Value = bool | int | float | str
Item = dict[str, Value]
# Keys with the values that each takes, or what one of these functions returned.
Axis = Mapping[str, Iterable[Value]] | Iterable[Mapping[str, Value]]
# A number in [0, 1) to a value.
Range = Callable[[float], Value]

CONFIG = 'config'
_DIGITS = 4


def product(*axes: Axis) -> list[Item]:
    """Everything with everything; the last key changes fastest."""
    lists = [part for axis in axes for part in _parts(axis)]
    return [_joined(items) for items in itertools.product(*lists)]


def zipped(*axes: Axis) -> list[Item]:
    """The first values of all keys, then the second ones, and so on.

    Raises:
        ValueError: there are not equally many of all.
    """
    lists = [part for axis in axes for part in _parts(axis)]
    lengths = [len(part) for part in lists]
    if len(set(lengths)) > 1:
        keys = [next(iter(part[0]), '') if part else '' for part in lists]
        found = ', '.join(f'{n} of {key}' for key, n in zip(keys, lengths, strict=True))
        raise ValueError(f'zipped: {found}; equally many are needed')
    return [_joined(items) for items in zip(*lists, strict=True)]


def chain(*lists: Iterable[Mapping[str, Value]]) -> list[Item]:
    """One list after the other."""
    return [dict(item) for items in lists for item in items]


def sample(ranges: Mapping[str, Range], num: int, seed: int = 0) -> list[Item]:
    """`num` items drawn at random from `uniform`, `log_uniform`, `integers` or `choice` of each key.

    The same seed gives the same items on any machine; more of them begin with those of fewer, and a further key leaves
    the others' values as they are.
    """
    if num < 1:
        raise ValueError(f'sample: num is {num}; at least 1 is accepted')
    streams = {key: random.Random(f'{seed}/{key}') for key in ranges}
    return [{key: draw(streams[key].random()) for key, draw in ranges.items()} for _ in range(num)]


def uniform(low: int | float, high: int | float) -> Range:
    """Numbers from `low` up to `high`, of four digits, as a command is read by people."""
    _check_range('uniform', low, high)
    return lambda x: _rounded(low + x * (high - low))


def log_uniform(low: int | float, high: int | float) -> Range:
    """As `uniform`, with equal chances for equal factors."""
    _check_range('log_uniform', low, high)
    if low <= 0:
        raise ValueError(f'log_uniform: low is {low}; more than 0 is needed')
    return lambda x: _rounded(low * math.exp(x * math.log(high / low)))


def integers(low: int, high: int) -> Range:
    """Whole numbers from `low` up to and with `high`."""
    _check_range('integers', low, high + 1)
    return lambda x: low + math.floor(x * (high + 1 - low))


def choice(values: Iterable[Value]) -> Range:
    """One of `values`."""
    values = list(values)
    if not values:
        raise ValueError('choice: there is nothing to choose from')
    return lambda x: values[math.floor(x * len(values))]


def checked(items: object) -> list[Item]:
    """What a `get_sweep` returned, with NumPy's numbers as Python's.

    Raises:
        ValueError: of one line, if these are no items.
    """
    if not isinstance(items, Sequence) or not all(isinstance(item, Mapping) for item in items):
        raise ValueError(
            f'get_sweep returned {_short(items)}: a list of dicts is accepted, as of h.product'
        )
    if not items:
        raise ValueError('get_sweep returned no items: nothing would run')
    return [{key: _checked_value(key, value) for key, value in item.items()} for item in items]


def flags(item: Mapping[str, Value]) -> list[str]:
    """The flags of an item, the config's own left out: `--config.optimizer.lr=0.0002`."""
    return [f'--config.{key}={_text(value)}' for key, value in item.items() if key != CONFIG]


def varying(items: Sequence[Mapping[str, Value]]) -> list[str]:
    """The keys that tell the items apart, in the order in which they come."""
    keys = list(dict.fromkeys(key for item in items for key in item))
    # As text: True is 1 to Python, and another value to a config.
    return [key for key in keys if len({repr(item.get(key)) for item in items}) > 1]


def _parts(axis: Axis) -> list[list[Item]]:
    """Lists to be combined: one for each key of a mapping, or the one that is there already."""
    if isinstance(axis, Mapping):
        mapping = cast(Mapping[str, Iterable[Value]], axis)
        for key, values in mapping.items():
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise ValueError(f'{key}: {values!r} is no list of values; write [{values!r}]')
        return [[{key: value} for value in values] for key, values in mapping.items()]
    return [[dict(item) for item in axis]]


def _joined(items: Iterable[Item]) -> Item:
    joined: Item = {}
    for item in items:
        for key, value in item.items():
            if key in joined:
                raise ValueError(f'{key} is given twice, as {joined[key]!r} and {value!r}')
            joined[key] = value
    return joined


def _checked_value(key: object, value: object) -> Value:
    if not isinstance(key, str):
        raise ValueError(f'get_sweep: the key {key!r} is no name of a config, as optimizer.lr is')
    if type(value).__module__ == 'numpy' and hasattr(value, 'item'):
        value = value.item()
    if not isinstance(value, Value):
        raise ValueError(
            f'get_sweep: {key} is {_short(value)}; numbers, strings and truth values are accepted'
        )
    return value


def _check_range(name, low, high):
    if not low < high:
        raise ValueError(f'{name}: from {low} to {high} there is nothing; low comes first')


def _rounded(x: float) -> float:
    return float(f'{x:.{_DIGITS}g}')


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:60]}...'
