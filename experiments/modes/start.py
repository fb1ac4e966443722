"""First steps of every mode that works on one run: joins the processes, finds compiled programs."""

import importlib.metadata
import os
import pathlib
import platform
from typing import Any

import jax
from absl import flags

from experiments.settings import keys
from snjax import parallel
from snjax.runs.config_file import flatten
from snjax.runs.workdir import describe_newest
from snjax.training import compilation_cache

# Keys of the config that may differ between machines: places of files.
_OF_ONE_MACHINE = (*keys.PLACES, 'eval.weights')


def start(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Makes this process one of the run's processes, and uses the compilation cache.

    Args:
        given: the flags of `launch.py`.
        workdir: of the run.

    Raises:
        ValueError: JAX computes in 64 bits, the processes cannot meet or were not started alike, or
            the cache cannot be used.
    """
    if jax.config.jax_enable_x64:
        raise ValueError(
            'JAX_ENABLE_X64 is set: a seed would draw other images in 64 bits than in the 32 bits '
            'of all other runs; unset it'
        )
    parallel.initialize(
        given.distributed,
        coordinator_address=given.coordinator_address,
        num_processes=given.num_processes,
        process_id=given.process_id,
        join_timeout=given.join_timeout,
        peer_timeout=given.peer_timeout,
        newest=lambda: describe_newest(workdir),
        alike=_alike(given, workdir),
    )
    compilation_cache.use(given.compilation_cache)


def _alike(given: flags.FlagValues, workdir: pathlib.Path) -> dict[str, Any]:
    """What must be the same in all processes, by name: all but places on each machine."""
    packages = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
    values: dict[str, Any] = {name: importlib.metadata.version(name) for name in packages}
    values |= {'python': platform.python_version(), '--workdir': os.path.abspath(workdir)}
    for name in ('mode', 'distributed', 'profile', 'peer_timeout'):
        values[f'--{name}'] = given[name].value
    for name in ('config', *keys.MODES_WITH_OPTIONS):
        config: Any = given[name].value
        flat = flatten(config.to_dict()) if config is not None else {}
        values |= {f'--{name}.{key}': value for key, value in flat.items()}
    for name in _OF_ONE_MACHINE:
        values.pop(f'--config.{name}', None)
    return values
