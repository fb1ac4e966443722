"""The results page, from records alone: whatever has not run says so. Imports no JAX."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.cifar10_results import figures
from benchmarks.cifar10_results.records import DIVERGED, FAILED, FINISHED
from benchmarks.cifar10_results.rows import NUM_CHECKPOINTS, ROWS, Job, Row, Scale
from experiments.report.published import PUBLISHED
from snjax.report.figure import number, said
from snjax.report.spreads import spread

Records = Mapping[str, dict[str, Any]]
NOT_RUN = 'not yet run'
# Of the scores at the last checkpoint: fewer of the real images near a fake, or fakes near a real image, is a collapse.
COLLAPSED = {'coverage': 0.05, 'recall': 0.02}
FELL_BACK = 1.5  # times the best checkpoint's Frechet distance
_SCORES = {
    'frechet_distance': 'Frechet distance ↓',
    'classifier_score': 'classifier score ↑',
    'precision': 'precision ↑',
    'recall': 'recall ↑',
    'density': 'density ↑',
    'coverage': 'coverage ↑',
}
_WEIGHTS = {'ema': 'EMA', 'raw': 'raw'}


def write(path: pathlib.Path, out: pathlib.Path, records: Records, scale: Scale) -> None:
    """Writes the page, and beside the records in `out` the figures that it shows."""
    shown = figures.write(out, records, scale)
    link = pathlib.Path(os.path.relpath(out, path.parent))
    parts = [_head(records, scale), _runs(records, scale), _scores(records, scale)]
    parts += [_published(), _speed(records), _pictures(records, link, shown)]
    parts += [_failures(records, out, scale), _commands(scale)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n\n'.join(part for part in parts if part) + '\n')


# ---- what the page says


def _head(records, scale):
    if scale.is_smoke:
        return (
            '# Dry run of the results page: no results\n\nTiny networks, few updates, few images.'
        )
    done = sum(record['state'] in (FINISHED, DIVERGED) for record in records.values())
    return f"""# CIFAR-10 at full length: every method on one protocol

{done} of {len(ROWS)} runs are done.

This page is written by `python -m benchmarks.cifar10_results --page` from records in `cifar10/` (one JSON file for each
run: its command, every score with its manifest, curves, spectra, and date, device and versions of each start) and is
not edited by hand.

Each method keeps its published recipe; the scores are the same for all. Distances and neighbours are between features
of `cifar_resnet56`, a classifier of CIFAR-10, so **the Frechet distance here is not FID, and the classifier score (its
softmax in the formula of the Inception score) is not IS**: compare them inside this page alone. `paper` is 10,000 test
images against 5,000 fakes, `50k_50k_train` 50,000 training images against 50,000 fakes. [docs/scores.md](../scores.md)
defines both, and has what these scores say of real images. Every run is scored at {NUM_CHECKPOINTS} checkpoints,
equally far apart and none chosen by its score; the tables show the last. Precision, recall, density and coverage are of
at most 10,000 of each kind. EMA is a moving average of the generator and its batch statistics (0.999 an update), which
is no part of the published SNGAN, cGAN and WGAN-GP: their recipe is `raw`."""


def _runs(records, scale):
    heads = [
        'row',
        'method',
        'seed',
        'updates',
        'state',
        'training, wall time',
        'real images/s',
        'device',
        'date',
    ]
    lines = []
    for row in ROWS:
        job, record = Job(row, scale), records.get(row.name)
        start = [str(row.number), row.title, str(job.config['seed']), f'{job.num_steps:,}']
        lines.append([*start, *(_progress(record) if record else [NOT_RUN, '', '', '', ''])])
    note = (
        "Wall time is the processes': start, reading, compiling, training, checkpoints and grids, over all pieces of "
        'an interrupted run;\nscoring comes on top. Real images/s is the median of what the run logged.'
    )
    return f'## Runs\n\n{_table(heads, lines)}\n\n{note}'


def _progress(record):
    pieces = record['pieces']
    seconds = sum(piece['seconds'] for piece in pieces)
    reached = max((piece['to'] for piece in pieces), default=0)
    state = record['state']
    if state not in (FINISHED, DIVERGED, FAILED):
        state = f'{state}, at {reached:,}'
    speed = record.get('measured', {}).get('images_per_s')
    return [
        state,
        _time(seconds),
        f'{speed:,.0f}' if speed else '',
        _each(pieces, 'devices'),
        _each(pieces, 'date'),
    ]


def _scores(records, scale):
    blocks = ['## Scores at the last checkpoint']
    for protocol in scale.protocols:
        lines = [line for rows in kinds() for line in _score_lines(rows, records, protocol, scale)]
        has_fid = any(line[-1] for line in lines)
        heads = ['method', 'weights', 'seeds', 'at', *_SCORES.values(), 'FID ↓']
        if not has_fid:  # Inception's weights have not been at hand
            heads, lines = heads[:-1], [line[:-1] for line in lines]
        blocks += [f'### {protocol}, {scale.extractor}', _table(heads, lines)]
    blocks.append('Mean and standard deviation over seeds, where there are several.')
    return '\n\n'.join(blocks)


def _score_lines(rows: Sequence[Row], records: Records, protocol: str, scale: Scale):
    job = Job(rows[0], scale)
    found = [records[row.name] for row in rows if row.name in records]
    if not any(record['scores'] for record in found):
        return [
            [
                rows[0].title,
                '',
                '',
                NOT_RUN if not found else 'no scores',
                *[''] * (len(_SCORES) + 1),
            ]
        ]
    out = []
    for weights in (variant.partition('/')[0] for variant in job.variants):
        last = [last_scores(record, protocol, weights, scale.extractor) for record in found]
        fid = [last_scores(record, protocol, weights, 'inception') for record in found]
        of_seeds = [one for one in last if one]
        start = [rows[0].title, _WEIGHTS[weights]]
        if not of_seeds:
            out.append([*start, '', NOT_RUN, *[''] * (len(_SCORES) + 1)])
            continue
        at = sorted({one['step'] for one in of_seeds})
        cells = [_spread([one[key] for one in of_seeds]) for key in _SCORES]
        fids = _spread([one['fid'] for one in fid if one])
        out.append([*start, str(len(of_seeds)), ' and '.join(f'{s:,}' for s in at), *cells, fids])
    return out


def last_scores(
    record: Mapping[str, Any], protocol: str, weights: str, extractor: str
) -> dict[str, Any] | None:
    """Scores of a record's last scored checkpoint and its `step`; None where nothing was scored so."""
    found = scores_by_step(record, protocol, weights, extractor)
    return {'step': max(found), **found[max(found)]} if found else None


def scores_by_step(
    record: Mapping[str, Any], protocol: str, weights: str, extractor: str
) -> dict[int, dict[str, float]]:
    """Scores of each checkpoint of a record, with running batch statistics."""
    wanted = {'protocol': protocol, 'weights': weights, 'extractor': extractor}
    return {
        row['manifest']['step']: row['scores']
        for row in record['scores']
        if all(row['manifest'][key] == value for key, value in wanted.items())
    }


def kinds() -> list[list[Row]]:
    """Rows of one title together: seeds."""
    found: dict[str, list[Row]] = {}
    for row in ROWS:
        found.setdefault(row.title, []).append(row)
    return list(found.values())


def _published():
    heads = ['rows', 'recipe', 'IS', 'FID', 'protocol', 'source']
    lines = []
    for p in PUBLISHED:
        of = [row for row in ROWS if (p.method, p.network) in row.published]
        if p.data == 'cifar10' and of:
            numbers = ', '.join(dict.fromkeys(str(row.number) for row in of))
            scores = ['' if x is None else f'{x:.2f}' for x in (p.inception_score, p.fid)]
            lines.append([numbers, f'{p.method}, {p.network}', *scores, p.protocol, p.source])
    return f"""## Published scores of the same recipes, for orientation

Under Inception, each by its own protocol, and so apart: no number of this table compares with one of those above. The
same SNGAN stands in it as 21.7, 23.9 and 16.8 by the protocol alone; StudioGAN's cgan is its conditional SNGAN.
R3GAN's objective on this network has no published score, and GLO's paper gives none.

{_table(heads, lines)}"""


def _speed(records):
    title = '## The first row beside its bound'
    bound = (
        "50,000 updates are 179 to 194 s by arithmetic on an H200 at the convolutions' published forms, and from 122 s "
        'as\nrewritten here, with a quarter more for the official generator batch of 128\n'
        '([docs/performance.md](../performance.md#limits-on-paper)).'
    )
    record = records.get(ROWS[0].name)
    if not record or record['state'] != FINISHED:
        return f'{title}\n\n{bound} Measured: {NOT_RUN}.'
    seconds = sum(piece['seconds'] for piece in record['pieces'])
    updates = record['num_steps'] / record['measured']['updates_per_s']
    return (
        f'{title}\n\n{bound} Measured on {_each(record["pieces"], "devices")}: {seconds:,.0f} s of wall time, in '
        f'{len(record["pieces"])} starts; {updates:,.0f} s at the median rate of its updates.'
    )


def _pictures(records, link, shown):
    blocks = ['## Over training, samples, spectra']
    if not records:
        return f'{blocks[0]}\n\n{NOT_RUN.capitalize()}.'
    for name, text in shown.items():
        blocks.append(f'![{text}]({link / name})')
    for row in ROWS:
        record = records.get(row.name, {})
        if 'grid' in record:
            about = f'{row.title}, seed {record["seed"]}, update {record["grid_step"]:,}'
            blocks.append(f'### {about}\n\n![{about}]({link / record["grid"]})')
        if 'samples' in record:
            kept = record['samples']
            blocks.append(
                f'{kept["images"]:,} samples ({_WEIGHTS[kept["weights"]]}) as 8-bit pixels were kept outside the '
                f'repository: `{kept["file"]}`.'
            )
    return '\n\n'.join(blocks)


def _failures(records, out, scale):
    said_of = [
        f'- {record["title"]}, seed {record["seed"]}: {line}'
        for record in records.values()
        for line in verdicts(record, scale)
    ]
    by_hand = out / 'notes.md'
    notes = by_hand.read_text().strip() if by_hand.is_file() else ''
    rule = (
        f'Said by rule: a run collapsed where coverage is below {COLLAPSED["coverage"]} or recall below '
        f'{COLLAPSED["recall"]} at the last checkpoint;\nit fell back where the last Frechet distance is more than '
        f'{FELL_BACK} times the best.'
    )
    found = '\n'.join(said_of) or ('Nothing, so far.' if records else f'{NOT_RUN.capitalize()}.')
    return '\n\n'.join(filter(None, ['## What did not work', rule, found, notes]))


def verdicts(record: Mapping[str, Any], scale: Scale) -> list[str]:
    """What went wrong in a run, in lines: a failure, a divergence, and by its scores a collapse or a fall back."""
    out = [record['note']] if record['state'] in (DIVERGED, FAILED) else []
    for weights in _WEIGHTS:
        steps = scores_by_step(record, scale.protocols[-1], weights, scale.extractor)
        low = _low_from(steps)
        if low:
            values = ' and '.join(
                f'{key} {steps[low][key]:.3f}'
                for key, least in COLLAPSED.items()
                if steps[low][key] < least
            )
            out.append(f'collapsed ({_WEIGHTS[weights]}): {values} at {low:,}, and no better later')
        distances = {step: scores['frechet_distance'] for step, scores in steps.items()}
        if not distances:
            continue
        best, last = min(distances, key=lambda s: distances[s]), max(distances)
        if distances[last] > FELL_BACK * distances[best]:
            out.append(
                f'fell back ({_WEIGHTS[weights]}): Frechet distance {number(distances[best])} at {best:,}, '
                f'{number(distances[last])} at {last:,}'
            )
    return out


def _low_from(steps: Mapping[int, Mapping[str, float]]) -> int | None:
    """The first checkpoint from which on all are collapsed, as a run may be poor at its start; None where none is."""
    found = None
    for step in sorted(steps, reverse=True):
        if all(steps[step][key] >= least for key, least in COLLAPSED.items()):
            break
        found = step
    return found


def _commands(scale):
    listed = '\n'.join(Job(row, scale).command for row in ROWS)
    return f"""## Commands

All rows, in order of importance, in pieces of ten minutes; started again (exit code 75) it goes on where it was:

```bash
python -m benchmarks.cifar10_results --data_dir=TFDS --weights=resnet56_cifar10.npz --workdirs=WORKDIRS \\
    --budget=600 --page
```

WORKDIRS has checkpoints, logs and, of each run, 50,000 samples as an `.npz` of 8-bit pixels: about 6 GB in all, by
arithmetic. It is what has to be kept between the pieces where the disk is not; `$SNJAX_CACHE` (the prepared set,
features of the real images, compiled programs) only saves time. A row that is finished needs neither. FID needs
Inception's weights: `--inception=WEIGHTS` scores the kept checkpoints of finished rows by them as well, and the samples
are for any other implementation; the classifier's features would do for neither. Each row is one training:

```bash
{listed}
```"""


# ---- cells


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heads, ['---'] * len(heads), *lines]
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def _spread(values):
    found = spread(values)
    return said(found) if found else ''


def _each(pieces, key):
    """What the starts of a run have under a key, each value once."""
    return ', '.join(dict.fromkeys(piece[key] for piece in pieces))


def _time(seconds):
    if seconds < 100:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes // 60} h {minutes % 60:02} min' if minutes >= 60 else f'{minutes} min'
