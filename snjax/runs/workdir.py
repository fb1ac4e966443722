"""Names of the files in a workdir, and the steps of its checkpoints. Imports no JAX."""

import os
from pathlib import Path

CONFIG_NAME = 'config.json'
LOCK_NAME = '.lock'
METRICS_NAME = 'metrics.jsonl'
SCORES_NAME = 'scores.json'
DIVERGED_NAME = 'diverged.txt'  # why a run diverged; removed when the run starts again
JOURNAL_NAME = 'journal.jsonl'  # of a sweep, whose runs have folders below
CHECKPOINTS, BEST = 'checkpoints', 'best'
SAMPLES, TENSORBOARD = 'samples', 'tensorboard'


def steps_in(folder: str | os.PathLike) -> list[int]:
    """Steps of the committed checkpoints in a folder, ascending.

    A checkpoint gets its plain number as a name when it is complete and loses the name before it is
    deleted or rejected (`snjax.runs.checkpoint`), so the names alone decide.
    """
    folder = Path(folder)
    if not folder.exists():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def newest_step(workdir: str | os.PathLike) -> int:
    """Step of the newest committed checkpoint of a run; 0 if there is none."""
    return max(steps_in(Path(workdir) / CHECKPOINTS), default=0)


def describe_newest(workdir: str | os.PathLike) -> str:
    """'the newest checkpoint is of step 40 in runs/x', or a clause that says there is none."""
    step = newest_step(workdir)
    if not step:
        return f'there is no checkpoint yet in {workdir}'
    return f'the newest checkpoint is of step {step} in {workdir}'
