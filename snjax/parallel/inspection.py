"""What a compiled program costs on its chip: memory, kernels, transposes, collectives, time.

Counts are facts of the compiler's program. Times are not measured: on TPUs they are the compiler's
own cycle estimates at the chip's clock, on GPUs a roofline model (`roofline`), each named so.
"""

import dataclasses
import math
import re
from typing import Any

from snjax.parallel import hlo
from snjax.parallel.targets import Chip

# Seconds that a GPU takes to start a kernel of a program that is queued. Assumed, not measured: the
# order of magnitude that is usually given; CUDA graphs take less.
LAUNCH_S = 2e-6
# Matrix products in float32 run on the units for TF32 at half of the rate of bfloat16 (A100, H100,
# H200 by their data sheets).
FLOAT32_SHARE = 0.5
NUM_SHOWN = 10
_CONVOLUTION = re.compile(r'window=\{size=([\dx]+)')
_TRANSPOSED = re.compile(r'dimensions=\{([\d,]*)\}')


@dataclasses.dataclass(frozen=True)
class Cost:
    """An instruction and what it costs in one call.

    Attributes:
        name, opcode: in the program; of a custom call, what it calls.
        times: how often a call runs it.
        seconds: modelled, for all of these; None where there is no model.
        cycles: a TPU compiler's estimate, for all of these.
        num_bytes: of its results.
        layer: path of the Flax module and operation of JAX.
        line: of our code.
    """

    name: str
    opcode: str
    times: int
    seconds: float | None
    cycles: int
    num_bytes: int
    layer: str
    line: str


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The numbers of one program. Everything is of one device and one call.

    Attributes:
        kernels: instructions that start work on the device.
        fusions, convolutions: of these, fusions, and convolutions or calls of a library for them.
        transposes, transpose_bytes: permutations of axes in memory, alone or in a fusion, and the
            bytes of their results.
        copies, copy_bytes: copies of arrays, which change a layout or a place.
        collectives: by kind: how many, their bytes, how many arrays they combine, how many are
            asynchronous.
        cycles: sum of a TPU compiler's estimates; 0 elsewhere.
        seconds: modelled; None on a CPU.
        unknown_loops: loops whose length is not known, which count as if they ran once.
        dearest: the most expensive instructions, by cycles or modelled seconds, or by bytes on a CPU.
    """

    kernels: int
    fusions: int
    convolutions: int
    transposes: int
    transpose_bytes: int
    copies: int
    copy_bytes: int
    collectives: dict[str, dict[str, int]]
    cycles: int
    seconds: float | None
    unknown_loops: int
    dearest: list[Cost]

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)


def inspect(text: str, chip: Chip | None = None) -> Inspection:
    """Counts in the text of a compiled program.

    Args:
        text: what `compiled.as_text()` returned.
        chip: what it was compiled for; None for a CPU, which has no model.
    """
    program = hlo.Program(text)
    counts = dict.fromkeys(('kernels', 'fusions', 'convolutions'), 0)
    moved = {'transpose': [0, 0], 'copy': [0, 0]}
    collectives: dict[str, dict[str, int]] = {}
    costs = []
    for one, times in program.executed():
        kind = one.opcode.removesuffix('-start')
        if one.opcode.endswith(('-done', '-update')):
            continue  # the second half of what was started
        if kind in hlo.COLLECTIVES:
            _add_collective(collectives, one, kind, times)
        parts = list(program.inside(one))
        counts['kernels'] += times
        counts['fusions'] += times * (one.opcode == 'fusion')
        counts['convolutions'] += times * any(map(_is_convolution, parts))
        for part in parts:
            is_moved = part.opcode == 'copy' or (part.opcode == 'transpose' and _permutes(part))
            if is_moved and part.num_bytes > _SCALARS:
                moved[part.opcode][0] += times
                moved[part.opcode][1] += times * part.num_bytes
        costs.append(_cost(program, one, times, chip))
    seconds = None
    if chip and chip.backend == 'tpu':
        seconds = sum(cost.cycles for cost in costs) / chip.clock
    elif chip:
        seconds = sum(cost.seconds or 0.0 for cost in costs)
    by = (lambda c: c.seconds) if chip and chip.backend == 'gpu' else lambda c: c.cycles
    if chip is None:
        by = lambda c: c.num_bytes * c.times  # noqa: E731
    dearest = sorted(costs, key=by, reverse=True)[:NUM_SHOWN]
    return Inspection(
        **counts,
        transposes=moved['transpose'][0],
        transpose_bytes=moved['transpose'][1],
        copies=moved['copy'][0],
        copy_bytes=moved['copy'][1],
        collectives=collectives,
        cycles=sum(cost.cycles for cost in costs),
        seconds=seconds,
        unknown_loops=program.unknown_loops(),
        dearest=dearest,
    )


_SCALARS = 1024  # bytes; what is smaller than this costs its kernel alone


def _add_collective(found, one, kind, times) -> None:
    entry = found.setdefault(kind, {'count': 0, 'bytes': 0, 'arrays': 0, 'asynchronous': 0})
    is_async = one.opcode.endswith('-start')
    # The tuple of a `-start` of some kinds holds operands and results.
    doubled = is_async and kind in ('all-gather', 'collective-permute')
    entry['count'] += times
    entry['bytes'] += times * (one.num_bytes // 2 if doubled else one.num_bytes)
    entry['arrays'] += times * max(1, len(one.operands))
    entry['asynchronous'] += times * is_async


def _permutes(one: hlo.Instruction) -> bool:
    """Whether a transpose changes the order of axes longer than 1."""
    found = _TRANSPOSED.search(one.text)
    if not found or not one.shapes:
        return True
    axes = [int(axis) for axis in found[1].split(',') if axis]
    kept = [axis for axis, size in zip(axes, one.shapes[0][1], strict=False) if size > 1]
    return kept != sorted(kept)


def _is_convolution(one: hlo.Instruction) -> bool:
    return one.opcode == 'convolution' or '$conv' in one.target


def _cost(program: hlo.Program, one: hlo.Instruction, times: int, chip: Chip | None) -> Cost:
    seconds = roofline(program, one, chip) * times if chip and chip.backend == 'gpu' else None
    return Cost(
        name=one.name,
        opcode=one.target or one.opcode,
        times=times,
        seconds=seconds,
        cycles=one.cycles * times,
        num_bytes=one.num_bytes,
        layer=one.flax_name,
        line=program.line(one),
    )


def roofline(program: hlo.Program, one: hlo.Instruction, chip: Chip) -> float:
    """Modelled seconds of a kernel of a GPU: the longer of arithmetic and memory, and its start.

    Operations of matrix products and convolutions are counted, at the peak of the matrix units;
    bytes are those of what it reads and of its results, at the bandwidth of the memory.
    """
    names = program.by_name(one)
    read = sum(names[name].num_bytes for name in one.operands if name in names)
    flops = sum(_flops(program.by_name(part), part) for part in program.inside(one))
    kinds = {kind for kind, _ in one.shapes}
    peak = chip.flops * (FLOAT32_SHARE if 'f32' in kinds and 'bf16' not in kinds else 1.0)
    return max(flops / peak, (read + one.num_bytes) / chip.bandwidth) + LAUNCH_S


def _flops(names: dict[str, hlo.Instruction], one: hlo.Instruction) -> float:
    """Multiplications and additions of a product of matrices or a convolution; 0 of all else."""
    operands = [names[name].shapes[0][1] for name in one.operands[:2] if name in names]
    if len(operands) < 2 or not one.shapes:
        return 0.0
    result = one.shapes[0][1]
    if one.opcode == 'dot' or 'gemm' in one.target:
        # With sizes b of the batch: (b m k) (b k n) (b m n) is b (b m k n)^2.
        batch = re.search(r'lhs_batch_dim(?:s=\{|ensions":\[)([\d,"]+)', one.text)
        axes = [int(n) for n in re.findall(r'\d+', batch[1])] if batch else []
        size = math.prod(operands[0][axis] for axis in axes)
        return 2 * math.sqrt(math.prod(map(math.prod, (*operands, result))) / size)
    window = _CONVOLUTION.search(one.text)
    if not _is_convolution(one) or not window:
        return 0.0
    labels = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', one.text)
    if not labels:
        return 0.0
    # Images x, kernel k and images y = conv(x, k): each pixel of y is a product with all of k. A
    # gradient of it takes as many operations, and has the labels of the convolution itself.
    if 'BackwardInput' in one.target:
        y, kernel = operands
    elif 'BackwardFilter' in one.target:
        y, kernel = operands[1], result
    else:
        y, kernel = result, operands[1]
    return 2.0 * math.prod(y) / y[labels[3].index('f')] * math.prod(kernel)
