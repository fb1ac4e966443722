"""First steps of every mode that works on one run: joins the processes, finds compiled programs."""

import pathlib

from absl import flags

from snjax import parallel
from snjax.runs.workdir import describe_newest
from snjax.training import compilation_cache


def start(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Makes this process one of the run's processes, and uses the compilation cache.

    Args:
        given: the flags of `launch.py`.
        workdir: of the run.

    Raises:
        ValueError: the processes cannot meet, or the cache cannot be used.
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
