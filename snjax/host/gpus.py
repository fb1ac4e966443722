"""The NVIDIA GPUs of this machine, and of a SLURM task."""

import os
import re
import subprocess
from collections.abc import Mapping


def find_gpus(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The NVIDIA GPUs that a run would see, found without JAX, which would take their memory."""
    if environ.get('JAX_PLATFORMS') == 'cpu':
        return []
    visible = environ.get('CUDA_VISIBLE_DEVICES')
    if visible is not None:
        names = [name.strip() for name in visible.split(',')]
        return [name for name in names if name and name != '-1']
    try:
        listed = subprocess.run(
            ['nvidia-smi', '--query-gpu=index', '--format=csv,noheader'],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = listed.stdout.split() if listed.returncode == 0 else []
    return [line for line in lines if line.isdecimal()]


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
