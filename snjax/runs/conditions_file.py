"""`conditions.npz`: the numbers of a run's training images, from which samples take theirs."""

import io
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from snjax.data import ImageSet
from snjax.runs.files import replace_file
from snjax.runs.workdir import CONDITIONS_NAME

_MOST = 10_000  # rows; of a larger set those of images spread evenly over it


def write(workdir: Path, image_set: ImageSet) -> None:
    """Writes the numbers of a set that has some. Process 0 alone calls it."""
    assert image_set.conditions is not None  # `labels_for` has said so
    num = len(image_set.conditions)
    rows = np.linspace(0, num, min(num, _MOST), endpoint=False).astype(int)
    file = io.BytesIO()
    np.savez(file, values=image_set.conditions[rows], names=np.array(image_set.condition_names))
    replace_file(workdir / CONDITIONS_NAME, file.getvalue())


def read(workdir: Path) -> tuple[Float32[np.ndarray, 'n k'], tuple[str, ...]] | None:
    """Rows of numbers and the names of their columns; None where there is no such file, or a
    damaged one.
    """
    try:
        with np.load(workdir / CONDITIONS_NAME, allow_pickle=False) as found:
            values, names = found['values'], tuple(str(name) for name in found['names'])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if values.dtype != np.float32 or values.shape[1:] != (len(names),) or not len(values):
        return None
    return values, names
