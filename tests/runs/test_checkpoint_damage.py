"""Damaged, unfinished and foreign checkpoints are skipped for an older one, with the reason."""

import shutil
import sys
import time
import types

import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import v1

from helpers.checkpointing import assert_same, flip_a_bit_of, make_state, restore, save_all
from snjax.runs import checkpoint, checkpoint_files


def test_flipped_bit_is_found_and_the_run_goes_on(tmp_path, caplog):
    save_all(tmp_path, [100, 200, 300])
    flip_a_bit_of(make_state(300).gen.params['kernel'], tmp_path / '300')
    # Why this file exists: Orbax itself reads the wrong values and says nothing.
    wrong = v1.load(tmp_path / '300')['gen']['params']['kernel']
    assert not np.array_equal(wrong, make_state(300).gen.params['kernel'])
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        step, restored = checkpointer.restore_latest(make_state(0))
        assert step == 200
        assert_same(restored, make_state(200))
        message = f'checkpoint {tmp_path}/300 rejected: the bytes of gen/params/kernel'
        assert [message in record.getMessage() for record in caplog.records].count(True) == 1
        assert checkpointer.steps() == [100, 200]
        assert (tmp_path / '300').exists()  # reading changes nothing
        checkpointer.save(300, make_state(300))
        checkpointer.wait()
        assert checkpointer.steps() == [100, 200, 300]
    assert (tmp_path / '300.rejected').is_dir()
    step, restored = restore(tmp_path)
    assert step == 300
    assert_same(restored, make_state(300))


def remove_metadata(folder):
    (folder / '_CHECKPOINT_METADATA').unlink()


def remove_data(folder):
    shutil.rmtree(folder / 'state' / 'd')
    shutil.rmtree(folder / 'state' / 'ocdbt.process_0')


def remove_manifest(folder):
    (folder / 'state' / 'manifest.ocdbt').unlink()


def remove_all_files(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def truncate_digest(folder):
    path = folder / 'digest' / '0.json'
    path.write_text(path.read_text()[:-40])


def empty_data(folder):
    for path in (folder / 'state').rglob('d/*'):
        path.write_bytes(b'')


def cut_data(folder):
    for path in (folder / 'state').rglob('d/*'):
        path.write_bytes(path.read_bytes()[:-100])


def rename_from_another_step(folder):
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / '100', folder)


@pytest.mark.parametrize(
    ('damage', 'reason'),
    [
        (remove_metadata, 'incomplete, _CHECKPOINT_METADATA missing'),
        (remove_all_files, 'incomplete, commit_success.txt and'),
        (remove_data, 'Error'),
        (remove_manifest, ''),
        (truncate_digest, 'digest/0.json is damaged'),
        (cut_data, ''),
        (empty_data, ''),
        (rename_from_another_step, 'the digest is of step 100 and not 200'),
    ],
    ids=lambda x: getattr(x, '__name__', ''),
)
def test_damaged_step_is_passed_over(tmp_path, caplog, damage, reason):
    save_all(tmp_path, [100, 200])
    damage(tmp_path / '200')
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        step, restored = checkpointer.restore_latest(make_state(0))
        assert step == 100
        assert_same(restored, make_state(100))
        said = [r.getMessage() for r in caplog.records if '/200 rejected: ' in r.getMessage()]
        assert len(said) == 1 and '\n' not in said[0]
        assert reason in said[0].split('rejected: ')[1]
        checkpointer.save(200, make_state(200))
    assert_same(restore(tmp_path)[1], make_state(200))


def test_reads_that_outlive_a_failed_restore_are_silent(tmp_path, monkeypatch):
    state = {f'leaf{i}': np.full((64, 64), i, np.float32) for i in range(100)}
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(100, state)
    for path in (tmp_path / '100' / 'state').rglob('d/*'):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reported = []
    monkeypatch.setattr(sys, 'unraisablehook', lambda unraisable: reported.append(unraisable))
    checkpoint_files.silence.__wrapped__()
    for _ in range(3):  # without the hook tens of reads are reported each time
        with pytest.raises(ValueError, match='no good checkpoint'):
            checkpoint.load_tree(tmp_path)
    time.sleep(0.5)
    assert reported == []
    other = RuntimeError('another error')
    sys.unraisablehook(types.SimpleNamespace(exc_value=other))
    assert [unraisable.exc_value for unraisable in reported] == [other]


def test_only_bad_checkpoints_is_an_error_in_one_line(tmp_path):
    save_all(tmp_path, [100, 200])
    for step in (100, 200):
        flip_a_bit_of(make_state(step).gen.params['kernel'], tmp_path / str(step))
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ValueError, match=r'no good checkpoint in .*step 200: .*step 100: ') as info:
        restore(tmp_path)
    assert '\n' not in str(info.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (
            lambda state: make_state(0, jnp.bfloat16),
            r'params/kernel is float32\[40, 40\] in the checkpoint and bfloat16\[40, 40\] in the',
        ),
        (
            lambda state: state.replace(step=jnp.zeros((2,), jnp.int32)),
            r'step is int32\[\] in the checkpoint and int32\[2\] in the run',
        ),
        (
            lambda state: state.replace(gen=state.gen.replace(ema={'w': jnp.zeros(2)})),
            'gen/ema/w is in the run and not in the checkpoint',
        ),
        (
            lambda state: state.replace(gen=state.gen.replace(opt_state=())),
            'gen/opt_state/0/count is in the checkpoint and not in the run',
        ),
    ],
    ids=['dtype', 'shape', 'more', 'less'],
)
def test_state_of_another_kind_is_refused(tmp_path, change, reason):
    save_all(tmp_path, [1])
    with pytest.raises(ValueError, match=reason):
        restore(tmp_path, change(make_state(0)))


def test_step_of_another_dtype_is_passed_over(tmp_path):
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {'x': jnp.ones(3)})
        checkpointer.save(2, {'x': jnp.ones(3, jnp.bfloat16)})
        step, restored = checkpointer.restore_latest({'x': jnp.zeros(3)})
    assert step == 1
    assert_same(restored, {'x': jnp.ones(3)})


def test_leftovers_are_ignored_and_removed_by_the_next_save_only(tmp_path):
    save_all(tmp_path, [100, 200])
    shutil.copytree(tmp_path / '200', tmp_path / '300.orbax-checkpoint-tmp')
    shutil.copytree(tmp_path / '100', tmp_path / '50.deleted')
    (tmp_path / '50.deleted' / '_CHECKPOINT_METADATA').unlink()
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.steps() == [100, 200]
        assert checkpointer.restore_latest(make_state(0))[0] == 200
        assert len(list(tmp_path.iterdir())) == 4
        checkpointer.save(300, make_state(300))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['100', '200', '300']
