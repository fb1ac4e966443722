"""Places for runs: the machine in equal parts, of GPUs where there are some and else of CPU cores.

Parts are equal so that a run computes the same whichever it gets; what is left over stays idle.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from snjax.host.gpus import find_gpus

# Of a GPU's memory, for all runs on it; the rest is for their contexts.
_SHARED_MEMORY = 0.9
_THREADS = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')


@dataclasses.dataclass(frozen=True)
class Slot:
    """Where one run at a time may be.

    Attributes:
        name: for people.
        environment: variables that keep a run there.
        cores: that it may use; none: all.
    """

    name: str
    environment: Mapping[str, str]
    cores: tuple[int, ...] = ()


def find(num: int = 0, environ: Mapping[str, str] = os.environ) -> list[Slot]:
    """This machine in `num` parts; 0 for one to each GPU, and one alone without GPUs."""
    gpus = find_gpus(environ)
    return gpu_slots(num or len(gpus), gpus) if gpus else core_slots(num or 1, _cores())


def gpu_slots(num: int, gpus: Sequence[str]) -> list[Slot]:
    """`num` slots, of one or several whole GPUs each, or several to a GPU with equal shares of its memory.

    Raises:
        ValueError: they would not be equal.
    """
    if num < 1 or (num % len(gpus) and len(gpus) % num):
        fits = [n for n in range(1, 2 * len(gpus) + 1) if not (n % len(gpus) and len(gpus) % n)]
        raise ValueError(
            f'--slots={num}: {len(gpus)} GPUs are shared equally by {", ".join(map(str, fits))} or '
            f'another multiple of {len(gpus)}'
        )
    if num <= len(gpus):
        size = len(gpus) // num
        groups = [gpus[i * size : (i + 1) * size] for i in range(num)]
        return [
            Slot(f'GPU {",".join(group)}', {'CUDA_VISIBLE_DEVICES': ','.join(group)})
            for group in groups
        ]
    share = num // len(gpus)
    memory = {'XLA_PYTHON_CLIENT_MEM_FRACTION': f'{_SHARED_MEMORY / share:.3f}'}
    # One on each GPU before the second on any: a sweep shorter than the slots has them alone.
    return [
        Slot(f'GPU {gpu} {i + 1}/{share}', {'CUDA_VISIBLE_DEVICES': gpu} | memory)
        for i in range(share)
        for gpu in gpus
    ]


def core_slots(num: int, cores: Sequence[int]) -> list[Slot]:
    """`num` slots with equally many CPU cores each, and as many threads.

    Raises:
        ValueError: there are fewer cores.
    """
    if not 1 <= num <= len(cores):
        raise ValueError(
            f'--slots={num}: 1 to {len(cores)} are accepted, the cores of this machine'
        )
    size = len(cores) // num
    threads = {name: str(size) for name in _THREADS}
    groups = [tuple(cores[i * size : (i + 1) * size]) for i in range(num)]
    return [Slot(f'CPU {",".join(map(str, group))}', threads, group) for group in groups]


def environment(slot: Slot, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Of a run in a slot. SLURM's variables are of the sweep's own job: `jax.distributed` would believe them."""
    kept = {key: value for key, value in environ.items() if not key.startswith('SLURM_')}
    return {**kept, **slot.environment}


def _cores() -> list[int]:
    if hasattr(os, 'sched_getaffinity'):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
