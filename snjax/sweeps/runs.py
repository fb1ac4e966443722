"""One run of a sweep: its config, the command that repeats it, and its folder.

A run is identified by what its config computes, so a run keeps its folder when the sweep's
definition grows or is reordered, and when a newer version of the code starts the sweep again.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from snjax.runs.config_file import read_config
from snjax.runs.workdir import CONFIG_NAME
from snjax.sweeps.definition import CONFIG, NAME, Item, flags, varying

RUNS = 'runs'
_HASH_LENGTH = 10
_NAME_LENGTH = 80

# From a nested config to the values that tell a run from others; raises a ValueError for a config
# that this version cannot read.
Identify = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Run:
    """What to run.

    Attributes:
        id: ten hexadecimal digits at the end of `name`, by which the journal names the run.
        name: name of the folder: the overrides that differ between the runs, and `id`.
        item: the overrides, with the config file under 'config'.
        config: the resolved config, nested, of JSON types.
        num_steps: generator updates of the whole run.
    """

    id: str
    name: str
    item: Item
    config: Mapping[str, Any]
    num_steps: int

    @property
    def label(self) -> str:
        """The name without the id; the id if nothing else is left."""
        return self.name.removesuffix(self.id).rstrip('-') or self.id

    def arguments(self, folder: pathlib.Path) -> list[str]:
        """The flags of `launch.py` for this run in the sweep's `folder`."""
        workdir = f'--workdir={self.workdir(folder)}'
        return [f'--config={self.item[CONFIG]}', *flags(self.item), workdir]

    def workdir(self, folder: pathlib.Path) -> pathlib.Path:
        return folder / RUNS / self.name


def make(
    items: Sequence[Item],
    configs: Sequence[Mapping[str, Any]],
    folder: pathlib.Path,
    identify: Identify,
    *,
    num_steps: Sequence[int],
) -> list[Run]:
    """Returns the runs of a sweep; of items with the same identity only the first.

    A run keeps the folder that it has under `folder`, whatever the hash in that folder's name:
    versions of the code have hashed different keys.

    Args:
        items: overrides, each with 'config'.
        configs: the resolved config of each item.
        folder: folder of the sweep, which need not exist.
        identify: see `Identify`.
        num_steps: generator updates of each item's run.
    """
    names = _names_of_folders(folder / RUNS)
    hashes = [_hash(identify(config)) for config in configs]
    # A folder named by another hash: an older version has made it.
    older = [name for hash_, name in names.items() if hash_ not in hashes]
    contents = _contents(folder / RUNS, older, identify)
    keys = varying(items) or [CONFIG]
    runs: dict[str, Run] = {}
    for item, config, hash_, steps in zip(items, configs, hashes, num_steps, strict=True):
        if hash_ in runs:
            continue
        new = '-'.join(filter(None, [_readable(item, keys), hash_]))
        name = names.get(hash_) or _find(contents, config, identify(config)) or new
        runs[hash_] = Run(name[-_HASH_LENGTH:], name, item, config, steps)
    return list(runs.values())


def _names_of_folders(root: pathlib.Path) -> dict[str, str]:
    """Names of the folders that hold runs, by the hash at their end."""
    names = sorted(path.name for path in root.glob('*'))
    pattern = rf'(.*-)?[0-9a-f]{{{_HASH_LENGTH}}}'
    return {name[-_HASH_LENGTH:]: name for name in names if re.fullmatch(pattern, name)}


def _contents(root: pathlib.Path, names: Sequence[str], identify: Identify):
    """(name, config, identity) of each folder whose `config.json` this version can read."""
    contents = []
    for name in names:
        try:
            config = read_config(root / name / CONFIG_NAME)
            contents.append((name, config, _as_json_types(identify(config))))
        except (OSError, ValueError):  # not started yet, damaged, or with a removed key
            continue
    return contents


def _find(contents, config, identity) -> str | None:
    """The folder of a run with this identity, preferably with exactly this config; None if none."""
    wanted, exact = _as_json_types(identity), _as_json_types(config)
    same = [(name, config) for name, config, identity in contents if identity == wanted]
    names = [name for name, config in same if config == exact] or [name for name, _ in same]
    return names[0] if names else None


def _as_json_types(config):
    """As `config.json` has it: tuples become lists."""
    return json.loads(json.dumps(config))


def _hash(identity: Mapping[str, Any]) -> str:
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def _readable(item: Item, keys: Sequence[str]) -> str:
    """`lr=0.0002,seed=1`: the overrides that differ, in characters that need no quoting; of an item
    with a name, `no_SN,seed=1`.
    """
    parts = []
    if NAME in item:
        parts, keys = [str(item[NAME])], [key for key in keys if key == 'seed']
    for key in keys:
        if key == CONFIG:
            path, _, argument = str(item[key]).partition(':')
            parts.append('_'.join(filter(None, [pathlib.Path(path).stem, argument])))
        elif key in item:
            parts.append(f'{key.split(".")[-1]}={item[key]}')
    return re.sub(r'[^\w.=,+-]+', '_', ','.join(parts))[:_NAME_LENGTH].strip(',_-')
