r"""Seconds per epoch of GLO: the table on the device, inside one program, and a table on the host.

The other design is that of the public port tneumann/minimal_glo: latents and images lie in NumPy
arrays; every step takes a batch of rows and images to the device, brings the rows' gradients back,
and moves and projects the rows on the host. Both designs run the same generator, loss and batch
size, in turns, and the report compares medians.

    python -m benchmarks.glo_epoch --config=configs/glo_cifar.py --data_dir=... \
        [--num_images=2000] [--epochs=5]
"""

import argparse
import datetime
import json
import platform
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import command
from benchmarks.workloads import load_config
from experiments import build, glo
from snjax import from_config, parallel
from snjax.training.step import device_data, make_step


class OnDevice:
    """This project's design: one program per step."""

    def __init__(self, method, options, image_set):
        self.data = device_data(image_set.images, image_set.labels, options.seed)
        state = parallel.run_once(method.init, jax.random.key(0))
        self.state = parallel.shard(state, method.state_axes)
        step = parallel.DataParallel(make_step(method, options), method.state_axes)
        self.program = step.compile(self.state, self.data)
        self.calls = len(image_set.images) // method.batch_size // options.steps_per_call

    def epoch(self) -> float:
        for _ in range(self.calls):
            self.state, metrics = self.program(self.state, self.data)
        return float(parallel.first_replica(metrics)['rec_loss'])


class OnHost:
    """The other design: table and images in NumPy, rows gathered and scattered at every step."""

    def __init__(self, method, image_set):
        self.batch_size, self.images = method.batch_size, image_set.images
        state = parallel.run_once(method.init, jax.random.key(0))
        self.gen, self.z = state.gen, np.array(state.table.z)
        self.z_lr = float(method.z_learning_rate(0))
        self.rng = np.random.default_rng(0)

        def step(gen, z, pixels):
            real = pixels.astype(jnp.float32) / 127.5 - 1

            def loss_fn(params, z):
                variables = {'params': params, **gen.model_state}
                moving = list(gen.model_state)
                made, moved = method.gen.apply(variables, z, None, train=True, mutable=moving)
                return jnp.mean(method.gen_loss(made, real)), moved

            grad_fn = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)
            (loss, moved), (grads, z_grads) = grad_fn(gen.params, z)
            updates, opt_state = method.optimizer.update(grads, gen.opt_state, gen.params)
            params = optax.apply_updates(
                gen.params, jax.tree.map(lambda u: -method.learning_rate(0) * u, updates)
            )
            return gen.replace(params=params, model_state=moved, opt_state=opt_state), loss, z_grads

        size = self.batch_size
        lowered = jax.jit(step, donate_argnums=0).lower(self.gen, self.z[:size], self.images[:size])
        self.step = parallel.compile(lowered)

    def epoch(self) -> float:
        order, size, loss = self.rng.permutation(len(self.images)), self.batch_size, 0.0
        for start in range(0, len(order) - size + 1, size):
            index = order[start : start + size]
            self.gen, loss, z_grads = self.step(self.gen, self.z[index], self.images[index])
            z = self.z[index] - self.z_lr * np.asarray(z_grads)
            self.z[index] = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1)
        return float(loss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default='configs/glo_cifar.py')
    parser.add_argument('--num_images', type=command.count, default=2000)
    parser.add_argument('--epochs', type=command.count, default=5, help='of each, in turns')
    parser.add_argument('--gen_width', type=int, default=0, help='0: as in the config')
    parser.add_argument('--batch_size', type=int, default=0, help='0: as in the config')
    parser.add_argument('--data_dir', default='')
    parser.add_argument('--out', type=command.report)
    args = parser.parse_args()
    config = _config(args)
    image_set = from_config.image_set(config)
    method = build.method(config).with_images(image_set.images)
    assert isinstance(method, glo.Glo)
    # The host's design has no batch-norm axis; one device needs none either.
    config.model.sync_batch_norm = False
    plain = build.method(config).with_images(image_set.images)
    options = build.options(config)
    designs = {'device': OnDevice(method, options, image_set), 'host': OnHost(plain, image_set)}
    seconds: dict[str, list[float]] = {name: [] for name in designs}
    losses: dict[str, float] = {}
    for name, design in designs.items():
        design.epoch()  # warms up
        losses[name] = 0.0
    for _ in range(args.epochs):
        for name, design in designs.items():
            began = time.perf_counter()
            losses[name] = design.epoch()
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(s) for name, s in seconds.items()}
    report = {
        'date': datetime.date.today().isoformat(),
        'machine': f'{parallel.describe()}, {platform.machine()}, {platform.python_version()}',
        'jax': jax.__version__,
        'images': len(image_set.images),
        'image_size': config.data.image_size,
        'batch_size': method.batch_size,
        'gen_width': config.model.gen_width,
        'dim_z': method.dim_z,
        'epochs': args.epochs,
        'seconds': seconds,
        'median_seconds': medians,
        'host_over_device': medians['host'] / medians['device'],
        'last_loss': losses,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + '\n')


def _config(args):
    changes = {'data.data_dir': args.data_dir}
    keys = {'gen_width': 'model.gen_width', 'batch_size': 'batch_size'}
    changes |= {key: getattr(args, name) for name, key in keys.items() if getattr(args, name)}
    config = load_config(args.config, changes)
    if config.data.name != 'digits':
        config.data.split = f'train[:{args.num_images}]'
    return config


if __name__ == '__main__':
    command.run(main)
