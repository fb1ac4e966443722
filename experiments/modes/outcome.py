"""How a training went, in one line for its end: scores, signs of a collapse, where to look.

It reads `metrics.jsonl`, and judges by the bounds of `snjax.training.sentinel` and by the scores
alone: the losses of a GAN do not say how good its images are (docs/usage/going_well.md).
"""

import pathlib
import statistics
from collections.abc import Mapping

from snjax.runs import tags
from snjax.runs.files import read_lines
from snjax.runs.workdir import BEST, METRICS_NAME
from snjax.training.sentinel import BOUNDS, PATIENCE

# Scores by which a run is judged, the first that there is; lower is better.
_SCORES = {
    'fid': 'FID',
    'frechet_distance': 'Frechet distance',
    'swd': 'sliced Wasserstein distance',
}
_WORSE, _FALLING = 1.1, 0.95
# Difference of D's mean logits on real images and fakes that no run keeps whose networks hold each
# other: 0.8 in the demo, 450 and 9e14 in the two bad runs of `PAGE`.
_APART, _LOGS = 100.0, 10
PAGE = 'docs/usage/going_well.md'

Curve = dict[int, float]


def of(workdir: pathlib.Path) -> str:
    """The sentence on the run in `workdir`."""
    curves: dict[str, Curve] = {}
    for _, point in read_lines(workdir / METRICS_NAME).good:
        step = point.get('step')
        for tag, value in point.items():
            if isinstance(step, int) and isinstance(value, int | float):
                curves.setdefault(tag, {})[step] = float(value)
    return sentence(curves, str(workdir / BEST))


def sentence(curves: Mapping[str, Curve], best: str = BEST) -> str:
    """How a run went.

    Args:
        curves: values by step of every tag of `metrics.jsonl`.
        best: the folder of the best checkpoint, to be named.
    """
    parts = [*_divergence(curves), *_collapse(curves), *_score(curves, best)]
    return '; '.join([*parts, f'what the tags say: {PAGE}'])


def _divergence(curves: Mapping[str, Curve]) -> list[str]:
    """A word on logits that have run away without leaving the range of numbers."""
    real, fake = (curves.get(f'train/{kind}_logits', {}) for kind in ('real', 'fake'))
    steps = sorted(real.keys() & fake.keys())[-_LOGS:]
    apart = statistics.median(abs(real[i] - fake[i]) for i in steps) if steps else 0.0
    if apart < _APART:
        return []
    return [f"looks diverged: D's logits on real images and fakes are {apart:.3g} apart"]


def _collapse(curves: Mapping[str, Curve]) -> list[str]:
    """Signs that were past their bounds at most of the last measurements, or the word of none."""
    signs = {name: curves.get(f'sentinel/{name}', {}) for name in (*BOUNDS, 'dis_accuracy')}
    steps = sorted(set.intersection(*(set(curve) for curve in signs.values())))[-PATIENCE:]
    if not steps:
        return []
    points = [{name: curve[step] for name, curve in signs.items()} for step in steps]
    found = [
        bound.words for bound in BOUNDS.values() if 2 * sum(map(bound.is_bad, points)) > len(points)
    ]
    diversity = f'diversity {points[-1]["diversity"]:.2f}, real images 1'
    if found:
        return [f'looks collapsed: {", ".join(found)} ({diversity})']
    return [] if _divergence(curves) else [f'no sign of a collapse ({diversity})']


def _score(curves: Mapping[str, Curve], best: str) -> list[str]:
    """Where the score was best, and whether it was still falling at the end."""
    found = [(key, curve) for key in _SCORES for tag, curve in curves.items() if _is(tag, key)]
    if not found:
        return ['no scores were taken, so the samples have to tell']
    key, curve = found[0]
    name, last = _SCORES[key], max(curve)
    at = min(curve, key=lambda step: curve[step])
    text = f'{name} {curve[last]:.4g} at the end'
    if len(curve) == 1:
        return [text]
    if curve[last] > _WORSE * curve[at]:
        return [f'{text}, but {curve[at]:.4g} at step {at}: the better checkpoint is in {best}']
    before = [value for step, value in curve.items() if 0.6 * last <= step <= 0.8 * last]
    if before and curve[last] < _FALLING * min(before):
        return [f'{text} and still falling: more steps may help']
    if at == last:
        return [f'{text}, its best']
    return [f'{text}, no longer falling (best {curve[at]:.4g} at step {at})']


def _is(tag: str, key: str) -> bool:
    return tags.score_name(tag) == key
