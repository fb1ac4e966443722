"""Starts `--mode=sweep` from the flags of `launch.py`. Imports no JAX."""

import pathlib

from absl import flags
from ml_collections import config_flags

from experiments.modes import ends, errors, sweep


def start(given: flags.FlagValues, folder: pathlib.Path) -> int:
    """Plans a sweep, then runs it or prints its commands.

    Args:
        given: the flags of `launch.py`.
        folder: where the sweep lives.

    Returns:
        The exit code.

    Raises:
        ValueError, OSError: bad input, or a file that cannot be used.
    """
    flag = given['config']
    file = config_flags.get_config_filename(flag)
    try:
        runs = sweep.plan(file, given.sweep, config_flags.get_override_values(flag), folder)
    except Exception as error:
        errors.end_at_config(error, source=(given.sweep or file).partition(':')[0])
    if given.dry_run:
        with ends.reader_may_leave():
            sweep.show_commands(runs, folder, num_slots=given.slots)
        return 0
    return sweep.run_sweep(
        runs,
        folder,
        engine=given.engine,
        num_slots=given.slots,
        slurm_options=given.slurm,
        retries=given.retries,
    )
