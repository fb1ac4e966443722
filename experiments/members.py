"""`num_seeds`: several runs in one program, each the run that a config of its own would be alone.

They differ in their seeds, `seed`, `seed + 1` and so on; or, where `members.lr`, `members.beta1` or `members.beta2`
lists numbers, in these under one seed, so that nothing else is different.
"""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments import method as methods
from experiments.method import Config
from experiments.settings import OPTIMIZERS, linear_decay
from snjax.training.members import Members

NUMBERS = ('lr', 'beta1', 'beta2')  # of config.optimizer
_NOT_READ = {'sgd': ('beta1', 'beta2'), 'rmsprop': ('beta1',)}


class Member(NamedTuple):
    """One of the runs.

    Attributes:
        name: its folder in the workdir; empty for a run alone, whose folder that is.
        config: of the run that it would be alone.
    """

    name: str
    config: Config


def members_of(config: Config) -> list[Member]:
    """The runs that a config describes.

    Raises:
        ValueError: their number, or a list of numbers, is impossible.
    """
    num, lists = config.num_seeds, _lists(config)
    if num < 1:
        raise ValueError(f'num_seeds is {num}: 1 (one run) or more is accepted')
    for name, values in lists.items():
        if len(values) != num:
            raise ValueError(
                f'members.{name} lists {len(values)} numbers for {num} members: use --config.num_seeds={len(values)}'
            )
        if num == 1:
            raise ValueError(
                f'members.{name} lists one number: use --config.optimizer.{name}={values[0]}, or num_seeds and more'
            )
        if name in _NOT_READ.get(config.optimizer.name, ()):
            raise ValueError(
                f'members.{name} lists numbers, but optimizer.name={config.optimizer.name} has no {name}: all members '
                'would be the same'
            )
    if num > 1 and config.seed + num > 2**32:  # larger ones repeat these
        raise ValueError(
            f'seed {config.seed} and num_seeds {num}: seeds up to 2**32 - 1 are accepted'
        )
    if num == 1:
        return [Member('', config)]
    found = [_member(config, lists, i) for i in range(num)]
    names = [member.name for member in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f'members has {twice[0]} twice: give each member numbers of its own')
    return found


def _lists(config) -> dict[str, list[float]]:
    found = {}
    for name in NUMBERS:
        text = config.members[name]
        if not text:
            continue
        try:
            found[name] = [float(part) for part in str(text).split(',')]
        except ValueError:
            raise ValueError(
                f'members.{name} is {text!r}: numbers with commas are accepted, as 1e-4,2e-4'
            ) from None
    return found


def _member(config, lists, index):
    own = config.copy_and_resolve_references().unlock()
    own.num_seeds = 1
    changed = {}
    for name, values in lists.items():
        own.members[name] = ''
        own.optimizer[name] = changed[f'optimizer.{name}'] = values[index]
    if not lists:
        own.seed = changed['seed'] = config.seed + index
    own.lock()
    return Member(','.join(f'{key}={value}' for key, value in changed.items()), own)


def load(config: Config, members: list[Member]) -> Any:
    """The method of a config, of several members a `snjax.training.members.Members`.

    Raises:
        ValueError: there is no such method, a member's config does not fit it, or the method takes one run alone.
    """
    alone = [methods.load(member.config) for member in members]
    if len(members) == 1:
        return alone[0]
    if alone[0].state_axes is not None:
        raise ValueError(
            f'num_seeds is {config.num_seeds}, but {config.method} trains one run at a time: use '
            '--config.num_seeds=1, and --mode=sweep for several'
        )
    if config.data.stream in ('on', 'decode'):
        raise ValueError(f'num_seeds is {config.num_seeds}, and {_STREAMED}')
    numbers = {name: np.asarray(values) for name, values in _lists(config).items()}
    o = config.optimizer

    def with_numbers(method: Any, own: Mapping[str, Any]) -> Any:
        if not own:
            return method
        told = {name: own.get(name, o[name]) for name in NUMBERS}
        method = copy.copy(method)
        # Frozen for everybody else.
        optimizer = OPTIMIZERS[o.name](told['beta1'], told['beta2'], o.eps)
        object.__setattr__(method, 'optimizer', optimizer)
        rate = linear_decay(told['lr'], o.decay_start, o.decay_end)
        object.__setattr__(method, 'learning_rate', rate)
        return method

    return Members(alone[0], len(members), numbers, with_numbers)


_STREAMED = (
    'each member draws images of its own, from a set that is on the device: it cannot be streamed '
    '(--config.data.stream=off, or --config.num_seeds=1)'
)


def check_resident(members: list[Member], is_streamed: bool) -> None:
    """Raises a ValueError of one line for several members whose set is too large for the device."""
    if len(members) > 1 and is_streamed:
        raise ValueError(f'num_seeds is {len(members)}, and {_STREAMED}')
