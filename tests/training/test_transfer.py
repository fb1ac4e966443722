"""Fine-tuning: which arrays a new run takes of another's checkpoint, and frozen layers of D."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import cgan_cifar, glo_digits, r3gan_cifar, sngan_cifar, sngan_cifar_cnn, wgan_gp_cifar
from experiments import build
from helpers import tiny_gan
from helpers.filling import filled_state
from snjax import from_config
from snjax.nn.normalization import ConditionalBatchNorm
from snjax.runs.checkpoint import as_tree
from snjax.training import transfer
from snjax.training.transfer import Options, transferred

ADAM = optax.scale_by_adam(0.5, 0.9)


class ConditionalGenerator(nn.Module):
    """The tiny generator with a row of gamma and beta for each class, or of slopes for each number,
    and a layer of its own."""

    num_classes: int
    of_numbers: bool = False

    @nn.compact
    def __call__(self, z, labels=None, *, train):
        h = nn.Dense(12, name='project')(z)
        kind = {'of_numbers': self.of_numbers, 'name': 'norm'}
        norm = ConditionalBatchNorm(self.num_classes, train=train, **kind)
        h = nn.relu(norm(h, labels))
        return nn.Dense(64, name='to_image')(h).reshape(-1, *tiny_gan.IMAGE)


def small(**changes):
    return tiny_gan.make_gan(optimizer=ADAM, ema_decay=0.9, **changes)


def conditional(num_classes):
    return small(gen=ConditionalGenerator(num_classes), num_classes=num_classes)


def of_numbers(num):
    gen = ConditionalGenerator(num, of_numbers=True)
    return small(gen=gen, num_conditions=num, fake_classes='real')


def begin(gan, tree, **options):
    fresh = filled_state(gan, seed=1)
    like = jax.eval_shape(gan.init, jax.random.key(0))
    return fresh, transferred(fresh, tree, Options(take='weights', **options), like)


def flat(tree):
    return {'/'.join(map(str, path)): leaf for path, leaf in transfer._flat(as_tree(tree)).items()}


@pytest.fixture(scope='module')
def old():
    """A checkpoint after training: every array of its own, the step at 7."""
    state = filled_state(small(), seed=5)
    return as_tree(state.replace(step=np.asarray(7, np.int32)))


def test_all_weights_are_taken_and_the_rest_begins_anew(old):
    fresh, found = begin(small(), old)
    assert found.fresh == {}
    got, start, there = flat(found.state), flat(fresh), transfer._flat(old)
    for path, leaf in there.items():
        name = '/'.join(path)
        is_taken = path[0] == 'ema' or path[1:2] in (('params',), ('model_state',))
        np.testing.assert_array_equal(got[name], leaf if is_taken else start[name], name)
    assert got['step'] == 0
    assert jax.tree.structure(found.state) == jax.tree.structure(fresh)


def test_the_optimizer_is_kept_and_the_average_fresh_where_asked(old):
    _, found = begin(small(), old, optimizer='kept', ema='fresh')
    got, there = flat(found.state), {'/'.join(k): v for k, v in transfer._flat(old).items()}
    for name, leaf in there.items():
        if '/opt_state/' in name:
            np.testing.assert_array_equal(got[name], leaf, name)
    np.testing.assert_array_equal(
        got['ema/params/project/kernel'], there['gen/params/project/kernel']
    )
    np.testing.assert_array_equal(
        got['ema/batch_stats/norm/mean'], there['gen/model_state/batch_stats/norm/mean']
    )


def test_an_optimizer_with_new_weights_is_fresh(old):
    """Adam's moments of a new weight would be 0 beside a large count: its first step too long."""
    wide = small(dis=dataclasses.replace(tiny_gan.Discriminator(), has_batch_norm=True))
    fresh, found = begin(wide, old, optimizer='kept')
    assert set(found.fresh) == {
        'dis/params/norm/scale',
        'dis/params/norm/bias',
        'dis/model_state/batch_stats/norm/mean',
        'dis/model_state/batch_stats/norm/var',
    }
    got, start = flat(found.state), flat(fresh)
    for name in got:
        if name.startswith('dis/opt_state/'):
            np.testing.assert_array_equal(got[name], start[name], name)
        elif name.startswith('gen/opt_state/'):
            assert (got[name] != start[name]).any() or got[name].size == 1


def test_every_new_class_begins_with_the_norm_without_classes(old):
    _, found = begin(conditional(3), old)
    assert found.fresh == {}
    got, there = flat(found.state), transfer._flat(old)
    scale = there['gen', 'params', 'norm', 'scale']
    np.testing.assert_array_equal(got['gen/params/norm/gamma'], np.tile(scale, (3, 1)))
    mean = there['gen', 'model_state', 'batch_stats', 'norm', 'mean']
    np.testing.assert_array_equal(got['gen/model_state/batch_stats/norm/batch_norm/mean'], mean)


def test_an_optimizer_with_rows_of_new_classes_is_fresh(old):
    fresh, found = begin(conditional(3), old, optimizer='kept')
    got, start = flat(found.state), flat(fresh)
    names = [name for name in got if name.startswith('gen/opt_state/')]
    assert names and found.fresh == {}
    for name in names:
        np.testing.assert_array_equal(got[name], start[name], name)


@pytest.mark.parametrize('num', [5, 0])
def test_other_classes_begin_with_the_mean_row(num):
    tree = as_tree(filled_state(conditional(3), seed=5))
    rows = tree['gen']['params']['norm']['beta']
    _, found = begin(conditional(num) if num else small(), tree)
    got = flat(found.state)[f'gen/params/norm/{"beta" if num else "bias"}']
    np.testing.assert_allclose(got, np.broadcast_to(rows.mean(0), got.shape), rtol=1e-6)


@pytest.mark.parametrize('num_classes', [0, 3])
def test_numbers_begin_with_the_norm_of_no_or_mean_class_and_fresh_slopes(old, num_classes):
    """Three classes have as many rows as two numbers and what is there without them."""
    tree = as_tree(filled_state(conditional(3), seed=5)) if num_classes else old
    fresh, found = begin(of_numbers(2), tree)
    assert set(found.fresh) == {f'gen/params/norm/{name}_slopes' for name in ('gamma', 'beta')}
    got, start, norm = flat(found.state), flat(fresh), tree['gen']['params']['norm']
    for name, plain in (('gamma', 'scale'), ('beta', 'bias')):
        expected = norm[name].mean(0) if num_classes else norm[plain]
        np.testing.assert_allclose(got[f'gen/params/norm/{name}'], expected, rtol=1e-6)
        slopes = f'gen/params/norm/{name}_slopes'
        np.testing.assert_array_equal(got[slopes], start[slopes])


@pytest.mark.parametrize('num', [3, 0])
def test_classes_begin_with_the_norm_of_numbers_that_are_0(num):
    tree = as_tree(filled_state(of_numbers(2), seed=5))
    _, found = begin(conditional(num) if num else small(), tree)
    assert found.fresh == {}
    got = flat(found.state)[f'gen/params/norm/{"gamma" if num else "scale"}']
    np.testing.assert_array_equal(
        got, np.broadcast_to(tree['gen']['params']['norm']['gamma'], got.shape)
    )


def test_arrays_of_another_shape_are_named(old):
    _, found = begin(small(dim_z=9), old)
    assert found.fresh == {'gen/params/project/kernel': 'of another shape'}
    text = list(found.lines())
    assert text[1] == 'fresh (of another shape): gen/params/project/kernel'
    with pytest.raises(ValueError, match='no weight of the checkpoint fits this run: it has other'):
        begin(small(), {'other': {'params': {}, 'x': np.zeros(3)}})


def test_frozen_layers_stay_to_the_bit_and_the_others_move():
    gan = tiny_gan.make_gan(
        frozen=('hidden',),
        optimizer=optax.scale_by_adam(0.0, 0.9),
        penalties={'l2': 0.1, 'orthonormal': 0.1, 'r1': 0.1},
    )
    state = tiny_gan.filled(gan)
    state = state.replace(dis=state.dis.replace(opt_state=gan.optimizer.init(state.dis.params)))
    key = np.asarray(jax.random.key_data(jax.random.key(0)))
    after, _ = tiny_gan.step_of(gan)(state, tiny_gan.images(), key)
    for name in ('kernel', 'bias'):
        before, now = (s.dis.params for s in (state, after))
        np.testing.assert_array_equal(now['hidden'][name], before['hidden'][name])
        assert (now['score'][name] != before['score'][name]).any()
    # G learns through the frozen layers.
    moved = after.gen.params['to_image']['kernel'] != state.gen.params['to_image']['kernel']
    assert moved.any()


@pytest.mark.parametrize(
    ('config', 'lowest'),
    [
        (sngan_cifar.get_config(), {'block1'}),
        (cgan_cifar.get_config(), {'block1'}),
        (sngan_cifar_cnn.get_config(), {'conv1', 'norm1'}),
        (wgan_gp_cifar.get_config(), None),
        (r3gan_cifar.get_config('laptop'), {'from_image', 'block3_0', 'block3_1', 'to2'}),
    ],
)
def test_the_blocks_of_every_discriminator_are_its_layers_without_the_head(config, lowest):
    dis = from_config.discriminator(config)
    blocks = dis.blocks_from_image()
    labels = jnp.zeros(2, jnp.int32) if config.model.num_classes else None
    shape = (2, 32, 32, 3)
    params = jax.eval_shape(
        lambda: dis.init(jax.random.key(0), jnp.zeros(shape), labels, train=False)
    )['params']
    # A norm of activations is one of the layers where there is one.
    names = [name for block in blocks for name in block if not name.startswith('norm')]
    assert set(params) - set(names) <= {'score', 'embed', 'classify'}
    assert set(names) - set(params) <= {f'to{i}' for i in range(4)}
    assert lowest is None or set(blocks[0]) == lowest


def plan(module=sngan_cifar, **changes):
    config = module.get_config()
    config.update_from_flattened_dict(changes)
    return build.plan(config)


def test_values_that_cannot_work_are_one_line():
    begun = {'init_from': '/runs/x@5', 'transfer.take': 'weights'}
    assert plan(**begun, **{'transfer.frozen': 2}).method.frozen == ('block1', 'block2')
    for changes, message in [
        ({'transfer.take': 'weights'}, 'no checkpoint to take them of'),
        (begun | {'transfer.frozen': 9}, 'has 4 blocks: --config.transfer.frozen=4'),
        (begun | {'transfer.frozen': 1, 'transfer.optimizer': 'kept'}, 'a fresh optimizer'),
        (begun | {'transfer.frozen': 1, 'clip': 0.1}, 'clip is 0.1 and bounds all weights'),
        (begun | {'transfer.take': 'weight'}, 'did you mean --config.transfer.take=weights'),
    ]:
        with pytest.raises(ValueError, match=message):
            plan(**changes)
    for changes, message in [
        ({'transfer.take': 'weight'}, 'did you mean --config.transfer.take=weights'),
        (begun | {'transfer.frozen': 1}, 'GLO has no discriminator'),
    ]:
        with pytest.raises(ValueError, match=message):
            plan(glo_digits, **changes)
