"""Slots for runs: equal parts of the machine, made of its GPUs, or of its CPU cores without GPUs.

All slots are equal so that a run computes the same bits in each; cores left over stay idle.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from snjax.host.gpus import find_gpus

# Share of a GPU's memory for all runs on it; their CUDA contexts need the rest.
_SHARED_MEMORY = 0.9
_THREADS = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')


@dataclasses.dataclass(frozen=True)
class Slot:
    """A part of the machine for one run at a time.

    Attributes:
        name: its name in tables and messages.
        environment: variables that confine a run to the slot.
        cores: CPU cores that the run may use; all if empty.
    """

    name: str
    environment: Mapping[str, str]
    cores: tuple[int, ...] = ()


def find(num: int = 0, environ: Mapping[str, str] = os.environ) -> list[Slot]:
    """Divides this machine into `num` slots; 0 for one slot per GPU, or one slot without GPUs."""
    gpus = find_gpus(environ)
    return gpu_slots(num or len(gpus), gpus) if gpus else core_slots(num or 1, _cores())


def gpu_slots(num: int, gpus: Sequence[str]) -> list[Slot]:
    """Returns `num` equal slots, each of one or more whole GPUs or of an equal share of one GPU.

    Raises:
        ValueError: the GPUs cannot be divided into `num` equal slots.
    """
    if num < 1 or (num % len(gpus) and len(gpus) % num):
        fits = [n for n in range(1, 2 * len(gpus) + 1) if not (n % len(gpus) and len(gpus) % n)]
        raise ValueError(
            f'--slots={num}: {len(gpus)} GPUs are shared equally by {", ".join(map(str, fits))} '
            f'or another multiple of {len(gpus)}'
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
    # First one slot on each GPU, then the second ones: few runs then get a GPU of their own.
    return [
        Slot(f'GPU {gpu} {i + 1}/{share}', {'CUDA_VISIBLE_DEVICES': gpu} | memory)
        for i in range(share)
        for gpu in gpus
    ]


def core_slots(num: int, cores: Sequence[int]) -> list[Slot]:
    """Returns `num` slots with equally many CPU cores, and one thread per core.

    Raises:
        ValueError: there are fewer than `num` cores, or `num` is less than 1.
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
    """The environment of a run in `slot`.

    SLURM's variables describe the job of the sweep itself and are removed, because
    `jax.distributed` would take them for the run's.
    """
    kept = {key: value for key, value in environ.items() if not key.startswith('SLURM_')}
    return {**kept, **slot.environment}


def _cores() -> list[int]:
    if hasattr(os, 'sched_getaffinity'):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
