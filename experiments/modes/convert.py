"""`launch.py --mode=convert`: a published generator of another code as a workdir of this program.

`--mode=sample` and `--mode=evaluate` read the workdir, and so does `snjax.load`.
"""

import pathlib

import numpy as np
from absl import flags

from experiments.modes.lines import say
from experiments.settings import ranges
from experiments.settings.check import Config
from snjax.generate import published
from snjax.host import paths
from snjax.runs import lock
from snjax.runs.checkpoint import Checkpointer
from snjax.runs.config_file import check_config, compare_config
from snjax.runs.workdir import CHECKPOINTS, steps_in


def main(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Runs `--mode=convert` with the flags of `launch.py`."""
    if not given.published:
        raise ValueError(
            '--published is missing: give a netG_..._steps.pth of mimicry, a ResNetGenerator_....npz of '
            'sngan_projection or a G_ema.pth of BigGAN-PyTorch'
        )
    run_convert(given.config, paths.expanded(given.published, '--published'), workdir)


def run_convert(config: Config, path: pathlib.Path, workdir: pathlib.Path) -> None:
    """Writes the generator as the only checkpoint of a workdir, and prints what it was.

    There is no discriminator and no optimizer in it: the workdir cannot be trained on.

    Args:
        config: of a run with the same network and set.
        path: the published file (`snjax.generate.published`).
        workdir: new, or of the same config without a checkpoint.

    Raises:
        ValueError, FileNotFoundError: the file or a value is not accepted, or the workdir holds a
            run; one line.
    """
    ranges.check('config', config)
    nested = config.to_dict()
    there = steps_in(workdir / CHECKPOINTS)
    if there:
        raise ValueError(
            f'{workdir} holds checkpoints of a run already ({there[-1]} is the newest): use another '
            '--workdir'
        )
    compare_config(workdir, nested)
    found = published.read(path, nested)
    step = config.num_steps if found.step is None else found.step
    states = {name: values for name, values in found.variables.items() if name != 'params'}
    gen = {'params': found.variables['params'], 'model_state': states}
    workdir.mkdir(parents=True, exist_ok=True)
    with lock.WorkdirLock(workdir):
        check_config(workdir, nested)
        with Checkpointer(workdir / CHECKPOINTS) as checkpointer:
            checkpointer.save(step, {'step': np.int32(step), 'gen': gen})
            checkpointer.wait()
    say(f'{path}: a generator of {found.source}, sha256 {found.sha256}')
    say(f'step {step} of it at {workdir}; --mode=sample and --mode=evaluate read it')
