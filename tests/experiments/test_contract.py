"""One contract for every config in configs/: who moves when, how often, and that numbers stay
numbers.

Networks have an eighth of the published width and batches 4 images. By default one config of every
architecture and method runs, at 8 or 16 px and in float32; `slow` runs all of them at their own
size, in bfloat16, on several devices.
"""

import functools
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments import build
from helpers import contract
from helpers.contract import CASES, DISTINCT, Turn, small
from snjax import parallel
from snjax.models import biggan, resnet
from snjax.runs.checkpoint import Checkpointer

ids = '{0[0]}-{0[1]}'.format


@pytest.fixture(autouse=True)
def tiny_layout(monkeypatch):
    for size, layout in contract.TINY_LAYOUT.items():
        monkeypatch.setitem(resnet.LAYOUTS, size, layout)
        monkeypatch.setitem(biggan.LAYOUTS, size, layout)


@functools.cache
def run(case, **changes):
    return contract.run(case, **dict(changes))


def same(a, b):
    """Bit for bit."""
    a, b = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def moved(a, b):
    """Whether any number is another."""
    return not same(a, b)


def check_turns(case, ran):
    """Exactly n_dis updates of D to one of G, and each leaves the other player's weights."""
    gan = ran.method
    dis_turns, gen_turns = ([t for t in ran.turns if t.player == p] for p in ('dis', 'gen'))
    assert (len(dis_turns), len(gen_turns)) == (gan.n_dis, 1)
    for turn in dis_turns:
        assert same(turn.before.gen.params, turn.after.gen.params)
        assert same(turn.before.ema, turn.after.ema)
        assert moved(turn.before.dis.params, turn.after.dis.params)
        check_collections(turn, 'dis', 'gen')
    (turn,) = gen_turns
    assert same(turn.before.dis.params, turn.after.dis.params)
    assert same(turn.before.dis.opt_state, turn.after.dis.opt_state)
    assert moved(turn.before.gen.params, turn.after.gen.params)
    check_collections(turn, 'gen', 'dis')


def check_collections(turn: Turn, player: str, other: str):
    """u moves in its own player's update; batch statistics wherever images pass in training."""
    before, after = (getattr(state, player).model_state for state in (turn.before, turn.after))
    for name in before:
        assert moved(before[name], after[name]), (turn.player, player, name)
    before, after = (getattr(state, other).model_state for state in (turn.before, turn.after))
    for name in before:
        assert moved(before[name], after[name]) == (name != 'spectral'), (turn.player, other, name)


def check_finite(ran):
    """After `contract.NUM_STEPS` steps, all of them the same program."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(ran.state):
        assert np.all(np.isfinite(leaf)), jax.tree_util.keystr(path)
    assert int(ran.state.step) == contract.NUM_STEPS
    assert all(np.isfinite(value) for value in ran.metrics.values())


def check_extras(ran):
    """What the config asks for beyond the losses is in the numbers that are logged."""
    gan = ran.method
    assert {f'penalty_{name}' for name in gan.penalties} <= set(ran.metrics)
    if gan.clip:
        assert max(np.abs(p).max() for p in jax.tree.leaves(ran.state.dis.params)) <= gan.clip
    if gan.num_classes or gan.num_conditions:
        classes = np.arange(4, dtype=np.int32) % max(1, gan.num_classes)
        numbers = np.ones((4, gan.num_conditions), np.float32)
        labels = numbers if gan.num_conditions else classes
        images = jax.jit(gan.sample, static_argnums=2)(ran.state, jax.random.key(0), 4, labels)
        assert images.shape == (4, *gan.image_shape)


# Those whose parts other cases and the tests of networks and penalties have too.
ALIKE = [
    ('sngan_paper', 'wgan_gp,C,cifar'),
    ('sngan_paper', 'weight_clipping,C,cifar'),
    ('wgan_cifar', ''),
    ('wgan_gp_cifar', 'resnet'),
    ('sagan_cifar', ''),
    ('r3gan_cifar', ''),
    ('biggan_imagenet', '128,deep'),
]
distinct = pytest.mark.parametrize(
    'case',
    [pytest.param(c, marks=pytest.mark.slow) if c in ALIKE else c for c in DISTINCT],
    ids=[ids(c) for c in DISTINCT],
)


@distinct
def test_contract(case):
    ran = run(case)
    check_turns(case, ran)
    check_finite(ran)
    check_extras(ran)


@distinct
def test_checkpoints_round_trip(case, tmp_path):
    ran = run(case)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(contract.NUM_STEPS, parallel.replicate(ran.state))
    target = jax.eval_shape(ran.method.init, jax.random.key(0))
    with Checkpointer(tmp_path) as checkpointer:
        step, restored = checkpointer.restore_latest(target)
    assert step == contract.NUM_STEPS
    assert jax.tree.structure(restored) == jax.tree.structure(ran.state)
    assert same(restored, ran.state)


# The compute type is the networks', which `test_models.py` looks at one by one; a game in it is one
# of these.
@pytest.mark.slow
@pytest.mark.parametrize(
    'case',
    [
        ('sngan_cifar', ''),
        ('sngan_cifar_cnn', 'C'),
        ('r3gan_cifar', ''),
        ('biggan_cifar', 'shared'),
    ],
    ids=ids,
)
def test_contract_in_bfloat16(case):
    ran = contract.run(case, dtype='bfloat16')
    check_turns(case, ran)
    check_finite(ran)


@pytest.mark.slow
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('case', CASES, ids=ids)
def test_contract_at_its_own_size(case, dtype):
    ran = contract.run(case, own_size=True, dtype=dtype)
    check_turns(case, ran)
    check_finite(ran)
    check_extras(ran)


def on_devices(cases, num_devices, tmp_path, **changes):
    """Final states of `cases`, flat, after a few steps of plain gradient descent on that many
    devices.
    """
    task = {'cases': cases, 'out': str(tmp_path / f'{num_devices}.npz'), 'changes': changes}
    flags = f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count={num_devices}'
    env = os.environ | {'XLA_FLAGS': flags}
    worker = [sys.executable, contract.__file__, json.dumps(task)]
    done = subprocess.run(worker, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(task['out']) as arrays:
        return {name: arrays[name] for name in arrays.files}


def check_devices(cases, tmp_path, **changes):
    one, four = (on_devices(cases, n, tmp_path, **changes) for n in (1, 4))
    assert one.keys() == four.keys() and len(one) > 20 * len(cases)
    for name, expected in one.items():
        error = np.linalg.norm(four[name] - expected) / max(np.linalg.norm(expected), 1e-3)
        assert error < 1e-3, (name, error)


@pytest.mark.slow
def test_one_device_is_four(tmp_path):
    """Conditional batch norms, synchronized; a penalty drawn per image; a classifier."""
    check_devices([('acgan_cifar', '')], tmp_path)


@pytest.mark.slow
def test_one_device_is_four_where_pairs_share_a_class_and_a_pass(tmp_path):
    check_devices([('r3gan_cifar', '')], tmp_path)


@pytest.mark.slow
def test_one_device_is_four_where_norms_see_parts_of_z(tmp_path):
    """And G's singular vectors, which no gradient passes."""
    check_devices([('biggan_imagenet', '')], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('case', CASES, ids=ids)
def test_one_device_is_four_at_its_own_size(case, tmp_path):
    check_devices([case], tmp_path, own_size=True)


# ---- published sizes


@pytest.mark.parametrize(
    ('name', 'argument', 'gen', 'dis'),
    [
        # Labels add 9 rows to the gamma and beta of each of 6 norms, and an embedding: 6 * 2 * 9 *
        # 256, 10 * 128.
        ('cgan_cifar', '', 4_276_739 + 27_648, 1_053_824 + 1_280),
        # 4,928 channels in the norms of 5 blocks, 999 further rows of gamma and beta; an embedding
        # of 1000 * 1024.
        ('cgan_imagenet', '', 32_150_787 + 2 * 999 * 4_928, 29_017_857 + 1_024_000),
        ('wgan_gp_cifar', 'resnet', 1_204_483, 1_053_825),  # "1.2M"; the output layer has a bias
        ('wgan_gp_cifar', 'resnet,256', 4_276_739, 1_053_825),
        ('acgan_cifar', '', 1_204_483 + 6 * 2 * 9 * 128, 1_053_825 + 129 * 10),
        # Counted by PyTorch-StudioGAN, logs/CIFAR10/ContraGAN-train-2020_10_04_21_50_14.log.
        ('acgan_cifar', 'contragan', 9_416_196, 2_517_186),
        ('r3gan_cifar', 'resnet', 4_276_739, 1_053_824),
        # Counted in the networks of github.com/brownvc/R3GAN, 19a7ddf, by the presets of train.py.
        ('r3gan_cifar', '', 20_781_952, 21_280_512),
        pytest.param('r3gan_cifar', 'unconditional', 20_732_160, 20_683_776, marks=pytest.mark.slow),
        ('r3gan_folder', 'ffhq,64', 22_429_824, 22_381_440),
        pytest.param('r3gan_folder', 'ffhq,256', 23_057_952, 23_009_568, marks=pytest.mark.slow),
        ('r3gan_imagenet', '32', 82_914_304, 86_548_992),
        pytest.param('r3gan_imagenet', '64', 103_570_432, 107_205_120, marks=pytest.mark.slow),
        # Counted in the networks of github.com/ajbrock/BigGAN-PyTorch, 9845943, by its scripts' flags.
        ('biggan_cifar', '', 4_304_387, 4_207_361),
        ('biggan_cifar', 'shared', 4_373_251, 4_207_361),
        ('biggan_imagenet', '64', 70_377_348, 45_511_970),
        ('biggan_imagenet', '128', 70_433_988, 87_982_370),
        ('biggan_imagenet', '256', 82_235_844, 99_225_890),
        ('biggan_imagenet', '128,deep', 50_244_484, 34_590_210),
        ('biggan_imagenet', '256,deep', 55_736_708, 38_247_426),
        # A beta for every channel behind all convolutions but the first.
        ('dcgan_cifar', '', 3_828_739, 5_860_865 + 2 * (128 + 256 + 512)),
        ('sngan_paper', 'batch_norm,A,cifar', 3_812_355, 2_935_873 + 64 + 2 * (128 + 256) + 512),
        ('sngan_paper', 'layer_norm,A,cifar', 3_812_355, 2_935_873 + 64 + 2 * (128 + 256) + 512),
        *(('sngan_paper', f'{m},A,cifar', 3_812_355, 2_935_873) for m in contract.PLAIN),
        *(('sngan_paper', f'{m},A,stl', 5_133_315, 2_946_113) for m in contract.PLAIN),
    ],
)  # fmt: skip
def test_networks_have_the_published_number_of_parameters(name, argument, gen, dis):
    built = build.method(contract.load(name, argument).lock())
    state = jax.eval_shape(built.init, jax.random.key(0))
    assert (contract.count(state.gen.params), contract.count(state.dis.params)) == (gen, dis)


def test_every_config_is_a_case():
    names = {path.stem for path in contract.CONFIGS.glob('*.py')} - {'base', 'from_workdir'}
    names = {
        name for name in names if not name.startswith('glo_')
    }  # no game: tests/experiments/test_glo.py
    assert {name for name, _ in CASES} == names
    pairs = {contract.pair(case) for case in CASES}
    assert {contract.pair(case) for case in DISTINCT} == pairs
    assert {small(*case).method for case in CASES} == set(build.methods()) - {'glo'}
