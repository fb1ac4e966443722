"""The config of an existing run, read from its `config.json` or from the `.safetensors` of its
generator, with today's keys.

    python launch.py --config=configs/from_workdir.py:runs/digits --config.num_steps=6400

`launch.py` uses this file if `--config` is left out and `--workdir` holds a run.
"""

from ml_collections import ConfigDict

from configs import base
from experiments.settings import keys
from snjax.host import paths
from snjax.runs import generator_file
from snjax.runs.config_file import flatten, read_config
from snjax.runs.nested import nested
from snjax.runs.workdir import CONFIG_NAME


def get_config(workdir: str) -> ConfigDict:
    path = paths.expanded(workdir, '--workdir')
    is_file = generator_file.is_one(path)
    path = path if is_file else path / CONFIG_NAME
    if not is_file and not path.is_file():
        raise ValueError(
            f'{workdir} holds no run: there is no {path}; give --config, or the --workdir of a run'
        )
    # Sampling needs no removed key. Resuming compares with the file itself, and refuses.
    found = generator_file.about(path)[0] if is_file else read_config(path)
    kept = {k: v for k, v in flatten(found).items() if k not in keys.REMOVED}
    config = base.get_config()
    with config.unlocked():  # for keys that a method outside this repository has added
        values = {tuple(key.split('.')): value for key, value in keys.upgraded(kept).items()}
        config.update(nested(values))
    return config
