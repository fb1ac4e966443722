"""Images per second: from the device, streamed from a prepared set, and decoded as they are read.

    python -m benchmarks.data_feed --images=FOLDER [--sizes=32,64,128] [--out=FILE]

Without --images the source is 2,000 made-up photographs of 500x375 pixels, JPEG, of the average
size of ImageNet's.

* `prepare`: images/s of the first run, which decodes, resizes and stores them, and of the check at
  every start, which reads the stored set through.
* `feed`: images/s, and MB/s of pixels, that arrive on the device while nothing else runs: decoded
  as they are read, and prepared, from a file that is repeated to `--gigabytes` so that no
  processor's cache holds it. The system's page cache does hold it, so a disk's speed is not
  measured. `wait_at` is the share of the time for which a device that consumes so many images/s
  waits for them (a clock stands in for the device).
* `training`: a run of a small SNGAN by `snjax.training.loop.Trainer`: steps/s with the set on the
  device and streamed either way. `data_wait` is the share of the time in which the device waited
  for images (after the first log, which includes the start); `host_share` is the share of a call's
  time that Python spends on starting it.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import tempfile
import time

import jax
import numpy as np
from PIL import Image

from benchmarks import command, machine
from configs import sngan_folder
from experiments import build
from snjax import data, parallel
from snjax.data.folder_files import IMAGE_SUFFIXES
from snjax.data.host_order import HostOrder
from snjax.training import feed, loop

BATCH_SIZE, NUM_BATCHES = 64, 5
SECONDS = 4.0  # of each measurement of a feed
ASKED = (1000, 3200, 10_000, 30_000)  # images/s
STREAMS = ('prepared', 'decode')
_ORDER = command.names(('resident', *STREAMS))
_NUM_LOGS = 6  # of a whole run; the first includes the start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=_images, help='a folder')
    parser.add_argument('--sizes', type=sizes, default='32,64,128', help='pixels')
    parser.add_argument('--train_sizes', type=sizes, default='64,128', help='pixels, of whole runs')
    parser.add_argument('--gigabytes', type=float, default=4.0, help='of a prepared file')
    parser.add_argument('--workers', type=int, default=0, help='threads that read; 0: one per core')
    parser.add_argument(
        '--width', type=command.count, default=8, help='of both networks in whole runs'
    )
    parser.add_argument(
        '--order', type=_ORDER, default='resident,prepared,decode', help='of whole runs'
    )
    parser.add_argument('--steps', type=_steps, default=60, help='of a whole run')
    parser.add_argument('--out', type=command.report)
    args = parser.parse_args()
    report = {**machine.describe(), 'workers': args.workers, 'feed': {}, 'training': {}}
    with tempfile.TemporaryDirectory() as folder:
        workspace = pathlib.Path(folder)
        images = args.images or made_up_photographs(workspace / 'photographs')
        report['source'] = describe(images)
        for size in args.sizes:
            report['feed'][size] = feed_alone(images, size, args, workspace)
            machine.write(report, args.out)
        for size in args.train_sizes:
            report['training'][size] = runs = {}
            for stream in args.order:
                runs[stream] = whole_run(images, size, stream, args, workspace)
                machine.write(report, args.out)


def sizes(text: str) -> list[int]:
    return command.counts(text) if text else []


def _steps(text):
    if command.count(text) < _NUM_LOGS:
        raise argparse.ArgumentTypeError(f'{text}: at least {_NUM_LOGS} are needed')
    return int(text)


def _images(text):
    folder = pathlib.Path(text)
    if not _files(folder):
        raise argparse.ArgumentTypeError(f'there is no image in {text}')
    return folder


def _files(folder):
    return [f for f in sorted(folder.rglob('*')) if f.suffix.lower() in IMAGE_SUFFIXES]


def made_up_photographs(folder: pathlib.Path, num: int = 2000) -> pathlib.Path:
    """JPEG files of smooth noise with some grain, which take about as many bytes as photographs."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(num):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.int16)
        grainy = smooth + rng.integers(-20, 21, smooth.shape, np.int16)
        pixels = Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8))
        pixels.save(folder / f'{i:05d}.jpg', quality=90)
    return folder


def describe(folder: pathlib.Path) -> dict:
    files = _files(folder)
    with Image.open(files[0]) as first:
        kind = {'format': first.format, 'first_size': first.size}
    num_bytes = statistics.mean(f.stat().st_size for f in files)
    return {'files': len(files), 'kilobytes_each': round(num_bytes / 1e3, 1), **kind}


def load(folder, size, stream, workspace):
    return data.load(
        'folder',
        path=str(folder),
        image_size=size,
        cache_dir=str(workspace / 'cache'),
        decode_later=stream == 'decode',
    )


def feed_alone(folder, size, args, workspace):
    """Images/s of the feed at one size, while nothing else runs."""
    began = time.perf_counter()
    num = len(load(folder, size, 'prepared', workspace).images)
    prepared = time.perf_counter()
    load(folder, size, 'prepared', workspace)
    checked = time.perf_counter()
    found = {
        'prepare': {
            'images_per_s': num / (prepared - began),
            'check_images_per_s': num / (checked - prepared),
        }
    }
    for stream in STREAMS:
        images = load(folder, size, stream, workspace).images
        if stream == 'prepared':
            images = repeated(images, args.gigabytes, workspace / 'repeated.npy')
        rate = images_per_s(images, args.workers)
        found[stream] = {
            'images_per_s': rate,
            'megabytes_per_s': rate * images.nbytes / len(images) / 1e6,
            'wait_at': {asked: wait_at(asked, images, args.workers) for asked in ASKED},
        }
    return found


def repeated(images, gigabytes, path):
    """The images repeated to a file of that size, which replaces the previous one."""
    num = max(1, round(gigabytes * 1e9 / images.nbytes))
    shape = (num * len(images), *images.shape[1:])
    file = np.lib.format.open_memmap(path, mode='w+', dtype=np.uint8, shape=shape)
    for i in range(num):
        file[i * len(images) : (i + 1) * len(images)] = images
    return file


def started_feed(images, workers):
    """A started feed: 5 batches of 64 per step, one step per call."""
    return feed.Streamed(
        images,
        HostOrder(jax.random.key(0), BATCH_SIZE, len(images)),
        batch_size=BATCH_SIZE,
        num_batches=NUM_BATCHES,
        steps_per_call=1,
        steps=range(10**9),
        workers=workers,
    )


def images_per_s(images, workers):
    """Images/s at full speed, after the first few calls."""
    with started_feed(images, workers) as running:
        for _ in range(5):
            running.next(lambda: True)
        calls, began = 0, time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            running.next(lambda: True)
            calls += 1
        return calls * NUM_BATCHES * BATCH_SIZE / (time.perf_counter() - began)


def wait_at(asked, images, workers):
    """Share of the time for which a device of that many images/s waits; calls start one ahead."""
    seconds = NUM_BATCHES * BATCH_SIZE / asked
    with started_feed(images, workers) as running:
        time.sleep(1.0)  # the start is not measured
        running.measured()
        now = began = busy_until = time.perf_counter()
        while now - began < SECONDS:
            running.next(lambda until=busy_until: time.perf_counter() >= until)
            busy_until = max(time.perf_counter(), busy_until) + seconds
            time.sleep(max(0.0, busy_until - seconds - time.perf_counter()))
            now = time.perf_counter()
        return running.measured()['perf/data_wait']


def whole_run(folder, size, stream, args, workspace):
    """Runs `Trainer` on the folder and returns its speed."""
    config = sngan_folder.get_config(f'{folder},{size}')
    config.num_steps, config.log.every = args.steps, args.steps // _NUM_LOGS
    config.steps_per_call = 1
    config.log.histograms_every = config.sampling.every = config.checkpoint.every = 0
    config.checkpoint.keep_every = 0
    config.model.gen_width = config.model.dis_width = args.width
    config.data.workers = args.workers
    options = build.options(config)
    options = dataclasses.replace(options, stream=stream != 'resident')
    image_set = load(folder, size, stream, workspace)
    workdir = pathlib.Path(tempfile.mkdtemp(dir=workspace))
    trainer = loop.Trainer(
        build.method(config), options, image_set.images, image_set.labels, workdir, {}
    )
    with Dispatches() as dispatches:
        trainer.run()
    lines = [json.loads(x) for x in (workdir / 'metrics.jsonl').read_text().splitlines()]
    lines = [line for line in lines if 'perf/steps_per_s' in line][1:]
    rate = statistics.median(line['perf/steps_per_s'] for line in lines)
    found = {
        'steps_per_s': rate,
        'real_images_per_s': rate * BATCH_SIZE * NUM_BATCHES,
        'host_share': statistics.median(dispatches.seconds) * rate,
    }
    if options.stream:
        found['data_wait'] = [line['perf/data_wait'] for line in lines]
    return found


class Dispatches:
    """Records the time to start each call of a program, which returns before it has run."""

    def __enter__(self) -> 'Dispatches':
        self.seconds: list[float] = []
        self._call = parallel.Program.__call__

        def timed(program, *arguments):
            began = time.perf_counter()
            out = self._call(program, *arguments)
            self.seconds.append(time.perf_counter() - began)
            return out

        parallel.Program.__call__ = timed
        return self

    def __exit__(self, *_) -> None:
        parallel.Program.__call__ = self._call


if __name__ == '__main__':
    command.run(main)
