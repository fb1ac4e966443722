"""Checkpoints of a process that is killed while saving, and of several processes."""

import random
import signal
import socket
import time

import numpy as np
import pytest

from helpers.checkpointing import assert_same, big_state, restore, start
from snjax.runs import checkpoint

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


@pytest.mark.slow
def test_killed_while_saving(tmp_path):
    """Kills a process that saves all the time, at random moments and then during a save."""
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
