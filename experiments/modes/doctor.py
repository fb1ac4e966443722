"""`launch.py --mode=doctor`: is this machine, this workdir, this config fit to train?

It prints a page of lines, each 'ok', 'note' or 'FAULT', changes nothing in the workdir, and ends
with 2 if there is a fault. Without --config the config is that of --workdir; without both it looks
at the machine alone.
"""

import collections
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import flags

from configs import from_workdir
from experiments import build
from experiments.modes import going_on, lines, streaming
from snjax import data, from_config, host, parallel
from snjax.host.folders import cache_folder
from snjax.runs import best, checkpoint_files, config_file, event_file, lock, scores_file
from snjax.runs import workdir as names
from snjax.runs.files import read_lines
from snjax.training import rollbacks
from snjax.training.step import compile_ahead

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None

OK, NOTE, FAULT = 'ok', 'note', 'FAULT'
Finding = tuple[str, str]

_MIN_FREE = 1 << 30
_MIN_OPEN_FILES = 256
_MAX_HASHED = 200_000  # images; more take minutes


def main(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Prints the findings.

    Raises:
        ValueError: there are faults; their number.
    """
    has_workdir, config = bool(given.workdir), given.config
    parts: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ('machine', lambda: machine(workdir if has_workdir else pathlib.Path()))
    ]
    if has_workdir:
        parts.append(('workdir', lambda: of_workdir(workdir)))
        if config is None and (workdir / names.CONFIG_NAME).is_file():
            try:
                config = from_workdir.get_config(str(workdir))
            except ValueError:  # `of_workdir` says why
                pass
    if config is not None:
        parts.append(('data', lambda: of_data(config.to_dict())))
        parts.append(('config', lambda: of_config(config, workdir)))
    num_faults = 0
    for title, findings in parts:
        lines.say(f'\n{title}')
        for level, text in _guarded(findings):
            num_faults += level == FAULT
            lines.say(f'  {level:5}  {text}')
    if num_faults:
        raise ValueError(f'{num_faults} fault{"s" * (num_faults > 1)} found, see the lines above')


def _guarded(findings: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings; an error of one line that ends them is a fault, too."""
    try:
        yield from findings()
    except (ValueError, OSError) as error:
        yield FAULT, ' '.join(str(error).split())


def machine(folder: pathlib.Path) -> Iterator[Finding]:
    """Devices, versions, memory, disk, home, locale and limits of this process."""
    packages = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
    versions = ', '.join(f'{name} {importlib.metadata.version(name)}' for name in packages)
    yield OK, f'Python {platform.python_version()}, {versions}'
    yield OK, f'{parallel.describe()}, {parallel.device_memory() / 1e9:.1f} GB a device'
    yield OK, f'{host.num_cores()} cores, {host.memory() / 1e9:.1f} GB of memory for this process'
    if os.environ.get('JAX_ENABLE_X64', '0').lower() not in ('0', 'false', ''):
        yield FAULT, 'JAX_ENABLE_X64 is set: the same seed draws other numbers; unset it'
    for what, path in _places(folder):
        there = path
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free
        level = OK if free >= _MIN_FREE else NOTE
        if not os.access(there, os.W_OK):
            yield FAULT, f'{what} {path}: {there} cannot be written'
        else:
            yield level, f'{what} {path}: {free / 1e9:.1f} GB free'
    encoding = sys.stdout.encoding or 'ascii'
    level = OK if encoding.lower().replace('-', '') == 'utf8' else NOTE
    yield level, f'output in {encoding}, file names in {sys.getfilesystemencoding()}'
    if resource is not None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield OK if files >= _MIN_OPEN_FILES else FAULT, f'{files} files may be open at once'


def _places(folder: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    places = [('workdir', folder.absolute())]
    try:
        return [*places, ('caches', cache_folder().absolute())]
    except RuntimeError as error:
        raise ValueError(f'there is no home folder ({error}): set SNJAX_CACHE') from None


def of_workdir(folder: pathlib.Path) -> Iterator[Finding]:
    """Every file of a workdir, verified."""
    if not folder.is_dir():
        yield NOTE, f'{folder} does not exist yet'
        return
    names.check_kinds(folder)
    path = folder / names.CONFIG_NAME
    if path.exists():
        config = config_file.read_config(path)
        yield OK, f'{names.CONFIG_NAME}: {config.get("method")}, {config.get("num_steps")} steps'
    elif os.listdir(folder):
        yield FAULT, f'there is no {names.CONFIG_NAME}: this is not the workdir of a run'
    holder = lock.lock_holder(folder)
    yield OK, f'in use by {holder}' if holder else 'no process uses it'
    yield from _checkpoints(folder)
    yield from _logs(folder)
    rows = scores_file.read(folder / names.SCORES_NAME)
    yield OK, f'{names.SCORES_NAME}: {len(rows)} rows'
    for rollback in rollbacks.read(folder):
        yield NOTE, f'went back to step {rollback.to}: {rollback.why}'
    diverged = folder / names.DIVERGED_NAME
    if diverged.exists():
        yield NOTE, diverged.read_text(errors='replace').strip()
    left = names.unfinished(folder)
    if left and not holder:
        yield NOTE, f'left by a killed process, the next start removes it: {", ".join(left)}'


def _checkpoints(folder: pathlib.Path) -> Iterator[Finding]:
    for above in (names.CHECKPOINTS, names.BEST):
        for step in names.steps_in(folder / above):
            arrays, reason = checkpoint_files.try_read((folder / above).absolute(), step)
            size = sum(array.nbytes for array in arrays.values())
            what = f'{len(arrays)} arrays, {size / 1e6:.1f} MB, as they were saved'
            yield (
                (FAULT, f'{above}/{step}: {reason}') if reason else (OK, f'{above}/{step}: {what}')
            )
        if (folder / above).is_dir():
            for path in sorted((folder / above).glob('*.rejected')):
                yield NOTE, f'{above}/{path.name}: damaged, set aside'
    steps = names.steps_in(folder / names.BEST)
    scored = best.best_scores(folder / names.BEST)
    for step in set(steps) - set(scored):
        yield FAULT, f'{names.BEST}/{step} has no score that can be read'


def _logs(folder: pathlib.Path) -> Iterator[Finding]:
    found = read_lines(folder / names.METRICS_NAME)
    last = max((point.get('step', 0) for _, point in found.good), default=0)
    what = f'{names.METRICS_NAME}: {len(found.good)} lines up to step {last}'
    yield (FAULT, f'{what}, {len(found.bad)} damaged') if found.bad else (OK, what)
    records = damaged = 0
    for path in (files := event_file.event_files(names.event_folder(folder))):
        counted = collections.Counter(event is None for _, event in event_file.read_pieces(path))
        records, damaged = records + counted[False], damaged + counted[True]
    what = f'{names.TENSORBOARD}: {records} records in {len(files)} files'
    yield (FAULT, f'{what}, {damaged} damaged places') if damaged else (OK, what)


def of_data(config: dict[str, Any]) -> Iterator[Finding]:
    """The training set: digest, classes, duplicates, images of one colour."""
    image_set = from_config.image_source(config).read()
    images = image_set.images
    shape = 'x'.join(map(str, images.shape[1:]))
    yield OK, f'{image_set.name}: {len(images)} images of {shape}, sha256 {image_set.sha256}'
    if image_set.class_names:
        yield OK, data.class_histogram(image_set.labels, image_set.class_names)
    if len(images) > _MAX_HASHED:
        yield NOTE, f'{len(images)} images are too many to look for duplicates'
        return
    first: dict[bytes, int] = {}
    pairs, flat = [], []
    for i in range(len(images)):
        pixels = np.ascontiguousarray(images[i])
        before = first.setdefault(hashlib.sha256(pixels.tobytes()).digest(), i)
        pairs += [(before, i)] if before != i else []
        flat += [i] if pixels.min() == pixels.max() else []
    what = f'{len(pairs)} images are exact duplicates of others'
    shown = ', '.join(f'{b} = {a}' for a, b in pairs[:3])
    yield (NOTE, f'{what} ({shown}, ...)') if pairs else (OK, what)
    what = f'{len(flat)} images are of one value'
    yield (NOTE, f'{what} ({", ".join(map(str, flat[:5]))}, ...)') if flat else (OK, what)


def of_config(config: Any, workdir: pathlib.Path) -> Iterator[Finding]:
    """Whether the config would start, and what a step costs by the compiled program."""
    plan = build.plan(config)
    record = plan.record
    yield OK, f'{record["method"]}, {record["num_steps"]} steps of batch {record["batch_size"]}'
    for line in going_on.notes(record, 0, workdir):
        yield NOTE, line
    source = from_config.image_source(record)
    num = source.num_images or len(source.read().images)
    method = plan.method
    if num < method.batch_size:
        yield FAULT, f'batch_size {method.batch_size} is more than the {num} images of the set'
        return
    images = from_config.images_shape(record, num)
    waits = method.state_axes is not None or streaming.is_streamed(plan.stream, images)
    said: list[str] = []
    nowhere = pathlib.Path(os.devnull)  # of no finished run, which would not be compiled
    ahead = None if waits else compile_ahead(method, plan.options, images, nowhere, said.append)
    if ahead is None:
        yield NOTE, 'the step needs the images to compile: its cost is printed when it trains'
        return
    ahead.result()
    for line in said:
        yield OK, line
