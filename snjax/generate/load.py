"""Generators of runs on disk and of states in training: `snjax.load('runs/digits').sample(64)`."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from snjax import from_config
from snjax.generate.glo import TrainedGlo
from snjax.generate.trained import TrainedGenerator
from snjax.host import paths
from snjax.runs.checkpoint import load_tree
from snjax.runs.config_file import read_config
from snjax.runs.workdir import CHECKPOINTS, CONFIG_NAME


def load(
    workdir: str | os.PathLike, step: int | None = None, folder: str = CHECKPOINTS
) -> TrainedGenerator:
    """Loads the generator of a run.

    Args:
        workdir: the run's folder.
        step: of the checkpoint; None for the newest undamaged one.
        folder: 'checkpoints', or 'best' for the checkpoint with the best score, if the run took
            scores while training.

    Returns:
        A `TrainedGlo` for a run of GLO, which also has its table of latents.

    Raises:
        FileNotFoundError: no run, or no checkpoint of that step.
        ValueError: a damaged checkpoint.
    """
    workdir = paths.expanded(workdir, 'the workdir')
    if not (workdir / CONFIG_NAME).is_file():
        raise FileNotFoundError(
            f'{workdir} holds no run: there is no {CONFIG_NAME}; give the --workdir of a training'
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
