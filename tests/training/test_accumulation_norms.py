"""Batches in parts: what batch norm sees of them, and what their memory and operations come to."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny_gan
from helpers.parts import PARTS, RAW, batch_of, without_batch_norm
from helpers.tiny_gan import IMAGE, compiled, filled, make_gan
from snjax import parallel
from snjax.nn import layers
from snjax.parallel import cost
from snjax.training import accumulation
from snjax.training.adversarial import Batch, Use


def normalized(params, z):
    """The tiny generator on parts of `z`, each by its own statistics: images, and the statistics of
    every part.
    """
    images, statistics = [], []
    for part in np.split(np.asarray(z, np.float64), PARTS):
        h = part @ params['project']['kernel'] + params['project']['bias']
        mean, var = h.mean(0), h.var(0)
        statistics.append((mean, var))
        h = (h - mean) / np.sqrt(var + 2e-5) * params['norm']['scale'] + params['norm']['bias']
        h = np.maximum(h, 0) @ params['to_image']['kernel'] + params['to_image']['bias']
        images.append(np.tanh(h).reshape(-1, *IMAGE))
    return np.concatenate(images), np.mean(statistics, 0)


def judged(params, x):
    h = x.reshape(len(x), -1) @ params['hidden']['kernel'] + params['hidden']['bias']
    h = np.where(h > 0, h, 0.1 * h) @ params['score']['kernel'] + params['score']['bias']
    return h[:, 0]


def test_batch_norm_sees_a_part_and_running_statistics_move_once():
    gan = make_gan(dis=RAW, gen_batch_size=12, accumulate=PARTS)
    state, batch = filled(gan), batch_of(gan)
    real = Batch(batch['image'][0], None)
    keys = functools.partial(jax.random.fold_in, jax.random.key(7))
    z = {
        num: jax.jit(
            lambda k, n=num: gan._noise(jnp.arange(n), keys(k), keys(k), 0).z, static_argnums=0
        )(role)
        for role, num in ((Use.DIS_Z, 6), (Use.GEN_Z, 12))
    }
    params, before = state.gen.params, state.gen.model_state['batch_stats']['norm']

    after, metrics = compiled(lambda s, x: gan.update_dis(s, real._replace(image=x), keys))(
        state, real.image
    )
    fake, (mean, var) = normalized(params, z[6])
    assert metrics['fake_logits'] == pytest.approx(judged(state.dis.params, fake).mean(), rel=1e-4)
    found = after.gen.model_state['batch_stats']['norm']
    np.testing.assert_allclose(found['mean'], 0.9 * before['mean'] + 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(found['var'], 0.9 * before['var'] + 0.1 * var, rtol=1e-4)

    after, metrics = compiled(lambda s, x: gan.update_gen(s, real, keys))(state, real.image)
    fake, (mean, var) = normalized(params, z[12])
    assert metrics['gen_loss'] == pytest.approx(-judged(state.dis.params, fake).mean(), rel=1e-4)
    found = after.gen.model_state['batch_stats']['norm']
    np.testing.assert_allclose(found['mean'], 0.9 * before['mean'] + 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(found['var'], 0.9 * before['var'] + 0.1 * var, rtol=1e-4)


def test_batch_norm_of_the_discriminator_sees_reals_and_fakes_of_a_part():
    """Its statistics move twice an update, as without parts: by the reals, then by the fakes."""
    gan = without_batch_norm(
        dis=tiny_gan.Discriminator(dense=layers.Dense, has_batch_norm=True), accumulate=PARTS
    )
    state, real = filled(gan), batch_of(gan)['image'][0]
    keys = functools.partial(jax.random.fold_in, jax.random.key(7))
    update = compiled(lambda s, x: gan.update_dis(s, Batch(x, None), keys))
    fakes = compiled(lambda s: (s, gan._fakes_for_dis(s.gen, keys, s.step)[0].image))(state)[1]
    after, _ = update(state, real)
    layer, mean = state.dis.params['hidden'], state.dis.model_state['batch_stats']['norm']['mean']
    for x in (real, fakes):
        h = x.reshape(PARTS, -1, 64) @ layer['kernel'] + layer['bias']
        mean = 0.9 * mean + 0.1 * h.mean(1).mean(0)
    found = after.dis.model_state['batch_stats']['norm']['mean']
    np.testing.assert_allclose(found, mean, rtol=1e-4, atol=1e-6)


def test_the_state_keeps_its_types():
    gan = make_gan(gen_batch_size=12, accumulate=PARTS, ema_decay=0.5)
    before = jax.eval_shape(gan.init, jax.random.key(0))
    axis = functools.partial(jax.vmap, in_axes=None, axis_name='batch', axis_size=1)
    after, metrics = jax.eval_shape(
        axis(lambda s, x: gan.train_step(s, x, jax.random.key(0))), before, batch_of(gan)
    )
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (1, *a.shape) == b.shape and a.dtype == b.dtype and not b.weak_type
    assert all(m.dtype == jnp.float32 for m in jax.tree.leaves(metrics))


class Deep(nn.Module):
    """Four convolutions whose activations are far more than their weights."""

    @nn.compact
    def __call__(self, x):
        for i in range(4):
            x = nn.relu(layers.Conv(16, 3, name=f'conv{i}')(x))
        return x.mean()


@pytest.mark.parametrize('form', ['written out', 'loop'])
def test_memory_and_operations_of_parts(form, monkeypatch):
    """XLA needs the memory of a part, and our estimate says so; the operations are the same."""
    net, x = Deep(), jnp.zeros((32, 16, 16, 16))
    params = jax.eval_shape(net.init, jax.random.key(0), x)
    if form == 'loop':
        monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')

    def loss(params, x):
        return net.apply(params, x), None

    estimated, taken, operations = [], [], []
    for num in (1, 4):
        grad = jax.jit(accumulation.value_and_grad(loss, num))
        jaxpr = jax.make_jaxpr(grad)(params, x).jaxpr
        estimated.append(cost.temporary_bytes(jaxpr))
        operations.append(cost.flops(jaxpr))
        program = parallel.compile(grad.lower(params, x))
        taken.append(program.memory_analysis().temp_size_in_bytes)
    assert operations[1] == operations[0] > 0
    assert taken[1] < 0.4 * taken[0]
    for estimate, actual in zip(estimated, taken, strict=True):
        assert 0.5 < estimate / actual < 2
