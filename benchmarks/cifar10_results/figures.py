"""The page's figures, as SVG: scores and losses over training, and the spectra of the discriminators' weights."""

import pathlib
from collections.abc import Mapping
from typing import Any

from benchmarks.cifar10_results.rows import ROWS, Scale
from snjax.report.figure import alone
from snjax.report.records import Curves, Figure, Line
from snjax.report.spreads import Point, curve, spread

_SCORES = ('frechet_distance', 'classifier_score', 'precision', 'recall', 'density', 'coverage')
_LOSSES = {
    'train/dis_loss': "D's loss",
    'train/gen_loss': "G's loss",
    'train/rec_loss': 'reconstruction loss',
}


def write(
    out: pathlib.Path, records: Mapping[str, Mapping[str, Any]], scale: Scale
) -> dict[str, str]:
    """Writes the figures that there is something for; returns the name of each and what it shows."""
    made = {'scores.svg': _scores(records, scale), 'losses.svg': _losses(records)}
    shown = {
        'scores.svg': f'Scores over training, {scale.protocols[-1]}, {scale.extractor}',
        'losses.svg': 'Losses',
    }
    for row in ROWS:
        name, record = f'{row.name}_spectra.svg', records.get(row.name, {})
        made[name] = _spectra(row.title, record) if record.get('spectra') else None
        shown[name] = f'Singular values of the weights of D, {row.title}, seed {record.get("seed")}'
    for name, figure in made.items():
        if figure:
            out.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(alone(figure))
    return {name: shown[name] for name, figure in made.items() if figure}


def _of_kinds(records):
    """(title, number of its style, records) of each kind that has run."""
    titles = list(dict.fromkeys(row.title for row in ROWS))
    found = [[r for r in records.values() if r['title'] == title] for title in titles]
    return [(t, i, rs) for i, (t, rs) in enumerate(zip(titles, found, strict=True)) if rs]


def _scores(records, scale):
    """A panel for each score: the EMA's where there is one."""
    panels = []
    for key in _SCORES:
        lines = [
            Line(title, style, points)
            for title, style, runs in _of_kinds(records)
            if (points := curve([_by_step(run, key, scale) for run in runs]))
        ]
        if lines:
            panels.append(Curves(key.replace('_', ' ').capitalize(), lines))
    caption = (
        f'{scale.protocols[-1]}, {scale.extractor}; the EMA of the generator where there is one; bands are one '
        'standard deviation over seeds.'
    )
    return _figure(panels, caption)


def _by_step(record, key, scale):
    found: dict[str, dict[int, float]] = {}
    for row in record['scores']:
        m = row['manifest']
        if m['protocol'] == scale.protocols[-1] and m['extractor'] == scale.extractor:
            found.setdefault(m['weights'], {})[m['step']] = row['scores'][key]
    return found.get('ema') or found.get('raw') or {}


def _losses(records):
    panels = []
    for key, name in _LOSSES.items():
        for title, style, runs in _of_kinds(records):
            curves = [dict(run['curves'][key]) for run in runs if key in run.get('curves', {})]
            if curves:
                panels.append(Curves(f'{name}: {title}', [Line(title, style, curve(curves))]))
    # Losses of different methods mean different things: a panel each, and no legend.
    return Figure(panels, [], 'Each method has its own loss.') if panels else None


def _spectra(title, record):
    lines = []
    for style, (layer, found) in enumerate(record['spectra'].items()):
        values = zip(found['at'], found['values'], strict=True)
        lines.append(Line(f'{layer} ({found["largest"]:.3g})', style, [_point(*v) for v in values]))
    panel = Curves(f'{title}, seed {record["seed"]}', lines, 'order of the singular value')
    caption = (
        "Each layer's singular values over its largest, which stands in brackets; weights as they act, divided by "
        'sigma where the method does so.'
    )
    return _figure([panel], caption)


def _point(at, value):
    found = spread([value])
    assert found
    return Point(at + 1, found, True)


def _figure(panels, caption):
    if not panels:
        return None
    names = dict.fromkeys((line.name, line.style) for panel in panels for line in panel.lines)
    return Figure(panels, list(names), caption)
