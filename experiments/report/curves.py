"""Sections of curves over steps: scores, losses, and all other scalars."""

from collections.abc import Sequence

from experiments.report.groups import Group, names_of_scalars
from experiments.report.records import CurvePanel, Figure, Line, Section
from experiments.report.scores import titled

_SCORE_CURVES = (
    'eval/fid',
    'eval/frechet_distance',
    'eval/inception_score',
    'eval/classifier_score',
)
_LOSS_CURVES = ('train/dis_loss', 'train/gen_loss', 'train/rec_loss')
# Scalars that do not help to compare runs.
_DULL = ('train/lr', 'train/epoch', 'perf/images_per_s')
MOST_LINES = 24
_MOST_PANELS = 18
MEANING = (
    'Lines are means over seeds, bands one standard deviation; a line is thin where seeds are '
    'missing.'
)


def live_protocol(groups: Sequence[Group]) -> str:
    """Describes how the scores over steps were measured."""
    protocols = set()
    for run in (run for group in groups for run in group.runs):
        flat = run.flat
        if flat.get('eval.extractor'):
            weights = 'EMA' if flat.get('optimizer.ema_decay') else 'raw weights'
            protocols.add(
                f'{flat.get("eval.num_samples")} fakes against all of {flat.get("data.split")}, '
                f'extractor {flat["eval.extractor"]}, {weights}'
            )
    several = 'They differ between runs: ' if len(protocols) > 1 else ''
    return f'{several}{"; ".join(sorted(protocols))}.'


def heading(name: str, groups: Sequence[Group]) -> str:
    """The title of a scalar's panel."""
    key = name.removeprefix('eval/')
    if key == name:
        return name.removeprefix('train/').replace('_', ' ')
    extractors = {run.flat.get('eval.extractor') for group in groups for run in group.runs}
    return titled(key, ', '.join(sorted(map(str, extractors - {'', None}))))


def figure_of(groups: Sequence[Group], names: Sequence[str], caption: str) -> Figure | None:
    """A panel for each scalar, with a line for each of the first `MOST_LINES` groups."""
    if len(groups) > MOST_LINES:
        caption = f'{caption} The first {MOST_LINES} of {len(groups)} kinds.'
    groups = groups[:MOST_LINES]
    panels = [_panel(groups, name) for name in names]
    panels = [panel for panel in panels if panel.lines]
    if not panels:
        return None
    drawn = {line.style for panel in panels for line in panel.lines}
    return Figure(panels, [(g.name, g.style) for g in groups if g.style in drawn], caption)


def _panel(groups: Sequence[Group], name: str) -> CurvePanel:
    curves = [(group, group.curve(name)) for group in groups]
    lines = [Line(group.name, group.style, points) for group, points in curves if points]
    return CurvePanel(heading(name, groups), lines)


def score_curves(groups: Sequence[Group]) -> list[Section]:
    """Scores over steps, and the losses of both players."""
    logged = names_of_scalars(groups)
    scores = figure_of(
        groups,
        [name for name in _SCORE_CURVES if name in logged],
        f'{MEANING} Scores while training: {live_protocol(groups)}',
    )
    losses = figure_of(groups, [name for name in _LOSS_CURVES if name in logged], MEANING)
    found = {'Scores over training': scores, 'Losses': losses}
    return [Section(title, [figure]) for title, figure in found.items() if figure]


def everything_else(groups: Sequence[Group]) -> list[Section]:
    """All other scalars that were logged while training, folded."""
    logged = names_of_scalars(groups) - {*_SCORE_CURVES, *_DULL}
    names = sorted(n for n in logged if n.startswith(('train/', 'perf/')))
    names += sorted(n for n in logged if n.startswith('eval/') and n.count('/') == 1)
    caption = f'{MEANING} Losses of different kinds are on different scales.'
    figure = figure_of(groups, names[:_MOST_PANELS], caption)
    return [Section('All curves', [figure], is_folded=True)] if figure else []
