"""TensorBoard's event files: read, cut and named, without TensorFlow."""

import re
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from snjax.runs.files import replace_file

_NAME = re.compile(r'events\.out\.tfevents\.(\d+)')
_HEADER, _CHECKSUM = struct.Struct('<QI'), struct.Struct('<I')


def event_files(folder: Path) -> list[Path]:
    """The event files in a folder, in the order of their names."""
    return sorted(path for path in folder.iterdir() if _NAME.match(path.name) and path.is_file())


def new_event_file(folder: Path) -> Path:
    """A name that sorts last in `folder`: TensorBoard reads files in the order of their names."""
    matches = [_NAME.match(path.name) for path in folder.iterdir()]
    newest = max((int(match[1]) for match in matches if match), default=0)
    return folder / f'events.out.tfevents.{max(int(time.time()), newest + 1):010d}.snjax'


def read_pieces(path: Path, *, verify: bool = True) -> Iterator[tuple[bytes, Event | None]]:
    """Yields a file in pieces, whole: each record with its event, what is damaged with None.

    A record is the length n (8 bytes), its checksum (4), the event (n) and its checksum (4),
    little-endian. After a damaged length, the next eight bytes that match the checksum behind them
    are where reading goes on.

    Args:
        path: the file.
        verify: compare the checksums of events too, 0.14 s for a megabyte; those of lengths always
            are.
    """
    content = path.read_bytes()
    position = 0
    while position < len(content):
        end = _end_of_record(content, position)
        if end is None:
            end = _next_record(content, position + 1)
            yield content[position:end], None
        else:
            record = content[position:end]
            yield record, _event(record, verify)
        position = end


def _end_of_record(content: bytes, position: int) -> int | None:
    """Where the record that begins here ends; None if no whole one does."""
    if position + _HEADER.size > len(content):
        return None
    length, checksum = _HEADER.unpack_from(content, position)
    end = position + _HEADER.size + length + _CHECKSUM.size
    if end > len(content) or checksum != masked_crc32c(content[position : position + 8]):
        return None
    return end


def _next_record(content: bytes, start: int) -> int:
    """Where the next whole record begins; the end of the file if there is none."""
    # No record has 4 GB, so the upper half of its length is zero.
    zeros = content.find(b'\0\0\0\0', start + 4)
    while zeros >= 0:
        if _end_of_record(content, zeros - 4) is not None:
            return zeros - 4
        zeros = content.find(b'\0\0\0\0', zeros + 1)
    return len(content)


def _event(record: bytes, verify: bool) -> Event | None:
    body = record[_HEADER.size : -_CHECKSUM.size]
    if verify and _CHECKSUM.unpack(record[-_CHECKSUM.size :])[0] != masked_crc32c(body):
        return None
    try:
        return Event.FromString(body)
    except DecodeError:
        return None


def read_events(path: Path) -> Iterator[Event]:
    """Yields the events of a file that `cut_events` has cleared of damage."""
    return (event for _, event in read_pieces(path, verify=False) if event)


def cut_events(
    path: Path, keep: Callable[[Event], bool], aside: Callable[[list[bytes]], object] | None = None
) -> tuple[int, int]:
    """Removes events that `keep` rejects, and damage. A file without either is not written.

    Args:
        path: the file.
        keep: tells which events stay.
        aside: gets the bytes that are removed, before they are; marks of a start, which hold no
            point, are left out.

    Returns:
        The number of rejected events with points, and that of damaged places.
    """
    kept, gone, rejected, damaged = [], [], 0, 0
    num_bytes = 0
    for piece, event in read_pieces(path):
        num_bytes += len(piece)
        if event is not None and keep(event):
            kept.append(piece)
        elif event is None or event.HasField('summary'):
            gone.append(piece)
            rejected, damaged = rejected + (event is not None), damaged + (event is None)
    if gone and aside:
        aside(gone)
    if sum(map(len, kept)) < num_bytes:
        replace_file(path, kept)
    return rejected, damaged
