"""Trains the tiny GAN on all devices of one or several processes, for `test_parallel.py`.

    python tests/helpers/parallel_worker.py '[{"out": "folder", "cases": ["synchronized"], ...}, ...]'

Each job is done by a fork of this process, because importing takes as long as a training. It writes
`<out>/<case>-<process>.npz` with every leaf of the final state, `<out>/table-<process>.npz` with
the results on a sharded table, and last `<out>/facts-<process>.json`.
"""

import dataclasses
import functools
import json
import os
import pathlib
import signal
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization, struct
from flax.traverse_util import flatten_dict
from jax import lax

from configs import sngan_digits
from experiments import build, gan
from helpers import tiny_gan, tiny_glo
from helpers.filling import filled_state
from snjax import data, parallel
from snjax.objectives.losses import LOSSES
from snjax.parallel import cost
from snjax.training import adversarial
from snjax.training.feed import open_feed
from snjax.training.lecam import LeCam
from snjax.training.optimizers import linear_decay
from snjax.training.step import Options, device_data, make_step

STEPS = 20
COUNTED: dict[str, float] = {}  # operations of a device, by case


class Unaveraged(gan.Gan):
    """Every device follows its own gradient."""

    def _descend(self, *args):
        return with_mean(lambda tree: tree, super()._descend, *args)


class Summed(gan.Gan):
    """The gradient is summed over the devices where it should be averaged."""

    def _descend(self, *args):
        summed = lambda tree: lax.psum(tree, parallel.AXIS)  # noqa: E731
        return with_mean(summed, super()._descend, *args)


def with_mean(mean, fn, *args):
    """`fn(*args)` with another `parallel.mean`."""
    real_mean, parallel.mean = parallel.mean, mean
    try:
        return fn(*args)
    finally:
        parallel.mean = real_mean


class Recorded:
    """Images that record which of them were read."""

    def __init__(self, images):
        self.images, self.shape, self.dtype, self.read = images, images.shape, images.dtype, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.read.append(index.tolist())
        return self.images[index]


UNNORMALIZED = tiny_gan.Generator(has_batch_norm=False)
CASES = {
    'synchronized': {},
    'streamed': {},
    'per_device': {'gen': tiny_gan.Generator(batch_norm_axis=None)},
    # The same parts of a batch, each with its own batch statistics: on one device, and on four.
    'in_8_parts': {'accumulate': 8},
    'in_2_parts_per_device': {
        'gen': tiny_gan.Generator(batch_norm_axis=None),
        'accumulate': 2,
    },
    'unaveraged': {'cls': Unaveraged},
    'summed': {'cls': Summed},
    'unnormalized': {'gen': UNNORMALIZED, 'n_dis': 1},
    'accumulated': {'gen': UNNORMALIZED, 'n_dis': 1, 'accumulate': 2},
    'lecam': {'gen': UNNORMALIZED, 'lecam': LeCam(0.9, first=2), 'penalties': {'lecam': 0.3}},
}
GLO_CASES = {
    'glo': {},
    # Parts of eight: the gradient through a batch norm of two images is mostly rounding.
    'glo_in_8_parts': {'batch_size': 64, **CASES['in_8_parts']},
    'glo_in_2_parts_per_device': {'batch_size': 64, **CASES['in_2_parts_per_device']},
}
OPTIONS = Options(
    num_steps=STEPS,
    steps_per_call=1,
    log_every=1,
    histogram_every=0,
    sample_every=0,
    num_samples=0,
    checkpoint_every=0,
    keep=1,
    keep_every=0,
    flip=True,
    dequantize=True,
    seed=3,
)


@functools.cache
def digits():
    return data.load('digits', image_size=8, channels=1)


def make_method(name):
    """The method of a case, and the function that makes its first state."""
    if name in GLO_CASES:
        changes = {'batch_size': 16, 'initial': 'normal', **GLO_CASES[name]}
        return tiny_glo.make_glo(digits().images, **changes), filled_state
    tiny = tiny_gan.make_gan(
        **{
            'loss': LOSSES['non_saturating'],  # smooth: rounding is not amplified at a kink
            'learning_rate': linear_decay(0.1, 0, 0),
            'batch_size': 16,
            'gen_batch_size': 32,
            'n_dis': 2,
            'ema_decay': 0.5,
            **CASES[name],
        }
    )
    return tiny, tiny_gan.filled


def train_case(name):
    """Twenty steps on the digits; returns state, metrics and, if streamed, the images read."""
    tiny, filled = make_method(name)
    options = dataclasses.replace(OPTIONS, stream=name == 'streamed', workers=2)
    images = Recorded(digits().images)
    resident = None if options.stream else images.images
    on_devices = device_data(resident, digits().labels, OPTIONS.seed)
    before = filled(tiny)
    state = parallel.shard(before, tiny.state_axes)
    step = parallel.DataParallel(make_step(tiny, OPTIONS), tiny.state_axes)
    with open_feed(tiny, options, images, 0) as feed:
        if name in ('synchronized', 'glo'):
            COUNTED[name] = cost.flops(step.trace(state, on_devices, feed.example()))
        program = step.compile(state, on_devices, *feed.example())
        for _ in range(STEPS):
            state, metrics = program(state, on_devices, *feed.next(lambda: True))
    return parallel.gather(state, tiny.state_axes, before), metrics, images.read


def shards_equal(tree):
    """Whether all devices of this process hold the same bits."""
    for leaf in jax.tree.leaves(tree):
        first, *others = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        if any(first.tobytes() != other.tobytes() for other in others):
            return False
    return True


def flat(tree):
    return {
        '/'.join(k): np.asarray(v)
        for k, v in flatten_dict(serialization.to_state_dict(jax.device_get(tree))).items()
        if v is not None
    }


def is_frozen():
    """Whether a generator update keeps all bits of the discriminator, u and sigma included."""
    size = 2 * parallel.device_count()
    tiny = tiny_gan.make_gan(gen_batch_size=size)
    before = tiny_gan.filled(tiny)
    unseen = adversarial.Batch(np.zeros((0, *tiny_gan.IMAGE)), None)
    update = tiny_gan.compiled(lambda state: tiny.update_gen(state, unseen, jax.random.key))
    after, _ = update(before)
    leaves = zip(jax.tree.leaves(before.dis), jax.tree.leaves(after.dis), strict=True)
    return all(a.tobytes() == b.tobytes() for a, b in leaves)


TABLE = {
    # The fifth row has values that arithmetic may not preserve: -0, a subnormal and NaN.
    'z': np.insert(
        np.random.default_rng(0).standard_normal((6, 3), np.float32),
        4,
        [-0.0, 1e-42, np.nan],
        axis=0,
    ),
    'count': np.arange(10, 17, dtype=np.int32),
}
INDEX = np.array([5, 0, 6, 2], np.int32)  # a global batch of rows


class Held(struct.PyTreeNode):
    """A table of seven rows, which divide over no tested number of devices but one."""

    table: dict
    step: jax.Array


def table_case():
    """The table after `shard` and `gather`; then what a step reads from it and writes to it."""
    before, axes = Held(TABLE, np.int32(0)), Held(table=0, step=None)
    sharded = parallel.shard(before, axes)
    # Fetched at once: `gather` returns the same `step` array, which the run below donates.
    arrays = flat({'round_trip': parallel.first_replica(parallel.gather(sharded, axes, before))})
    arrays |= {f'shapes/{name}': np.array(leaf.shape) for name, leaf in sharded.table.items()}
    index = INDEX[: len(INDEX) // parallel.device_count() * parallel.device_count()]
    if index.size:
        run = parallel.DataParallel(functools.partial(table_step, size=len(index)), axes)
        placed = parallel.replicate(index)
        state, seen = run.compile(sharded, placed, quickly=True)(sharded, placed)
        after = parallel.gather(state, axes, before)
        arrays |= flat(parallel.first_replica({'seen': seen, 'after': after}))
    return arrays


def table_step(state, index, size):
    own = index[parallel.example_ids(size)]
    rows = parallel.take_rows(state.table, own)
    new = {'z': -2 * rows['z'], 'count': rows['count'] + 100}
    seen = {
        'taken': jax.tree.map(lambda x: lax.all_gather(x, parallel.AXIS, tiled=True), rows),
        'total': parallel.total(jnp.sum(rows['count'])),
    }
    return Held(parallel.put_rows(state.table, own, new), state.step + 1), seen


def stop_together():
    """The step at which all processes stop when one of them receives SIGTERM."""
    stop = parallel.StopSignal()
    for step in range(1, 3000):
        if step == 20 and jax.process_index() == jax.process_count() - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        if stop.at(step):
            stop.close()
            return step
        time.sleep(0.01)
    return None


def refusal():
    """The message for a batch size that does not divide over the devices; None if it does."""
    config = sngan_digits.get_config()
    config.gen_batch_size = 30
    try:
        build.method(config)
    except ValueError as error:
        return str(error)
    return None


def work(job):
    """Does a job of the module's docstring on `job['devices']` CPU devices."""
    out = pathlib.Path(job['out'])
    if job['address']:
        parallel.initialize(
            'explicit',
            coordinator_address=job['address'],
            num_processes=job['num_processes'],
            process_id=job['process_id'],
        )
    facts = {
        'devices': parallel.device_count(),
        'is_main': parallel.is_main(),
        'describe': parallel.describe(),
        'shards_equal': {},
        'read': {},
        'flops': COUNTED,
        'refusal': refusal(),
    }
    for name in job['cases']:
        state, metrics, facts['read'][name] = train_case(name)
        facts['shards_equal'][name] = shards_equal((state, metrics))
        local = parallel.first_replica({'state': state, 'metrics': metrics})
        np.savez(out / f'{name}-{jax.process_index()}.npz', **flat(local))
    np.savez(out / f'table-{jax.process_index()}.npz', **table_case())
    if parallel.device_count() == 3:
        facts['is_frozen'] = is_frozen()
    if job['address']:
        facts['stopped_at'] = stop_together()
    (out / f'facts-{jax.process_index()}.json').write_text(json.dumps(facts))


def main(jobs):
    """Forks for each job before JAX has started a thread, and waits for all."""
    digits()
    for job in jobs:
        if not os.fork():
            # XLA reads it when it makes the devices.
            os.environ['XLA_FLAGS'] += f' --xla_force_host_platform_device_count={job["devices"]}'
            work(job)
            return
    for _ in jobs:
        os.wait()


if __name__ == '__main__':
    main(json.loads(sys.argv[1]))
