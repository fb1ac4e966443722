"""TensorBoard's event files: read, cut and named, without TensorFlow."""

import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from snjax.runs.files import replace_file

_NAME = re.compile(r'events\.out\.tfevents\.(\d+)')


def event_files(folder: Path) -> list[Path]:
    """The event files in a folder, in the order of their names."""
    return sorted(path for path in folder.iterdir() if _NAME.match(path.name))


def new_event_file(folder: Path) -> Path:
    """A name that sorts last in `folder`: TensorBoard reads files in the order of their names."""
    matches = [_NAME.match(path.name) for path in event_files(folder)]
    newest = max((int(match[1]) for match in matches if match), default=0)
    return folder / f'events.out.tfevents.{max(int(time.time()), newest + 1):010d}.snjax'


def read_events(path: Path) -> Iterator[tuple[bytes, Event]]:
    """Yields the records and their events, up to the first damage: nothing after it is readable.

    A record is the length n (8 bytes), its checksum (4), the event (n) and its checksum (4),
    little-endian. The last one isn't checked: that would be slow in Python, and a killed process
    leaves short records, not wrong ones.
    """
    with open(path, 'rb') as file:
        while len(header := file.read(12)) == 12:
            length, checksum = struct.unpack('<QI', header)
            if checksum != masked_crc32c(header[:8]):
                return
            body = file.read(length + 4)
            if len(body) < length + 4:
                return
            try:
                event = Event.FromString(body[:-4])
            except DecodeError:
                return
            yield header + body, event


def cut_events(paths: Iterable[Path], keep: Callable[[Event], bool]) -> None:
    """Removes events that `keep` rejects, and damage. Files without either are not written."""
    for path in paths:
        kept_bytes = sum(len(record) for record, event in read_events(path) if keep(event))
        if kept_bytes < path.stat().st_size:
            replace_file(path, (record for record, event in read_events(path) if keep(event)))
