"""The game against a second implementation, and the contract of a method: who moves when, and
nothing else.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from helpers import tiny_gan
from helpers.tiny_gan import DIM_Z, compiled, filled, images, make_gan, step_of
from snjax import spectral
from snjax.nn import layers
from snjax.training.adversarial import Batch, Use, key_of
from snjax.training.optimizers import linear_decay

KEY = jax.random.key_data(jax.random.key(5))
LR = 0.05
NO_REAL = Batch(jnp.zeros((0, *tiny_gan.IMAGE)), None)
# Falls from 2 LR at step 0 to LR at step 2 and to 0 at step 4, where weights rest. One program
# shows all three.
FALLING = linear_decay(2 * LR, 0, 4)
EMA_DECAY = 0.2


def keys_of(key):
    """A role's key of a step, as the halves of a step take them."""
    return functools.partial(key_of, jax.random.wrap_key_data(key))


def falling_gan(order='dis_first', policy='per_update'):
    """Two D updates a step, a moving average and a falling rate; and its step, compiled once."""
    return _falling_gan(order, policy)


@functools.cache
def _falling_gan(order, policy):
    gan = make_gan(
        n_dis=2,
        update_order=order,
        gen_batch_size=6 if order == 'same_fakes' else 8,
        spectral_updates=policy,
        learning_rate=FALLING,
        ema_decay=EMA_DECAY,
    )
    return gan, step_of(gan)


def same(a, b):
    """Bit for bit."""
    a, b = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def all_moved(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(not np.array_equal(x, y) for x, y in pairs)


def close(a, b, rtol=2e-5):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


# ---- a second implementation, from the paper, of the whole step


def unit(x):
    return x / jnp.sqrt(jnp.sum(x * x))


def advance(w, u):
    """Step 1 of Algorithm 1 of Miyato et al. 2018; `w` is the transpose of the paper's."""
    v = unit(w @ u)
    u = unit(w.T @ v)
    return {'u': u, 'v': v, 'sigma': v @ w @ u}


def reference_gen(params, stats, z):
    h = z @ params['project']['kernel'] + params['project']['bias']
    mean, var = h.mean(0), jnp.mean((h - h.mean(0)) ** 2, 0)
    stats = {
        'norm': {
            'mean': 0.9 * stats['norm']['mean'] + 0.1 * mean,
            'var': 0.9 * stats['norm']['var'] + 0.1 * var,
        }
    }
    h = (h - mean) / jnp.sqrt(var + 2e-5) * params['norm']['scale'] + params['norm']['bias']
    h = jnp.maximum(h, 0) @ params['to_image']['kernel'] + params['to_image']['bias']
    return jnp.tanh(h).reshape(-1, *tiny_gan.IMAGE), stats


def reference_dis(params, spectral, x):
    h = x.reshape(len(x), -1)
    for name in ('hidden', 'score'):
        w, u, v = params[name]['kernel'], spectral[name]['u'], spectral[name]['v']
        h = h @ (w / (v @ w @ u)) + params[name]['bias']
        h = jnp.where(h > 0, h, 0.1 * h) if name == 'hidden' else h
    return h[:, 0]


def normals(key, num):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num))
    return jax.vmap(lambda k: jax.random.normal(k, (DIM_Z,)))(keys)


def squared_norm(tree):
    return sum(jnp.sum(g * g) for g in jax.tree.leaves(tree))


@functools.partial(jax.jit, static_argnames=('order',))
def reference_step(gen, stats, dis, spectral, real, key, step, lr, order):
    """One step of hinge GAN, plain gradient descent; real and fake images are judged apart."""
    rng = jax.random.fold_in(jax.random.wrap_key_data(key), step)
    metrics = {'lr': lr}

    def update_gen(gen, stats):
        z = normals(jax.random.fold_in(rng, 1), 8)
        if order == 'same_fakes':
            z = normals(jax.random.fold_in(jax.random.fold_in(rng, 0), 0), 6)

        def loss(gen):
            fake, new_stats = reference_gen(gen, stats, z)
            return -jnp.mean(reference_dis(dis, spectral, fake)), new_stats

        (value, new_stats), grads = jax.value_and_grad(loss, has_aux=True)(gen)
        metrics.update(gen_loss=value, gen_grad_norm=jnp.sqrt(squared_norm(grads)))
        return jax.tree.map(lambda p, g: p - lr * g, gen, grads), new_stats

    makers = [(gen, stats)]
    if order != 'dis_first':
        gen, stats = update_gen(gen, stats)
    makers = [makers[0] if order == 'same_fakes' else (gen, stats), (gen, None)]
    turns = []
    for k, x in enumerate(real):
        spectral = {n: advance(dis[n]['kernel'], spectral[n]['u']) for n in spectral}
        z = normals(jax.random.fold_in(jax.random.fold_in(rng, 0), k), 6)
        maker, before = makers[k]
        fake, stats = reference_gen(maker, stats if before is None else before, z)

        def loss(dis, spectral=spectral, x=x, fake=fake):
            real_logits = reference_dis(dis, spectral, x)
            fake_logits = reference_dis(dis, spectral, fake)
            value = jnp.maximum(0, 1 - real_logits).mean() + jnp.maximum(0, 1 + fake_logits).mean()
            return value, {'real_logits': real_logits.mean(), 'fake_logits': fake_logits.mean()}

        (value, means), grads = jax.value_and_grad(loss, has_aux=True)(dis)
        turns.append({'dis_loss': value, 'dis_grad_norm': jnp.sqrt(squared_norm(grads)), **means})
        dis = jax.tree.map(lambda p, g: p - lr * g, dis, grads)
    if order == 'dis_first':
        gen, stats = update_gen(gen, stats)
    metrics |= {name: (turns[0][name] + turns[1][name]) / 2 for name in turns[0]}
    metrics |= {f'sigma/{name}': spectral[name]['sigma'] for name in spectral}
    return (gen, stats, dis, spectral), metrics


def parts(state):
    gen, dis = state.gen, state.dis
    return (gen.params, gen.model_state['batch_stats'], dis.params, dis.model_state['spectral'])


@pytest.mark.parametrize('order', ['dis_first', 'gen_first', 'same_fakes'])
def test_steps_are_those_of_a_second_implementation(order):
    """Covers the concatenated pass too: the reference judges real and fake images in passes of
    their own.

    Metrics are the losses before each update, averaged over the two of D.
    """
    gan, run = falling_gan(order)
    state = filled(gan)
    expected = parts(state)
    for step, lr in enumerate([2 * LR, 1.5 * LR, LR]):
        state, metrics = run(state, images(seed=step), KEY)
        found = reference_step(*expected, images(seed=step), KEY, step, np.float32(lr), order=order)
        expected, expected_metrics = jax.device_get(found)
        close(parts(state), expected)
        close(metrics, expected_metrics)
    assert int(state.step) == 3


def test_the_orders_differ():
    """Otherwise the test above could not tell them apart."""
    first = parts(filled(falling_gan()[0]))
    a, b = (
        reference_step(*first, images(), KEY, 0, np.float32(LR), order=order)[0]
        for order in ('dis_first', 'gen_first')
    )
    for x, y in zip(a[:3], b[:3], strict=True):
        leaves = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
        assert max(np.abs(p - q).max() for p, q in leaves) > 1e-4


# ---- who moves when


def test_a_dis_update_leaves_the_generators_weights():
    gan = make_gan()
    before = filled(gan)
    run = compiled(lambda s, x, key: gan.update_dis(s, Batch(x, None), keys_of(key)))
    after, metrics = run(before, images()[0], KEY)
    assert same(before.gen.params, after.gen.params)
    assert all_moved(before.gen.model_state, after.gen.model_state)  # fakes are made in train mode
    assert all_moved(before.dis.params['hidden'], after.dis.params['hidden'])
    assert all_moved(before.dis.model_state, after.dis.model_state)
    assert set(metrics) == {'dis_loss', 'dis_grad_norm', 'real_logits', 'fake_logits'}
    assert int(after.step) == 0


def test_a_gen_update_leaves_the_discriminator():
    """Its weights, and its u, v and sigma."""
    gan = make_gan()
    before = filled(gan)
    run = compiled(lambda s, key: gan.update_gen(s, NO_REAL, keys_of(key)))
    after, metrics = run(before, KEY)
    assert same(before.dis, after.dis)
    assert all_moved(before.gen.params['to_image'], after.gen.params['to_image'])
    assert all_moved(before.gen.model_state, after.gen.model_state)
    assert set(metrics) == {'gen_loss', 'gen_grad_norm'}
    assert int(after.step) == 0


class Plain(nn.Module):
    """A generator of one layer."""

    @nn.compact
    def __call__(self, z, labels=None, *, train):
        return jnp.tanh(layers.Dense(64)(z)).reshape(-1, *tiny_gan.IMAGE)


@pytest.mark.parametrize('n_dis', [1, 2, 5])
def test_n_dis_updates_of_the_discriminator_to_one_of_the_generator(n_dis):
    """Adam counts its own updates. Neither batch norm nor spectral norm is needed."""
    dis = tiny_gan.Discriminator(dense=layers.Dense)
    gan = make_gan(gen=Plain(), dis=dis, n_dis=n_dis, optimizer=optax.scale_by_adam(0.5, 0.9))
    run, state = step_of(gan), filled(gan)
    assert state.dis.model_state == state.gen.model_state == {}
    for step in range(1, 3):
        state, metrics = run(state, images(n_dis), KEY)
        assert int(state.step) == step
        assert int(state.dis.opt_state.count) == n_dis * step
        assert int(state.gen.opt_state.count) == step
    assert not [name for name in metrics if name.startswith('sigma')]


@pytest.mark.parametrize(
    ('order', 'policy', 'advances'),
    [
        ('dis_first', 'per_update', 2),
        ('gen_first', 'per_update', 2),
        ('gen_first', 'per_forward', 5),
        ('dis_first', 'per_joint_forward', 3),
    ],
)
def test_how_often_u_advances(order, policy, advances):
    """n_dis times a step, 2 n_dis + 1 times or n_dis + 1: with weights that rest, u tells how often."""
    gan, run = falling_gan(order, policy)
    before = filled(gan).replace(step=np.int32(4))
    after, metrics = run(before, images(), KEY)
    assert same(before.dis.params, after.dis.params)
    assert metrics['lr'] == 0
    w = before.dis.params['hidden']['kernel'].astype(np.float64)
    u = before.dis.model_state['spectral']['hidden']['u'].astype(np.float64)
    by_count = []
    for _ in range(8):
        v = w @ u / np.linalg.norm(w @ u)
        u = w.T @ v / np.linalg.norm(w.T @ v)
        by_count.append((u, v @ w @ u))
    got = after.dis.model_state['spectral']['hidden']
    distance = [np.linalg.norm(got['u'] - u) for u, _ in by_count]
    assert distance[advances - 1] < 1e-5
    assert all(d > 1e-3 for i, d in enumerate(distance) if i != advances - 1)
    assert got['sigma'] == pytest.approx(by_count[advances - 1][1], rel=1e-5)
    assert metrics['sigma/hidden'] == got['sigma']


@pytest.mark.parametrize('dense', [layers.Dense, spectral.SNDense])
def test_a_discriminator_with_batch_norm(dense):
    """Real and fake images are normalized apart, and the running statistics have seen both."""
    gan = make_gan(dis=tiny_gan.Discriminator(dense=dense, has_batch_norm=True))
    before = filled(gan)
    run = compiled(lambda s, x, key: gan.update_dis(s, Batch(x, None), keys_of(key)))
    after, metrics = run(before, images()[0], KEY)
    params, stats = before.dis.params, before.dis.model_state['batch_stats']['norm']
    w = params['hidden']['kernel']
    if dense is spectral.SNDense:
        moved = advance(w, before.dis.model_state['spectral']['hidden']['u'])
        close(after.dis.model_state['spectral']['hidden'], jax.device_get(moved))
        w = w / moved['sigma']
    fake, _ = reference_gen(
        before.gen.params,
        before.gen.model_state['batch_stats'],
        normals(keys_of(KEY)(Use.DIS_Z), 6),
    )
    mean = stats['mean']
    for x in (images()[0], fake):
        h = x.reshape(6, -1) @ w + params['hidden']['bias']
        mean = 0.9 * mean + 0.1 * h.mean(0)
    close(after.dis.model_state['batch_stats']['norm']['mean'], np.asarray(mean))
    assert np.isfinite(list(metrics.values())).all()


def test_a_step_is_pure():
    """The same bits again, from the state, the images and the key alone."""
    gan, run = falling_gan()
    state = filled(gan)
    first = run(state, images(), KEY)
    assert same(first, run(state, images(), KEY))
    assert same(state, filled(gan))
    other_key = jax.random.key_data(jax.random.key(6))
    for other in (
        run(state, images(), other_key),
        run(state, images(seed=1), KEY),
        run(state.replace(step=np.int32(1)), images(), KEY),
    ):
        assert not same(first[0].gen.params, other[0].gen.params)


def test_init():
    """One power iteration is done, the average starts at the weights, another key gives other
    weights.
    """
    init = jax.jit(falling_gan()[0].init)
    state, other = jax.device_get((init(jax.random.key(0)), init(jax.random.key(1))))
    assert int(state.step) == 0 and state.step.dtype == jnp.int32
    assert same(state.ema, state.gen.variables)
    for name, found in state.dis.model_state['spectral'].items():
        w = np.asarray(state.dis.params[name]['kernel'], np.float64)
        assert np.linalg.norm(found['u']) == pytest.approx(1, abs=1e-5)
        assert found['sigma'] == pytest.approx(found['v'] @ w @ found['u'], rel=1e-5)
        assert 0 < found['sigma'] <= np.linalg.norm(w, 2) * (1 + 1e-5)
    assert all_moved(state.gen.params['project']['kernel'], other.gen.params['project']['kernel'])
    assert all_moved(
        state.dis.model_state['spectral']['hidden'], other.dis.model_state['spectral']['hidden']
    )


@pytest.mark.parametrize('ema_decay', [0.0, 0.9])
def test_the_state_keeps_its_types(ema_decay):
    """Shapes, dtypes and strong types come back as they went in: a second call needs no second
    compilation.
    """
    gan = make_gan(ema_decay=ema_decay, optimizer=optax.scale_by_adam())
    before = jax.eval_shape(gan.init, jax.random.key(0))
    axis = functools.partial(jax.vmap, in_axes=None, axis_name='batch', axis_size=1)
    after, metrics = jax.eval_shape(
        axis(lambda s, x: gan.train_step(s, {'image': x}, jax.random.key(0))), before, images(1)
    )
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (1, *a.shape) == b.shape and a.dtype == b.dtype
        assert not a.weak_type and not b.weak_type
    for m in jax.tree.leaves(metrics):
        assert m.shape == (1,) and m.dtype == jnp.float32


# ---- learning rate and moving average


def test_both_players_follow_the_schedule_of_generator_updates():
    """At step 4 both rest, whatever their optimizers counted, while u and the running statistics go
    on.
    """
    gan, run = falling_gan()
    state = filled(gan).replace(step=np.int32(4))
    after, metrics = run(state, images(), KEY)
    assert same((state.gen.params, state.dis.params), (after.gen.params, after.dis.params))
    assert all_moved(state.gen.model_state, after.gen.model_state)
    assert metrics['lr'] == 0 and int(after.step) == 5


def test_moving_average_by_hand():
    """Decays 1/10, 2/11, then 0.2 instead of 3/12; weights and running statistics alike."""
    gan, run = falling_gan()
    state = filled(gan)
    average = state.ema
    for step, decay in enumerate([1 / 10, 2 / 11, EMA_DECAY]):
        state, _ = run(state, images(seed=step), KEY)
        average = jax.tree.map(
            lambda a, p, d=decay: d * a + (1 - d) * p, average, state.gen.variables
        )
        close(state.ema, average, 1e-6)
    assert set(state.ema) == {'params', 'batch_stats'}
    assert all_moved(state.ema['batch_stats'], state.gen.model_state['batch_stats'])


def test_no_moving_average_where_none_is_asked_for():
    assert jax.eval_shape(make_gan().init, jax.random.key(0)).ema is None


# ---- samples


def test_samples_are_of_the_moving_average_where_there_is_one():
    gan, rng = make_gan(), jax.random.key(9)
    state = filled(gan)
    sample = jax.jit(gan.sample, static_argnums=2)
    raw = sample(state, rng, 5)
    assert raw.shape == (5, *tiny_gan.IMAGE) and raw.dtype == jnp.float32
    np.testing.assert_allclose(raw, evaluated(state.gen.variables, normals(rng, 5)), atol=1e-5)
    large = jax.tree.map(lambda x: x * 30, state.gen.variables)
    averaged = sample(state.replace(ema=large), rng, 5)
    assert np.abs(averaged).max() <= 1 and np.abs(averaged).max() > 0.9
    np.testing.assert_allclose(averaged, evaluated(large, normals(rng, 5)), atol=1e-4)


def evaluated(variables, z):
    """The generator with its running statistics, in numpy."""
    params, stats = variables['params'], variables['batch_stats']['norm']
    h = z @ params['project']['kernel'] + params['project']['bias']
    h = (h - stats['mean']) / np.sqrt(stats['var'] + 2e-5)
    h = np.maximum(h * params['norm']['scale'] + params['norm']['bias'], 0)
    x = np.tanh(h @ params['to_image']['kernel'] + params['to_image']['bias'])
    return x.reshape(-1, *tiny_gan.IMAGE)


def test_samples_refuse_labels():
    with pytest.raises(ValueError, match=r'^labels were given to an unconditional generator'):
        make_gan().sample(filled(make_gan()), jax.random.key(0), 2, labels=jnp.zeros(2, jnp.int32))
