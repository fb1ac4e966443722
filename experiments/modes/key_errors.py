"""Errors of one line for missing, misspelt and renamed keys, with the nearest key. No JAX."""

import difflib
import pathlib
import re
import sys
import traceback
from typing import Any

import ml_collections
from absl import flags
from ml_collections import ConfigDict

from experiments.settings import keys
from snjax.runs.config_file import flatten

_LIBRARY = str(pathlib.Path(ml_collections.__file__).parent)
_FLAGS_LIBRARY = str(pathlib.Path(flags.__file__).parent)
# What to do about a key that was removed.
_SEEDS = 'several seeds are a sweep, --mode=sweep'
_INSTEAD = {'num_seeds': _SEEDS, 'members': _SEEDS}
_LIST = '--list_keys lists all keys'


def defaults(flag: str) -> ConfigDict:
    """The config with every key that a flag ('config', 'sample', ...) accepts."""
    return keys.FILES[flag].get_config()


def renamed(key: str) -> str | None:
    """Describes where an old key moved, or that it was removed.

    Args:
        key: full key, as 'sampling.what', or a group.

    Returns:
        The description; None for a key of today, or one that never was.
    """
    option = keys.moved(key)
    if option:
        mode, _, name = option.partition('.')
        near = name or ''.join(_nearest(key.partition('.')[2], list(defaults(mode)))[:1])
        use = f'--{mode}.{near}' if near else f'--{mode}.KEY'
        return f'has moved to --mode={mode}: use {use}, or a file for --{mode}'
    is_removed = any(name == key or name.startswith(f'{key}.') for name in keys.REMOVED)
    if is_removed and not _has(defaults('config'), key):
        return f'was removed in 0.2; {_INSTEAD.get(key.partition(".")[0], "leave it out")}'
    return None


def _has(config: ConfigDict, key: str) -> bool:
    flat = flatten(config.to_dict())
    return any(name == key or name.startswith(f'{key}.') for name in flat)


def explained(error: Exception, source: Any = None) -> ValueError | None:
    """The error of one line for a key that a config does not have.

    Args:
        error: raised by a ConfigDict, on reading or writing a key.
        source: the file in which a key was set that is neither on the command line nor in a file of
            the traceback.

    Returns:
        None if another error was raised.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    # The innermost frames belong to ml_collections, and the frame before them asked for the key.
    first = len(frames)
    while first and frames[first - 1][0].f_code.co_filename.startswith(_LIBRARY):
        first -= 1
    holders = [frame.f_locals.get('self') for frame, _ in frames[first:]]
    holders = [holder for holder in holders if isinstance(holder, ConfigDict)]
    message = error
    while isinstance(message, AttributeError | KeyError) and message.args:
        message = message.args[0]
    name = re.search(r"""Key "([\w.]+)"|^'([\w.]+)'""", str(message))
    if not holders or not name or not isinstance(error, AttributeError | KeyError):
        return None
    flag, group = _group_of(holders[-1])
    full = name[1] or name[2]
    full = full if full.startswith(f'{group}.') or not group else f'{group}.{full}'
    caller, line = frames[first - 1]
    return _message(flag, full, _place(f'{flag}.{full}', caller, line, source))


def is_of_library(error: Exception) -> bool:
    """Whether a ConfigDict raised an error: its messages name neither a file nor a line."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_code.co_filename.startswith(_LIBRARY)


def check_keys(flag: str, config: Any, file: str) -> None:
    """Raises a ValueError for a config file that lacks a key, or has a key that was removed.

    Args:
        flag: the flag that the file was given to: 'config', 'sample', ...
        config: what the file returned.
        file: its name.
    """
    if not isinstance(config, ConfigDict):
        raise ValueError(f'{file}: get_config returned {config!r:.60}; a ConfigDict is needed')
    accepted, there = (flatten(c.to_dict()) for c in (defaults(flag), config))
    missing = [key for key in accepted if key not in there]
    groups = {key.rpartition('.')[0] for key in accepted} - {''}
    for key in sorted(there.keys() - accepted.keys()):
        if key in groups:
            raise ValueError(f'{file}: {key} is {there[key]!r:.60}: a group of keys is needed')
        if key.partition('.')[0] in accepted:
            raise ValueError(f'{file}: {key.partition(".")[0]} is a group: one value is needed')
        # A method outside this repository may add keys of its own to the config of a training.
        if flag != 'config' or renamed(key) or _nearest(key, missing):
            raise _message(flag, key, file)
    if missing:
        module = keys.FILES[flag].__name__.rpartition('.')[2]
        raise ValueError(
            f'{file}: the key {missing[0]} is missing; start from {module}.get_config(), which has '
            'all keys'
        )


def _message(flag: str, key: str, place: str) -> ValueError:
    """The error for a key that stands at a place, which may be its own flag."""
    is_flag = place == f'--{flag}.{key}'
    what = renamed(key) if flag == 'config' else None
    if what:
        return ValueError(f'{place} {what}' if is_flag else f'{place}: {key} {what}')
    near = _nearest(key, list(flatten(defaults(flag).to_dict())))
    named = ' or '.join(f'--{flag}.{name}' if is_flag else name for name in near)
    hint = f'did you mean {named}?' if near else _LIST
    return ValueError(f'{place}: there is no key {key}; {hint}')


def _place(full: str, caller: Any, line: int, source: Any) -> str:
    """Where a key stands: its flag, a file and a line, or the file `source`."""
    if any(re.match(rf'--?(no)?{re.escape(full)}\b', word) for word in sys.argv[1:]):
        return f'--{full}'
    file = caller.f_code.co_filename
    if file.startswith(_FLAGS_LIBRARY):
        return f'{source}' if source else f'--{full}'
    return f'{file}, line {line}'


def _nearest(key: str, accepted: list[str]) -> list[str]:
    """The keys probably meant: a similar one, or those of the same name in other groups."""
    groups = {name.rpartition('.')[0] for name in accepted} - {''}
    same_name = [k for k in accepted if k.rpartition('.')[2] == key.rpartition('.')[2]]
    near = difflib.get_close_matches(key, [*accepted, *groups], n=1, cutoff=0.6)
    return near or sorted(same_name)


def _group_of(holder: ConfigDict) -> tuple[str, str]:
    """The flag and the group ('' for the top) of a ConfigDict, found by its other keys."""

    def likeness(group: ConfigDict) -> float:
        mine, its = set(holder.keys()), set(group.keys())
        return len(mine & its) / max(1, len(mine | its))

    places: dict[tuple[str, str], ConfigDict] = {}
    for flag in keys.FILES:
        top = defaults(flag)
        places[flag, ''] = top
        places |= {(flag, name): g for name, g in top.items() if isinstance(g, ConfigDict)}
    return max(places, key=lambda place: likeness(places[place]))
