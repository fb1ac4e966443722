"""Batches in parts: the step that they make is that of the whole batch, but for rounding, and takes
less memory.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from configs import glo_digits, r3gan_cifar, sngan_digits
from experiments import acgan, build
from helpers import contract, tiny_gan, tiny_glo
from helpers.filling import filled_state
from helpers.parts import NUM_CLASSES, PARTS, RAW, batch_of, without_batch_norm
from helpers.tiny_gan import IMAGE, compiled, filled, make_gan
from snjax import parallel, spectral
from snjax.models import resnet
from snjax.nn import layers, normalization
from snjax.objectives.losses import LOSSES
from snjax.training import accumulation
from snjax.training.adversarial import Batch

KEY = jax.random.key_data(jax.random.key(5))


# ---- over_parts


def test_means_and_rows_by_hand():
    x, y = jnp.arange(6.0), jnp.arange(12.0).reshape(6, 2)

    def function(part):
        x, y = part
        return {'mean': jnp.mean(x * x), 'first': x[0]}, y + x[:, None]

    means, rows = accumulation.over_parts(function, (x, y), 3)
    assert means['mean'] == pytest.approx(np.mean(np.arange(6.0) ** 2))
    assert means['first'] == pytest.approx((0 + 2 + 4) / 3)  # part k begins at 2 k
    np.testing.assert_array_equal(rows, y + x[:, None])


@pytest.mark.parametrize('num', [2, 3, 7])
def test_what_is_equal_in_all_parts_stays_bit_for_bit(num):
    """Singular vectors above all: the third of three times a number may be another one."""
    constant = jnp.asarray(np.random.default_rng(0).standard_normal(1000), jnp.float32)
    means, _ = jax.jit(
        lambda x: accumulation.over_parts(lambda x: ((constant, x.sum()), None), x, num)
    )(jnp.ones(2 * num))
    np.testing.assert_array_equal(means[0], constant)


def test_one_part_is_the_plain_program():
    """No loop, no sum and no barrier."""

    def loss(w, x):
        return jnp.mean(jnp.square(x @ w)), jnp.max(x)

    arguments = jnp.ones(3), jnp.ones((4, 3))
    plain = jax.make_jaxpr(jax.value_and_grad(loss, has_aux=True))(*arguments)
    assert str(jax.make_jaxpr(accumulation.value_and_grad(loss, 1))(*arguments)) == str(plain)
    assert str(jax.make_jaxpr(accumulation.value_and_grad(loss, 2))(*arguments)) != str(plain)


# ---- a step of a GAN


class Told(nn.Module):
    """A discriminator that takes the class: by projection, or with logits of the classes beside
    its own.

    It is smooth, so that its slope tells where a penalty looked.
    """

    head: str

    @nn.compact
    def __call__(self, x, labels, *, train):
        h = spectral.SNDense(10, name='hidden')(x.reshape(x.shape[0], -1))
        h = nn.tanh(3 * h)
        out = spectral.SNDense(1, name='score')(h)[:, 0]
        if self.head == 'acgan':
            return out, layers.Dense(NUM_CLASSES, name='classes')(h)
        rows = spectral.SNEmbed(NUM_CLASSES, 10, name='classes')(labels)
        return out + jnp.sum(rows * h, -1)


PAIRED = {'loss': LOSSES['relativistic_pairing'], 'gen_batch_size': 6}
CLASSES = {'num_classes': NUM_CLASSES}
STEPS = {
    'hinge': {
        'loss': LOSSES['hinge'],
        'n_dis': 2,
        'update_order': 'gen_first',
        'optimizer': optax.scale_by_adam(
            0.5, 0.9, eps=0.01
        ),  # or a gradient of 0 is rounding / rounding
        'ema_decay': 0.5,
    },
    'wgan_gp': {
        'dis': RAW,
        'penalties': {'gradient': 10.0, 'drift': 0.1, 'orthonormal': 0.1, 'l2': 0.1},
        'clip': 0.3,
    },
    'r3gan': {
        **PAIRED,
        'penalties': {'r1': 5.0, 'r2': 5.0, 'spectral': 0.1},
        'augment': ('color', 'translation'),
    },
    'projection, per_forward': {
        'dis': Told('projection'),
        **CLASSES,
        'spectral_updates': 'per_forward',
    },
    'acgan, dragan': {
        'cls': acgan.AcGan,
        'dis': Told('acgan'),
        **CLASSES,
        'dis_class_weight': 1.0,
        'gen_class_weight': 0.5,
        'penalties': {'dragan': 10.0, 'gradient': 10.0},
    },
}


def begun(gan):
    """A filled state with the zeros that optimizers begin with, and singular vectors that are near
    D's own.
    """
    state = filled(gan)
    vectors = state.dis.model_state.get('spectral', {})
    for name, layer in vectors.items():
        (matrix,) = (w for key, w in state.dis.params[name].items() if key != 'bias')
        v, _, u = np.linalg.svd(matrix)
        near = [x + 0.3 / np.sqrt(len(x)) for x in (u[0], v[:, 0])]
        layer['u'], layer['v'] = (np.float32(x / np.linalg.norm(x)) for x in near)
    players = {
        name: player.replace(opt_state=jax.tree.map(np.zeros_like, player.opt_state))
        for name, player in (('gen', state.gen), ('dis', state.dis))
    }
    return state.replace(**players)


def step_of(gan):
    def step(state, batch, key):
        return gan.train_step(state, batch, jax.random.wrap_key_data(key))

    return compiled(step)


def assert_close(a, b, rtol=3e-5):
    a, b = map(jax.tree_util.tree_leaves_with_path, (a, b))
    assert len(a) == len(b)
    for (path, x), (_, y) in zip(a, b, strict=True):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol / 10, err_msg=name)


# The others differ in a term of the loss.
QUICK = ('hinge', 'wgan_gp', 'projection, per_forward')


@pytest.mark.parametrize(
    'name', [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in STEPS]
)
def test_a_step_in_parts_is_the_step(name):
    """State, metrics, u and sigma: all examples keep their numbers, and nothing is counted more or
    less often.
    """
    gan = without_batch_norm(**STEPS[name])
    in_parts = dataclasses.replace(gan, accumulate=2)
    state, batch = begun(gan), batch_of(gan)
    whole, found = step_of(gan)(state, batch, KEY), step_of(in_parts)(state, batch, KEY)
    assert_close(found, whole)
    for player in ('gen', 'dis'):
        kernels = [getattr(s, player).params for s in (state, whole[0])]
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), *kernels)
        moved = [change for path, change in flatten_dict(moved).items() if path[-1] == 'kernel']
        assert min(moved) > 1e-5  # or equality would say little


@pytest.mark.slow
def test_a_step_in_a_loop_is_the_step(monkeypatch):
    """As accelerators have it: one part is compiled, and run in turn."""
    gan = without_batch_norm(n_dis=2, accumulate=PARTS)
    state, batch = filled(gan), batch_of(gan)
    written_out = step_of(gan)(state, batch, KEY)
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    assert_close(step_of(gan)(state, batch, KEY), written_out)
    loops = [eqn for eqn in equations(jaxpr_of(gan)) if eqn.primitive.name == 'scan']
    # The turns of D, the parts of its fakes and of its images, the parts of G's update.
    assert sorted(eqn.params['length'] for eqn in loops) == [2, PARTS, PARTS, PARTS]


def jaxpr_of(gan):
    def step(state, batch):
        return gan.train_step(state, batch, jax.random.key(0))

    step = parallel.DataParallel(step)
    return step.trace(jax.eval_shape(gan.init, jax.random.key(0)), batch_of(gan))


def equations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            if isinstance(value, jax.extend.core.ClosedJaxpr):
                yield from equations(value.jaxpr)
            elif isinstance(value, jax.extend.core.Jaxpr):
                yield from equations(value)


def test_a_generator_update_in_parts_leaves_the_discriminator():
    """Bit for bit, its u, v and sigma too."""
    gan = make_gan(gen_batch_size=12, accumulate=PARTS)
    unseen = Batch(np.zeros((0, *IMAGE), np.float32), None)
    before = filled(gan)
    after, _ = compiled(lambda state: gan.update_gen(state, unseen, jax.random.key))(before)
    for a, b in zip(jax.tree.leaves(before.dis), jax.tree.leaves(after.dis), strict=True):
        np.testing.assert_array_equal(a, b)


# ---- methods as configs have them


@pytest.mark.slow
@pytest.mark.parametrize(
    'case',
    # D's batch norm mixes the images of a part.
    [case for case in contract.CASES if contract.load(*case).model.normalization != 'batch'],
    ids='{0[0]}-{0[1]}'.format,
)
def test_every_config_in_parts(case, monkeypatch):
    """With generators that normalize by their running statistics in training too, which mixes no
    images.
    """
    of_batches = normalization.batch_norm
    frozen = lambda *, train, **kwargs: of_batches(train=False, **kwargs)  # noqa: E731
    monkeypatch.setattr(normalization, 'batch_norm', frozen)
    for size, layout in contract.TINY_LAYOUT.items():
        monkeypatch.setitem(resnet.LAYOUTS, size, layout)
    found = []
    for accumulate in (1, 2):
        config = contract.small(*case, sgd=True)
        config.accumulate = accumulate
        method = build.method(config.lock())
        step = tiny_gan.compiled(
            lambda state, batch, method=method: method.train_step(state, batch, jax.random.key(1))
        )
        found.append(step(contract.start(method), contract.batches(method, 0)))
    assert_close(*found, rtol=1e-3)


# ---- GLO


@pytest.mark.parametrize('z_loss', ['', 'l1'])
def test_a_step_of_glo_in_parts_is_the_step(z_loss):
    images = np.random.default_rng(0).integers(0, 256, (11, *IMAGE), np.uint8)
    changes = {'gen': tiny_gan.Generator(has_batch_norm=False)}
    if z_loss:
        changes['z_loss'] = tiny_glo.image_loss(z_loss)
    glo = tiny_glo.make_glo(images, **changes)
    state, batch = filled_state(glo), tiny_glo.batch(images, np.array([7, 0, 3, 10, 4, 5]))
    found = []
    for method in (glo, dataclasses.replace(glo, accumulate=PARTS)):
        spread, data = parallel.shard(state, glo.state_axes), parallel.replicate(batch)
        step = parallel.DataParallel(
            lambda s, b, method=method: method.train_step(s, b, jax.random.key(0)), glo.state_axes
        )
        found.append(jax.device_get(step.compile(spread, data)(spread, data)))
    assert_close(*found)
    assert np.abs(found[0][0].table.z[0] - state.table.z).max() > 1e-3


# ---- what is refused


@pytest.mark.parametrize(
    ('module', 'changes', 'words'),
    [
        (sngan_digits, {'accumulate': 0}, ['accumulate is 0', 'from 1']),
        (
            sngan_digits,
            {'accumulate': 3},
            ['accumulate 3', 'batch_size, 32 images', '--config.accumulate=2'],
        ),
        (
            sngan_digits,
            {'accumulate': 16, 'gen_batch_size': 8},
            ['accumulate 16', 'gen_batch_size, 8', '--config.accumulate=8'],
        ),
        (glo_digits, {'accumulate': 5}, ['accumulate 5 does not divide batch_size, ']),
        (
            r3gan_cifar,
            {'accumulate': 2, 'loss': 'relativistic_average', 'method': 'gan'},
            ['relativistic_average', 'accumulate is 2', 'relativistic_pairing'],
        ),
    ],
)
def test_what_does_not_go_in_parts_is_refused_in_one_line(module, changes, words):
    config = module.get_config()
    config.update(changes)
    with pytest.raises(ValueError) as caught:
        build.method(config)
    message = str(caught.value)
    assert '\n' not in message and len(message) < 250
    for word in words:
        assert word in message


def test_a_config_says_in_how_many_parts():
    for module in (sngan_digits, glo_digits):
        config = module.get_config()
        assert build.method(config).accumulate == 1
        config.accumulate = 4
        assert build.method(config).accumulate == 4
