"""Algorithm 1 against a second implementation, and the contract of a method: who moves when, and nothing else."""

import dataclasses
import functools
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_gan
from tiny_gan import DIM_Z, compiled, filled, make_gan

from configs import base, sngan_digits
from experiments import gan as gans
from experiments import members, modes, settings, streaming
from experiments import method as methods
from snjax import layers, spectral
from snjax.losses import LOSSES

KEY = jax.random.key_data(jax.random.key(5))
LR = 0.05
NO_REAL = gans.Batch(jnp.zeros((0, *tiny_gan.IMAGE)), None)
# Falls from 2 LR at step 0 to LR at step 2 and to 0 at step 4, where weights rest. One program shows all three.
FALLING = settings.linear_decay(2 * LR, 0, 4)
EMA_DECAY = 0.2


def images(num_batches=2, batch_size=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (num_batches, batch_size, *tiny_gan.IMAGE)).astype(np.float32)


def keys_of(key):
    """A role's key of a step, as the halves of a step take them."""
    return functools.partial(gans._key, jax.random.wrap_key_data(key))


def step_of(gan):
    """`(state, images, key) -> (state, metrics)`, compiled on first use."""

    def step(state, image, key):
        return gan.train_step(state, {'image': image}, jax.random.wrap_key_data(key))

    return compiled(step)


def falling_gan(order='dis_first', policy='per_update'):
    """Two D updates a step, a moving average and a falling rate; and its step, compiled once."""
    return _falling_gan(order, policy)


@functools.cache
def _falling_gan(order, policy):
    gan = make_gan(
        n_dis=2,
        update_order=order,
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
    """Algorithm 1 of Miyato et al. 2018; `w` is the transpose of the paper's."""
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

        def loss(gen):
            fake, new_stats = reference_gen(gen, stats, z)
            return -jnp.mean(reference_dis(dis, spectral, fake)), new_stats

        (value, new_stats), grads = jax.value_and_grad(loss, has_aux=True)(gen)
        metrics.update(gen_loss=value, gen_grad_norm=jnp.sqrt(squared_norm(grads)))
        return jax.tree.map(lambda p, g: p - lr * g, gen, grads), new_stats

    if order == 'gen_first':
        gen, stats = update_gen(gen, stats)
    turns = []
    for k, x in enumerate(real):
        spectral = {n: advance(dis[n]['kernel'], spectral[n]['u']) for n in spectral}
        z = normals(jax.random.fold_in(jax.random.fold_in(rng, 0), k), 6)
        fake, stats = reference_gen(gen, stats, z)

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


@pytest.mark.parametrize('order', ['dis_first', 'gen_first'])
def test_steps_are_those_of_a_second_implementation(order):
    """Covers the concatenated pass too: the reference judges real and fake images in passes of their own.

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
    run = compiled(lambda s, x, key: gan.update_dis(s, gans.Batch(x, None), keys_of(key)))
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
    ],
)
def test_how_often_u_advances(order, policy, advances):
    """n_dis times a step, or 2 n_dis + 1 times: with weights that rest, u tells how often."""
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
    """Real and fake images are normalised apart, and the running statistics have seen both."""
    gan = make_gan(dis=tiny_gan.Discriminator(dense=dense, has_batch_norm=True))
    before = filled(gan)
    run = compiled(lambda s, x, key: gan.update_dis(s, gans.Batch(x, None), keys_of(key)))
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
        normals(keys_of(KEY)(gans.DIS_Z), 6),
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
    """One power iteration is done, the average starts at the weights, another key gives other weights."""
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
    """Shapes, dtypes and strong types come back as they went in: a second call needs no second compilation."""
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


# ---- learning rate and optimiser


def test_linear_decay():
    rate = settings.linear_decay(0.2, 100, 300)
    found = {step: float(rate(jnp.int32(step))) for step in (0, 99, 100, 150, 200, 299, 300, 10**6)}
    expected = {0: 0.2, 99: 0.2, 100: 0.2, 150: 0.15, 200: 0.1, 299: 0.001, 300: 0, 10**6: 0}
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    constant = settings.linear_decay(0.2, 0, 0)
    assert float(constant(jnp.int32(0))) == float(constant(jnp.int32(10**6))) == np.float32(0.2)
    from_start = settings.linear_decay(1.0, 0, 4)
    assert [float(from_start(jnp.int32(i))) for i in range(6)] == [1, 0.75, 0.5, 0.25, 0, 0]
    assert rate(jnp.int32(7)).dtype == constant(jnp.int32(7)).dtype == jnp.float32


def test_both_players_follow_the_schedule_of_generator_updates():
    """At step 4 both rest, whatever their optimisers counted, while u and the running statistics go on."""
    gan, run = falling_gan()
    state = filled(gan).replace(step=np.int32(4))
    after, metrics = run(state, images(), KEY)
    assert same((state.gen.params, state.dis.params), (after.gen.params, after.dis.params))
    assert all_moved(state.gen.model_state, after.gen.model_state)
    assert metrics['lr'] == 0 and int(after.step) == 5


def test_adam_is_optax_adam():
    """With the config's betas and eps; the rate is multiplied on afterwards."""
    config = sngan_digits.get_config()
    config.optimizer.update({'beta1': 0.3, 'beta2': 0.8, 'eps': 1e-3, 'lr': 0.01})
    arguments = settings.players(config)
    ours, theirs = arguments['optimizer'], optax.adam(0.01, b1=0.3, b2=0.8, eps=1e-3)
    params = {'w': jnp.array([1.0, -2.0, 3.0])}
    states = [ours.init(params), theirs.init(params)]
    for step in range(3):
        grads = {'w': jnp.array([0.01, -2.0, 0.5 * step])}
        a, states[0] = ours.update(grads, states[0], params)
        b, states[1] = theirs.update(grads, states[1], params)
        rate = arguments['learning_rate'](jnp.int32(step))
        np.testing.assert_allclose(-rate * a['w'], b['w'], rtol=1e-6)


def test_sgd_is_the_bare_gradient():
    config = sngan_digits.get_config()
    config.optimizer.name = 'sgd'
    grads = {'w': jnp.array([1.0, -2.0])}
    optimizer = settings.players(config)['optimizer']
    updates, _ = optimizer.update(grads, optimizer.init(grads), grads)
    np.testing.assert_array_equal(updates['w'], grads['w'])


# ---- moving average


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


# ---- configs


def changed(**values):
    """The config of the demo with keys such as `model__loss` for model.loss set."""
    config = sngan_digits.get_config()
    for key, value in values.items():
        *groups, name = key.split('__')
        setattr(functools.reduce(getattr, groups, config), name, value)
    return config


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'method': 'sngam'}, ["method is 'sngam'", 'did you mean --config.method=sngan?']),
        (
            {'method': 'dcgan'},
            ["method is 'dcgan'", 'acgan, cgan, gan, glo, r3gan, sagan, sngan, wgan_gp'],
        ),
        ({'loss': 'hing'}, ["loss is 'hing'", 'non_saturating', '--config.loss=hinge?']),
        ({'update_order': 'dis-first'}, ["update_order is 'dis-first'", 'gen_first, dis_first']),
        ({'n_dis': 0}, ['n_dis is 0', 'positive']),
        ({'batch_size': -8}, ['batch_size is -8', 'positive']),
        ({'gen_batch_size': 0}, ['gen_batch_size is 0', 'positive']),
        ({'model__dim_z': 0}, ['model.dim_z is 0', 'positive']),
        ({'model__latent': 'gauss'}, ["model.latent is 'gauss'", 'normal, uniform']),
        (
            {'model__architecture': 'resnt'},
            ["architecture is 'resnt'", 'model.architecture=resnet'],
        ),
        ({'model__variant': 'papr'}, ["variant is 'papr'", 'model.variant=paper']),
        ({'model__dtype': 'float16'}, ["dtype is 'float16'", 'bfloat16']),
        ({'model__gen_width': 0}, ['gen_width is 0', 'model.gen_width']),
        ({'model__dis_width': 0}, ['dis_width is 0', 'model.dis_width']),
        ({'model__n_power_iterations': 0}, ['n_power_iterations is 0']),
        ({'model__n_warmup_iterations': -1}, ['n_warmup_iterations is -1']),
        ({'model__spectral_updates': 'per_step'}, ["model.spectral_updates is 'per_step'"]),
        ({'data__image_size': 50}, ['image_size is 50', '48 and 56', 'data.image_size']),
        (
            {'data__image_size': 50, 'model__architecture': 'resnet'},
            ['image_size is 50', '48', '64', 'data.image_size'],
        ),
        (
            {'optimizer__name': 'adan'},
            ["optimizer.name is 'adan'", '--config.optimizer.name=adam?'],
        ),
        ({'optimizer__lr': 0.0}, ['optimizer.lr is 0.0', 'positive']),
        ({'optimizer__ema_decay': 1.0}, ['optimizer.ema_decay is 1.0', 'below 1']),
        ({'optimizer__ema_decay': -0.1}, ['optimizer.ema_decay is -0.1']),
        (
            {'optimizer__decay_start': 100, 'optimizer__decay_end': 100},
            ['optimizer.decay_start 100', 'optimizer.decay_end 100'],
        ),
        # A start without an end would be a constant rate that nobody asked for.
        (
            {'optimizer__decay_start': 100, 'optimizer__decay_end': 0},
            ['optimizer.decay_start', 'optimizer.decay_end'],
        ),
        (
            {'optimizer__decay_start': -5, 'optimizer__decay_end': 10},
            ['optimizer.decay_start', '-5'],
        ),
        ({'optimizer__lr': float('nan')}, ['optimizer.lr is nan']),
        ({'optimizer__beta1': 1.0}, ['optimizer.beta1 is 1.0']),
        ({'optimizer__beta1': -0.5}, ['optimizer.beta1 is -0.5']),
        ({'optimizer__beta2': 1.5}, ['optimizer.beta2 is 1.5']),
        ({'data__channels': 0}, ['channels is 0', 'data.channels']),
    ],
)
def test_impossible_values_are_answered_in_one_line(values, words):
    with pytest.raises(ValueError) as caught:
        methods.load(changed(**values))
    message = str(caught.value)
    assert '\n' not in message and len(message) < 250
    for word in words:
        assert word in message


def test_a_config_becomes_the_gan_it_describes():
    """Every number arrives where it belongs."""
    config = changed(
        n_dis=3,
        batch_size=10,
        gen_batch_size=20,
        update_order='gen_first',
        loss='non_saturating',
        model__dim_z=7,
        model__latent='uniform',
        model__spectral_updates='per_forward',
        model__gen_width=5,
        model__dis_width=6,
        model__n_power_iterations=2,
        model__n_warmup_iterations=3,
        model__sync_batch_norm=False,
        data__image_size=24,
        data__channels=3,
        optimizer__decay_start=10,
        optimizer__decay_end=20,
    )
    gan = methods.load(config)
    assert isinstance(gan, gans.Gan) and type(gan).__module__ == 'experiments.sngan'
    assert (gan.n_dis, gan.batches_per_step, gan.batch_size, gan.gen_batch_size) == (3, 3, 10, 20)
    assert (gan.dim_z, gan.latent, gan.image_shape) == (7, 'uniform', (24, 24, 3))
    assert (gan.update_order, gan.spectral_updates) == ('gen_first', 'per_forward')
    assert gan.loss is LOSSES['non_saturating'] and gan.ema_decay == 0.99
    assert float(gan.learning_rate(jnp.int32(15))) == pytest.approx(2.5e-4)
    assert (gan.gen.width, gan.dis.width, gan.gen.batch_norm_axis) == (5, 6, None)
    layer = gan.dis.dense(3)
    assert (layer.n_power_iterations, layer.n_warmup_iterations) == (2, 3)
    assert methods.load(changed()).gen.batch_norm_axis == 'batch'
    with pytest.raises(dataclasses.FrozenInstanceError):
        gan.n_dis = 5


def test_a_locked_config_refuses_unknown_keys():
    config = base.get_config().lock()
    with pytest.raises((AttributeError, KeyError), match='n_dsi'):
        config.n_dsi = 2


class Recorder:
    """A config that remembers which of its keys were read."""

    def __init__(self, config, read, prefix=''):
        self._config, self._read, self._prefix = config, read, prefix

    def __getattr__(self, name):
        value = getattr(self._config, name)
        if hasattr(value, 'items'):
            return Recorder(value, self._read, f'{self._prefix}{name}.')
        self._read.add(f'{self._prefix}{name}')
        return value

    __getitem__ = __getattr__


def leaf_keys(config, prefix=''):
    for key, value in config.items():
        if hasattr(value, 'items'):
            yield from leaf_keys(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}'


def test_every_key_is_read():
    """Making a method, the loop's options and the data reads all keys but those of other modes and other methods."""
    read = set()
    config = Recorder(sngan_digits.get_config(), read)
    methods.load(config)
    members.members_of(config)
    modes.train_options(config)
    streaming.check(config)
    modes.load_data(config, say=lambda line: None)
    keys = set(leaf_keys(base.get_config()))
    others = {
        k for k in keys if k.startswith(('acgan.', 'glo.', 'inversion.', 'sampling.', 'eval.'))
    }
    assert keys - read == others - {
        'sampling.every',
        'sampling.num',
    }  # tests/test_configs.py has those
    conditional = {'method': 'acgan', 'model__head': 'acgan', 'model__num_classes': 10}
    methods.load(Recorder(changed(**conditional), read))
    assert {'acgan.dis_weight', 'acgan.gen_weight'} <= read


@pytest.mark.parametrize('path', sorted(pathlib.Path(base.__file__).parent.glob('sngan_*.py')))
def test_every_config_has_the_keys_of_base(path):
    """No config invents a key that nothing reads, and each makes a method."""
    module = __import__(f'configs.{path.stem}', fromlist=['get_config'])
    config = module.get_config()
    assert set(leaf_keys(config)) == set(leaf_keys(base.get_config()))
    methods.load(config)


# ---- the fakes of all D updates in one pass


@pytest.mark.parametrize('order', ['dis_first', 'gen_first'])
def test_fakes_at_once_are_the_same_step(order):
    """Images, running statistics and everything that follows from them, but for rounding."""
    states = []
    for fakes_at_once in (False, True):
        gan = make_gan(n_dis=3, update_order=order, ema_decay=0.5, fakes_at_once=fakes_at_once)
        step = step_of(gan)
        state, _ = step(filled(gan), images(3), KEY)
        states.append(step(state, images(3, seed=1), KEY))
    one, other = map(jax.tree_util.tree_leaves_with_path, states)
    for (path, a), (_, b) in zip(one, other, strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-5, atol=2e-6, err_msg=jax.tree_util.keystr(path))


def test_fakes_at_once_is_one_pass_of_the_generator():
    def generator_products(fakes_at_once):
        gan = make_gan(n_dis=3, fakes_at_once=fakes_at_once)
        jaxpr = compiled_jaxpr(gan)
        return sum(1 for eqn in equations(jaxpr) if is_product_of(eqn, 'Generator'))

    apart, together = generator_products(False), generator_products(True)
    assert together < apart


def compiled_jaxpr(gan):
    def step(state, image, key):
        return gan.train_step(state, {'image': image}, jax.random.wrap_key_data(key))

    mapped = jax.vmap(step, (None, 0, None), axis_name='batch', axis_size=1)
    return jax.make_jaxpr(mapped)(filled(gan), images(3)[None], KEY).jaxpr


def equations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            if hasattr(value, 'jaxpr'):
                yield from equations(value.jaxpr)


def is_product_of(eqn, module):
    is_product = eqn.primitive.name in ('dot_general', 'conv_general_dilated')
    return is_product and f'{module}' in str(eqn.source_info.name_stack)


def test_fakes_at_once_refuses_singular_vectors_that_move_from_pass_to_pass(own_errors):
    config = base.get_config()
    config.fakes_at_once = True
    config.model.spectral_updates = 'per_forward'
    settings.players(config)
    config.model.gen_normalization = 'spectral'
    with pytest.raises(ValueError, match='fakes_at_once'):
        settings.players(config)
