"""Chips that are not here: their vendors' compilers run ahead of time, on any machine.

Inside `compiling_for(target)` everything in `snjax.parallel` answers as if the devices of the target
were those of the run: their number, backend and memory. A step that is built and lowered there is
the program of that machine, and only it can be compiled; nothing can be computed.

TPUs need the package `libtpu`, NVIDIA GPUs `jax[cuda13]`.
"""

import contextlib
import dataclasses
import importlib
import os
import re
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import topologies

_GB = 10**9


@dataclasses.dataclass(frozen=True)
class Chip:
    """What the vendor publishes of a chip, or of one GPU of a machine.

    Attributes:
        title: its name.
        backend: 'tpu', 'gpu' or 'cpu'.
        memory: bytes.
        flops: multiplications and additions a second of its matrix units in bfloat16, dense.
        bandwidth: bytes of memory a second.
        links: bytes a second that it sends and receives over all its links to its neighbours.
        clock: of a TPU's cycles, in Hz; 0 elsewhere.
        cuda: of a GPU, what the compiler asks: compute capability, multiprocessors, L2 bytes,
            clock in GHz, bytes of shared memory of a block that opts in, and of a multiprocessor.
    """

    title: str
    backend: str
    memory: int
    flops: float
    bandwidth: float
    links: float
    clock: float = 0.0
    cuda: tuple[str, int, int, float, int, int] | None = None


# TPUs: cloud.google.com/tpu/docs (system architecture of each version). v5e's clock: 197 TFLOP/s are
# 4 units of 128 x 128 at 1.5 GHz; those of the others follow from their units in the same way.
# GPUs: NVIDIA's data sheets (SXM where there are several), CUDA programming guide, table 'technical
# specifications per compute capability'.
CHIPS = {
    'v4': Chip('TPU v4', 'tpu', 32 * 2**30, 275e12, 1228e9, 300e9, 1.05e9),
    'v5e': Chip('TPU v5e', 'tpu', 16 * 2**30, 197e12, 819e9, 200e9, 1.5e9),
    'v5p': Chip('TPU v5p', 'tpu', 95 * 2**30, 459e12, 2765e9, 600e9, 1.75e9),
    'v6e': Chip('TPU v6e', 'tpu', 32 * 2**30, 918e12, 1640e9, 448e9, 1.75e9),
    'a100': Chip(
        'NVIDIA A100 80 GB', 'gpu', 80 * 2**30, 312e12, 2039e9, 600e9,
        cuda=('8.0', 108, 40 * 2**20, 1.41, 166_912, 167_936),
    ),
    'h100': Chip(
        'NVIDIA H100', 'gpu', 80 * 2**30, 989e12, 3350e9, 900e9,
        cuda=('9.0', 132, 50 * 2**20, 1.98, 232_448, 233_472),
    ),
    'h200': Chip(
        'NVIDIA H200', 'gpu', 141 * _GB, 989e12, 4800e9, 900e9,
        cuda=('9.0', 132, 60 * 2**20, 1.98, 232_448, 233_472),
    ),
    'rtx4090': Chip(
        'NVIDIA GeForce RTX 4090', 'gpu', 24 * 2**30, 165e12, 1008e9, 32e9,
        cuda=('8.9', 128, 72 * 2**20, 2.52, 101_376, 102_400),
    ),
}  # fmt: skip
GPUS_OF_A_HOST = 8
ACCEPTED = (
    'cpu for this machine, v5e:2x4 (also v4, v5p and v6e, with a topology of Google Cloud), or '
    'h200x8 (also a100, h100 and rtx4090, with a number of GPUs; more than 8 are hosts of 8)'
)


@dataclasses.dataclass(frozen=True)
class Target:
    """Devices to compile for.

    Attributes:
        name: as it was asked for, e.g. 'v5e:2x4'.
        chip: what is known of one device; None for this machine.
        devices: of the compiler's topology; for this machine those of JAX.
        compiler_options: that compiling for it needs.
    """

    name: str
    chip: Chip | None
    devices: tuple[Any, ...]
    compiler_options: dict[str, Any] = dataclasses.field(default_factory=dict)


def find(name: str) -> Target:
    """The target of a name.

    Args:
        name: 'cpu', 'v5e:2x4', 'h200', 'h200x32', ...

    Raises:
        ValueError: the name is not known, or the vendor's compiler is not installed; one line.
    """
    if name == 'cpu':
        return Target(name, None, tuple(jax.devices()))
    chip, _, topology = name.partition(':')
    if chip in CHIPS and CHIPS[chip].backend == 'tpu' and re.fullmatch(r'\d+(x\d+){1,2}', topology):
        return Target(name, CHIPS[chip], _tpus(name))
    gpu = re.fullmatch(r'([a-z]+\d+)(?:x([1-9]\d*))?', name)
    if gpu and gpu[1] in CHIPS and CHIPS[gpu[1]].backend == 'gpu':
        num = int(gpu[2] or 1)
        if num <= GPUS_OF_A_HOST or num % GPUS_OF_A_HOST == 0:
            # Autotuning would run kernels on the device that is not there.
            options = {'xla_gpu_autotune_level': 0}
            return Target(name, CHIPS[gpu[1]], _gpus(CHIPS[gpu[1]], num), options)
    raise ValueError(f'target {name!r}: accepted are {ACCEPTED}')


def _tpus(name: str) -> tuple[Any, ...]:
    # Or libtpu asks the network for this machine's own TPUs, for minutes.
    os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
    # Its lock is for the chips of a machine, which two compilers do not share.
    os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
    try:
        libtpu = importlib.import_module('libtpu')

        os.environ.setdefault('TPU_LIBRARY_PATH', libtpu.get_library_path())
    except ImportError:
        raise ValueError(
            f"target {name} needs Google's compiler: pip install libtpu, or 'jax[tpu]'"
        ) from None
    with _without_flags():
        return _topology(name, name, 'tpu')


@contextlib.contextmanager
def _without_flags() -> Iterator[None]:
    """Hides XLA_FLAGS from libtpu, which ends the process at a flag of another chip.

    Its own flags are in LIBTPU_INIT_ARGS.
    """
    jax.devices()  # this machine's compiler has read them
    flags = os.environ.pop('XLA_FLAGS', None)
    try:
        yield
    finally:
        if flags is not None:
            os.environ['XLA_FLAGS'] = flags


def _gpus(chip: Chip, num: int) -> tuple[Any, ...]:
    hosts = -(-num // GPUS_OF_A_HOST)
    try:
        return _topology(
            chip.title, f'{hosts}x{num // hosts}x1', 'cuda', target_config=_cuda_config(chip)
        )
    except (RuntimeError, NotImplementedError) as error:
        if 'cuda' not in str(error).lower():
            raise
        raise ValueError(
            f"target {chip.title} needs NVIDIA's compiler, 3 GB: pip install 'jax[cuda13]', and "
            f'JAX_PLATFORMS=cpu where there is no GPU ({str(error).splitlines()[0]})'
        ) from None


def _topology(label: str, topology: str, platform: str, **options: Any) -> tuple[Any, ...]:
    try:
        if platform == 'cuda':
            name = label.replace(' ', '_')
            found = topologies.get_topology_desc(
                name, platform=platform, topology=topology, **options
            )
        else:
            found = topologies.get_topology_desc(topology, platform=platform)
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(f'target {label}: {str(error).splitlines()[0]}') from None
    return tuple(found.devices)


def _cuda_config(chip: Chip) -> str:
    """XLA's GpuTargetConfigProto of a GPU, as text. Limits of blocks are the same on all of these."""
    assert chip.cuda is not None
    capability, cores, l2, clock, block, core = chip.cuda
    major, minor = capability.split('.')
    threads = 1536 if capability == '8.9' else 2048
    info = {
        'threads_per_block_limit': 1024,
        'threads_per_warp': 32,
        'shared_memory_per_block': 49152,
        'shared_memory_per_core': core,
        'threads_per_core_limit': threads,
        'core_count': cores,
        'fpus_per_core': 64 if capability == '8.0' else 128,
        'block_dim_limit_x': 2**31 - 1,
        'block_dim_limit_y': 65535,
        'block_dim_limit_z': 65535,
        'memory_bandwidth': int(chip.bandwidth),
        'l2_cache_size': l2,
        'clock_rate_ghz': clock,
        'device_memory_size': chip.memory,
        'shared_memory_per_block_optin': block,
        'cuda_compute_capability': f'{{ major: {major} minor: {minor} }}',
        'registers_per_core_limit': 65536,
        'registers_per_block_limit': 65536,
    }
    fields = ' '.join(f'{k}: {v}' if v[:1] != '{' else f'{k} {v}' for k, v in _texts(info))
    return (
        f'gpu_device_info {{ {fields} }} platform_name: "CUDA" '
        'dnn_version_info { major: 9 minor: 12 } runtime_version { major: 13 } '
        f'device_description_str: "{chip.title}"'
    )


def _texts(info: dict[str, Any]) -> Iterator[tuple[str, str]]:
    return ((key, str(value)) for key, value in info.items())


_current: Target | None = None


def current() -> Target | None:
    """The target that programs are compiled for; None for the devices of this process."""
    return _current


@contextlib.contextmanager
def compiling_for(target: Target) -> Iterator[None]:
    """Everything in `snjax.parallel` is asked for `target` inside.

    Not for threads: the target is that of the process. Without effect for this machine.
    """
    global _current
    before, cached = _current, jax.config.jax_enable_compilation_cache
    is_tpu = target.chip is not None and target.chip.backend == 'tpu'
    try:
        if target.chip is not None:
            _current = target
            # A cached program would be read back for devices that are not there.
            jax.config.update('jax_enable_compilation_cache', False)
        with _without_flags() if is_tpu else contextlib.nullcontext():
            yield
    finally:
        _current = before
        jax.config.update('jax_enable_compilation_cache', cached)
