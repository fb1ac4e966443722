"""The page, the record and the figures of `--mode=diagnose`."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.report import figure
from experiments.report.records import CurvePanel, Figure, Line
from experiments.report.spreads import Point, Spread, curve
from snjax.runs.files import replace_file
from snjax.spectral.diagnostics import LayerReport

_HEADS = ('layer', 'weight', 'sigma', 'exact', 'error', 'norm', 'bound', 'stable', 'effective')
# Rows about the network: a text, and the names of its numbers.
_NETWORK = (
    ('Lipschitz constant, at least', ('lipschitz/lower',)),
    ('  and at most, with the norms above', ('lipschitz/upper',)),
    ('  and at most, with their bounds', ('lipschitz/certain',)),
    ('slope at real images, mean and largest', ('slope/real', 'slope/real_max')),
    ('slope at fakes', ('slope/fake', 'slope/fake_max')),
    ('slope between them', ('slope/between', 'slope/between_max')),
    ('logits of real images, least, mean, largest', ('logits/real_min', 'logits/real', 'logits/real_max')),
    ('logits of fakes', ('logits/fake_min', 'logits/fake', 'logits/fake_max')),
    ('logits of held-out images, mean', ('logits/held_out',)),
    ('active terms of the hinge loss, real and fake', ('hinge/real_active', 'hinge/fake_active')),
    ('gradient at an image that reaches G, mean and least', ('gen/image_gradient', 'gen/image_gradient_min')),
    ("  and of G's parameters", ('gen/parameter_gradient',)),
    ("move of an image in G's next update", ('gen/move',)),
    ('slope of D along that move', ('gen/slope_along_move',)),
)  # fmt: skip


def page(step: int, report: Mapping[str, LayerReport], found: Mapping[str, float]) -> list[str]:
    """The lines of a diagnosis: a row for each layer, then the network."""
    rows = [_HEADS, *(_row(name, layer) for name, layer in report.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADS))]
    table = [
        '  '.join(
            text.ljust(width) if i < 2 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    network = [
        f'{text:<54}' + '  '.join(f'{found[name]:.4g}' for name in names)
        for text, names in _NETWORK
        if all(name in found for name in names)
    ]
    return [f'discriminator of step {step}', '', *table, '', *network]


def _row(name: str, layer: LayerReport) -> tuple[str, ...]:
    is_weight = bool(layer.shape)
    return (
        name,
        'x'.join(map(str, layer.shape)) or layer.kind,
        *('' if x is None else f'{x:.4g}' for x in (layer.sigma, layer.exact)),
        f'{layer.sigma / layer.exact - 1:+.2%}' if layer.sigma and layer.exact else '',
        f'{layer.operator:.3f}',
        '' if layer.bound is None else f'{layer.bound:.3f}',
        f'{layer.stable_rank:.1f}' if is_weight else '',
        f'{layer.effective_rank:.1f}' if is_weight else '',
    )


def write(
    folder: pathlib.Path,
    record: Mapping[str, Any],
    page: Sequence[str],
    report: Mapping[str, LayerReport],
) -> list[pathlib.Path]:
    """Writes the page, the record and the figures, and returns the main file of each."""
    step = record['step']
    text = json.dumps(record, indent=2, default=_short) + '\n'
    made = {f'step{step}.txt': '\n'.join(page) + '\n', f'step{step}.json': text}
    figures = {f'spectra_step{step}': spectra(step, report)}
    if record['sigma_error']:
        figures['sigma'] = errors(record['sigma_error'])
    for name, one in figures.items():
        made |= {f'{name}.{kind}': content for kind, content in figure.files(one).items()}
    for name, content in made.items():
        replace_file(folder / name, content)
    return [folder / name for name in made if not name.endswith(('.pdf', '.png'))]


def _short(array: np.ndarray) -> list[float]:
    return [float(f'{value:.4g}') for value in array]


def spectra(step: int, report: Mapping[str, LayerReport]) -> Figure:
    """Squared singular values over the largest, as figure 3 of Miyato et al. 2018."""
    lines = []
    for name, layer in report.items():
        values = layer.spectrum
        if len(values) < 2 or not values[0]:
            continue
        share = np.square(values / values[0])
        places = np.linspace(0, 1, len(values))
        points = [
            Point(float(x), Spread(float(y), None, (float(y),)), True)
            for x, y in zip(places, share, strict=True)
        ]
        lines.append(Line(name, len(lines), points))
    title = 'squared singular values / the largest'
    return Figure(
        [CurvePanel(title, lines, 'place in their order, from the first (0) to the last (1)')],
        [(line.name, line.style) for line in lines],
        f'Spectra of the weights of the discriminator, as matrices (height x width x inputs, '
        f'outputs), at step {step}. A flat curve uses all directions alike; one that drops to 0 has a '
        'low rank.',
    )


def errors(by_step: Mapping[int, Mapping[str, float]]) -> Figure:
    """sigma over the exact value, by layer, over training."""
    names = list(dict.fromkeys(name for errors in by_step.values() for name in errors))
    lines = [
        Line(name, i, curve([{k: 1 + e[name] for k, e in by_step.items() if name in e}]))
        for i, name in enumerate(names)
    ]
    return Figure(
        [CurvePanel('sigma / the largest singular value', lines)],
        [(line.name, line.style) for line in lines],
        'How well the power iteration with a kept u estimates the largest singular value of each '
        'layer of the discriminator. 1 is exact; below it, the layer divides by too little.',
    )
