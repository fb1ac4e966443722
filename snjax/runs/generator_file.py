"""The `.safetensors` of a generator: its arrays, and in the metadata its config. Imports no JAX."""

import json
import pathlib
from typing import Any

import numpy as np

from snjax.runs.nested import nested

SUFFIX = '.safetensors'
# The names of the metadata, by which a file of this program is known.
CONFIG, STEP, WEIGHTS = 'config', 'step', 'weights'
TABLE = 'table/z'  # the latents of GLO's training images


def is_one(path: pathlib.Path) -> bool:
    """Whether a path is that of a file of this kind, by its name, and no folder's."""
    return path.is_file() or (path.suffix == SUFFIX and not path.is_dir())


def state(path: pathlib.Path) -> dict[str, Any]:
    """The generator as a checkpoint has it: `gen` with parameters and states, and perhaps `ema`.

    Raises:
        FileNotFoundError, ValueError: see `read`.
    """
    arrays, metadata = read(path)
    arrays.pop(TABLE, None)
    variables = nested({tuple(name.split('/')): array for name, array in arrays.items()})
    states = {name: values for name, values in variables.items() if name != 'params'}
    tree = {'gen': {'params': variables.get('params', {}), 'model_state': states}}
    return tree | ({'ema': variables} if metadata[WEIGHTS] == 'ema' else {})


def read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays, by names as 'params/dense/kernel', and metadata.

    Raises:
        FileNotFoundError: no such file.
        ValueError: of one line: the file is damaged, no safetensors, or of another program.
    """
    return _read(path, arrays=True)


def about(path: pathlib.Path) -> tuple[dict[str, Any], int]:
    """The config, nested, and the step of a file, without its arrays.

    Raises:
        FileNotFoundError, ValueError: see `read`.
    """
    _, found = _read(path, arrays=False)
    try:
        config, step = json.loads(found[CONFIG]), int(found[STEP])
    except ValueError as error:
        raise ValueError(unreadable(path, error)) from error
    if not isinstance(config, dict):
        raise ValueError(unreadable(path, TypeError('the config is no JSON object')))
    return config, step


def unreadable(path: pathlib.Path, error: Exception) -> str:
    """The line on metadata that are none of a generator of this program."""
    return (
        f'{path} cannot be read as a generator: its metadata are none of this program '
        f'({_words(error)}); write it again by run.export(...)'
    )


def _read(path: pathlib.Path, *, arrays: bool) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    import safetensors

    if not path.is_file():
        raise FileNotFoundError(f'{path} is not there: give the file that run.export(...) wrote')
    try:
        with safetensors.safe_open(path, framework='numpy') as file:
            metadata = file.metadata() or {}
            missing = [k for k in (CONFIG, STEP, WEIGHTS) if k not in metadata]
            if not missing:
                names = file.keys() if arrays else ()
                return {name: file.get_tensor(name) for name in names}, metadata
    except (OSError, ValueError, TypeError, safetensors.SafetensorError) as error:
        raise ValueError(
            f'{path} is no safetensors file, or a damaged one ({_words(error)}): give the file that '
            "run.export('gen.safetensors') wrote"
        ) from error
    raise ValueError(
        f'{path} is a safetensors file of another program: its metadata have no '
        f'{", ".join(missing)}, which say what network its {len(metadata)} entries belong to; give '
        'one that run.export(...) wrote'
    )


def _words(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
