"""Sections of the report that any runs have: scores, curves, samples, configs, workdirs."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import leaderboard
from experiments.published import PUBLISHED
from experiments.report_groups import Group, names_of_scalars, span
from experiments.report_runs import Run
from snjax.report import thumbnails
from snjax.report.figure import number, said
from snjax.report.records import Cell, Curves, Figure, Line, Section, Sheet, Table, Text
from snjax.report.spreads import spread

# Names of scores for people; -1: lower is better, 1: higher.
_SIGNS = {
    'fid': -1,
    'frechet_distance': -1,
    'inception_score': 1,
    'classifier_score': 1,
    'kid': -1,
    'kernel_distance': -1,
    'precision': 1,
    'recall': 1,
    'density': 1,
    'coverage': 1,
    'intra_fid': -1,
    'intra_frechet_distance': -1,
    'accuracy': 1,
    'class_ms_ssim': -1,
}
_ARROWS = {-1: ' ↓', 1: ' ↑'}
# Of a protocol, what may differ inside one table, in columns.
_VARIANT = ('weights', 'batch_statistics')
_SCORE_CURVES = (
    'eval/fid',
    'eval/frechet_distance',
    'eval/inception_score',
    'eval/classifier_score',
)
_LOSS_CURVES = ('train/dis_loss', 'train/gen_loss', 'train/rec_loss')
MOST_LINES = 24
_MOST_PANELS = 18
_SAMPLE_STEPS = 4
_BYTES = 8_000_000  # of pictures in a page, about


def title(key: str, extractor: str) -> str:
    """A score as people are told of it: only Inception's distance is called FID."""
    known = {'fid': 'FID', 'kid': 'KID', 'frechet_distance': f'Frechet distance ({extractor})'}
    return known.get(key, key.replace('_', ' ').capitalize())


def titled(key: str, extractor: str) -> str:
    """`title` and an arrow to where it is better."""
    return title(key, extractor) + _ARROWS.get(_SIGNS.get(key, 0), '')


def protocol(row: Mapping[str, Any], variant: bool = True) -> str:
    """What a row of the leaderboard was scored by, in a line."""
    fakes = f'{row["fake_count"]} fakes against {row["real_count"]} real images ({row["real"]})'
    parts = [f'protocol {row["protocol"]}: {fakes}', f'extractor {row["extractor"]}']
    parts.append(
        {'last': 'the last state', 'best': "each run's best checkpoint"}.get(row['checkpoint'], '')
    )
    parts.append(f'at step {row["step"]}' if row['checkpoint'] != 'best' else '')
    if variant:
        parts.append({'ema': 'EMA of the generator', 'raw': 'raw weights'}.get(row['weights'], ''))
        parts.append(f'{row["batch_statistics"]} batch statistics')
    return ', '.join(filter(None, parts))


# ---- tables of scores


def scores(groups: Sequence[Group], rows: Sequence[Mapping[str, Any]]) -> list[Section]:
    """A table for each protocol, best first, and one of kinds that have no scores."""
    of_folder = {run.folder: group for group in groups for run in group.runs}
    tables: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        key = [row[k] for k in leaderboard.PROTOCOL if k not in _VARIANT]
        tables.setdefault(json.dumps(key), []).append(row)
    # What says most of a run comes first.
    ordered = sorted(tables.values(), key=lambda found: -len(found[0]['each']))
    blocks = [_scores_table(found, of_folder) for found in ordered]
    scored = {of_folder[folder].name for row in rows for folder in row['folders']}
    without = [group for group in groups if group.name not in scored]
    if without:
        blocks.append(_unscored_table(without, 'Without scores' if rows else ''))
    return [Section('Scores', blocks)]


def _scores_table(rows, of_folder):
    keys = [key for key in leaderboard.SCORES if any(key in row for row in rows)]
    variant = [key for key in _VARIANT if len({row[key] for row in rows}) > 1]
    is_one_step = len({str(row['step']) for row in rows}) == 1
    heads = ['run', 'seeds', 'state', 'step', *(v.replace('_', ' ') for v in variant)]
    extractor = rows[0]['extractor']
    body = []
    for row in rows:
        group = of_folder[row['folders'][0]]
        cells = [*_who(group, row['seeds']), Cell(str(row['step']), _first(row['step']))]
        cells += [Cell(str(row[key])) for key in variant]
        body.append(cells + [_score_cell(row, key) for key in keys])
    told = protocol(rows[0] if is_one_step else {**rows[0], 'step': 'below'}, not variant)
    caption = f'{told[0].upper()}{told[1:]}. Mean ± standard deviation over seeds.'
    best = {len(heads) + i: _SIGNS[key] for i, key in enumerate(keys) if not variant}
    return Table([*heads, *(titled(key, extractor) for key in keys)], body, caption, best=best)


def _score_cell(row, key):
    if key not in row:
        return Cell('')
    values = row['each'][key]
    found = spread(values)
    if found is None:
        return Cell('not finite')
    return Cell(said(found), found.mean, hint=', '.join(map(number, values)))


def _who(group, seeds):
    counts = Counter(run.state for run in group.runs)
    state = ', '.join(f'{n} {s}' if len(group.runs) > 1 else s for s, n in counts.most_common())
    notes = '; '.join(sorted({run.note for run in group.runs if run.note}))
    return [Cell(group.name, style=group.style), Cell(str(seeds), seeds), Cell(state, hint=notes)]


def _unscored_table(groups, caption):
    rows = [
        [*_who(g, len({r.seed for r in g.runs})), Cell(g.steps(), g.runs[0].step)] for g in groups
    ]
    return Table(['run', 'seeds', 'state', 'step'], rows, caption)


def _first(step):
    return float(str(step).partition('-')[0])


def published(rows: Sequence[Mapping[str, Any]]) -> list[Section]:
    """What others published on the same data sets; nothing where there is nothing."""
    found = [p for p in PUBLISHED if p.data in {row['data'] for row in rows}]
    if not found:
        return []
    body = [
        [
            *map(Cell, (p.method, p.network, p.data, p.protocol)),
            *(Cell('' if v is None else f'{v:g}', v) for v in (p.inception_score, p.fid)),
            Cell(p.source),
        ]
        for p in found
    ]
    heads = ('method', 'network', 'data', 'protocol', 'inception score ↑', 'FID ↓', 'source')
    caption = (
        "Not measured here, each under its own protocol. FID and inception score are Inception's: scores of other "
        'extractors are on other scales.'
    )
    table = Table(heads, body, caption, groups=[('published', len(heads))])
    return [Section('Published scores', [table])]


# ---- curves


def live_protocol(groups: Sequence[Group]) -> str:
    """What scores over steps were taken by."""
    told = set()
    for group in groups:
        for run in group.runs:
            flat = run.flat
            if not flat.get('eval.extractor'):
                continue
            fakes, split = flat.get('eval.num_samples'), flat.get('data.split')
            average = 'EMA' if flat.get('optimizer.ema_decay') else 'raw weights'
            told.add(
                f'{fakes} fakes against all of {split}, extractor {flat.get("eval.extractor")}, {average}'
            )
    several = 'They differ between runs: ' if len(told) > 1 else ''
    return f'{several}{"; ".join(sorted(told))}.'


MEANING = 'Lines are means over seeds, bands one standard deviation; a line is thin where seeds are missing.'


def panel(groups: Sequence[Group], name: str, heading: str) -> Curves | None:
    """One scalar of all groups that have it."""
    curves = [(group, group.curve(name)) for group in groups]
    lines = [Line(group.name, group.style, points) for group, points in curves if points]
    return Curves(heading, lines) if lines else None


def heading(name: str, groups: Sequence[Group]) -> str:
    """The title of a scalar's panel."""
    key = name.removeprefix('eval/')
    if key == name:
        return name.removeprefix('train/').replace('_', ' ')
    extractors = {run.flat.get('eval.extractor') for group in groups for run in group.runs}
    return titled(key, ', '.join(sorted(map(str, extractors - {'', None}))))


def figure_of(groups: Sequence[Group], names: Sequence[str], caption: str) -> Figure | None:
    """Panels of scalars; of too many groups the first."""
    if len(groups) > MOST_LINES:
        caption = f'{caption} The first {MOST_LINES} of {len(groups)} kinds.'
    groups = groups[:MOST_LINES]
    panels = [panel(groups, name, heading(name, groups)) for name in names]
    panels = [p for p in panels if p]
    if not panels:
        return None
    drawn = {line.style for p in panels for line in p.lines}
    return Figure(panels, [(g.name, g.style) for g in groups if g.style in drawn], caption)


def score_curves(groups: Sequence[Group]) -> list[Section]:
    """Scores over steps, and the players' losses."""
    there = names_of_scalars(groups)
    made = []
    live = figure_of(
        groups,
        [n for n in _SCORE_CURVES if n in there],
        f'{MEANING} Scores while training: {live_protocol(groups)}',
    )
    if live:
        made.append(Section('Scores over training', [live]))
    losses = figure_of(groups, [n for n in _LOSS_CURVES if n in there], MEANING)
    if losses:
        made.append(Section('Losses', [losses]))
    return made


def loss_curves(groups: Sequence[Group]) -> list[Section]:
    """Everything else that was logged of the training, folded."""
    there = names_of_scalars(groups)
    dull = {*_SCORE_CURVES, 'train/lr', 'train/epoch', 'perf/images_per_s'}
    names = sorted(n for n in there - dull if n.startswith(('train/', 'perf/')))
    names += sorted(n for n in there - dull if n.startswith('eval/') and n.count('/') == 1)
    caption = f'{MEANING} Losses of different kinds are on different scales.'
    figure = figure_of(groups, names[:_MOST_PANELS], caption)
    return [Section('All curves', [figure], is_folded=True)] if figure else []


# ---- samples


def samples(groups: Sequence[Group]) -> list[Section]:
    """Grids of one run of each kind, at equal steps."""
    first = [(group, sampled(group)) for group in groups]
    first = [(group, run) for group, run in first if run][:MOST_LINES]
    if not first:
        return []
    steps = equal_steps([run.samples for _, run in first], _SAMPLE_STEPS)
    cut = thumbnails.Budget(_BYTES // (len(first) * len(steps)))
    rows = [
        (group.name, group.style, [picture(run, step, cut) for step in steps])
        for group, run in first
    ]
    seeds = span(run.seed for _, run in first)
    caption = f'From fixed z, seed {seeds}.{cut.remark()}'
    sheet = Sheet([f'step {step}' for step in steps], rows, caption)
    return [Section('Samples', [sheet])]


def sampled(group: Group) -> Run | None:
    """The run of a group whose pictures stand for it: the lowest seed that has any."""
    return next((run for run in group.runs if run.samples), None)


def equal_steps(found: Sequence[Mapping[int, Any]], most: int) -> list[int]:
    """At most `most` steps, evenly over those after 0 that all have, or else the most have."""
    counts = Counter(step for steps in found for step in steps)
    later = {step: n for step, n in counts.items() if step} or counts
    common = sorted(step for step, n in later.items() if n == max(later.values()))
    if len(common) <= most:
        return common
    return [common[round((i + 1) * len(common) / most) - 1] for i in range(most)]


def picture(run: Run, step: int, cut: thumbnails.Budget) -> bytes | None:
    """The grid of a run at a step, small enough; None where there is none."""
    path = run.samples.get(step)
    if path is None:
        return None
    return cut.take(path.read_bytes(), run.flat.get('data.image_size', 0))


# ---- configs and workdirs


def differences(groups: Sequence[Group]) -> list[Section]:
    """The keys whose values are not the same in all runs."""
    runs = [run for group in groups for run in group.runs]
    keys = [key for key in _keys(runs) if len({_value(run, key) for run in runs}) > 1]
    if not keys:
        return []
    rows = [
        [
            Cell(group.name, style=group.style),
            *(
                Cell(', '.join(dict.fromkeys(_value(run, key) for run in group.runs)))
                for key in keys
            ),
        ]
        for group in groups
    ]
    table = Table(['run', *keys], rows, 'Keys of the config that are not the same in all runs.')
    return [Section('Differences of the configs', [table])]


def common(groups: Sequence[Group]) -> Section:
    """The keys that all runs have the same value of, folded."""
    runs = [run for group in groups for run in group.runs]
    keys = [key for key in _keys(runs) if len({_value(run, key) for run in runs}) == 1]
    lines = '\n'.join(f'{key}: {_value(runs[0], key)}' for key in keys)
    return Section('Config common to all runs', [Text(lines, is_code=True)], is_folded=True)


def _keys(runs):
    return sorted({key for run in runs for key in run.flat})


def _value(run, key):
    """As it is written in a flag, so that 1 and true differ; 1 and 1.0 do not."""
    if key not in run.flat:
        return '(absent)'
    value = run.flat[key]
    if isinstance(value, str) and value:
        return value
    is_whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if is_whole else value, ensure_ascii=False)


def workdirs(groups: Sequence[Group]) -> Section:
    """Every run, folded."""
    rows = [
        [
            Cell(str(run.folder)),
            Cell(group.name, style=group.style),
            Cell(str(run.seed), run.seed),
            Cell(run.state),
            Cell(f'{run.step} of {run.num_steps}', run.step),
            Cell(run.note),
        ]
        for group in groups
        for run in group.runs
    ]
    table = Table(['workdir', 'run', 'seed', 'state', 'step', 'remark'], rows)
    return Section('Workdirs', [table], is_folded=True)
