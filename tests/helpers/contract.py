"""Runs any config of configs/ small and records each update of each player, for `test_contract.py`.

As a program it trains on all devices of its process and writes the final states:

    python tests/helpers/contract.py '{"cases": [["cgan_cifar", ""]], "out": "x.npz", "changes": {}}'
"""

import dataclasses
import functools
import importlib
import json
import math
import pathlib
import sys
import tempfile
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
if __name__ == '__main__':
    sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

from experiments import build  # noqa: E402
from helpers.filling import filled  # noqa: E402
from snjax import parallel  # noqa: E402
from snjax.models import biggan, resnet  # noqa: E402

NUM_STEPS = 20
# The smallest ResNet, of one block, for 8 px: compiling is most of what these tests take.
TINY_LAYOUT = {8: resnet.Layout(bottom=4, gen=(1, 1), dis=(1, 1), n_down=1)}
# Where D has two turns to one of G. All methods share the loop of turns, and that every config's
# n_dis reaches its method is seen in tests/experiments/test_configs.py.
TWO_TURNS = (('sngan_cifar', ''), ('acgan_cifar', ''))
PLAYERS, KERNELS = ('gen', 'dis'), ('kernel', 'embedding')
PLAIN = 'weight_clipping gan_gp wgan_gp weight_norm orthonormal sngan sngan_hinge'.split()
SETTINGS = ['A', 'B', 'C', 'D', 'E', 'F']
# Every config, with each argument that changes its program (settings A to F change numbers only).
CASES = [
    ('sngan_cifar', ''),
    ('sngan_cifar_cnn', 'C'),
    ('sngan_cifar_cnn', 'C,code,non_saturating'),
    ('sngan_digits', ''),
    ('sngan_stl', ''),
    ('sngan_imagenet', ''),
    ('sngan_folder', 'photos,32'),
    *(('sngan_paper', f'{m},C,cifar') for m in [*PLAIN, 'batch_norm', 'layer_norm']),
    ('wgan_gp_cifar', 'resnet'),
    ('wgan_gp_cifar', 'cnn'),
    ('wgan_cifar', ''),
    ('dcgan_cifar', ''),
    ('lsgan_cifar', ''),
    ('dragan_cifar', ''),
    ('cgan_cifar', ''),
    ('cgan_imagenet', ''),
    ('cgan_flowers', ''),
    ('cgan_anime', 'faces,32'),
    ('cgan_conditions', 'faces,32'),
    ('acgan_cifar', ''),
    ('acgan_cifar', 'contragan'),
    ('acgan_cifar', 'reacgan'),
    ('sagan_cifar', ''),
    ('sagan_imagenet', ''),
    ('r3gan_cifar', ''),
    ('r3gan_cifar', 'unconditional'),
    ('r3gan_cifar', 'resnet'),
    ('r3gan_imagenet', ''),
    ('r3gan_folder', 'photos,32'),
    ('biggan_cifar', 'shared'),
    ('biggan_cifar', ''),
    ('biggan_imagenet', ''),
    ('biggan_imagenet', '128,code'),
    ('biggan_imagenet', '128,deep'),
]


@functools.cache
def _folder_of_two_classes() -> pathlib.Path:
    """Makes the image folders that CASES name."""
    root = pathlib.Path(tempfile.mkdtemp(prefix='contract'))
    for name in ('faces/a', 'faces/b'):
        (root / name).mkdir(parents=True)
        Image.new('RGB', (8, 8)).save(root / name / 'image.png')
    table = 'file,size,smiles\na/image.png,.5,0\nb/image.png,-1,1\n'
    (root / 'faces/conditions.csv').write_text(table)
    return root


def load(name: str, argument: str) -> Any:
    """Returns the config that launch.py would load."""
    if name in ('cgan_anime', 'cgan_conditions'):
        argument = f'{_folder_of_two_classes()}/{argument}'
    module = importlib.import_module(f'configs.{name}')
    return module.get_config(*([argument] if argument else []))


def pair(case: tuple[str, str]) -> tuple[str, ...]:
    """Returns what decides which program a case compiles: method, architecture and variant."""
    c = load(*case)
    return c.method, c.model.architecture, c.model.variant if c.model.variant == 'wgan_gp' else ''


DISTINCT = list({pair(case): case for case in reversed(CASES)}.values())


def small(name, argument, *, own_size=False, dtype='float32', sgd=False) -> Any:
    """Returns a config with an eighth of the width and batches of 4 images.

    Args:
        name: a config in configs/.
        argument: its argument.
        own_size: whether images keep their size; else they have 8 or 16 px.
        dtype: compute type of the networks.
        sgd: whether both players train by plain gradient descent at a constant rate.
    """
    c = load(name, argument)
    is_r3gan = c.model.architecture == 'r3gan'
    least = {'paper': 8, 'imagenet': 16}[c.model.variant] if is_r3gan else 1
    c.model.gen_width = least if is_r3gan else max(1, c.model.gen_width // 8)
    c.model.dis_width = least if is_r3gan else max(1, c.model.dis_width // 8)
    is_biggan = c.model.architecture.startswith('biggan')
    # BigGAN cuts z into 2 parts at 8 px, 3 at 16, 4 at 32 and 6 at 128.
    c.model.dim_z = 12 if is_biggan and c.model.attention else 16
    c.model.dtype = dtype
    c.gen_batch_size = 4 * (1 + (c.gen_batch_size > c.batch_size))
    c.batch_size = 4
    c.accumulate = 1
    two_turns = (name, argument) in TWO_TURNS and dtype == 'float32'
    c.n_dis = min(c.n_dis, 2 if own_size or two_turns else 1)
    c.optimizer.ema_decay = 0.9
    if not own_size:
        if c.method == 'acgan':
            c.model.attention = 0  # which SAGAN and BigGAN on ImageNet have beside their heads
        is_small = is_r3gan or (
            c.model.architecture in ('resnet', 'biggan') and not c.model.attention
        )
        c.data.image_size = 8 if is_small else 16
        c.model.attention = c.model.attention and 8
    if sgd:
        c.optimizer.name, c.optimizer.lr = 'sgd', 1e-3
        c.burn_in.lr = c.burn_in.beta2 = 0.0
        c.optimizer.decay_start = c.optimizer.decay_end = c.optimizer.gen_lead = 0
    return c


class Turn(NamedTuple):
    """The update of one player, with the state before and after it."""

    player: str
    before: Any
    after: Any


@dataclasses.dataclass
class Ran:
    """A small run: updates of its first step, final state, metrics of its last step."""

    method: Any
    turns: list[Turn]
    state: Any
    metrics: dict[str, Any]


def _recording(method, turns):
    """Returns the method with updates that append themselves to `turns`."""

    def noting(player, update):
        def noted(self, state, *args):
            after, metrics = update(self, state, *args)
            turns.append(Turn(player, state, after))
            return after, metrics

        return noted

    cls = type(method)
    updates = {f'update_{p}': noting(p, getattr(cls, f'update_{p}')) for p in ('dis', 'gen')}
    fields = {f.name: getattr(method, f.name) for f in dataclasses.fields(method)}
    return type('Recording', (cls,), updates)(**fields)


def batches(method, seed) -> dict[str, np.ndarray]:
    """Returns random images and labels for one step on all devices."""
    rng = np.random.default_rng(seed)
    shape = method.batches_per_step, method.batch_size
    images = rng.uniform(-1, 1, (*shape, *method.image_shape)).astype(np.float32)
    if method.num_conditions:
        numbers = rng.uniform(-1, 1, (*shape, method.num_conditions))
        return {'image': images, 'label': numbers.astype(np.float32)}
    classes = rng.integers(0, max(1, method.num_classes), shape).astype(np.int32)
    return {'image': images, 'label': classes}


def start(method) -> Any:
    """Returns a first state of NumPy's numbers; compiling `init` takes as long as a step."""

    def fill(name, shape, rng):
        if len(shape) > 1 and name not in ('gamma', 'beta'):
            return rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
        return name in ('scale', 'gamma', 'var')

    rng = np.random.default_rng(0)
    state = jax.eval_shape(method.init, jax.random.key(0))
    params = {player: filled(getattr(state, player).params, fill) for player in PLAYERS}
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    for name, values in params.items():
        player = getattr(state, name)
        model_state = dict(player.model_state)
        if 'batch_stats' in model_state:
            model_state['batch_stats'] = filled(model_state['batch_stats'], fill)
        if 'spectral' in model_state:
            model_state['spectral'] = _first_iterations(model_state['spectral'], values, rng)
        state = state.replace(**{name: player.replace(params=values, model_state=model_state)})
    return state.replace(ema=jax.tree.map(np.copy, state.gen.variables))


def _first_iterations(collection, params, rng):
    """Returns u, v and sigma of every layer after five power iterations."""
    flat, kernels = flatten_dict(collection), flatten_dict(params)
    for *layer, name in list(flat):
        if name != 'u':
            continue
        (kernel,) = (kernels[k] for k in kernels if k[:-1] == tuple(layer) and k[-1] in KERNELS)
        w = kernel.reshape(-1, kernel.shape[-1])
        w = w if flat[(*layer, name)].shape == w.shape[1:] else w.T  # SNEmbed(u_over='rows')
        u = rng.standard_normal(w.shape[1])
        for _ in range(5):
            v = w @ u / np.linalg.norm(w @ u)
            u = w.T @ v / np.linalg.norm(w.T @ v)
        for key, value in {'u': u, 'v': v, 'sigma': v @ w @ u}.items():
            flat[(*layer, key)] = np.asarray(value, np.float32)
    return unflatten_dict(flat)


def _written_out(body, carry, xs, length):
    """`parallel.scan_or_unroll`, always unrolled: a scanned update could not be recorded."""
    out = []
    for i in range(length):
        carry, y = body(carry, jax.tree.map(lambda x: x[i], xs))  # noqa: B023 (called at once)
        out.append(y)
    return carry, jax.tree.map(lambda *ys: jnp.stack(ys), *out)


def run(case, *, num_steps=NUM_STEPS, **changes) -> Ran:
    """Trains a small config for `num_steps` steps of one compiled program."""
    method = build.method(small(*case, **changes).lock())
    players: list[str] = []

    def step(state, batch):
        turns: list[Turn] = []
        share = parallel.example_ids(method.batch_size)
        batch = jax.tree.map(lambda x: x[:, share], batch)
        state, metrics = _recording(method, turns).train_step(state, batch, jax.random.key(1))
        players[:] = [turn.player for turn in turns]
        return state, (metrics, [turn[1:] for turn in turns])

    state = parallel.replicate(start(method))
    data = [parallel.replicate(batches(method, seed)) for seed in range(num_steps)]
    # Compiling takes far longer than these few steps.
    with mock.patch.object(parallel, 'scan_or_unroll', _written_out):
        program = parallel.DataParallel(step).compile(state, data[0], quickly=True)
    first: list[Turn] = []
    for batch in data:
        state, (metrics, turns) = program(state, batch)
        if not first:
            states = jax.device_get(parallel.first_replica(turns))
            first = [Turn(p, *pair) for p, pair in zip(players, states, strict=True)]
    state, metrics = jax.device_get(parallel.first_replica((state, metrics)))
    return Ran(method, first, state, metrics)


def count(params: Any) -> int:
    """Returns how many numbers a tree of shapes holds."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def _write_states(cases, out, changes) -> None:
    arrays = {}
    for case in map(tuple, cases):
        state = run(case, num_steps=5, sgd=True, **changes).state
        flat = flatten_dict(serialization.to_state_dict(state), sep='/')
        arrays |= {f'{case[0]}/{k}': v for k, v in flat.items() if v is not None}
    np.savez(out, **arrays)


if __name__ == '__main__':
    resnet.LAYOUTS |= TINY_LAYOUT
    biggan.LAYOUTS |= TINY_LAYOUT
    _write_states(**json.loads(sys.argv[1]))
