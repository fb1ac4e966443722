"""Names of the files in a workdir, and the steps of its checkpoints. Imports no JAX."""

import os
import re
import shutil
from pathlib import Path

from snjax.runs.files import check_file, remove_leftovers

CONFIG_NAME = 'config.json'
LOCK_NAME = '.lock'
METRICS_NAME = 'metrics.jsonl'
SCORES_NAME = 'scores.json'
DIVERGED_NAME = 'diverged.txt'  # why a run diverged; removed when the run starts again
ROLLBACKS_NAME = 'rollbacks.json'  # where a run that diverged went back to and on
SET_NAME = 'set.json'  # which images the run was trained on
CONDITIONS_NAME = 'conditions.npz'  # numbers of those images, of a run that is conditioned on them
JOURNAL_NAME = 'journal.jsonl'  # of a sweep, whose runs have folders below
SUMMARY_NAME = 'sweep.json'  # of a sweep: its present state
CHECKPOINTS, BEST = 'checkpoints', 'best'
SAMPLES, TENSORBOARD = 'samples', 'tensorboard'
CUT = 'cut'  # what resumes have removed from the logs
_FILES = (
    CONFIG_NAME,
    LOCK_NAME,
    METRICS_NAME,
    SCORES_NAME,
    DIVERGED_NAME,
    ROLLBACKS_NAME,
    SET_NAME,
    CONDITIONS_NAME,
    JOURNAL_NAME,
)
_FOLDERS = (CHECKPOINTS, BEST, SAMPLES, TENSORBOARD, CUT)
# In `checkpoints` and `best`: a step that is being deleted, copied or written. After a kill they
# are leftovers. `300.rejected` is none: it is a damaged checkpoint, kept for its owner to look at.
_UNFINISHED = re.compile(r'\d+\.(deleted|new|orbax-checkpoint-tmp.*)')
# What others may have put into the workdir of a run that is to begin: the output of its process.
_OUTPUT_SUFFIXES = ('.log', '.out', '.err')


def event_folder(workdir: str | os.PathLike) -> Path:
    """Where the run's event files lie: the workdir, whose name TensorBoard then gives to the run.

    A workdir of version 0.2.0 or older has a folder `tensorboard` for them, and keeps it.
    """
    older = Path(workdir) / TENSORBOARD
    return older if older.is_dir() else Path(workdir)


def check_is_of_a_run(workdir: str | os.PathLike) -> None:
    """Raises a ValueError for a folder with files of something else, which a run would overwrite.

    A folder is fit for a run if it has a `config.json`, is empty, or is not there. Hidden files and
    the logs of a scheduler count as nothing.
    """
    folder = Path(workdir)
    if (folder / CONFIG_NAME).exists() or not folder.is_dir():
        return
    there = sorted(
        path.name
        for path in folder.iterdir()
        if not path.name.startswith('.') and path.suffix not in _OUTPUT_SUFFIXES
    )
    if there:
        more = f' and {len(there) - 3} more' if there[3:] else ''
        raise ValueError(
            f'{folder} holds {", ".join(there[:3])}{more} but no {CONFIG_NAME}, so it is no workdir '
            f'of a run, which would overwrite files there: use another --workdir, or restore '
            f'{CONFIG_NAME}'
        )


def check_is_there(path: str | os.PathLike, file: int) -> None:
    """Checks that an open file of a run still has its path.

    Written files would otherwise be made anew in a folder without the rest of the run, or be lost.

    Args:
        path: of a file in a workdir.
        file: its descriptor.

    Raises:
        FileNotFoundError: it has not.
    """
    if not os.path.exists(path) or not os.fstat(file).st_nlink:
        raise FileNotFoundError(
            f'{Path(path).name} of {Path(path).parent} was moved or removed while a run wrote to '
            'that folder: the run has ended; start it in the folder where its files are now'
        )


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


def check_kinds(workdir: str | os.PathLike) -> None:
    """Raises a ValueError of one line if a folder stands where a run keeps a file, or vice versa."""
    workdir = Path(workdir)
    for name in _FILES:
        check_file(workdir / name)
    for name in _FOLDERS:
        path = workdir / name
        if path.exists() and not path.is_dir():
            raise ValueError(f'{path} is a file where a folder belongs: move it away')


def clean(workdir: str | os.PathLike) -> list[str]:
    """Removes what killed processes left unfinished in a workdir; its run must hold the lock.

    Returns:
        The paths that were removed, relative to the workdir.
    """
    workdir = Path(workdir)
    removed = []
    for name in ('', *_FOLDERS):
        removed += [os.path.join(name, found) for found in remove_leftovers(workdir / name)]
    for name in unfinished(workdir):
        shutil.rmtree(workdir / name)
        removed.append(name)
    return removed


def unfinished(workdir: Path) -> list[str]:
    """Checkpoints that are being written or deleted, relative to the workdir."""
    return [
        f'{name}/{path.name}'
        for name in (CHECKPOINTS, BEST)
        if (workdir / name).is_dir()
        for path in sorted((workdir / name).iterdir())
        if _UNFINISHED.fullmatch(path.name)
    ]
