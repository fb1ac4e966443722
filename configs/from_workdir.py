"""The config of an existing run, as its `config.json` has it: `--config=configs/from_workdir.py:runs/digits`.

`launch.py` uses this by itself when `--config` is left out and `--workdir` holds a run.
"""

import pathlib

from ml_collections import ConfigDict

from configs import base
from experiments.settings import keys
from snjax.runs.config_file import read_config


def get_config(workdir: str) -> ConfigDict:
    path = pathlib.Path(workdir) / 'config.json'
    if not path.is_file():
        raise ValueError(
            f'{workdir} holds no run: there is no {path}; give --config, or the --workdir of a run'
        )
    config = base.get_config()
    saved = ConfigDict(read_config(path))
    keys.upgraded(saved.to_dict())  # refuses a key whose meaning is gone
    with config.unlocked():  # a method's own keys, and those of older runs
        config.update(saved)
    return config
