"""A workdir of every released version, in tests/released/, resumes with its bits.

Made with the flags in its config.json by the version that the folder is named after; without the
event files. A new release adds its own, made in the same way, and never changes the others.
"""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import from_workdir
from experiments import build
from experiments.settings import keys
from snjax.generate.load import load
from snjax.runs import config_file, digest
from snjax.runs.checkpoint import Checkpointer, load_tree
from snjax.runs.writer import Writer

RELEASED = sorted((Path(__file__).parents[1] / 'released').iterdir())


@pytest.mark.parametrize('workdir', RELEASED, ids=lambda path: path.name)
def test_a_workdir_of_a_released_version_resumes(workdir, tmp_path):
    run = Path(shutil.copytree(workdir, tmp_path / 'run'))
    config = from_workdir.get_config(str(run))
    plan = build.plan(config)
    config_file.check_config(run, plan.record, keys.computed)  # as a start without --config does
    like = jax.eval_shape(plan.method.init, jax.random.key(0))
    with Checkpointer(run / 'checkpoints') as checkpoints:
        step, state = checkpoints.restore_latest(like)
        assert step == config.num_steps == int(state.step)
        checkpoints.save(step + 1, state)  # and what this version writes is read again
    saved, tree = load_tree(run / 'checkpoints')
    assert saved == step + 1
    before = load_tree(workdir / 'checkpoints', step)[1]
    assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), tree, before))
    lines = (run / 'metrics.jsonl').read_bytes()
    Writer(run, start_step=step).close()
    assert (run / 'metrics.jsonl').read_bytes() == lines
    assert load(workdir).step == step


def test_a_checkpoint_of_a_newer_format_is_refused_in_one_line(tmp_path):
    run = Path(shutil.copytree(RELEASED[-1], tmp_path / 'run'))
    (folder,) = (run / 'checkpoints').iterdir()
    path = folder / 'digest' / '0.json'
    content = json.loads(path.read_text())
    assert content.get('format', 1) <= digest.FORMAT
    path.write_text(json.dumps(content | {'format': digest.FORMAT + 1}))
    with pytest.raises(
        ValueError, match=r'of format 2, of a newer version of snjax; this one reads'
    ):
        load_tree(run / 'checkpoints')
