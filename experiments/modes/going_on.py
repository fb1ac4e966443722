"""How a run goes on after its end, and how a new one begins where another was. Imports no JAX."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from experiments.modes import from_hub
from snjax.host import paths
from snjax.image_format import said
from snjax.runs import generator_file, hub
from snjax.runs.config_file import read_config
from snjax.runs.workdir import CHECKPOINTS, CONFIG_NAME, newest_step, steps_in

NO_WORKDIR = '--init_from begins a new run: give it a folder of its own, as --workdir=runs/new'


def split(origin: str) -> tuple[str, int | None]:
    """WORKDIR and STEP of `--init_from=WORKDIR[@STEP]`; None without a step. A revision of the hub is
    none.
    """
    if hub.is_address(origin):
        return origin, None
    folder, at, step = origin.rpartition('@')
    return (folder, int(step)) if at and step.isdecimal() else (origin, None)


def resolve(origin: str, workdir: pathlib.Path) -> str:
    """The checkpoint or file that `--init_from` means, for the config: 'absolute path@step'.

    Without a step or a revision it is the newest one, unless the new run has begun with another
    already.

    Args:
        origin: WORKDIR[@STEP], a `.safetensors` that `run.export` wrote, or hf://owner/name.
        workdir: of the new run.

    Raises:
        ValueError: there is no such checkpoint, or both workdirs are the same; one line.
    """
    name, step = split(origin)
    begun = ''
    if (workdir / CONFIG_NAME).is_file():
        begun = str(read_config(workdir / CONFIG_NAME).get('init_from', ''))
    if hub.is_address(name):
        address = hub.parse(name)
        if address.revision is None and hub.is_of(split(begun)[0], address):
            return begun
        name = str(from_hub.downloaded(name))
    folder = pathlib.Path(os.path.abspath(paths.expanded(name, '--init_from')))
    if generator_file.is_one(folder):
        _, held = generator_file.about(folder)
        if step not in (None, held):
            raise ValueError(f'--init_from={origin}: the file holds step {held} alone')
        return f'{folder}@{held}'
    if not (folder / CONFIG_NAME).is_file():
        raise ValueError(
            f'--init_from={origin}: {folder} holds no run, there is no {CONFIG_NAME}; give the '
            '--workdir of a training, and @STEP after it for an older checkpoint'
        )
    if folder == pathlib.Path(os.path.abspath(workdir)):
        raise ValueError(
            f'--init_from={origin} is the --workdir itself: give the new run a --workdir of its own'
        )
    if step is None and split(begun)[0] == str(folder):
        return begun
    steps = steps_in(folder / CHECKPOINTS)
    if not steps or (step is not None and step not in steps):
        there = f'its checkpoints are of steps {steps}' if steps else 'it has no checkpoint'
        raise ValueError(f'--init_from={origin}: {there}')
    return f'{folder}@{step if step is not None else steps[-1]}'


def notes(config: Mapping[str, Any], step: int, workdir: pathlib.Path) -> list[str]:
    """Lines on a run whose steps are all done, or whose further ones change no weight.

    Args:
        config: nested.
        step: generator updates done.
        workdir: of the run.
    """
    num_steps, end = config['num_steps'], config['optimizer']['decay_end']
    is_frozen = bool(end) and step >= end
    lines = []
    if step >= num_steps:
        way = '' if is_frozen else ': a larger --config.num_steps trains on'
        lines.append(f'{workdir} has done all of its {num_steps} steps{way}')
    if is_frozen or 0 < end < num_steps:
        lines.append(
            f'the learning rate is 0 from step {end} on (optimizer.decay_end), where more steps '
            f'change no weight: to train on, begin a new run, as --init_from={workdir}@STEP '
            '--workdir=NEW --config.optimizer.decay_start=... --config.optimizer.decay_end=...'
        )
    return lines


def explained(error: ValueError, workdir: pathlib.Path) -> ValueError:
    """The refusal of another config, with the way to train longer where the schedule is meant."""
    if 'optimizer.decay_' not in str(error) and 'optimizer.ema_decay' not in str(error):
        return error
    return ValueError(
        f'{error}; a schedule may change up to optimizer.decay_start, and the newest checkpoint is '
        f'of step {newest_step(workdir)}: to train longer from a checkpoint, --init_from={workdir}'
        '@STEP --workdir=NEW with these values'
    )


def shorter(config: Mapping[str, Any]) -> str:
    """The keys that make a run shorter, with their values, in one line.

    Args:
        config: nested.
    """
    m, is_gan = config['model'], config['method'] != 'glo'
    counts = {'num_steps': config['num_steps']}
    counts |= {'n_dis': config['n_dis']} if is_gan and config['n_dis'] > 1 else {}
    widths = {'model.gen_width': m['gen_width']}
    widths |= {'model.dis_width': m['dis_width']} if is_gan else {}
    sizes = widths | {'data.image_size': said(config['data']['image_size'])}
    named = [
        ' and '.join(f'--config.{key} (now {value})' for key, value in some.items())
        for some in (counts, sizes)
    ]
    proportion = 'which count in proportion' if len(counts) > 1 else 'which counts in proportion'
    return (
        f'shorter by smaller {named[0]}, {proportion}, or {named[1]}, which count '
        'by their squares; on a GPU by --config.model.dtype=bfloat16'
    )


def after_divergence(error: Exception, workdir: pathlib.Path) -> Exception:
    """The error of a diverged run, with the way to go on from its newest checkpoint."""
    step = newest_step(workdir)
    way = f'--init_from={workdir}@{step} --workdir=NEW' if step else '--workdir=NEW'
    return RuntimeError(
        f'{error}; to go on with other values: {way} --config.optimizer.lr=..., or let a run go '
        'back by itself: --config.sentinel.rollbacks=3'
    )
