"""Sends a run to Weights & Biases, from the files that it writes: no training waits for a tracker.

    python -m snjax.runs.wandb_upload runs/digits --project=gans [--follow]

Each line of `metrics.jsonl` is logged once with its step, under its own tags; the grids of
`samples/` are images, `config.json` is the config. A second upload goes on where the first ended:
`wandb_upload.json` in the workdir holds the id of the W&B run and the last line and grid that were
sent. `WANDB_MODE=offline` writes a folder in the workdir, and the last line
printed is the `wandb sync` that uploads it later.
"""

import argparse
import importlib
import json
import os
import pathlib
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any

from snjax.host.exit_codes import BAD_INPUT
from snjax.runs.config_file import read_config
from snjax.runs.files import parse, read_json, replace_file
from snjax.runs.lock import lock_holder
from snjax.runs.workdir import CONFIG_NAME, METRICS_NAME, SAMPLES

STATE = 'wandb_upload.json'
_EVERY_S = 15.0
_STEP = 'generator_updates'  # W&B's own step must rise, but scores are logged after later losses


def upload(workdir: pathlib.Path, *, project: str = 'snjax', follow: bool = False) -> int:
    """Sends what has not been sent; with `follow` until no process works on the run any more.

    Args:
        workdir: of the run.
        project: of W&B.
        follow: wait for more.

    Returns:
        The number of lines that were sent.

    Raises:
        ValueError: there is no run, or a file is damaged.
        ModuleNotFoundError: wandb is not installed.
    """
    wandb = importlib.import_module('wandb')
    if not (workdir / CONFIG_NAME).is_file():
        raise ValueError(f'{workdir} holds no run: there is no {CONFIG_NAME}')
    state = {'id': None, 'lines': 0, 'grid': -1} | (read_json(workdir / STATE) or {})
    run = wandb.init(
        project=project,
        name=workdir.resolve().name,
        id=state['id'],
        resume='allow',
        config=read_config(workdir / CONFIG_NAME),
        dir=str(workdir),
        settings=wandb.Settings(silent=True, console='off'),
    )
    run.define_metric(_STEP)
    run.define_metric('*', step_metric=_STEP)
    state['id'], sent = run.id, 0
    try:
        while True:
            is_live = follow and bool(lock_holder(workdir))
            sent += _send(run, wandb, workdir, state)
            replace_file(workdir / STATE, json.dumps(state) + '\n')
            if not is_live:
                return sent
            time.sleep(_EVERY_S)
    finally:
        run.finish()


def _send(run: Any, wandb: Any, workdir: pathlib.Path, state: dict[str, Any]) -> int:
    """Sends new lines and grids, and notes them in `state`."""
    path = workdir / METRICS_NAME
    # A last line without its end is still being written.
    whole = path.read_bytes().rpartition(b'\n')[0].splitlines() if path.is_file() else []
    new = whole[state['lines'] :]
    for line in new:
        point = parse(line)
        values = {k: float(v) for k, v in point.items() if k not in ('step', 'wall_time')}
        run.log({_STEP: point['step'], **values})
    for grid in sorted((workdir / SAMPLES).glob('*.png')):
        step = int(grid.stem) if grid.stem.isdecimal() else -1
        if step > state['grid']:
            run.log({_STEP: step, 'samples': wandb.Image(str(grid))})
            state['grid'] = step
    # A resume has cut lines that were sent: those that come again are at later places.
    state['lines'] = len(whole)
    return len(new)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Sends a run to Weights & Biases.')
    parser.add_argument('workdir', type=pathlib.Path)
    parser.add_argument('--project', default='snjax')
    parser.add_argument('--follow', action='store_true', help='until the run has ended')
    given = parser.parse_args(arguments)
    try:
        sent = upload(given.workdir, project=given.project, follow=given.follow)
    except ModuleNotFoundError as error:
        print(f'wandb_upload: {error}: pip install wandb', file=sys.stderr)
        sys.exit(BAD_INPUT)
    except ValueError as error:
        print(f'wandb_upload: {error}', file=sys.stderr)
        sys.exit(BAD_INPUT)
    folders = sorted((given.workdir / 'wandb').glob('offline-run-*'))
    if os.environ.get('WANDB_MODE') == 'offline' and folders:
        print(
            f'{sent} lines of {given.workdir / METRICS_NAME} written; to send them: '
            f'wandb sync {shlex.quote(str(folders[-1]))}'
        )
    else:
        print(f'{sent} lines of {given.workdir / METRICS_NAME} sent')


if __name__ == '__main__':
    main()
