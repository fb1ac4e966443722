"""`snjax.train`: a training from Python, with the loop of `launch.py` and errors as exceptions."""

import copy
import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments.modes import config_paths, going_on, key_errors
from experiments.modes import train as training
from snjax import parallel
from snjax.generate.load import load
from snjax.generate.trained import TrainedGenerator
from snjax.host import paths
from snjax.training import compilation_cache


def train(
    config: str | ConfigDict, workdir: Any, changes: Mapping[str, Any], *, init_from: str = ''
) -> TrainedGenerator:
    """See `snjax.train`."""
    if jax.config.jax_enable_x64:
        raise ValueError('JAX computes in 64 bits: a seed would draw other images; turn it off')
    folder = paths.expanded(workdir, 'the workdir')
    paths.check_workdir(folder)
    made = _config(config)
    try:
        made.update_from_flattened_dict(dict(changes))
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(str(key_errors.explained(error) or error)) from error
    if init_from:
        made.init_from = going_on.resolve(init_from, folder)
    parallel.initialize('off')
    if not jax.config.jax_compilation_cache_dir:
        compilation_cache.use('auto')
    training.run_train(made, folder)
    return load(folder)


def _config(config: str | ConfigDict) -> ConfigDict:
    """A copy of a config, locked, or the one that a file makes."""
    if isinstance(config, ConfigDict):
        return copy.deepcopy(config).lock()  # keeps which types a key takes
    path, colon, argument = config_paths.located(config).partition(':')
    spec = importlib.util.spec_from_file_location('snjax_config', path)
    if spec is None or spec.loader is None or not pathlib.Path(path).is_file():
        raise ValueError(
            f'config {config!r}: there is no such file, nor one in {config_paths.CONFIGS}'
            f'{config_paths.hint(path)}'
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*([argument] if colon else [])).lock()
