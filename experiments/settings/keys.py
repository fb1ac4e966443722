"""The keys of configs of all versions, and which of them change what is computed.

Resuming, sweeps, the leaderboard and the report use this file, so they agree on whether two
configs describe the same computation. Nothing here imports JAX.
"""

import fnmatch
import math
from collections.abc import Mapping
from typing import Any

from configs import base
from configs.modes import compare, diagnose, evaluate, export, invert, sample
from snjax.host import paths
from snjax.image_format import canonical, is_size, words
from snjax.runs.config_file import flatten

# Keys that change no bit of an update: the length of a run, the files that it writes, the places of
# data.
INCIDENTAL = (
    'num_steps',
    'log.*',
    'checkpoint.*',
    'sampling.*',
    'sentinel.*',
    'diagnostics.*',
    'eval.*',
    'data.accept_changed',
    'data.data_dir',
    'data.cache_dir',
    'data.stream',
    'data.workers',
)
_BASE = base.get_config().to_dict()
_SIZE = 'data.image_size'
# Removed keys, each with the value that changed nothing.
REMOVED = {
    'num_seeds': 1,
    'members.lr': '',
    'members.beta1': '',
    'members.beta2': '',
    'fakes_at_once': False,
}
# Renamed values: old to new.
RENAMED_VALUES = {'model.architecture': {'standard': 'sngan_cnn', 'dcgan': 'wgan_gp_cnn'}}
# The modes of finished runs and the files of their options, by the group of older configs that held
# the options. Keys of a group that a training reads are still keys of its config.
MOVED = {
    'sampling': ('sample', sample),
    'inversion': ('invert', invert),
    'eval': ('evaluate', evaluate),
    'diagnostics': ('diagnose', diagnose),
}
# The file with all keys of a flag of `launch.py`, and their defaults.
FILES = {'config': base, **dict(MOVED.values()), 'export': export, 'compare': compare}
MODES_WITH_OPTIONS = tuple(mode for mode in FILES if mode != 'config')
MODES_OF_RUNS = tuple(mode for mode in MODES_WITH_OPTIONS if mode != 'compare')
# Keys of the config that the modes of finished runs read: where data lie on this machine, and
# whether other data are accepted.
PLACES = ('data.data_dir', 'data.cache_dir', 'data.path', 'data.accept_changed')
# Keys that hold a path, which a run writes down independent of the current folder.
PATHS = ('data.data_dir', 'data.cache_dir', 'data.path', 'eval.weights')


def moved(key: str) -> str | None:
    """The option of a mode that has replaced a key of older configs.

    Args:
        key: full key, or the name of a group.

    Returns:
        'sample.what' for 'sampling.what', 'invert' for 'inversion'; None for a key of training.
    """
    group, _, name = key.partition('.')
    if group not in MOVED or key in flatten(_BASE):
        return None
    mode, file = MOVED[group]
    if name in file.get_config():
        return f'{mode}.{name}'
    return None if group in _BASE else mode


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config of any version, by today's full keys: `{'optimizer.lr': 2e-4, ...}`.

    An absent key gets the default of `configs/base.py`, which is how the code behaved before it had
    the key.

    Args:
        config: nested, as in a run's `config.json`.

    Raises:
        ValueError: it uses a removed feature.
    """
    flat = flatten(config)
    for key, neutral in REMOVED.items():
        if flat.pop(key, neutral) != neutral:
            raise ValueError(
                f'{key} was removed in 0.2, and this config sets it to another value than '
                f'{neutral!r}: remove it, or run this config with 0.1'
            )
    flat.pop('members', None)
    for key, names in RENAMED_VALUES.items():
        if key in flat:
            flat[key] = names.get(flat[key], flat[key])
    if is_size(size := flat.get(_SIZE)):  # JSON has lists for tuples
        flat[_SIZE] = canonical(size)
    return flatten(_BASE) | {key: value for key, value in flat.items() if not moved(key)}


def mistyped(flat: Mapping[str, Any]) -> str:
    """Names the first value of `upgraded` that is of another kind than its default; '' for none."""
    for key, default in flatten(_BASE).items():
        value, kind = flat.get(key), type(default)
        if key == _SIZE and is_size(value):
            continue
        is_number = kind in (int, float) and isinstance(value, int | float)
        if isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
            continue
        is_whole = isinstance(value, float) and value.is_integer()
        if not is_number or isinstance(value, bool) or (kind is int and not is_whole):
            return f'{key} is {value!r}, where {kind.__name__} belongs'
    return ''


def computed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a config that change what is computed.

    Runs that agree in them compute the same bits.

    Args:
        config: nested, of any version.
    """
    return {key: value for key, value in upgraded(config).items() if not is_incidental(key)}


def resumable(
    config: Mapping[str, Any], *, is_set_known: bool, step: int | None = None
) -> dict[str, Any]:
    """The keys of a config that must be the same for a run to go on.

    Where its learning rate has not begun to fall, the decay may be put off: all updates so far are
    those of a later decay, too. The decay of the EMA may then change as well.

    Args:
        config: nested, of any version.
        is_set_known: whether the run's workdir says which images it was trained on
            (`snjax.runs.set_file`): they may then lie anywhere, and have their classes from any table.
        step: generator updates that the run has done; None for no such freedom.
    """
    found = computed(config)
    if step is not None and step <= last_constant_step(found):
        del found['optimizer.decay_start'], found['optimizer.decay_end']
        found['optimizer.ema_decay'] = bool(found['optimizer.ema_decay'])
    path = found.pop('data.path')
    tables = {key: found.pop(key) for key in ('data.labels', 'data.conditions')}
    if not is_set_known:
        found['data.path'] = str(paths.absolute(path, 'data.path')) if path else ''
        found |= tables
    return found


def last_constant_step(flat: Mapping[str, Any]) -> float:
    """The step up to which both learning rates are constant; infinite without a decay.

    Args:
        flat: by today's full keys.
    """
    if not flat['optimizer.decay_end']:
        return math.inf
    return flat['optimizer.decay_start'] - flat['optimizer.gen_lead']


def is_incidental(key: str) -> bool:
    """Whether a full key changes no bit of what an update computes."""
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in INCIDENTAL)


def hparams(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that tell runs apart in a table: those that are not at the default of
    `configs/base.py` and change what is computed, and always the method and the seed.

    Args:
        config: nested.
    """
    base = flatten(_BASE)
    found = {k: v for k, v in computed(config).items() if k not in base or base[k] != v}
    shown = {key: flatten(config)[key] for key in ('method', 'seed', 'num_steps')}
    if isinstance(found.get(_SIZE), tuple):
        found[_SIZE] = words(found[_SIZE])
    return {k: v for k, v in found.items() if k != 'data.path'} | shown


def kind(config: Mapping[str, Any]) -> dict[str, Any]:
    """The computed keys without the seed, and `num_steps`: equal for repetitions of one experiment.

    `steps_per_call` is left out because it changes at most rounding, and `data.path` because it may
    differ between machines: a score's manifest has the checksum of the images.
    """
    free = ('seed', 'steps_per_call', 'data.path')
    same = {k: v for k, v in computed(config).items() if k not in free}
    return same | {'num_steps': config['num_steps']}
