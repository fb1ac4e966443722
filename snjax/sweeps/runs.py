"""One run of a sweep: its config, the command that repeats it, and the folder that is its own.

A run is what its resolved config says, so its name ends in a hash of that. However a sweep's definition grows or is
turned round, what has been run already is found again.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from snjax.sweeps.definition import CONFIG, Item, flags, varying

RUNS = 'runs'
_HASH_LENGTH = 10
_NAME_LENGTH = 80
# Where data lie on this machine is not what a run is.
_PLACES = ('data_dir', 'cache_dir')


@dataclasses.dataclass(frozen=True)
class Run:
    """What to run.

    Attributes:
        id: hash of `config`, see `identity`.
        name: for people: the overrides that tell it from the others, and the id; the folder's name.
        item: the overrides, and 'config', the config file.
        config: as the run itself will have it, nested (JSON types).
    """

    id: str
    name: str
    item: Item
    config: Mapping[str, Any]

    @property
    def num_steps(self) -> int:
        return self.config['num_steps']

    @property
    def label(self) -> str:
        """The name without the hash, where anything is left of it."""
        return self.name.removesuffix(self.id).rstrip('-') or self.id

    def arguments(self, folder: pathlib.Path) -> list[str]:
        """The flags that run it, in its folder of the sweep in `folder`."""
        workdir = f'--workdir={self.workdir(folder)}'
        return [f'--config={self.item[CONFIG]}', *flags(self.item), workdir]

    def workdir(self, folder: pathlib.Path) -> pathlib.Path:
        return folder / RUNS / self.name


def identity(config: Mapping[str, Any], mode: str = 'train') -> str:
    """Ten hexadecimal digits for a resolved config, without the places of data, and what is done with it."""
    kept = {**config, 'data': {k: v for k, v in config['data'].items() if k not in _PLACES}}
    text = json.dumps({'mode': mode, 'config': kept}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def make(
    items: Sequence[Item], configs: Sequence[Mapping[str, Any]], folder: pathlib.Path
) -> list[Run]:
    """The runs of a sweep in `folder`, each config once.

    Args:
        items: overrides, all with 'config'.
        configs: of each, resolved.
        folder: of the sweep. A run that has a folder there keeps its name.
    """
    there = {path.name[-_HASH_LENGTH:]: path.name for path in (folder / RUNS).glob('*')}
    keys = varying(items) or [CONFIG]
    runs = {}
    for item, config in zip(items, configs, strict=True):
        id_ = identity(config)
        name = there.get(id_) or '-'.join(filter(None, [_readable(item, keys), id_]))
        runs.setdefault(id_, Run(id_, name, item, config))
    return list(runs.values())


def _readable(item: Item, keys: Sequence[str]) -> str:
    """`lr=0.0002,seed=1`: what differs, with characters that no shell minds."""
    parts = []
    for key in keys:
        if key == CONFIG:
            path, _, argument = str(item[key]).partition(':')
            parts.append('_'.join(filter(None, [pathlib.Path(path).stem, argument])))
        elif key in item:
            parts.append(f'{key.split(".")[-1]}={item[key]}')
    return re.sub(r'[^\w.=,+-]+', '_', ','.join(parts))[:_NAME_LENGTH].strip(',_-')
