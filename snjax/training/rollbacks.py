"""A run that diverges goes back to its newest checkpoint, and on with other noise.

`rollbacks.json` in the workdir lists when. How many of them lie at or before a step decides which
noise the updates from that step on draw (z, labels, augmentations, penalties; the order of the
images stays). So the noise is a function of the seed, the step and this file, and a run that is
killed anywhere and started again computes the same bits.
"""

import dataclasses
import json
from pathlib import Path

import jax

from snjax import parallel
from snjax.latents.sampling import seed_key
from snjax.runs.files import Damaged, read_json, replace_file, whole
from snjax.runs.workdir import ROLLBACKS_NAME


@dataclasses.dataclass(frozen=True)
class Rollback:
    """One: `why` the run diverged, and the step that it went back `to`."""

    to: int
    why: str


def read(workdir: Path) -> list[Rollback]:
    """The rollbacks of a run so far; [] without a file.

    Raises:
        Damaged: the file cannot be read, so that the run could not resume exactly.
    """
    path = workdir / ROLLBACKS_NAME
    content = read_json(path)
    try:
        return [Rollback(whole(row['to']), str(row['why'])) for row in content or []]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(
            f'{path} is damaged ({error}); restore it, or use another --workdir'
        ) from None


def write(workdir: Path, rollbacks: list[Rollback]) -> None:
    """Writes the rollbacks of a run."""
    rows = [dataclasses.asdict(rollback) for rollback in rollbacks]
    replace_file(workdir / ROLLBACKS_NAME, json.dumps(rows, indent=2) + '\n')


def count(rollbacks: list[Rollback], step: int) -> int:
    """How many of them are at or before a step: the number of its noise."""
    return sum(rollback.to <= step for rollback in rollbacks)


def with_noise(data: dict[str, jax.Array], seed: int, number: int) -> dict[str, jax.Array]:
    """The data of a run (`snjax.training.step.device_data`) with the noise of this number."""
    if not number:
        return data
    rng = jax.random.fold_in(seed_key(seed, 'rollback'), number)
    return {**data, 'train_rng': parallel.replicate(jax.random.key_data(rng))}
