"""The checkpoint with the best score of a run, kept in `best/<step>/` with `score.json`."""

import json
import math
import os
import shutil
from pathlib import Path

from absl import logging

from snjax.runs.files import Damaged, read_json, replace_file, sync_folder
from snjax.runs.workdir import steps_in

_SCORE = 'score.json'


def keep(folder: Path, checkpoint: Path, score: float) -> bool:
    """Copies a checkpoint to `folder` if its score is the best; a lower score is better.

    Files are hard links where the file system has them. Killed at any moment, there is always a
    best one, and what is unfinished has no plain number as its name.

    Args:
        folder: of the best checkpoint.
        checkpoint: the folder of a committed one, whose name is its step.
        score: of the checkpoint.

    Returns:
        Whether the score is the best so far.
    """
    kept = best_scores(folder)
    if not math.isfinite(score) or (kept and min(kept.values()) <= score):
        return False
    step = checkpoint.name
    new = folder / f'{step}.new'
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(checkpoint, new, copy_function=_link)
    replace_file(new / _SCORE, json.dumps({'score': score}))
    if (folder / step).exists():
        _delete(folder / step)
    new.rename(folder / step)
    sync_folder(folder)
    for other in steps_in(folder):  # those with a damaged score, too
        if str(other) != step:
            _delete(folder / str(other))
    return True


def tidy(folder: Path) -> None:
    """Deletes all but the best: a kill inside `keep` leaves the former one beside it."""
    kept = best_scores(folder)
    for step in sorted(kept, key=lambda i: kept[i])[1:]:
        _delete(folder / str(step))


def best_scores(folder: str | os.PathLike) -> dict[int, float]:
    """Scores by step in a folder of `keep`: one, or two after a kill; the lowest counts.

    A checkpoint whose score is damaged is left out, with a warning.
    """
    found = {}
    for step in steps_in(folder):
        path = Path(folder) / str(step) / _SCORE
        try:
            content = read_json(path)
            if content is not None:
                found[step] = float(content['score'])
        except (ValueError, KeyError, TypeError) as error:
            what = error if isinstance(error, Damaged) else f'{path} is damaged ({error})'
            logging.warning('%s: this checkpoint does not count as a best one', what)
    return found


def _delete(path: Path) -> None:
    """Renames, then deletes: killed in between, no half of a checkpoint keeps its name."""
    gone = path.with_name(f'{path.name}.deleted')
    shutil.rmtree(gone, ignore_errors=True)
    shutil.rmtree(path.rename(gone))


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
    return target
