"""Checkpoints: restored states equal saved ones, which steps are kept, what is refused."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.checkpointing import (
    abstract,
    assert_same,
    flip_a_bit_of,
    make_state,
    restore,
    save_all,
)
from snjax.runs import checkpoint
from snjax.runs.checkpoint_files import SaveFailed


def test_round_trip_is_bit_for_bit(tmp_path):
    state = make_state(3)
    save_all(tmp_path, [3])
    for like in (abstract(state), state):
        step, restored = restore(tmp_path, like)
        assert step == 3
        assert_same(restored, state)
    assert type(restored.gen.opt_state[0]) is type(state.gen.opt_state[0])
    assert restored.gen.ema is None and restored.gen.model_state == {}


def test_odd_values_survive(tmp_path):
    values = np.array([np.nan, -0.0, np.inf, 1e-45, -np.inf], np.float32)
    values[0:1].view(np.uint32)[0] |= 1  # a NaN with a payload
    state = {'x': jnp.asarray(values), 'flag': jnp.asarray([True, False]), 'u': jnp.uint8(255)}
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, state)
        _, restored = checkpointer.restore_latest(state)
    assert_same(restored, state)


def test_restored_arrays_are_placed_like_the_target_and_can_be_donated(tmp_path):
    state = make_state(1)
    save_all(tmp_path, [1])
    mesh = jax.sharding.Mesh(jax.devices()[:1], 'batch')
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)
    _, restored = restore(tmp_path, like)
    assert all(leaf.sharding == sharding for leaf in jax.tree.leaves(restored))
    double = jax.jit(lambda tree: jax.tree.map(lambda x: x + x, tree), donate_argnums=0)
    assert_same(double(restored), jax.tree.map(lambda x: x + x, state))


def test_no_checkpoint_restores_none(tmp_path):
    assert restore(tmp_path / 'nothing') is None
    with checkpoint.Checkpointer(tmp_path / 'nothing') as checkpointer:
        assert checkpointer.steps() == []


@pytest.mark.parametrize(
    ('keep', 'keep_every', 'expected'),
    [(1, None, [6]), (2, None, [5, 6]), (2, 3, [3, 5, 6]), (1, 2, [2, 4, 6])],
)
def test_keep(tmp_path, keep, keep_every, expected):
    with checkpoint.Checkpointer(tmp_path, keep=keep, keep_every=keep_every) as checkpointer:
        for step in range(1, 7):
            checkpointer.save(step, {'x': jnp.int32(step)})
        checkpointer.wait()
        assert checkpointer.steps() == expected
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == expected


@pytest.mark.parametrize('kwargs', [{'keep': 0}, {'keep': True}, {'keep_every': 0}])
def test_bad_keep_names_the_key(tmp_path, kwargs):
    (key,) = kwargs
    with pytest.raises(ValueError, match=rf'--config\.checkpoint\.{key}$'):
        checkpoint.Checkpointer(tmp_path, **kwargs)


def test_saved_state_is_that_of_the_call(tmp_path):
    """The caller donates its device buffers and overwrites its host arrays while Orbax writes."""
    start = np.arange(3_000_000, dtype=np.float32)
    device, host = jnp.array(start), start.copy()
    update = jax.jit(lambda x: -x, donate_argnums=0)
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {'device': device, 'host': host})
        for _ in range(3):
            donated, device = device, update(device)
            assert donated.is_deleted()  # the save holds on to nothing that it copied
            host *= -1
        _, restored = checkpointer.restore_latest({'device': device, 'host': device})
    assert np.array_equal(restored['device'], start)
    assert np.array_equal(restored['host'], start)


def test_second_save_of_a_step_changes_nothing(tmp_path):
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(5, make_state(5))
        checkpointer.save(5, make_state(5))
        checkpointer.wait()
        stamp = (tmp_path / '5').stat().st_mtime_ns
        checkpointer.restore_latest(make_state(0))
        checkpointer.save(5, make_state(5))
        checkpointer.wait()
    assert (tmp_path / '5').stat().st_mtime_ns == stamp


def test_a_run_that_did_not_resume_may_not_overwrite(tmp_path):
    save_all(tmp_path, [5])
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        for step in (5, 4):
            with pytest.raises(ValueError, match=f'step {step} cannot be saved.*holds step 5'):
                checkpointer.save(step, make_state(step))


def test_a_failed_save_is_raised(tmp_path):
    (tmp_path / 'file').write_text('in the way')
    with checkpoint.Checkpointer(tmp_path / 'file' / 'checkpoints') as checkpointer:
        with pytest.raises((OSError, ValueError)):
            checkpointer.save(1, make_state(1))
            checkpointer.wait()


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        ({'a': {'b': 1.5}}, 'a/b in the state is of type float'),
        (OrderedDict({1: np.ones(1), '1': np.ones(1)}), 'same path'),
        (np.ones(2), 'bare array'),
    ],
)
def test_states_that_cannot_be_stored(tmp_path, state, message):
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(ValueError, match=message):
            checkpointer.save(1, state)


def test_load_tree(tmp_path, caplog):
    save_all(tmp_path, [100, 200])
    step, tree = checkpoint.load_tree(tmp_path)
    state = make_state(200)
    assert step == 200
    assert set(tree) == {'gen', 'step'} and set(tree['gen']) == {'params', 'opt_state'}
    assert tree['gen']['params']['bias'].dtype == jnp.bfloat16
    assert tree['gen']['params']['empty'].shape == (0, 3)
    assert isinstance(tree['step'], np.ndarray) and tree['step'] == 200
    adam = state.gen.opt_state[0]
    assert np.array_equal(tree['gen']['opt_state']['0']['mu']['kernel'], adam.mu['kernel'])
    step, params = checkpoint.load_tree(tmp_path, 100, prefix=('gen', 'params'))
    assert step == 100 and set(params) == {'kernel', 'bias', 'empty'}
    assert np.array_equal(params['kernel'], make_state(100).gen.params['kernel'])
    assert checkpoint.load_tree(tmp_path, prefix=('step',))[1] == 200

    flip_a_bit_of(state.gen.params['kernel'], tmp_path / '200')
    assert checkpoint.load_tree(tmp_path)[0] == 100
    assert '200 rejected: the bytes of gen/params/kernel' in caplog.text
    assert checkpoint.load_tree(tmp_path, prefix=('gen', 'opt_state'))[0] == 200
    with pytest.raises(ValueError, match='step 200: the bytes of gen/params/kernel'):
        checkpoint.load_tree(tmp_path, 200)


def test_load_tree_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint in'):
        checkpoint.load_tree(tmp_path)
    save_all(tmp_path, [100])
    with pytest.raises(FileNotFoundError, match=r'no checkpoint of step 7 in .*which has \[100\]'):
        checkpoint.load_tree(tmp_path, 7)
    with pytest.raises(ValueError, match=r"prefix \('ge',\); at the root are gen, step"):
        checkpoint.load_tree(tmp_path, prefix=('ge',))


@pytest.mark.parametrize('name', ['lr=[1e-4]', 'a*b', 'what?', '%41 #b', 'a:b', '-x', 'e\u0301'])
def test_a_folder_may_have_any_name(tmp_path, name):
    folder = tmp_path / name / 'checkpoints'
    save_all(folder, [1, 2])
    step, restored = restore(folder)
    assert step == 2
    assert_same(restored, make_state(2))
    assert checkpoint.load_tree(folder, 1, prefix=('step',)) == (1, 1)


def test_a_checkpoint_without_its_arrays_is_an_error_when_it_is_written(tmp_path, monkeypatch):
    # Orbax finds nothing to list in such a folder, and commits.
    monkeypatch.setattr(checkpoint, 'LiteralPath', lambda path: path)
    with pytest.raises(SaveFailed, match=r'written without state/manifest\.ocdbt, so it cannot'):
        save_all(tmp_path / 'a[1]', [1])
