"""Generators of runs on disk, of exported files and of states in training:
`snjax.load('runs/digits').sample(64)`.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from snjax import from_config
from snjax.generate import export
from snjax.generate.glo import TrainedGlo
from snjax.generate.trained import TrainedGenerator
from snjax.host import paths
from snjax.runs.checkpoint import load_tree
from snjax.runs.config_file import read_config
from snjax.runs.workdir import CHECKPOINTS, CONFIG_NAME

_SUFFIX = '.safetensors'


def load(
    workdir: str | os.PathLike, step: int | None = None, folder: str = CHECKPOINTS
) -> TrainedGenerator:
    """Loads the generator of a run.

    Args:
        workdir: the run's folder, or a `.safetensors` that `TrainedGenerator.export` wrote.
        step: of the checkpoint; None for the newest undamaged one. A file holds one step.
        folder: 'checkpoints', or 'best' for the checkpoint with the best score, if the run took
            scores while training.

    Returns:
        A `TrainedGlo` for a run of GLO, which also has its table of latents.

    Raises:
        FileNotFoundError: no run, no file, or no checkpoint of that step.
        ValueError: a damaged checkpoint or file, or a file of something else.
    """
    workdir = paths.expanded(workdir, 'the workdir')
    if workdir.is_file() or (workdir.suffix == _SUFFIX and not workdir.is_dir()):
        found = from_file(workdir)
        if step not in (None, found.step) or folder != CHECKPOINTS:
            raise ValueError(
                f'{workdir} holds step {found.step} alone: leave step and folder out, or load the '
                'workdir of the run'
            )
        return found
    if not (workdir / CONFIG_NAME).is_file():
        raise FileNotFoundError(
            f'{workdir} holds no run: there is no {CONFIG_NAME}; give the --workdir of a training, '
            f'or a {_SUFFIX}'
        )
    config = read_config(workdir / CONFIG_NAME)
    found = from_tree(config, *load_tree(workdir / folder, step))
    return dataclasses.replace(found, workdir=workdir, folder=folder)


def from_tree(config: Mapping[str, Any], step: int, tree: Mapping[str, Any]) -> TrainedGenerator:
    """The generator of a training state.

    Args:
        config: of the run, nested.
        step: generator updates done.
        tree: the state as nested dicts, from `checkpoint.load_tree` or from `checkpoint.as_tree`.
    """
    gen = from_config.shared_generator(config)
    raw = {'params': tree['gen']['params'], **tree['gen'].get('model_state', {})}
    if 'table' in tree:
        return TrainedGlo(config, step, gen, raw, None, tree['table']['z'])
    return TrainedGenerator(config, step, gen, raw, tree.get('ema') or None)


def from_file(path: pathlib.Path) -> TrainedGenerator:
    """The generator in a `.safetensors` that `TrainedGenerator.export` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: of one line: the file is damaged, is no safetensors, has no config, or not the
            arrays of the network that its config describes.
    """
    arrays, about = _read(path)
    try:
        config, step = json.loads(about[export.CONFIG]), int(about[export.STEP])
        gen, is_ema = from_config.shared_generator(config), about[export.WEIGHTS] == 'ema'
        inputs = from_config.generator_inputs(config)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f'{path} cannot be read as a generator: its metadata are none of this program '
            f'({_words(error)}); write it again by run.export(...)'
        ) from error
    table = arrays.pop(export.TABLE, None)
    _check_arrays(path, arrays, flatten_dict(expected_arrays(config), sep='/'))
    variables = unflatten_dict(arrays, sep='/')
    kept = {'raw': None, 'ema': variables} if is_ema else {'raw': variables, 'ema': None}
    if table is None:
        return TrainedGenerator(config, step, gen, **kept, file=path)
    if table.ndim != 2 or table.shape[1] != inputs.dim_z:
        raise ValueError(
            f'{path} is damaged: its latents are {table.shape}, not (images, {inputs.dim_z})'
        )
    return TrainedGlo(config, step, gen, **kept, table=table, file=path)


def _read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a safetensors file with the metadata of `export`."""
    import safetensors

    if not path.is_file():
        raise FileNotFoundError(f'{path} is not there: give the file that run.export(...) wrote')
    try:
        with safetensors.safe_open(path, framework='numpy') as file:
            about = file.metadata() or {}
            missing = [k for k in (export.CONFIG, export.STEP, export.WEIGHTS) if k not in about]
            if not missing:
                return {name: file.get_tensor(name) for name in file.keys()}, about
    except (OSError, ValueError, TypeError, safetensors.SafetensorError) as error:
        raise ValueError(
            f'{path} is no safetensors file, or a damaged one ({_words(error)}): give the file that '
            "run.export('gen.safetensors') wrote"
        ) from error
    raise ValueError(
        f'{path} is a safetensors file of another program: its metadata have no '
        f'{", ".join(missing)}, which say what network its {len(about)} entries belong to; give one '
        'that run.export(...) wrote'
    )


def expected_arrays(config: Mapping[str, Any]) -> dict[str, Any]:
    """Shape and type of every variable of the generator that a config describes, nested."""
    gen, inputs = from_config.shared_generator(config), from_config.generator_inputs(config)
    z = jax.ShapeDtypeStruct((2, inputs.dim_z), jnp.float32)
    labels = inputs.labels_like(2)
    return dict(jax.eval_shape(lambda *x: gen.init(*x, train=True), jax.random.key(0), z, labels))


def _check_arrays(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], expected: Mapping[str, Any]
) -> None:
    """Raises a ValueError for arrays that are not those of the network, in shape and type."""
    for name in sorted(arrays.keys() | expected.keys()):
        there, needed = (
            f'{x.dtype} {x.shape}' if x is not None else 'not there'
            for x in (arrays.get(name), expected.get(name))
        )
        if there != needed:
            raise ValueError(
                f'{path} does not fit the network of its config: {name} is {there} in the file, '
                f'and {needed} in the network'
            )


def _words(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
