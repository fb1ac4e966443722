"""What is kept of a row: one small JSON file, written whole, that can be committed."""

import json
import os
import pathlib
from typing import Any

from benchmarks.cifar10_results.rows import Job

TRAINING, SCORING, FINISHED, DIVERGED, FAILED = (
    'training',
    'scoring',
    'finished',
    'diverged',
    'failed',
)


class Record:
    """The record of a row in the folder `out`.

    Attributes:
        data: JSON values: `name`, `number`, `title`, `command`, `is_smoke`, `num_steps`, `state`, `note`; `pieces`, one
            for each start of the training (`date`, `device`, versions, `from` and `to` in updates, `seconds`);
            `scoring_seconds`; `scores`, rows of `scores.json`; `measured`, what the training logged of its speed;
            `curves`, `spectra`; `samples`, a file below the workdirs; `grid`, a picture beside the record.

    Raises:
        ValueError: the file is damaged, or of another command.
    """

    def __init__(self, out: pathlib.Path, job: Job):
        self.path = out / f'{job.row.name}.json'
        self.is_new = not self.path.exists()
        self.data: dict[str, Any] = self._fresh(job) if self.is_new else read(self.path)
        if self.data['command'] != job.command:
            raise ValueError(
                f'{self.path} is of another command ({self.data["command"]}): move it and its workdir away, or give '
                'another --out and --workdirs'
            )

    @staticmethod
    def _fresh(job):
        return {
            'name': job.row.name,
            'number': job.row.number,
            'title': job.row.title,
            'command': job.command,
            'is_smoke': job.scale.is_smoke,
            'num_steps': job.num_steps,
            'seed': job.config['seed'],
            'state': TRAINING,
            'note': '',
            'pieces': [],
            'scoring_seconds': 0.0,
            'scores': [],
        }

    def start_over(self) -> None:
        """Forgets what was found of a run that is no longer there."""
        kept = ('name', 'number', 'title', 'command', 'is_smoke', 'num_steps', 'seed')
        fresh = {'state': TRAINING, 'note': '', 'pieces': [], 'scoring_seconds': 0.0, 'scores': []}
        self.data = {key: self.data[key] for key in kept} | fresh

    @property
    def is_final(self) -> bool:
        return self.data['state'] == FINISHED or (
            self.data['state'] == DIVERGED and 'curves' in self.data
        )

    def write(self, **changes: Any) -> None:
        """Changes it and writes it, whole or not at all."""
        self.data |= changes
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix('.json.new')
        new.write_text(json.dumps(self.data, indent=1) + '\n')
        os.replace(new, self.path)


def read(path: pathlib.Path) -> dict[str, Any]:
    """The data of a record.

    Raises:
        ValueError: it is damaged.
    """
    try:
        found = json.loads(path.read_text())
        return {'command': found['command'], 'state': found['state'], **found}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is damaged ({error!r}): move it away') from error


def read_all(out: pathlib.Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """The records that there are, by name, in the order of the names."""
    paths = {name: out / f'{name}.json' for name in names}
    return {name: read(path) for name, path in paths.items() if path.is_file()}
