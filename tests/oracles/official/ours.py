"""snjax's own trajectories, from the start and on the draws of `inputs.py`, in the official layouts.

    python -m oracles.official.ours --models=resnet,cgan --dtype=float64 --steps=20 --out=FOLDER

`train_step` is called as it is, on the method that the config makes at `inputs.WIDTH` and
`inputs.BATCH`; what it draws is handed to it, and the updates of D are a `lax.scan`, as on
accelerators, which compiles sooner. float64 needs a process of its own: snjax and Flax then mean
float64 wherever they say float32.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import sys
import types
from unittest import mock

import jax
import numpy as np

from oracles.official import inputs as feed
from oracles.official import layouts
from oracles.official.mutations import MUTATIONS

# The config of each model, and the keys of the official code's schedule where the default is
# another (`docs/fidelity.md`): the config alone has `per_update` and whole batches.
BIGGAN = {
    'model.spectral_updates': 'per_joint_forward',
    'model.num_classes': feed.CLASSES,
    'accumulate': 1,
    'optimizer.eps': 1e-6,
    'optimizer.ema_decay': feed.BIGGAN_DECAY,
}
CONFIGS = {
    'resnet': ('sngan_cifar', '', {'model.spectral_updates': 'per_forward'}),
    'cgan': ('cgan_cifar', '', {'model.spectral_updates': 'per_forward'}),
    'cnn': (
        'sngan_cifar_cnn',
        'C,code,non_saturating',
        {'model.spectral_updates': 'per_forward'},
    ),
    'dcgan': ('dcgan_cifar', '', {}),
    'wgangp': ('wgan_gp_cifar', 'sngan_cnn', {}),
    'acgan': ('acgan_cifar', '', {'accumulate': 2}),
    'wgangp_resnet': ('wgan_gp_cifar', 'resnet', {'accumulate': 2}),
    'mimicry': ('sngan_cifar', 'mimicry', {'model.spectral_updates': 'per_forward'}),
    'mimicry_cgan': ('cgan_cifar', 'mimicry', {'model.spectral_updates': 'per_forward'}),
    'collections': (
        'sngan_cifar',
        'collections',
        {'model.spectral_updates': 'per_forward'},
    ),
    # Small images, and a burn-in that ends within the 20 updates.
    'r3gan': (
        'r3gan_cifar',
        '',
        {
            'data.image_size': 8,
            'model.dtype': 'float32',
            'model.gen_width': feed.R3GAN_WIDTH,
            'model.dis_width': feed.R3GAN_WIDTH,
            'burn_in.steps': feed.R3GAN_BURN_IN / feed.BATCH,
            'optimizer.ema_decay': 0.5 ** (feed.BATCH / feed.R3GAN_HALF_LIFE),
        },
    ),
    'biggan_cifar': ('biggan_cifar', '', {'model.spectral_updates': 'per_joint_forward'}),
    # The paper's network at 64 px, where both players have attention, with the average from update 3;
    # their code's strength of regularization is half of ours.
    'biggan': (
        'biggan_imagenet',
        '64',
        BIGGAN
        | {
            'model.gen_width': 16,
            'model.dis_width': 8,
            'penalty.gen_orthogonal': 5e-5,
            'optimizer.ema_start': 3,
        },
    ),
    'biggan_deep': (
        'biggan_imagenet',
        '128,deep',
        BIGGAN
        | {
            'data.image_size': 32,
            'model.attention': 0,
            'model.gen_width': 16,
            'model.dis_width': 16,
            'penalty.gen_orthogonal': 0.0,
            'optimizer.ema_start': 1,  # 0 would let the average forget its start, as their code does not
        },
    ),
    # minimal_glo has one network, of 64 px, and a pyramid of its own.
    'glo_l2': ('glo_cifar', '', {'data.image_size': 64, 'glo.loss': 'l2'}),
    'glo_lap1': (
        'glo_cifar',
        '',
        {'data.image_size': 64, 'glo.loss': 'lap1', 'glo.pyramid': 'minimal_glo'},
    ),
}


def in_float64():
    """Makes this process compute in float64; call it before snjax or Flax is imported."""
    jax.config.update('jax_enable_x64', True)
    import jax.numpy as jnp

    jnp.float32 = jnp.float64


def config_of(model, **changes):
    import importlib

    name, argument, keys = CONFIGS[model]
    config = importlib.import_module(f'configs.{name}').get_config(
        *([argument] if argument else [])
    )
    size = {'batch_size': feed.BATCH, 'model.gen_width': feed.WIDTH, 'model.dis_width': feed.WIDTH}
    if model not in feed.MODELS:
        size |= {'batch_size': feed.GLO_BATCH, 'model.gen_width': feed.GLO_WIDTH}
    else:
        size['gen_batch_size'] = feed.BATCH * feed.MODELS[model][1]
    config.update_from_flattened_dict({**size, **keys, **changes})
    return config


@contextlib.contextmanager
def drawing(fed, of_the_fake=False):
    """Inside it, what a step draws comes from `fed`, a dict that the step fills when traced.

    `of_the_fake` says whose share the penalty's alpha is.
    """
    from experiments import gan, r3gan
    from snjax import parallel
    from snjax.objectives import penalties
    from snjax.training import adversarial
    from snjax.training.adversarial import Use

    def key_of(rng, use, turn=None):
        return use, turn

    def pick(gen, dis):
        def draw(key, ids, *args):
            use, turn = key
            of_gen = use in (Use.GEN_Z, Use.GEN_LABELS)
            return fed[gen][ids] if of_gen else fed[dis][turn][ids]

        return draw

    def example_keys(key, ids):
        use, turn = key
        if use == Use.PENALTY:
            return fed['alpha'][turn][ids]
        uses = (Use.REAL_AUGMENT, Use.FAKE_AUGMENT, Use.GEN_AUGMENT, Use.GEN_REAL_AUGMENT)
        return fed['alpha'][0][ids] + 0.25 * uses.index(use)

    def augment(images, keys, policy, chance):
        """What `r3gan.py` has in place of its code's augmentation; others have none."""
        if not policy:
            return images
        factor = (1 + chance * (keys - 1))[:, None, None, None]
        return images[:, :, ::-1] * factor

    # chainer-gan-lib draws the share of the real image, snjax and TensorFlow's code that of the fake.
    random = types.SimpleNamespace(uniform=lambda alpha: alpha if of_the_fake else 1 - alpha)
    jax_of_penalties = types.SimpleNamespace(vmap=jax.vmap, grad=jax.grad, random=random)
    random = types.SimpleNamespace(fold_in=lambda alpha, i: alpha + 0.25 * i)
    jax_of_r3gan = types.SimpleNamespace(**vars(jax) | {'random': random})
    with contextlib.ExitStack() as stack:
        for module, name, value in (
            (adversarial, 'key_of', key_of),
            (gan, 'key_of', key_of),
            (gan, 'example_keys', example_keys),
            (adversarial, 'latents', pick('gen_z', 'dis_z')),
            (adversarial, 'class_labels', pick('gen_y', 'dis_y')),
            (penalties, 'jax', jax_of_penalties),
            (r3gan, 'jax', jax_of_r3gan),
            (adversarial, 'augment', augment),
            (r3gan, 'augment', augment),
            (parallel, 'scan_or_unroll', jax.lax.scan),
        ):
            stack.enter_context(mock.patch.object(module, name, value))
        yield


def first_state(method, pairs, dtype):
    """The state before the first update, with the start of `inputs.py`; of GLO, the generator."""
    from flax.traverse_util import flatten_dict, unflatten_dict

    from experiments.gan import GanState
    from snjax.training.player import Player

    start = {p.ours: p for p in pairs}

    def player(name, variables):
        flat = {}
        for path, leaf in flatten_dict(variables).items():
            pair = start.get((name, *path))
            if pair is not None:
                value = feed.start(pair.theirs, layouts.their_shape(pair.how, leaf.shape))
                flat[path] = layouts.TO_OURS[pair.how](value).astype(dtype)
                assert flat[path].shape == leaf.shape, (pair, leaf.shape)
            else:  # v and sigma, found anew before they are used, and statistics that they lack
                assert path[-1] in ('v', 'sigma') or path[0] == 'batch_stats', (name, path)
                flat[path] = np.ones(leaf.shape, dtype)
        return Player.fresh(unflatten_dict(flat), method.optimizer)

    if not hasattr(method, 'dis'):
        z = jax.ShapeDtypeStruct((2, method.dim_z), dtype)
        init = functools.partial(method.gen.init, train=False)
        return player('gen', jax.eval_shape(init, jax.random.key(0), z, None))
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    gen, dis = (player(name, getattr(shapes, name).variables) for name in ('gen', 'dis'))
    # A step of 64 bits makes the rate float64, too: JAX divides int32 in float32.
    step = np.zeros((), np.int64 if np.dtype(dtype) == np.float64 else np.int32)
    return GanState(step, gen, dis, gen.variables if method.ema_decay else None)


def in_their_layout(state, pairs):
    from flax.traverse_util import flatten_dict

    flat = {}
    for name in {p.ours[0] for p in pairs}:
        variables = getattr(state, name).variables
        flat |= {(name, *k): np.float64(v) for k, v in flatten_dict(variables).items()}
    return {p.theirs: layouts.TO_THEIRS[p.how](flat[p.ours]) for p in pairs}


def trajectory(model, *, steps, dtype='float64', look=True, config=None):
    """A run of `train_step`, as the official codes record theirs: `{'t1/gen/l1/W': ..., ...}`."""
    import jax.numpy as jnp

    from experiments import build
    from snjax import parallel

    config = config or config_of(model)
    method, pairs, out, traces = build.method(config.lock()), layouts.layout(model), {}, {}
    conditional = bool(method.num_classes)
    fed, fixed = feed.inputs(model, steps), {}
    for name in list(fed):
        value = fed.pop(name)
        value = np.moveaxis(value, -3, -1) if name in ('real', 'fixed_x') else value
        value = value.astype(dtype) if value.dtype.kind == 'f' else value
        (fixed if name.startswith('fixed') else fed)[name] = value
    now = {}

    def step(state, drawn):
        now.update(drawn)
        ids = parallel.example_ids(method.batch_size)
        batch = {'image': drawn['real'][:, ids], 'label': drawn['label'][:, ids]}
        return method.train_step(state, batch, jax.random.key(0))

    def seen(state, fixed):
        """Images in evaluation and training, and logits in training; nothing moves."""
        y = fixed['fixed_y'] if conditional else None
        gen, dis = state.gen.variables, state.dis.variables
        # With a power iteration that is not kept, where G has them, as BigGAN's code evaluates.
        shown = state.ema or gen
        images, _ = method.gen.apply(shown, fixed['fixed_z'], y, train=False, mutable=['spectral'])
        mutable = ['batch_stats', 'spectral']
        trained, _ = method.gen.apply(gen, fixed['fixed_z'], y, train=True, mutable=mutable)
        found, _ = method.dis.apply(dis, fixed['fixed_x'], y, train=True, mutable=mutable)
        logits, classes = found if isinstance(found, tuple) else (found, None)
        looked = {'images': images, 'images_train': trained}
        looked = {k: jnp.moveaxis(v, -1, -3) for k, v in looked.items()} | {'logits': logits}
        return state, looked | ({} if classes is None else {'classes': classes})

    with drawing(now, of_the_fake=feed.MODELS[model][0] == 'improved_wgan_training'):
        first = {k: v[0] for k, v in fed.items()}
        state = parallel.replicate(first_state(method, pairs, dtype))
        program = parallel.DataParallel(step).compile(
            state, parallel.replicate(first), quickly=True
        )
        if look:
            placed = parallel.replicate(fixed)
            look_at = parallel.DataParallel(seen).compile(state, placed, quickly=True)
        for t in range(1, steps + 1):
            drawn = {k: v[t - 1] for k, v in fed.items()}
            state, metrics = program(state, parallel.replicate(drawn))
            for name, value in jax.device_get(parallel.first_replica(metrics)).items():
                traces.setdefault(name, []).append(float(value))
            if t in (*feed.KEPT, feed.LAST, steps):
                here = jax.device_get(parallel.first_replica(state))
                found = in_their_layout(here, pairs)
                if look:
                    state, looked = look_at(state, placed)
                    looked = jax.device_get(parallel.first_replica(looked))
                    found |= {k: np.float64(v) for k, v in looked.items()}
                out |= {f't{t}/{name}': value for name, value in found.items()}
    return out | {f'trace/{name}': np.array(v) for name, v in traces.items() if '/' not in name}


def glo_trajectory(model, *, steps, dtype='float64', look=True, config=None):
    """`trajectory` of a GLO, which always looks at its images."""
    del look
    import jax.numpy as jnp

    from experiments import build
    from experiments.glo import GloState, Table
    from snjax import parallel
    from snjax.latents.sampling import generate
    from snjax.objectives import reconstruction

    config = config or config_of(model)
    method, pairs, out, losses = build.method(config.lock()), layouts.layout(model), {}, []
    fed = feed.glo_inputs(steps)
    images = np.moveaxis(fed['images'], 1, -1).astype(dtype)
    fixed = fed['fixed_z'].astype(dtype)
    z = fed['Z'] / np.maximum(np.sqrt(np.sum(fed['Z'] ** 2, axis=1))[:, None], 1)
    table = Table(z.astype(dtype), jax.vmap(method.z_optimizer.init)(z))
    state = GloState(np.zeros((), np.int32), first_state(method, pairs, dtype), table)

    def step(state, batch):
        state, metrics = method.train_step(state, batch, jax.random.key(0))
        metrics['images'] = generate(method.gen, state.gen.variables, fixed, None)
        return state, metrics

    # The matrices of the pyramid are float32 in float64 runs, too, but for this.
    wide = types.SimpleNamespace(**(vars(np) | {'float32': np.dtype(dtype).type}))
    profile = np.exp(-(np.arange(-2, 3, dtype=dtype) ** 2) / 4)
    with (
        mock.patch.object(reconstruction, 'np', wide),
        mock.patch.object(reconstruction, '_PROFILE', profile),
    ):
        run = parallel.DataParallel(step)
        program, state = None, parallel.replicate(state)
        for t in range(1, steps + 1):
            index = fed['order'][t - 1]
            batch = {'image': images[index][None], 'index': index.astype(np.int32)[None]}
            batch = parallel.replicate(batch)
            program = program or run.compile(state, batch, quickly=True)
            state, metrics = program(state, batch)
            metrics = jax.device_get(parallel.first_replica(metrics))
            losses.append(float(metrics['rec_loss']))
            if t in (*feed.KEPT, feed.LAST, steps):
                here = jax.device_get(parallel.first_replica(state))
                found = in_their_layout(here, pairs) | {'Z': np.float64(here.table.z)}
                found['images'] = np.float64(jnp.moveaxis(metrics['images'], -1, 1))
                out |= {f't{t}/{name}': value for name, value in found.items()}
    return out | {'trace/rec_loss': np.array(losses)}


def any_trajectory(model, **given):
    return (trajectory if model in feed.MODELS else glo_trajectory)(model, **given)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--models', required=True)
    parser.add_argument('--dtype', default='float64', choices=['float32', 'float64'])
    parser.add_argument('--steps', type=int, default=feed.LAST)
    parser.add_argument(
        '--changes', type=json.loads, default={}, help='keys of the config, as JSON'
    )
    parser.add_argument('--out', type=pathlib.Path, required=True)
    parser.add_argument('--mutations', default='', help='names in mutations.py')
    parser.add_argument(
        '--look', default='all', choices=['all', 'none'], help='at images and logits'
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for model in filter(None, given.models.split(',')):
        config = config_of(model, **given.changes)
        found = any_trajectory(
            model, steps=given.steps, dtype=given.dtype, config=config, look=given.look == 'all'
        )
        np.savez(given.out / f'{model}.npz', **found)
    for name in filter(None, given.mutations.split(',')):
        mutation = MUTATIONS[name]
        with mutation.applied():
            config = config_of(mutation.model, **mutation.keys)
            found = any_trajectory(mutation.model, steps=given.steps, config=config, look=False)
        np.savez(given.out / f'mutated_{name}.npz', **found)


if __name__ == '__main__':
    from helpers.compiling import QUICKLY

    os.environ.setdefault('XLA_FLAGS', QUICKLY)
    if '--dtype=float32' not in sys.argv:
        in_float64()
    main()
