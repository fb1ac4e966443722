"""Figure 3 of the SNGAN paper for runs of one's own: spectra of D's layers, a curve for each run.

    python launch.py --mode=diagnose --workdir=RUN     # of each run
    python -m benchmarks.spectra --figure=spectra RUN RUN ...

Of each layer, singular values over the largest one, squared (Miyato et al. 2018, figure 3), of the
weight as it is applied: divided by sigma, or as clipping left it, which is the same curve. A line of
JSON for each run has the ranks of its layers.
"""

import argparse
import json
import pathlib
import re

import numpy as np

from benchmarks import command

# Without the date, the same figure is the same file.
_METADATA = {'svg': {'Date': None}}


def diagnosis(workdir: pathlib.Path) -> dict:
    """The newest record of `--mode=diagnose` in a workdir.

    Raises:
        ValueError: of one line, if there is none.
    """
    found = {}
    for path in (workdir / 'diagnosis').glob('step*.json'):
        if match := re.fullmatch(r'step(\d+)\.json', path.name):
            found[int(match[1])] = path
    if not found:
        raise ValueError(
            f'{workdir} has no diagnosis: launch.py --mode=diagnose --workdir={workdir}'
        )
    return json.loads(found[max(found)].read_text())


def shares(spectrum: list[float]) -> np.ndarray:
    """Squared singular values (k,), falling, over the largest."""
    values = np.sort(np.asarray(spectrum))[::-1]
    return np.square(values / values[0])


def ranks(spectrum: list[float]) -> dict[str, float]:
    """Stable rank, the share of values that hold 99 % of the squared norm, and the number of them."""
    squares = shares(spectrum)
    holding = int(np.searchsorted(np.cumsum(squares) / squares.sum(), 0.99)) + 1
    return {
        'stable_rank': round(float(squares.sum()), 2),
        'share_holding_99_percent': round(holding / len(squares), 3),
        'values': len(squares),
    }


def draw(spectra: dict[str, dict[str, list[float]]], path: pathlib.Path) -> None:
    """A panel for each layer, a curve for each run."""
    import matplotlib

    matplotlib.use('agg')
    import matplotlib.pyplot as plt

    names = list(next(iter(spectra.values())))
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.6 * columns, 2.2 * rows), sharey=True, squeeze=False
    )
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names, strict=False):
        for run, layers in spectra.items():
            y = shares(layers[name])
            axis.plot(np.linspace(0, 1, len(y)), y, label=run, linewidth=1.2)
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=8)
    figure.supxlabel(
        'place of the singular value, from the largest (0) to the smallest (1)', size=9
    )
    figure.supylabel('squared, over the largest', size=9)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='upper center', ncols=len(labels), fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    for kind in ('svg', 'png'):
        figure.savefig(path.with_suffix(f'.{kind}'), dpi=150, metadata=_METADATA.get(kind))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('workdirs', nargs='+', type=pathlib.Path)
    parser.add_argument('--figure', type=command.report, help='write FIGURE.svg and FIGURE.png')
    args = parser.parse_args()
    spectra: dict[str, dict[str, list[float]]] = {}
    for folder in args.workdirs:
        layers = diagnosis(folder)['layers']
        kept = {k: v['spectrum'] for k, v in layers.items() if len(v['spectrum']) > 1}
        spectra[folder.name.partition(',')[0]] = kept
        line = {'workdir': str(folder), 'layers': {k: ranks(v) for k, v in kept.items()}}
        print(json.dumps(line))
    if args.figure:
        draw(spectra, args.figure)


if __name__ == '__main__':
    command.run(main)
