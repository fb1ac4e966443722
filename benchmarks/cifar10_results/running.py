"""A row from nothing to its record, in stages that each go on where an earlier call was ended. Imports no JAX.

Training goes on from the newest checkpoint, as `launch.py` does. Scores are kept checkpoint by checkpoint in the run's
`scores.json`. What is finished in the record is never done again, even where the workdir is gone; an unfinished row
whose workdir is gone starts over.
"""

import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.cifar10_results import children
from benchmarks.cifar10_results.children import Budget, Ended
from benchmarks.cifar10_results.records import (
    DIVERGED,
    FAILED,
    FINISHED,
    SCORING,
    TRAINING,
    Record,
)
from benchmarks.cifar10_results.rows import ROOT, Job
from experiments.report import runs as run_folders
from snjax.report.spreads import curve
from snjax.runs import lock, scores_file

_DIVERGED = 3
# Of the training, for the page: losses, and the size of the steps.
CURVES = ('train/dis_loss', 'train/gen_loss', 'train/rec_loss')
_POINTS = 150
_SPEEDS = {'images_per_s': 'perf/images_per_s', 'updates_per_s': 'perf/steps_per_s'}


@dataclasses.dataclass(frozen=True)
class Places:
    """Where everything is.

    Attributes:
        out: records and pictures, small.
        workdirs: runs, with checkpoints and samples, large.
        data_dir: of TFDS; empty for its default.
        weights: of the scores' extractor; empty for its default.
        inception: weights of Inception where they are at hand, for FID; else empty.
    """

    out: pathlib.Path
    workdirs: pathlib.Path
    data_dir: str = ''
    weights: str = ''
    inception: str = ''


class Stopped(Exception):
    """The time is over; what there is is saved."""


class Failed(Exception):
    """A process ended with an error; the message is its last line."""


class Runner:
    """Runs rows inside a budget.

    Args:
        places: see `Places`.
        budget: of all rows together.
        say: prints a line.
    """

    def __init__(self, places: Places, budget: Budget, say: Callable[[str], None]):
        self._places, self._budget, self._say = places, budget, say
        self._machine: dict[str, Any] | None = None

    def run(self, job: Job) -> str:
        """Brings a row as far as the time allows, and returns the state of its record.

        Raises:
            Stopped: the time is over before the row is.
            ValueError: its record is of another command, or the run is being trained by another process.
        """
        record = Record(self._places.out, job)
        if record.is_final and not self._fid_is_missing(record, job):
            return record.data['state']
        workdir = self._workdir(job)
        holder = lock.lock_holder(workdir)
        if holder:
            raise ValueError(f'{workdir} is in use by {holder}: wait for it, or stop it')
        if (
            record.is_final
        ):  # FID alone is missing, and what is wrong with that is no fault of the run
            try:
                self._score(record, job)
            except Failed as error:
                self._say(f'{job.row.name}: no FID: {error}')
            return record.data['state']
        try:
            self._train(record, job)
            self._score(record, job)
            self._sample(record, job)
            self._look(record, job)
        except Failed as error:
            record.write(state=FAILED, note=str(error))
        return record.data['state']

    # ---- stages

    def _train(self, record, job):
        workdir, data = self._workdir(job), record.data
        there = _checkpoints(workdir)
        if data['pieces'] and not (workdir / workdir.CONFIG_NAME).is_file():
            self._say(f'{data["name"]}: its workdir is gone, so it starts over')
            record.start_over()
            data = record.data
        if (there and there[-1] >= job.num_steps) or data['state'] == DIVERGED:
            return
        if self._budget.is_over():
            record.write()
            raise Stopped
        piece = self._machine_facts() | {
            'from': there[-1] if there else 0,
            'to': there[-1] if there else 0,
            'seconds': 0.0,
        }
        data['pieces'].append(piece)

        def beat(seconds):
            piece['seconds'] = round(seconds, 1)
            piece['to'] = max([piece['from'], *_checkpoints(workdir)])
            record.write()

        record.write(state=TRAINING, note='')
        ended = self._launch(job, 'training', job.training(workdir, self._places.data_dir), beat)
        beat(ended.seconds)
        if ended.code == _DIVERGED:
            note = (workdir / workdir.DIVERGED_NAME).read_text().strip()
            record.write(state=DIVERGED, note=note)
            self._say(f'{data["name"]}: {note}')
            return
        self._settle(job, ended)
        record.write(state=SCORING)

    def _score(self, record, job):
        p = self._places
        self._score_with(record, job, job.scale.extractor, p.weights)
        if p.inception:
            self._score_with(record, job, 'inception', p.inception)

    def _score_with(self, record, job, extractor, weights):
        workdir = self._workdir(job)
        missing = _unscored(workdir, job, extractor)
        if not missing:
            return self._take_scores(record, job)
        before = record.data['scoring_seconds']

        def beat(seconds):
            record.write(scoring_seconds=round(before + seconds, 1))

        command = job.scoring(workdir, self._places.data_dir, extractor, weights, missing)
        ended = self._launch(job, 'scoring', command, beat)
        beat(ended.seconds)
        self._take_scores(record, job)
        self._settle(job, ended)

    def _take_scores(self, record, job):
        rows = [dataclasses.asdict(row) for row in _scored(self._workdir(job))]
        record.write(scores=rows)

    def _sample(self, record, job):
        there = _checkpoints(self._workdir(job))
        if 'samples' in record.data or not there:
            return
        workdir, step = self._workdir(job), there[-1]
        folder = workdir / 'generated'
        shutil.rmtree(folder, ignore_errors=True)  # of a call that was ended while it wrote
        self._settle(job, self._launch(job, 'sampling', job.sampling(workdir, step)))
        (path,) = folder.glob('samples_*.npz')
        about = {
            'file': str(path.relative_to(self._places.workdirs)),
            'images': job.scale.num_samples,
        }
        record.write(samples=about | {'step': step, 'weights': job.variants[0].partition('/')[0]})

    def _look(self, record, job):
        """The curves, the speed, the spectra and the last grid: the record is whole with them."""
        workdir, there = self._workdir(job), _checkpoints(self._workdir(job))
        spectra = self._spectra(job, there[-1]) if there else {}
        (run,), _ = run_folders.read([workdir])
        curves = {
            name: [[round(p.step), float(f'{p.spread.mean:.5g}')] for p in curve([values])]
            for name, values in run.scalars.items()
            if name in CURVES
        }
        measured = {
            name: float(f'{statistics.median(run.scalars[key].values()):.5g}')
            for name, key in _SPEEDS.items()
            if key in run.scalars
        }
        found = {'measured': measured, 'curves': curves, 'spectra': spectra}
        if run.samples:
            grid = f'{job.row.name}.png'
            shutil.copyfile(run.samples[max(run.samples)], self._places.out / grid)
            found |= {'grid': grid, 'grid_step': max(run.samples)}
        state = DIVERGED if record.data['state'] == DIVERGED else FINISHED
        record.write(state=state, note=record.data['note'] if state == DIVERGED else '', **found)

    # ---- parts

    def _workdir(self, job) -> pathlib.Path:
        return self._places.workdirs / job.row.name

    def _launch(self, job, what, command, beat=lambda seconds: None, env=None) -> Ended:
        if self._budget.is_over():
            raise Stopped
        log = self._log(job)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open('a') as file:
            file.write(f'$ {" ".join(command)}\n')
        began = time.strftime('%H:%M:%S')
        ended = children.run(command, log, self._budget, cwd=ROOT, beat=beat, env=env)
        self._say(
            f'{job.row.name}: {what} from {began}, {ended.seconds:.0f} s, exit code {ended.code}'
        )
        return ended

    def _log(self, job):
        return self._places.workdirs / f'{job.row.name}.log'

    def _settle(self, job, ended):
        """Nothing for a process that did its work; raises what else it means."""
        if ended.is_unfinished:
            raise Stopped
        if ended.code:
            raise Failed(f'exit code {ended.code}: {children.last_line(self._log(job))}')

    def _spectra(self, job, step):
        path = self._places.workdirs / f'{job.row.name}.spectra.json'
        path.unlink(missing_ok=True)
        command = [sys.executable, '-m', 'benchmarks.cifar10_results.spectra']
        command += [str(self._workdir(job)), str(step), str(path)]
        env = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
        self._settle(job, self._launch(job, 'spectra', command, env=env))
        return json.loads(path.read_text())

    def _machine_facts(self):
        """What this call runs on; asked of a process of its own, as asking takes hold of the device."""
        if self._machine is None:
            log = self._places.workdirs / 'machine.json'
            log.unlink(missing_ok=True)
            command = [sys.executable, '-m', 'benchmarks.machine', str(log)]
            log.parent.mkdir(parents=True, exist_ok=True)
            ended = children.run(command, log.with_suffix('.log'), self._budget, cwd=ROOT)
            if ended.is_unfinished:
                raise Stopped
            if ended.code:
                raise Failed(children.last_line(log.with_suffix('.log')))
            facts = json.loads(log.read_text())
            keys = ('devices', 'processor', 'python', 'jax', 'flax', 'commit')
            self._machine = {key: facts[key] for key in keys}
        return {'date': datetime.date.today().isoformat(), **self._machine}

    def _fid_is_missing(self, record, job):
        """Whether Inception's weights are here, and a run that they have not scored."""
        workdir = self._workdir(job)
        return bool(
            self._places.inception
            and _checkpoints(workdir)
            and _unscored(workdir, job, 'inception')
        )


def _checkpoints(workdir: pathlib.Path) -> list[int]:
    """Steps of the checkpoints: a folder has its step's name when it is whole."""
    folder = workdir / 'checkpoints'
    return sorted(int(p.name) for p in folder.glob('*') if p.name.isdecimal())


def _scored(workdir: pathlib.Path) -> list[scores_file.Row]:
    rows = scores_file.read(workdir / 'scores.json')
    return [row for row in rows if row.manifest.get('checkpoint') == 'step']


def _unscored(workdir: pathlib.Path, job: Job, extractor: str) -> list[int]:
    """Steps whose checkpoint is there, and of whose scores some are not."""
    done = {
        (m['step'], m['protocol'], f'{m["weights"]}/{m["batch_statistics"]}')
        for m in (row.manifest for row in _scored(workdir))
        if m['extractor'] == extractor
    }
    there = set(_checkpoints(workdir))
    wanted = [(p, v) for p in job.scale.protocols for v in job.variants]
    return [s for s in job.steps if s in there and any((s, p, v) not in done for p, v in wanted)]
