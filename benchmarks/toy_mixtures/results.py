"""Rows of finished runs on disk: JSON after each, the table and the pictures at the end."""

import json
import pathlib
import statistics
from typing import Any

import jax
import numpy as np

from benchmarks.toy_mixtures import pictures
from benchmarks.toy_mixtures.methods import METHODS
from benchmarks.toy_mixtures.sets import SETS
from snjax.runs.images import save_png

_SHOWN = 2000  # points per picture


class Results:
    """The rows of one folder.

    Args:
        out: the folder; made if it is missing.
        num_steps: of the rows; rows of another length would not compare.

    Raises:
        ValueError: if the folder holds rows of another length.
    """

    def __init__(self, out: str | pathlib.Path, *, num_steps: int):
        self._out, self.num_steps = pathlib.Path(out), num_steps
        self._out.mkdir(parents=True, exist_ok=True)
        self._path = self._out / 'results.json'
        self.rows: list[dict[str, Any]] = []
        if self._path.exists():
            self.rows = json.loads(self._path.read_text())
        for row in self.rows:
            if row['num_steps'] != num_steps:
                raise ValueError(
                    f'{self._path} holds runs of {row["num_steps"]} steps, not {num_steps}: use '
                    f'--num_steps={row["num_steps"]} or another --out'
                )

    def has(self, method: str, toy_set: str, seed: int) -> bool:
        return any(_name(row) == f'{method}-{toy_set}-{seed}' for row in self.rows)

    def write(self, row: dict[str, Any], points: np.ndarray) -> None:
        """Adds a row and its points (n, 2); the row comes last, so every listed row is whole."""
        row = {**row, 'num_steps': self.num_steps}
        np.save(self._out / f'{_name(row)}.npy', points[:_SHOWN])
        self.rows.append(row)
        half_made = self._path.with_suffix('.tmp')
        half_made.write_text(json.dumps(self.rows, indent=1) + '\n')
        half_made.replace(self._path)

    def add(self, other: 'Results') -> None:
        """Adds the rows of another folder that are missing here."""
        for row in other.rows:
            if not self.has(row['method'], row['set'], row['seed']):
                self.write(row, np.load(other._out / f'{_name(row)}.npy'))

    def write_summary(self) -> None:
        """Writes `table.md`, and `SET.png` with seed 0 of every method."""
        (self._out / 'table.md').write_text(self.table())
        for name, toy_set in SETS.items():
            cells = {
                method: np.load(self._out / f'{method}-{name}-0.npy')
                for method in METHODS
                if self.has(method, name, 0)
            }
            if cells:
                keys = jax.random.split(jax.random.key(0), _SHOWN)
                real = np.asarray(jax.vmap(toy_set.draw)(keys))
                save_png(self._out / f'{name}.png', pictures.sheet(cells, real, toy_set.extent))

    def table(self) -> str:
        """Markdown: modes and share of good samples per set, median over seeds and every seed."""
        sets = [name for name in SETS if any(row['set'] == name for row in self.rows)]
        head = [f'{name} modes | {name} good, %' for name in sets]
        lines = [f'| method | {" | ".join(head)} |', '|---' * (2 * len(sets) + 1) + '|']
        for method in METHODS:
            found = [[r for r in self.rows if (r['method'], r['set']) == (method, s)] for s in sets]
            if any(found):
                cells = [cell for rows in found for cell in _cells(rows)]
                lines.append(f'| {method} | {" | ".join(cells)} |')
        return '\n'.join(lines) + '\n'


def _name(row):
    return f'{row["method"]}-{row["set"]}-{row["seed"]}'


def _cells(rows):
    rows = sorted(rows, key=lambda row: row['seed'])
    if not rows:
        return '', ''
    modes = [row['modes'] for row in rows]
    good = [100 * row['good'] for row in rows]
    return (
        f'**{statistics.median(modes):g}** ({", ".join(f"{m}" for m in modes)})',
        f'**{statistics.median(good):.0f}** ({", ".join(f"{g:.0f}" for g in good)})',
    )
