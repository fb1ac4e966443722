"""Writes `metrics.jsonl` and TensorBoard events, without TensorFlow.

Every point (one tag at one step) is written exactly once, also if the run is killed and resumed. A
killed run leaves points later than its last checkpoint, and the resumed run computes them again. So
the `Writer` first removes everything later than the step it starts from, including a half-written
last line or record, and then drops points that exist already. What it removes it says, and keeps
aside (`snjax.runs.log_cut`). Old event files are cut too, because
only TensorBoard's slow loader honours a restart mark in the stream; the mark is written as well,
for a TensorBoard that has already read the removed points.

Every call hands its data to the operating system before it returns, so points outlive a SIGKILL of
the run and TensorBoard sees them at its next reload; `flush` also forces them to the disk.

The protocol buffers and the record framing are those of the `tensorboard` package. tensorboardX
isn't used: it imports PyTorch where that is installed, its `flush` leaves queued points behind, and
two runs that start in the same second overwrite each other's file.
"""

import json
import math
import operator
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, SupportsFloat, SupportsIndex

import numpy as np
from absl import logging
from google.protobuf.struct_pb2 import Value as HParam
from jax import Array
from jaxtyping import UInt8
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_DOUBLE, DT_FLOAT, DT_STRING
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter

from snjax.runs import event_file, log_cut
from snjax.runs.config_file import flatten
from snjax.runs.images import encode_png
from snjax.runs.summaries import buckets, hparam
from snjax.runs.workdir import METRICS_NAME, event_folder

HPARAMS_TAG = '_hparams_/session_start_info'
RESERVED_NAMES = ('step', 'wall_time')
_PLUGIN_OF_FIELD = {'simple_value': 'scalars', 'image': 'images'}


class Writer:
    """Writes `metrics.jsonl` and an event file in a workdir; one live writer per workdir.

    The event file is made for the first new point: a start that has nothing to do leaves none.

    Steps of a tag increase. A point at or before the last step of its tag repeats an existing one
    (a resumed run draws its first grid again) and is dropped.

    Args:
        workdir: the run's folder; made when missing.
        start_step: the step the run starts from, >= 0. Later points are removed; lines of
            `metrics.jsonl` up to and at this step stay byte for byte.
        enabled: False (every process but number 0) makes all calls do nothing and touches no file.
        say: prints a line on what was removed; without it, the line is a warning in the log.

    Raises:
        ValueError: if `start_step` is negative, or a file of the logs is a folder.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        *,
        start_step: SupportsIndex = 0,
        enabled: bool = True,
        say: Callable[[str], None] = logging.warning,
    ) -> None:
        self._enabled = enabled
        if not enabled:
            return
        start_step = _checked_step(start_step)
        lines = Path(workdir) / METRICS_NAME
        Path(workdir).mkdir(parents=True, exist_ok=True)
        self._folder = event_folder(workdir)
        self._line_steps, removed = log_cut.cut(Path(workdir), start_step)
        if removed:
            say(removed)
        self._old_event_files = event_file.event_files(self._folder)
        self._tags: dict[str, tuple[str, int]] = {}  # tag -> (plugin, last step)
        self._hparams: dict[str, HParam] | None = None
        self._wrote_hparams = False
        self._texts: dict[str, bytes] = {}  # the last text of each tag
        self._start_step = self._last_step = start_step
        for path in self._old_event_files:
            for event in event_file.read_events(path):
                self._remember(event)
        self._lines = open(lines, 'ab')
        self._event_file: BinaryIO | None = None
        self._events: RecordWriter | None = None

    def scalars(self, step: SupportsIndex, values: Mapping[str, SupportsFloat]) -> None:
        """Writes a line {"step", "wall_time", name: value, ...} and a TensorBoard scalar per name.

        JSON has no non-finite numbers: they are the strings "NaN", "Infinity" and "-Infinity",
        which Python's `float` reads. `wall_time` is in seconds since 1970.

        Args:
            step: generator updates made, >= 0.
            values: names to finite or non-finite numbers; 'step' and 'wall_time' are no names.

        Raises:
            ValueError: for a negative step, a reserved name, or a name that another kind of summary
                has.
        """
        if not self._enabled:
            return
        step = _checked_step(step)
        numbers = {name: float(value) for name, value in values.items()}
        for name in RESERVED_NAMES:
            if name in numbers:
                raise ValueError(
                    f'scalar {name!r} has a name that {METRICS_NAME} uses itself; rename it'
                )
        self._add(step, (Summary.Value(tag=name, simple_value=x) for name, x in numbers.items()))
        new = {name: x for name, x in numbers.items() if self._line_steps.get(name, -1) < step}
        if new:
            line = {'step': step, 'wall_time': time.time()} | {n: _json(x) for n, x in new.items()}
            self._lines.write(json.dumps(line, allow_nan=False).encode() + b'\n')
            self._lines.flush()
            self._line_steps.update(dict.fromkeys(new, step))

    def has(self, step: SupportsIndex, name: str) -> bool:
        """Whether `metrics.jsonl` has a scalar at this step or later; False where disabled."""
        return self._enabled and self._line_steps.get(name, -1) >= operator.index(step)

    def images(self, step: SupportsIndex, tag: str, grid: UInt8[np.ndarray, 'h w c']) -> None:
        """Writes a picture (H, W, C), C 1 or 3, uint8, to TensorBoard; ValueError as `scalars`."""
        if not self._enabled:
            return
        image = Summary.Image(encoded_image_string=encode_png(grid))
        image.height, image.width, image.colorspace = np.shape(grid)
        self._add(_checked_step(step), [Summary.Value(tag=tag, image=image)])

    def histograms(self, step: SupportsIndex, values: Mapping[str, Array | np.ndarray]) -> None:
        """Writes a TensorBoard histogram per name, of arrays of any shape; ValueError as `scalars`.

        Non-finite elements are left out; a name without finite elements is not written.
        """
        if not self._enabled:
            return
        found = {name: buckets(value) for name, value in values.items()}
        self._add(
            _checked_step(step),
            (
                _tensor(name, 'histograms', DT_DOUBLE, rows.shape, tensor_content=rows.tobytes())
                for name, rows in found.items()
                if len(rows)
            ),
        )

    def text(self, tag: str, markdown: str, step: SupportsIndex = 0) -> None:
        """Writes Markdown to TensorBoard, unless it is the tag's last; ValueError as `scalars`."""
        if not self._enabled or self._texts.get(tag) == markdown.encode():
            return
        value = _tensor(tag, 'text', DT_STRING, (), string_val=[markdown.encode()])
        self._add(_checked_step(step), [value])

    def hparams(self, config: Mapping[str, Any], metrics: Mapping[str, SupportsFloat]) -> None:
        """Writes the run's row of TensorBoard's HParams table, at every start and for new scores.

        The row belongs to the run itself, not to a sub-run. Its columns are the leaves of `config`,
        named 'group.key', and every scalar of the run at its last step; TensorBoard takes the union
        over runs, so runs of different methods share one table. A call with the same config changes
        nothing; after a resume, a changed config replaces the old one.

        Args:
            config: nested, with string keys; leaves other than numbers, bools and strings are shown
                by their `repr`.
            metrics: scores not written by `scalars`; they become scalars at the last step written.

        Raises:
            ValueError: if this writer already wrote another config.
        """
        if not self._enabled:
            return
        leaves = {k: v for k, v in flatten(config).items() if not isinstance(v, Mapping)}
        hparams = {key: hparam(value) for key, value in leaves.items()}
        if hparams != self._hparams:
            if self._wrote_hparams:
                raise ValueError('the run has written another config to HParams; a run has one')
            # Loaders keep the first row that they meet, so an outdated one has to go.
            for path in self._old_event_files:
                event_file.cut_events(path, lambda event: not _holds_hparams(event))
            self._tags.pop(HPARAMS_TAG, None)
            info = SessionStartInfo(hparams=hparams, start_time_secs=time.time())
            content = HParamsPluginData(session_start_info=info).SerializeToString()
            self._add(0, [_tensor(HPARAMS_TAG, 'hparams', DT_FLOAT, (0,), content=content)])
            self._wrote_hparams = True
        scores = [Summary.Value(tag=name, simple_value=float(x)) for name, x in metrics.items()]
        self._add(self._last_step, scores)

    def flush(self) -> None:
        """Forces all data to the disk, so that they survive a crash of the machine."""
        if not self._enabled:
            return
        for file in filter(None, (self._lines, self._event_file)):
            os.fsync(file.fileno())

    def close(self) -> None:
        """Flushes and closes the files; a second call does nothing, any other later call fails."""
        if not self._enabled or self._lines.closed:
            return
        self.flush()
        self._lines.close()
        if self._event_file:
            self._event_file.close()

    def __enter__(self) -> 'Writer':
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _add(self, step: int, values: Iterable[Summary.Value]) -> None:
        """Writes one event with those `values` that are new, all of them at `step`."""
        values = list(values)
        for value in values:
            plugin, _ = self._tags.get(value.tag, (_plugin(value), 0))
            if plugin != _plugin(value):
                # TensorBoard would keep the first kind and hide or garble the second.
                raise ValueError(
                    f'tag {value.tag!r} holds {plugin} here, not {_plugin(value)}; rename one'
                )
        new = [value for value in values if self._tags.get(value.tag, ('', -1))[1] < step]
        if new:
            event = Event(step=step, summary=Summary(value=new))
            self._write(event)
            self._remember(event)

    def _write(self, event: Event) -> None:
        if self._events is None:
            if self._lines.closed:
                raise ValueError('the writer is closed')
            self._event_file = open(event_file.new_event_file(self._folder), 'xb')
            self._events = RecordWriter(self._event_file)
            self._write(Event(file_version='brain.Event:2'))
            # TensorBoard's slow loader forgets steps >= this one at every START but the first it
            # sees, so the first run needs the mark as much as the resumed one.
            mark = SessionLog(status=SessionLog.START)
            self._write(Event(step=self._start_step + 1, session_log=mark))
        event.wall_time = time.time()
        self._events.write(event.SerializeToString())
        self._events.flush()

    def _remember(self, event: Event) -> None:
        for value in event.summary.value:
            plugin, last = self._tags.get(value.tag, (_plugin(value), -1))
            self._tags[value.tag] = (plugin, max(last, event.step))
            if value.tensor.string_val:
                self._texts[value.tag] = value.tensor.string_val[0]
            if value.tag == HPARAMS_TAG:
                content = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                self._hparams = dict(content.session_start_info.hparams)
        self._last_step = max(self._last_step, event.step)


def _checked_step(step: SupportsIndex) -> int:
    """Returns `step` as an int; ValueError if negative, TypeError if not an integer."""
    if operator.index(step) < 0:
        raise ValueError(f'step {step} is negative; steps count generator updates from 0')
    return operator.index(step)


def _json(number: float) -> float | str:
    if math.isnan(number):
        return 'NaN'
    if math.isinf(number):
        return 'Infinity' if number > 0 else '-Infinity'
    return number


def _tensor(
    tag: str, plugin: str, dtype: int, shape: tuple[int, ...], content: bytes = b'', **data: Any
) -> Summary.Value:
    """A tensor for a TensorBoard plugin, whose own is `content`; `data` are TensorProto fields."""
    dims = [TensorShapeProto.Dim(size=size) for size in shape]
    owner = SummaryMetadata.PluginData(plugin_name=plugin, content=content)
    return Summary.Value(
        tag=tag,
        metadata=SummaryMetadata(plugin_data=owner, data_class=DATA_CLASS_TENSOR),
        tensor=TensorProto(dtype=dtype, tensor_shape=TensorShapeProto(dim=dims), **data),
    )


def _plugin(value: Summary.Value) -> str:
    field = value.WhichOneof('value')
    return _PLUGIN_OF_FIELD.get(field) or value.metadata.plugin_data.plugin_name


def _holds_hparams(event: Event) -> bool:
    return any(value.tag == HPARAMS_TAG for value in event.summary.value)
