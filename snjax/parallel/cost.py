"""What a program costs, read off its jaxpr before it is compiled: operations by layer, and memory.

Operations are the multiplications and additions of matrix products and convolutions, as papers
count them; all other operations add a few per cent. Memory is an estimate of XLA's need. It allows
for fusion, but not for the order that XLA chooses nor for the scratch space of a GPU's
convolutions.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.extend import core
from jax.interpreters import partial_eval

# Operations that XLA fuses into the operation that uses their result, which is never in memory.
_FUSED = frozenset(
    """
    abs add add_any and bitcast_convert_type broadcast_in_dim ceil clamp concatenate
    convert_element_type copy cos div eq erf erf_inv exp exp2 expand_dims floor ge gt integer_pow
    iota is_finite le log log1p logistic lt max min mul ne neg not or pad pow random_bits
    random_fold_in random_split random_unwrap random_wrap rem reshape rev round rsqrt select_n
    shift_left shift_right_arithmetic shift_right_logical sign sin slice split sqrt square squeeze
    stack stop_gradient sub tanh threefry2x32 transpose unstack xor
    """.split()
)
# Reductions: XLA fuses the operations that compute their inputs into them.
_REDUCTIONS = frozenset(
    (
        'argmax argmin psum psum_invariant reduce_and reduce_max reduce_min reduce_or reduce_prod '
        'reduce_sum'
    ).split()
)
_CALLS = frozenset(
    (
        'checkpoint closed_call core_call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr jit '
        'pjit pmap remat2 shard_map xla_pmap'
    ).split()
)


def flops(jaxpr: core.Jaxpr) -> float:
    """Multiplications and additions of one run of a program; of one device, inside `pmap`.

    A loop of unknown length (`while`) counts once, a `cond` as its dearest branch.
    """
    return float(sum(flops_by_layer(jaxpr).values()))


def flops_by_layer(jaxpr: core.Jaxpr) -> dict[str, float]:
    """`flops` by layer: `{'ResNetGenerator/block1/conv1': 1e9, ...}`.

    A layer is named by the path of its Flax module. The gradients of a layer count for that layer.
    Operations outside of all modules have the key ''.
    """
    found: dict[str, float] = {}
    for path, count in _operations(_needed(jaxpr), '', 1):
        found[path] = found.get(path, 0) + count
    return found


def _operations(jaxpr: core.Jaxpr, outside: str, times: int) -> Iterator[tuple[str, float]]:
    for eqn in jaxpr.eqns:
        path = f'{outside}/{eqn.source_info.name_stack}'
        name = eqn.primitive.name
        if name == 'dot_general':
            yield _layer_of(path), times * _dot_flops(eqn)
        elif name == 'conv_general_dilated':
            yield _layer_of(path), times * _conv_flops(eqn)
        elif name == 'cond':
            yield from max(
                (list(_operations(branch.jaxpr, path, times)) for branch in eqn.params['branches']),
                key=lambda found: sum(count for _, count in found),
            )
        else:
            inside = times * eqn.params['length'] if name == 'scan' else times
            for inner in _jaxprs(eqn):
                yield from _operations(inner, path, inside)


def _needed(jaxpr: core.Jaxpr) -> core.Jaxpr:
    """The program without the operations whose results nothing uses. XLA drops them as well.

    An example is the rest of the forward pass when only u is advanced.
    """
    return partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)[0]


def _layer_of(path: str) -> str:
    """The modules of a path, without transformations and methods (`conv1.normalize`)."""
    path = re.sub(r'\w+\(|\)', '', path)
    return '/'.join(p for p in path.split('/') if p and '.' not in p and p != 'checkpoint')


def _dot_flops(eqn) -> float:
    (contracted, _), _ = eqn.params['dimension_numbers']
    shape = eqn.invars[0].aval.shape
    return 2.0 * eqn.outvars[0].aval.size * math.prod(shape[d] for d in contracted)


def _conv_flops(eqn) -> float:
    """Taps on the zeros that `lhs_dilation` puts in are not counted, those on padding are."""
    kernel, spec = eqn.invars[1].aval.shape, eqn.params['dimension_numbers'].rhs_spec
    taps = math.prod(kernel[d] for d in spec[1:])  # by the inputs of one group
    return 2.0 * eqn.outvars[0].aval.size * taps / math.prod(eqn.params['lhs_dilation'])


def _jaxprs(eqn) -> Iterator[core.Jaxpr]:
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item


# ---- communication


class Exchange(NamedTuple):
    """One array that is summed over the devices.

    Attributes:
        num_bytes: bytes that every device contributes.
        turn: 0 or more. The exchange needs the result of an exchange of the previous turn.
            Exchanges of the same turn may run together.
    """

    num_bytes: int
    turn: int


def exchanges(jaxpr: core.Jaxpr) -> list[Exchange]:
    """The sums and averages over devices in one device's program, in its order, loops unrolled."""
    found: list[Exchange] = []
    _exchanges(_needed(jaxpr), [0] * len(jaxpr.invars), found)
    return found


def _exchanges(jaxpr, turns, found) -> list[int]:
    """Adds a program's exchanges to `found`.

    Args:
        turns: the first turn in which each input can be exchanged.

    Returns:
        The same for each output.
    """
    ready = dict(zip(jaxpr.invars, turns, strict=True))
    for eqn in jaxpr.eqns:
        name, inner = eqn.primitive.name, list(_jaxprs(eqn))
        inputs = [ready.get(v, 0) if isinstance(v, core.Var) else 0 for v in eqn.invars]
        latest = max(inputs, default=0)
        if name in ('psum', 'psum_invariant'):
            found += (Exchange(bytes_of([v.aval]), latest) for v in eqn.invars)
            outputs = [latest + 1] * len(eqn.outvars)
        elif name in _CALLS and len(inner) == 1:
            used = len(inner[0].invars)
            outputs = _exchanges(inner[0], inputs[-used:] if used else [], found)
        else:
            for body in inner * (eqn.params['length'] if name == 'scan' else 1):
                latest = max([latest, *_exchanges(body, [latest] * len(body.invars), found)])
            outputs = [latest] * len(eqn.outvars)
        ready |= zip(eqn.outvars, outputs, strict=True)
    return [ready.get(v, 0) if isinstance(v, core.Var) else 0 for v in jaxpr.outvars]


# ---- memory


class _Operation(NamedTuple):
    """One operation of a program without calls; values are numbers."""

    name: str
    inputs: list[int]
    outputs: list[int]
    inside: int  # bytes that it needs while it runs, besides its inputs and outputs


def bytes_of(tree: Any) -> int:
    """The bytes of a tree of arrays or of their shapes."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def temporary_bytes(jaxpr: core.Jaxpr) -> int:
    """Estimates the peak memory of a program's intermediate values.

    The operations are walked in the order of the program. An elementwise operation counts as fused
    into its user, unless a matrix product, a convolution or the like reads its result.
    """
    operations, sizes, kept = _flatten(_needed(jaxpr))
    alive_until, stored = _lifetimes(operations, kept)
    ends: dict[int, list[int]] = {}
    now = most = 0
    for i, operation in enumerate(operations):
        for value in operation.outputs:
            if value in stored and value not in kept and alive_until.get(value, -1) >= i:
                now += sizes[value]
                ends.setdefault(alive_until[value], []).append(value)
        most = max(most, now + operation.inside)
        now -= sum(sizes[value] for value in ends.pop(i, []))
    return most


def _flatten(jaxpr: core.Jaxpr) -> tuple[list[_Operation], dict[int, int], set[int]]:
    """Returns a program's operations with calls inlined, the bytes of each value, and the values
    that are inputs or outputs.
    """
    operations: list[_Operation] = []
    sizes: dict[int, int] = {}

    def new(var) -> int:
        value = len(sizes)
        aval = var.aval
        itemsize = getattr(aval.dtype, 'itemsize', 8)  # keys count 8 bytes
        sizes[value] = math.prod(aval.shape) * itemsize
        return value

    def walk(jaxpr, inputs):
        values = dict(zip(jaxpr.invars, inputs, strict=True))
        values |= {var: new(var) for var in jaxpr.constvars}
        for eqn in jaxpr.eqns:
            name = eqn.primitive.name
            read = [values[v] if isinstance(v, core.Var) else new(v) for v in eqn.invars]
            inner = list(_jaxprs(eqn))
            if name == 'optimization_barrier':
                # It does nothing, but what goes through it has to be there.
                operations.append(_Operation(name, read, [], 0))
                written = read
            elif name in _CALLS and len(inner) == 1:
                written = walk(inner[0], read[-len(inner[0].invars) :] if inner[0].invars else [])
            else:
                written = [new(v) for v in eqn.outvars]
                inside = max(map(temporary_bytes, inner), default=0)
                operations.append(_Operation(name, read, written, inside))
            values |= zip(eqn.outvars, written, strict=True)
        return [values[v] if isinstance(v, core.Var) else new(v) for v in jaxpr.outvars]

    inputs = [new(var) for var in (*jaxpr.constvars, *jaxpr.invars)]
    outputs = walk(jaxpr, inputs[len(jaxpr.constvars) :])
    return operations, sizes, {*inputs, *outputs}


def _lifetimes(operations, kept) -> tuple[dict[int, int], set[int]]:
    """Returns the last operation that needs each value, and the values that are in memory because
    they are not fused.
    """
    alive_until: dict[int, int] = {}
    stored = set(kept)
    for i, operation in reversed(list(enumerate(operations))):
        fused = operation.name in _FUSED
        if not fused:
            stored.update(operation.outputs)
            if operation.name not in _REDUCTIONS:
                stored.update(operation.inputs)
        # Where a result is computed again at each use, its inputs have to last as long.
        if fused and not stored.intersection(operation.outputs):
            until = max((alive_until.get(v, -1) for v in operation.outputs), default=-1)
        else:
            until = i
        for value in operation.inputs:
            alive_until[value] = max(alive_until.get(value, -1), until)
    return alive_until, stored
