"""What was logged, over steps: scores, losses and all else."""

from collections.abc import Sequence

from experiments.report.groups import Group, names_of_scalars
from experiments.report.scores import titled
from snjax.report.records import Curves, Figure, Line, Section

_SCORE_CURVES = (
    'eval/fid',
    'eval/frechet_distance',
    'eval/inception_score',
    'eval/classifier_score',
)
_LOSS_CURVES = ('train/dis_loss', 'train/gen_loss', 'train/rec_loss')
MOST_LINES = 24
_MOST_PANELS = 18


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


def everything_else(groups: Sequence[Group]) -> list[Section]:
    """Everything else that was logged of the training, folded."""
    there = names_of_scalars(groups)
    dull = {*_SCORE_CURVES, 'train/lr', 'train/epoch', 'perf/images_per_s'}
    names = sorted(n for n in there - dull if n.startswith(('train/', 'perf/')))
    names += sorted(n for n in there - dull if n.startswith('eval/') and n.count('/') == 1)
    caption = f'{MEANING} Losses of different kinds are on different scales.'
    figure = figure_of(groups, names[:_MOST_PANELS], caption)
    return [Section('All curves', [figure], is_folded=True)] if figure else []
