"""The NVIDIA GPUs of this machine, and of a SLURM task."""

import os
import re
import subprocess
from collections.abc import Mapping


def find_gpus(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the NVIDIA GPUs a run would see. JAX is not used: it would take their memory."""
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
    """Numbers of the GPUs this SLURM task uses, among those it sees; None to let JAX decide.

    JAX gives one GPU to each task, so a node's only task would leave its other GPUs idle. Here the
    tasks of a node divide the GPUs that they see equally. Tasks that see fewer GPUs than the node
    has tasks, or that were given some each, see only their own and use all of them.
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
    """Tasks of this node, from SLURM's list by node such as '8(x2),4'; 1 if there is no list."""
    text = environ.get('SLURM_STEP_TASKS_PER_NODE') or environ.get('SLURM_TASKS_PER_NODE') or '1'
    counts = []
    for tasks, times in re.findall(r'(\d+)(?:\(x(\d+)\))?', text):
        counts += [int(tasks)] * int(times or 1)
    return counts[min(int(environ.get('SLURM_NODEID', '0')), len(counts) - 1)]
