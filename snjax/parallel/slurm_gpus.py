"""Which GPUs of its node are a SLURM task's own."""

import os
import re
from collections.abc import Mapping

from snjax.sweeps.slots import find_gpus


def own_gpus(environ: Mapping[str, str] = os.environ) -> list[int] | None:
    """Numbers, among the GPUs that this task sees, of those that its process is to use; None leaves it to JAX.

    JAX takes one for each task, whatever their number: a node's only task would leave the node's other GPUs idle. Here
    the tasks of a node divide what they see. Tasks that see fewer GPUs than there are tasks, or were promised some
    each, see their own alone.
    """
    if 'SLURM_LOCALID' not in environ or 'JAX_LOCAL_DEVICE_IDS' in environ:
        return None
    gpus = len(find_gpus(environ))
    if not gpus:
        return None
    tasks = _tasks_of_node(environ)
    if gpus < tasks or 'SLURM_GPUS_PER_TASK' in environ:
        return list(range(gpus))
    share, place = gpus // tasks, int(environ['SLURM_LOCALID'])
    return list(range(place * share, (place + 1) * share))


def _tasks_of_node(environ):
    """Of '8(x2),4' the number of this node, by its place in the step; 1 where SLURM does not say."""
    text = environ.get('SLURM_STEP_TASKS_PER_NODE') or environ.get('SLURM_TASKS_PER_NODE') or '1'
    counts = []
    for tasks, times in re.findall(r'(\d+)(?:\(x(\d+)\))?', text):
        counts += [int(tasks)] * int(times or 1)
    return counts[min(int(environ.get('SLURM_NODEID', '0')), len(counts) - 1)]
