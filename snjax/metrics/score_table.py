"""Scores as a table in the terminal."""

from collections.abc import Sequence

from snjax.metrics import comparison
from snjax.metrics.extractors import Extractor
from snjax.runs.scores_file import Row


def lines(rows: Sequence[Row], extractor: Extractor) -> list[str]:
    """A line of heads, a line for each row of scores, and what is to be known about them."""
    columns = _columns(rows, extractor)
    heads = ['protocol', 'checkpoint', 'variant', *columns]
    body = [
        [
            row.manifest['protocol'],
            f'{row.manifest.get("checkpoint", "")} {row.manifest["step"]}'.strip(),
            f'{row.manifest["weights"]}/{row.manifest["batch_statistics"]}',
            *(_score(row, key) for key in columns.values()),
        ]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [heads, *body]) for i in range(len(heads))]
    return [
        '  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [heads, *body]
    ] + _notes(rows)


def _columns(rows: Sequence[Row], extractor: Extractor) -> dict[str, str]:
    """Heads and keys, with scores of infinitely many fakes behind those of N."""
    out = {}
    for head, key in comparison.columns(extractor).items():
        if any(key in row.scores for row in rows):  # a network of features alone has no classes
            out[head] = key
        if all(f'{key}_infinity' in row.scores for row in rows):
            out[f'{head}, infinity'] = f'{key}_infinity'
    return out


def _score(row: Row, key: str) -> str:
    if key not in row.scores:
        return ''
    if key not in row.intervals:
        return f'{row.scores[key]:.4g}'
    low, high = row.intervals[key]
    return f'{row.scores[key]:.4g} [{low:.4g}, {high:.4g}]'


def _notes(rows: Sequence[Row]) -> list[str]:
    """What the brackets are, and warnings, each once."""
    notes = [
        f'[low, high]: {row.manifest["confidence"]:.0%} intervals by {row.manifest["half_samples"]} '
        'half-samples of real images and fakes'
        for row in rows
        if row.intervals
    ]
    notes += [
        f'warning: protocol {row.manifest["protocol"]}: {row.manifest["warning"]}'
        for row in rows
        if 'warning' in row.manifest
    ]
    return list(dict.fromkeys(notes))
