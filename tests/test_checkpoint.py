"""Checkpoints and resume rules: what is restored is what was saved, or it is said why not."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from orbax.checkpoint import v1

from snjax import checkpoint, resume


@flax.struct.dataclass
class Player:
    params: Any
    model_state: Any
    opt_state: Any
    ema: Any


@flax.struct.dataclass
class State:
    gen: Player
    step: jax.Array


def make_state(step: int, dtype=jnp.float32) -> State:
    """A state with every kind of leaf, whose values are those of `step` alone."""
    kernel_rng, bias_rng = jax.random.split(jax.random.key(step))
    params = {
        'kernel': jax.random.normal(kernel_rng, (40, 40), dtype),
        'bias': jax.random.normal(bias_rng, (7,), jnp.bfloat16),
        'empty': jnp.zeros((0, 3)),
    }
    optimizer = optax.adam(1e-3)
    gradients = jax.tree.map(jnp.cos, params)
    _, opt_state = optimizer.update(gradients, optimizer.init(params))
    player = Player(params=params, model_state={}, opt_state=opt_state, ema=None)
    return State(gen=player, step=jnp.int32(step))


def abstract(state):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)


def assert_same(actual, expected):
    """Bit for bit, with types, dtypes and structure."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert isinstance(a, jax.Array)
        assert (a.dtype, a.shape) == (e.dtype, e.shape)
        assert np.asarray(a).tobytes() == np.asarray(e).tobytes()


def save_all(directory, steps, **kwargs):
    with checkpoint.Checkpointer(directory, **kwargs) as checkpointer:
        for step in steps:
            checkpointer.save(step, make_state(step))


def restore(directory, like=None):
    with checkpoint.Checkpointer(directory) as checkpointer:
        return checkpointer.restore_latest(abstract(make_state(0)) if like is None else like)


def flip_a_bit_of(array, folder):
    """Changes one stored bit of an array, which a disk or a copy may do."""
    needle = np.asarray(array).tobytes()
    for path in folder.rglob('*'):
        content = bytearray(path.read_bytes()) if path.is_file() else b''
        if (at := content.find(needle)) >= 0:
            content[at + len(needle) // 2] ^= 1
            path.write_bytes(content)
            return
    raise AssertionError('the array is not stored as plain bytes')


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
    checkpoint._ignore_late_reads.__wrapped__()
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


# ---------------------------------------------------------------------------- killed, and several

HEADER = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import jax
from test_checkpoint import *
"""


def start(code, *args, **env):
    root = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, '-c', HEADER + textwrap.dedent(code), *map(str, args)],
        env={**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': root, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def big_state(step):
    return {'state': make_state(step), 'big': jnp.full((500_000,), step, jnp.float32)}


SAVE_FOR_EVER = """
with checkpoint.Checkpointer(sys.argv[1], keep=2) as checkpointer:
    found = checkpointer.restore_latest(big_state(0))
    step = 0
    if found:
        step, restored = found
        assert_same(restored, big_state(step))
    print('resumed', step, flush=True)
    while True:
        step += 1
        checkpointer.save(step, big_state(step))
        print('committed', step - 1, flush=True)
"""


def test_killed_while_saving(tmp_path):
    """SIGKILL at random moments, then surely amid a save, of a process that saves all the time."""
    moments, committed = random.Random(0), 0
    for is_amid_save in (False, False, True):
        process = start(SAVE_FOR_EVER, tmp_path)
        lines = []
        while len(lines) < 4:
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        time.sleep(moments.uniform(0, 0.3))
        while is_amid_save:
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.01)
            if list(tmp_path.glob('*.orbax-checkpoint-tmp/state')):
                break
            process.send_signal(signal.SIGCONT)
            time.sleep(moments.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        lines += process.communicate()[0].splitlines()
        assert int(lines[0].split()[1]) >= committed, lines[0]
        committed = max(int(line.split()[1]) for line in lines if line.startswith('committed'))
    assert list(tmp_path.glob('*.orbax-checkpoint-tmp'))
    step, restored = restore(tmp_path, big_state(0))
    assert step >= committed > 4
    assert_same(restored, big_state(step))


TWO_PROCESSES = """
jax.config.update('jax_cpu_collectives_implementation', 'gloo')
directory, port, index = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
jax.distributed.initialize(f'localhost:{port}', num_processes=2, process_id=index)
mesh = jax.sharding.Mesh(jax.devices(), 'batch')
P = jax.sharding.PartitionSpec
everywhere = jax.sharding.NamedSharding(mesh, P())
split = jax.sharding.NamedSharding(mesh, P('batch'))

def host_state(step):
    table = np.random.default_rng(step).normal(size=(4, 1000, 3)).astype(np.float32)
    return {'state': make_state(step), 'table': table}

def place(x, sharding):
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda at: x[at])

def global_state(step):
    host = host_state(step)
    return {
        'state': jax.tree.map(lambda x: place(x, everywhere), host['state']),
        'table': place(host['table'], split),
    }

def check(restored, step):
    assert restored['table'].sharding == split and len(restored['table'].addressable_shards) == 2
    for a, e in zip(jax.tree.leaves(restored), jax.tree.leaves(host_state(step)), strict=True):
        for shard in a.addressable_shards:
            assert np.asarray(shard.data).tobytes() == np.asarray(e)[shard.index].tobytes()

negate = jax.jit(lambda tree: jax.tree.map(lambda x: -x, tree), donate_argnums=0)
if index == 1:  # process 0 must wait for a slower one before it commits
    fast = checkpoint.digest.Writer._json
    checkpoint.digest.Writer._json = lambda self: time.sleep(0.5) or fast(self)
with checkpoint.Checkpointer(directory, keep=2) as checkpointer:
    assert checkpointer.restore_latest(global_state(0)) is None
    for step in (1, 2, 3):
        state = global_state(step)
        checkpointer.save(step, state)
        negate(state)
        # On the CPU jax 0.11 keeps the host view of a bfloat16 array, and then copies, not donates.
        kept = [leaf for leaf in jax.tree.leaves(state) if not leaf.is_deleted()]
        assert all(leaf.dtype == jnp.bfloat16 for leaf in kept)
    checkpointer.wait()
    step, restored = checkpointer.restore_latest(global_state(0))
    assert step == 3
    check(restored, 3)
if index == 0:
    assert checkpointer.steps() == [2, 3]
    flip_a_bit_of(host_state(3)['table'][2], directory / '3')  # a shard of process 1
with checkpoint.Checkpointer(directory, keep=2) as checkpointer:
    from jax.experimental import multihost_utils
    multihost_utils.sync_global_devices('damaged')
    step, restored = checkpointer.restore_latest(global_state(0))
    assert step == 2
    check(restored, 2)
    checkpointer.save(3, global_state(3))
    step, restored = checkpointer.restore_latest(global_state(0))
    assert step == 3
    check(restored, 3)
print('done', jax.process_count(), jax.device_count())
jax.distributed.shutdown()
"""


def test_two_processes(tmp_path):
    with socket.socket() as sock:
        sock.bind(('localhost', 0))
        port = sock.getsockname()[1]
    flags = '--xla_force_host_platform_device_count=2'
    directory = tmp_path / 'checkpoints'
    processes = [start(TWO_PROCESSES, directory, port, i, XLA_FLAGS=flags) for i in range(2)]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, '\n'.join(outputs)
        assert 'done 2 4' in output
    assert sorted(path.name for path in directory.iterdir()) == ['2', '3', '3.rejected']
    # A notebook with one device reads what four devices wrote.
    step, table = checkpoint.load_tree(directory, prefix=('table',))
    expected = np.random.default_rng(3).normal(size=(4, 1000, 3)).astype(np.float32)
    assert step == 3 and np.array_equal(table, expected)
    (directory / '3' / 'digest' / '1.json').unlink()
    assert checkpoint.load_tree(directory)[0] == 2


# ------------------------------------------------------------------------------------ resume rules

CONFIG = {
    'method': 'sngan',
    'num_steps': 100,
    'n_dis': 5,
    'optimizer': {'lr': 2e-4, 'betas': (0.0, 0.9)},
    'log': {'every': 10},
    'data': {},
}
HARMLESS = ('num_steps', 'log.*')


def changed(**groups):
    config = {**CONFIG}
    for key, value in groups.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    return config


def test_config_is_written_once_and_accepted_again(tmp_path):
    workdir = tmp_path / 'runs' / 'a'
    resume.check_config(workdir, CONFIG)
    text = (workdir / 'config.json').read_text()
    assert text.startswith('{\n  "data": {},\n  "log"')
    stamp = (workdir / 'config.json').stat().st_mtime_ns
    resume.check_config(workdir, changed(num_steps=100.0))
    assert (workdir / 'config.json').stat().st_mtime_ns == stamp
    assert [path.name for path in workdir.iterdir()] == ['config.json']


def test_harmless_differences_are_recorded(tmp_path):
    resume.check_config(tmp_path, CONFIG)
    resume.check_config(tmp_path, changed(num_steps=200, log={'every': 20}), harmless=HARMLESS)
    resume.check_config(tmp_path, changed(num_steps=200, log={'every': 20}))
    with pytest.raises(ValueError, match=r'num_steps: 200 \(workdir\) != 100 \(now\)'):
        resume.check_config(tmp_path, CONFIG)


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (changed(n_dis=1), 'n_dis: 5 (workdir) != 1 (now); use'),
        (changed(n_dis=True), 'n_dis: 5 (workdir) != true (now)'),
        (changed(num_steps=7, n_dis=1), 'config: n_dis: 5 (workdir) != 1 (now); use'),
        (changed(optimizer={'lr': 1}), 'optimizer.lr: 0.0002 (workdir) != 1 (now)'),
        (changed(optimizer={'betas': (0.5, 0.9)}), '[0.0, 0.9] (workdir) != [0.5, 0.9] (now)'),
        (changed(data={'name': 'x'}), 'data.name: (absent) (workdir) != "x" (now)'),
        (changed(method='glo', n_dis=1), '"sngan" (workdir) != "glo" (now), n_dis: 5 (workdir)'),
    ],
)
def test_other_differences_are_refused(tmp_path, config, message):
    resume.check_config(tmp_path, CONFIG)
    before = (tmp_path / 'config.json').read_text()
    with pytest.raises(ValueError) as info:
        resume.check_config(tmp_path, config, harmless=HARMLESS)
    assert message in str(info.value)
    assert '\n' not in str(info.value) and '--workdir' in str(info.value)
    assert (tmp_path / 'config.json').read_text() == before


@pytest.mark.parametrize('text', ['', '{"method": "sn', '[1, 2]', '\x00\x00'])
def test_damaged_config_is_said(tmp_path, text):
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(ValueError, match=r'config\.json is damaged') as info:
        resume.check_config(tmp_path, CONFIG)
    assert '\n' not in str(info.value)


def test_config_must_be_json(tmp_path):
    with pytest.raises(ValueError, match='cannot be written as JSON'):
        resume.check_config(tmp_path, {'method': object()})
    assert list(tmp_path.iterdir()) == []


HOLD = """
with resume.WorkdirLock(sys.argv[1]):
    print('locked', flush=True)
    time.sleep(60)
"""


def test_lock_is_exclusive_and_freed_by_a_kill(tmp_path):
    process = start(HOLD, tmp_path)
    try:
        assert process.stdout.readline() == 'locked\n'
        for _ in range(2):  # looking in must not spoil the message
            with pytest.raises(ValueError, match=rf'in use by process {process.pid} on ') as info:
                resume.WorkdirLock(tmp_path).__enter__()
        assert '\n' not in str(info.value)
        with resume.WorkdirLock(tmp_path, process_index=1):
            pass
    finally:
        process.kill()
        process.communicate()
    for _ in range(2):
        with resume.WorkdirLock(tmp_path):
            with pytest.raises(ValueError, match=f'process {os.getpid()} on'):
                resume.WorkdirLock(tmp_path).__enter__()
