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
from snjax.generate.glo import TrainedGlo
from snjax.generate.trained import TrainedGenerator
from snjax.host import paths
from snjax.runs import generator_file, hub
from snjax.runs.checkpoint import load_tree
from snjax.runs.config_file import read_config
from snjax.runs.workdir import CHECKPOINTS, CONFIG_NAME


def load(
    workdir: str | os.PathLike, step: int | None = None, folder: str = CHECKPOINTS
) -> TrainedGenerator:
    """Loads the generator of a run.

    Args:
        workdir: the run's folder, a `.safetensors` that `TrainedGenerator.export` wrote, or
            'hf://owner/name', if need be with @revision, which `TrainedGenerator.push` wrote.
        step: of the checkpoint; None for the newest undamaged one. A file holds one step.
        folder: 'checkpoints', or 'best' for the checkpoint with the best score, if the run took
            scores while training.

    Returns:
        A `TrainedGlo` for a run of GLO, which also has its table of latents.

    Raises:
        FileNotFoundError: no run, no file, or no checkpoint of that step.
        ValueError: a damaged checkpoint or file, a file of something else, or an address of the hub
            that cannot be had.
        ModuleNotFoundError: for hf:// without huggingface_hub.
    """
    if hub.is_address(workdir):
        workdir = hub.download(hub.parse(os.fspath(workdir)))
    workdir = paths.expanded(workdir, 'the workdir')
    if generator_file.is_one(workdir):
        found = from_file(workdir)
        if step not in (None, found.step) or folder != CHECKPOINTS:
            raise ValueError(
                f'{workdir} holds step {found.step} alone: leave step and folder out, or load the '
                'workdir of the run'
            )
        return found
    held = workdir / hub.GENERATOR_NAME
    if held.is_file() and not (workdir / CHECKPOINTS).exists():  # of `--workdir=hf://`, or cloned
        return load(held, step, folder)
    if not (workdir / CONFIG_NAME).is_file():
        raise FileNotFoundError(
            f'{workdir} holds no run: there is no {CONFIG_NAME}; give the --workdir of a training, '
            f'or a {generator_file.SUFFIX}'
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
    arrays, about = generator_file.read(path)
    try:
        config, step = json.loads(about[generator_file.CONFIG]), int(about[generator_file.STEP])
        gen, is_ema = from_config.shared_generator(config), about[generator_file.WEIGHTS] == 'ema'
        inputs = from_config.generator_inputs(config)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(generator_file.unreadable(path, error)) from error
    table = arrays.pop(generator_file.TABLE, None)
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
