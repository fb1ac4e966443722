"""Reads a compiled program: its kernels, transposes, collectives and what each of them costs.

XLA prints the program that a device runs, one instruction a line. This module counts in that text.
An instruction in the body of a loop counts as often as the loop runs, where XLA knows that number.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator
from typing import Any

# Instructions that move or compute nothing when the program runs.
_FREE = frozenset(
    'after-all bitcast constant get-tuple-element parameter partition-id replica-id tuple domain '
    'opt-barrier add-dependency'.split()
)
_STRUCTURE = frozenset('while call conditional'.split())
COLLECTIVES = frozenset(
    'all-reduce all-gather reduce-scatter all-to-all collective-permute collective-broadcast'.split()
)
_BYTES = {'pred': 1.0, 'bf16': 2.0, 'f8e4m3fn': 1.0, 'f8e5m2': 1.0, 's4': 0.5, 'u4': 0.5}
_INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%?([\w.-]+) = (.+)$')
_COMPUTATION = re.compile(r'^(?:ENTRY )?%?([\w.-]+) \(.*\{$')
_OPCODE = re.compile(r'(?:^|[\s)}\]])([a-z][\w-]*)\(')
_ARRAY = re.compile(r'\b([a-z]+\d*\w*)\[([\d,]*)\]')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_BOUND = re.compile(r'^s32\[\]\S* constant\((\d+)\)')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_CALLED = re.compile(r'(?:calls|body|to_apply|branch_computations)=\{?(%?[\w.-]+(?:, ?%?[\w.-]+)*)')
_OPERAND = re.compile(r'%([\w.-]+)')
_FRAME = re.compile(r'stack_frame_id=(\d+)')
_NAMED = re.compile(r'op_name="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program.

    Attributes:
        name: in the program.
        opcode: e.g. 'fusion'.
        shapes: types and shapes of its results.
        operands: names of what it reads.
        called: names of the computations that it runs.
        text: the line.
    """

    name: str
    opcode: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    operands: tuple[str, ...]
    called: tuple[str, ...]
    text: str

    @property
    def num_bytes(self) -> int:
        """Bytes of its results."""
        return int(sum(_bytes_of(kind) * math.prod(shape) for kind, shape in self.shapes))

    @property
    def cycles(self) -> int:
        """A TPU compiler's own estimate; 0 where there is none."""
        found = _CYCLES.search(self.text)
        return int(found[1]) if found else 0

    @property
    def target(self) -> str:
        """What a custom call calls, e.g. '__cudnn$convForward'; empty for other instructions."""
        found = re.search(r'custom_call_target="([^"]*)"', self.text)
        return found[1] if found else ''

    @property
    def flax_name(self) -> str:
        """The path of the Flax module and the operation of JAX; empty if XLA kept none."""
        found = _NAMED.search(self.text)
        return found[1] if found else ''


@functools.cache
def _bytes_of(kind: str) -> float:
    if kind in _BYTES:
        return _BYTES[kind]
    bits = re.search(r'\d+', kind)
    return int(bits[0]) / 8 if bits else 0.0


class Program:
    """The text of a compiled program, parsed.

    Args:
        text: what `compiled.as_text()` returned.

    Attributes:
        computations: the instructions of each computation by its name.
        entry: the name of the computation that a call runs.
    """

    def __init__(self, text: str):
        self.computations: dict[str, list[Instruction]] = {}
        self.entry = ''
        self._frames = _Frames(text)
        body: list[Instruction] = []
        for line in text.splitlines():
            if begun := _COMPUTATION.match(line):
                body = self.computations.setdefault(begun[1], [])
                if line.startswith('ENTRY'):
                    self.entry = begun[1]
            elif found := _INSTRUCTION.match(line):
                body.append(_parse(found[1], found[2]))
        if not self.entry:
            raise ValueError('the text is no compiled program of XLA: it has no ENTRY computation')

    def executed(self) -> Iterator[tuple[Instruction, int]]:
        """Every instruction that a call runs, and how often; the insides of fusions are left out."""
        yield from self._executed(self.entry, 1)

    def _executed(self, computation: str, times: int) -> Iterator[tuple[Instruction, int]]:
        for one in self.computations.get(computation, []):
            if one.opcode in _STRUCTURE:
                trips = (self._trips(one) or 1) if one.opcode == 'while' else 1
                for name in one.called:
                    yield from self._executed(name, times * trips)
            elif one.opcode not in _FREE:
                yield one, times

    def unknown_loops(self) -> int:
        """Number of loops whose length is not known: their bodies count once."""
        loops = (
            one for body in self.computations.values() for one in body if one.opcode == 'while'
        )
        return sum(self._trips(one) is None for one in loops)

    def _trips(self, loop: Instruction) -> int | None:
        """How often a loop runs. GPU programs say it; else its condition is i < N, from i = 0."""
        if found := _TRIPS.search(loop.text):
            return int(found[1])
        condition = re.search(r'condition=%?([\w.-]+)', loop.text)
        body = self.computations.get(condition[1], []) if condition else []
        bounds = [found for one in body if (found := _BOUND.match(one.text))]
        is_less = bool(body) and body[-1].opcode == 'compare' and 'direction=LT' in body[-1].text
        return int(bounds[0][1]) if is_less and len(bounds) == 1 else None

    def inside(self, one: Instruction) -> Iterator[Instruction]:
        """The instructions of a fusion, and of the fusions in it; of others, itself."""
        if one.opcode != 'fusion':
            yield one
        else:
            for name in one.called:
                for part in self.computations.get(name, []):
                    yield from self.inside(part)

    def by_name(self, one: Instruction) -> dict[str, Instruction]:
        """The instructions of the computation that `one` is in, by their names."""
        return self._named[id(one)]

    @functools.cached_property
    def _named(self) -> dict[int, dict[str, Instruction]]:
        found = {}
        for body in self.computations.values():
            names = {one.name: one for one in body}
            found |= {id(one): names for one in body}
        return found

    def line(self, one: Instruction, package: str = 'snjax') -> str:
        """Where the code of an instruction is: 'snjax/nn/layers.py:120'; empty if not known.

        Args:
            one: the instruction; of a fusion, that of its root is taken if it has none.
            package: the innermost line in a file whose path has this folder is meant.
        """
        for part in (one, *reversed(list(self.inside(one)))):
            if (found := _FRAME.search(part.text)) and (at := self._frames.line(found[1], package)):
                return at
        return ''


def _parse(name: str, rest: str) -> Instruction:
    opcode = _OPCODE.search(_without_metadata(rest))
    start = opcode.start(1) if opcode else len(rest)
    shapes = tuple(
        (kind, tuple(int(n) for n in sizes.split(',') if n))
        for kind, sizes in _ARRAY.findall(rest[:start])
    )
    arguments = rest[start : rest.find(')', start)]
    called = _CALLED.findall(rest)
    return Instruction(
        name,
        opcode[1] if opcode else '',
        shapes,
        tuple(_OPERAND.findall(arguments)),
        tuple(one.strip().lstrip('%') for group in called for one in group.split(',')),
        rest,
    )


def _without_metadata(rest: str) -> str:
    return rest.split(', metadata=')[0]


class _Frames:
    """XLA's tables of the lines of code that instructions come from."""

    def __init__(self, text: str):
        tables: dict[str, dict[str, str]] = {}
        rows: dict[str, str] = {}
        for line in text.splitlines():
            if line.strip() in ('FileNames', 'FunctionNames', 'FileLocations', 'StackFrames'):
                rows = tables.setdefault(line.strip(), {})
            elif row := re.match(r'^(\d+) (.+)$', line):
                rows[row[1]] = row[2]
            elif line.startswith(('%', 'ENTRY')):
                break
        self._tables = tables

    def line(self, frame: str, package: str) -> str:
        while frame:
            fields = self._fields('StackFrames', frame)
            place = self._fields('FileLocations', fields.get('file_location_id', ''))
            file = self._tables.get('FileNames', {}).get(place.get('file_name_id', ''), '')
            parts = file.strip('"').split('/')
            if package in parts:
                at = len(parts) - 1 - parts[::-1].index(package)
                return f'{"/".join(parts[at:])}:{place.get("line", "")}'
            parent = fields.get('parent_frame_id', '')
            frame = '' if parent == frame else parent
        return ''

    def _fields(self, table: str, row: str) -> dict[str, Any]:
        text = self._tables.get(table, {}).get(row, '')
        return dict(re.findall(r'(\w+)=(\d+)', text))
