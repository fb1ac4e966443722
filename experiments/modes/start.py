"""Starts a mode that works on one run: training, sampling, inversion, evaluation."""

import pathlib

from absl import flags

from experiments.modes import command_line
from snjax import parallel
from snjax.runs.workdir import describe_newest
from snjax.training import compilation_cache


def start(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Does what `--mode` says, in this process or as one of several.

    Args:
        given: the flags of `launch.py`.
        workdir: of the run.

    Raises:
        ValueError, OSError: bad input, or a file that cannot be used.
        Diverged, Preempted: the training ended early.
    """
    parallel.initialize(
        given.distributed,
        coordinator_address=given.coordinator_address,
        num_processes=given.num_processes,
        process_id=given.process_id,
        join_timeout=given.join_timeout,
        peer_timeout=given.peer_timeout,
        newest=lambda: describe_newest(workdir),
    )
    compilation_cache.use(given.compilation_cache)
    # Each mode imports only what it needs.
    if given.mode == 'train':
        from experiments.modes.train import run_train

        return run_train(given.config, workdir, profile=given.profile)
    places = command_line.places()
    if given.mode == 'sample':
        from experiments.modes.sample import run_sample

        run_sample(given.sample, workdir, places)
    elif given.mode == 'invert':
        from experiments.modes.invert import run_invert

        run_invert(given.invert, workdir, places)
    else:
        from experiments.modes.evaluate import run_evaluate

        run_evaluate(given.evaluate, given.config, workdir, places)
