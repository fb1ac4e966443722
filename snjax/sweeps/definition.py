"""A sweep's definition: a list of items, made with `product`, `zipped`, `chain` and `sample`.

    def get_sweep(h):  # next to get_config, or in a separate file; h is this module
        return h.product({'optimizer.lr': [2e-4, 1e-3], 'n_dis': [1, 5]}, {'seed': range(3)})

An item is a dict of overrides. A key is a full key of the config, or 'config' for another config
file: {'config': 'configs/sngan_paper.py:wgan_gp,C,cifar'}, or 'name': what folders, figures and
tables call the run, {'name': 'no SN'}, in place of its overrides. Every item can be written as
flags, so each run can be repeated without the sweep.
"""

import itertools
import math
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

Value = bool | int | float | str
Item = dict[str, Value]
# Values by key, or the items that one of the functions here returned.
Axis = Mapping[str, Iterable[Value]] | Iterable[Mapping[str, Value]]
# Maps a number in [0, 1) to a value.
Range = Callable[[float], Value]

CONFIG, NAME = 'config', 'name'
_DIGITS = 4


def product(*axes: Axis) -> list[Item]:
    """All combinations of the values; the last key changes fastest."""
    lists = [part for axis in axes for part in _parts(axis)]
    return [_joined(items) for items in itertools.product(*lists)]


def zipped(*axes: Axis) -> list[Item]:
    """One item of the first value of every key, one of the second values, and so on.

    Raises:
        ValueError: the lists differ in length.
    """
    lists = [part for axis in axes for part in _parts(axis)]
    lengths = [len(part) for part in lists]
    if len(set(lengths)) > 1:
        keys = [next(iter(part[0]), '') if part else '' for part in lists]
        counts = ', '.join(f'{n} of {key}' for key, n in zip(keys, lengths, strict=True))
        raise ValueError(f'zipped: {counts}; equally many of each are needed')
    return [_joined(items) for items in zip(*lists, strict=True)]


def chain(*lists: Iterable[Mapping[str, Value]]) -> list[Item]:
    """Joins lists of items."""
    return [dict(item) for items in lists for item in items]


def sample(ranges: Mapping[str, Range], num: int, seed: int = 0) -> list[Item]:
    """Draws `num` random items, each key from its own range.

    The same seed gives the same items on every machine. A larger `num` keeps the first items, and
    another key does not change the values of the keys that were there.

    Args:
        ranges: `uniform`, `log_uniform`, `integers` or `choice` of each key.
        num: number of items.
        seed: seed of the random draws.
    """
    if num < 1:
        raise ValueError(f'sample: num is {num}; at least 1 is accepted')
    streams = {key: random.Random(f'{seed}/{key}') for key in ranges}
    return [{key: draw(streams[key].random()) for key, draw in ranges.items()} for _ in range(num)]


def uniform(low: int | float, high: int | float) -> Range:
    """Numbers between `low` and `high`, rounded to four digits to keep commands readable."""
    _check_range('uniform', low, high)
    return lambda x: _rounded(low + x * (high - low))


def log_uniform(low: int | float, high: int | float) -> Range:
    """Like `uniform`, but uniform in the logarithm."""
    _check_range('log_uniform', low, high)
    if low <= 0:
        raise ValueError(f'log_uniform: low is {low}; more than 0 is needed')
    return lambda x: _rounded(low * math.exp(x * math.log(high / low)))


def integers(low: int, high: int) -> Range:
    """Whole numbers from `low` to `high`, both included."""
    _check_range('integers', low, high + 1)
    return lambda x: low + math.floor(x * (high + 1 - low))


def choice(values: Iterable[Value]) -> Range:
    """One of `values`."""
    values = list(values)
    if not values:
        raise ValueError('choice: there is nothing to choose from')
    return lambda x: values[math.floor(x * len(values))]


def checked(items: object) -> list[Item]:
    """Checks what `get_sweep` returned, and converts NumPy numbers to Python's.

    Raises:
        ValueError: with a message of one line, if it is no list of items.
    """
    if not isinstance(items, Sequence) or not all(isinstance(item, Mapping) for item in items):
        raise ValueError(
            f'get_sweep returned {_short(items)}: accepted is a list of dicts, e.g. of h.product'
        )
    if not items:
        raise ValueError('get_sweep returned no items: nothing would run')
    return [{key: _checked_value(key, value) for key, value in item.items()} for item in items]


def flags(item: Mapping[str, Value]) -> list[str]:
    """The overrides of an item as flags: `--config.optimizer.lr=0.0002`; without 'config' and
    'name'.
    """
    overrides = {key: value for key, value in item.items() if key not in (CONFIG, NAME)}
    return [f'--config.{key}={_text(value)}' for key, value in overrides.items()]


def varying(items: Sequence[Mapping[str, Value]]) -> list[str]:
    """The keys whose values differ between items, in their order of appearance."""
    keys = list(dict.fromkeys(key for item in items for key in item))
    # Compared as text: True == 1 in Python, but a config tells them apart.
    return [key for key in keys if len({repr(item.get(key)) for item in items}) > 1]


def _parts(axis: Axis) -> list[list[Item]]:
    """The lists to combine: one per key of a mapping, or the given list of items."""
    if isinstance(axis, Mapping):
        mapping = cast(Mapping[str, Iterable[Value]], axis)
        for key, values in mapping.items():
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise ValueError(f'{key}: {values!r} is not a list of values; write [{values!r}]')
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
        raise ValueError(f'get_sweep: the key {key!r} is not a name such as optimizer.lr')
    if type(value).__module__ == 'numpy' and hasattr(value, 'item'):
        value = value.item()
    if not isinstance(value, Value):
        raise ValueError(
            f'get_sweep: {key} is {_short(value)}; accepted are numbers, strings and booleans'
        )
    if key == NAME and not (
        isinstance(value, str) and re.fullmatch(r'[\w.+-][\w .+-]{0,59}', value)
    ):
        raise ValueError(
            f'get_sweep: name is {_short(value)}; accepted are up to 60 letters, digits, spaces and '
            "any of . _ + -, as 'no SN'"
        )
    return value


def _check_range(name, low, high):
    if not low < high:
        raise ValueError(f'{name}: from {low} to {high} is empty; low must be less than high')


def _rounded(x: float) -> float:
    return float(f'{x:.{_DIGITS}g}')


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:60]}...'
