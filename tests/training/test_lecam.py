"""LeCam regularization: the penalty and its averages by the published loop, and in a training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from configs import biggan_cifar, sngan_cifar
from experiments import build
from helpers import tiny_gan
from snjax import parallel
from snjax.runs.checkpoint import Checkpointer
from snjax.training.lecam import LeCam
from snjax.training.optimizers import at


def published(logits, decay, start, one_sided, n_dis):
    """R_LC of each D update as lecam-gan's BigGAN computes it, without the sides where not asked.

    There `itr` counts generator updates from 1 and is compared with `start` twice: averages move
    from `start` on, the penalty counts beyond it.
    """
    relu = (lambda x: np.maximum(x, 0)) if one_sided else (lambda x: x)
    average, out = {'real': 1000.0, 'fake': 1000.0}, []
    for i, (real, fake) in enumerate(logits):
        itr = 1 + i // n_dis
        kept = 0.0 if itr < start else decay
        for name, value in {'real': real, 'fake': fake}.items():
            average[name] = average[name] * kept + value.mean() * (1 - kept)
        found = np.mean(relu(real - average['fake']) ** 2)
        found += np.mean(relu(average['real'] - fake) ** 2)
        out.append(found if itr > start else 0.0)
    return out


def ours(logits, config, n_dis):
    gan = build.method(config)
    rule, weight = gan.lecam, gan.penalties['lecam']
    anchors, out = rule.start(), []
    for i, pair in enumerate(logits):
        step, pair = jnp.int32(i // n_dis), [jnp.asarray(x) for x in pair]
        out.append(float(at(weight, step) * rule.penalty(anchors, *pair, step, jnp.mean)))
        anchors = rule.observed(anchors, *map(jnp.mean, pair), step)
    return out


def config_of(**keys):
    config = sngan_cifar.get_config()
    config.update_from_flattened_dict({f'penalty.lecam{k}': v for k, v in keys.items()})
    return config


@pytest.mark.parametrize('one_sided', [True, False])
def test_updates_are_those_of_the_published_loop(one_sided):
    rng, n_dis = np.random.default_rng(0), 2
    logits = [rng.normal(m, 1, (2, 5)).astype(np.float32) for m in np.linspace(-1, 2, 16)]
    keys = {'': 1.0, '_decay': 0.9, '_start': 3, '_one_sided': one_sided}
    found = ours(logits, config_of(**keys), n_dis)
    expected = published(logits, 0.9, 3, one_sided, n_dis)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[:6] == [0] * 6 and min(found[6:]) > 0.01
    assert not np.allclose(expected, published(logits, 0.9, 3, not one_sided, n_dis))


def test_without_a_start_the_averages_are_corrected_for_their_beginning():
    """lecam-gan's StyleGAN2: a moving average from 0, over 1 - decay^t."""
    logits = np.random.default_rng(1).normal(size=(6, 2, 4)).astype(np.float32)
    found, sums = ours(logits, config_of(**{'': 1.0}), 1), np.zeros(2)
    for t, (real, fake) in enumerate(logits, start=1):
        sums = 0.99 * sums + 0.01 * np.array([real.mean(), fake.mean()])
        a_real, a_fake = sums / (1 - 0.99**t)
        expected = np.mean((real - a_fake) ** 2) + np.mean((fake - a_real) ** 2)
        assert found[t - 1] == pytest.approx(expected, rel=1e-4)


def test_averages_are_constants_for_the_gradient():
    rule, zero = LeCam(decay=0.5, first=0), jnp.int32(0)
    anchors = rule.observed(rule.start(), jnp.float32(2.0), jnp.float32(-1.0), zero)
    real, fake = jnp.array([1.0, 4.0]), jnp.array([-3.0, 0.0])
    pull = jax.grad(lambda *x: rule.penalty(anchors, *x, zero, jnp.mean), (0, 1))(real, fake)
    # Weights .25 and .5 of the first and of this update, over .75.
    a_real, a_fake = (0.25 * 2 + 0.5 * 2.5) / 0.75, (0.25 * -1 + 0.5 * -1.5) / 0.75
    np.testing.assert_allclose(pull[0], real - a_fake, rtol=1e-6)
    np.testing.assert_allclose(pull[1], fake - a_real, rtol=1e-6)


def game(weight=0.5, **changes):
    changes = {'batch_size': 6, 'gen_batch_size': 6, **changes}
    return tiny_gan.make_gan(lecam=LeCam(0.9, first=0), penalties={'lecam': weight}, **changes)


def rows(num):
    return [np.asarray(jax.random.key_data(jax.random.key(i))) for i in range(num)]


def test_a_training_keeps_the_averages_of_its_own_logits():
    gan, images = game(), tiny_gan.images(1)
    state = jax.jit(gan.init)(jax.random.key(0))
    step, sums = tiny_gan.step_of(gan), {'real': 0.0, 'fake': 0.0}
    for t, key in enumerate(rows(3), start=1):
        state, metrics = step(state, images, key)
        for name in sums:
            sums[name] = 0.9 * sums[name] + 0.1 * metrics[f'{name}_logits']
            average = sums[name] / (1 - 0.9**t)
            assert metrics[f'anchor_{name}'] == pytest.approx(average, rel=1e-4)
            assert getattr(state.anchors, name) == pytest.approx(sums[name], rel=1e-4)
        assert metrics['penalty_lecam'] > 0
    assert sums['real'] != sums['fake']


def test_a_checkpoint_holds_the_averages(tmp_path):
    gan, images, keys = game(), tiny_gan.images(1), rows(2)
    step = tiny_gan.step_of(gan)
    one, _ = step(jax.jit(gan.init)(jax.random.key(0)), images, keys[0])
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, parallel.replicate(one))
    with Checkpointer(tmp_path) as checkpointer:
        _, restored = checkpointer.restore_latest(jax.eval_shape(gan.init, jax.random.key(0)))
    went_on, resumed = (step(s, images, keys[1])[0] for s in (one, restored))
    for a, b in zip(jax.tree.leaves(went_on), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert went_on.anchors.weight > one.anchors.weight


def test_its_weight_scales_what_it_adds_to_an_update():
    """Plain gradient descent of D, which moves by lr times the gradient of loss and penalty."""
    (key,), images = rows(1), tiny_gan.images(1)
    state = tiny_gan.filled(game())
    state = state.replace(anchors=LeCam(0.9, 0).start())
    steps = {w: tiny_gan.step_of(game(w))(state, images, key)[0] for w in (0.5, 1.0)}
    none, _ = tiny_gan.step_of(tiny_gan.make_gan(gen_batch_size=6))(
        state.replace(anchors=None), images, key
    )
    plain, half, whole = (ravel_pytree(s.dis.params)[0] for s in (none, steps[0.5], steps[1.0]))
    np.testing.assert_allclose(whole - plain, 2 * (half - plain), rtol=1e-2, atol=1e-6)
    assert np.abs(half - plain).max() > 1e-4 and none.anchors is None


def test_a_state_without_it_is_the_tree_it_was():
    plain = jax.eval_shape(tiny_gan.make_gan().init, jax.random.key(0))
    kept = jax.eval_shape(game().init, jax.random.key(0))
    assert plain.anchors is None
    assert len(jax.tree.leaves(kept)) == len(jax.tree.leaves(plain)) + 3


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'accumulate': 2}, 'accumulate is 2: its averages hold the mean of the whole batch'),
        ({'penalty.lecam': -1.0}, 'penalty.lecam is -1.0'),
        ({'penalty.lecam_decay': 1.0}, 'penalty.lecam_decay is 1.0: .* below 1'),
        ({'penalty.lecam_start': -1}, 'penalty.lecam_start is -1'),
    ],
)
def test_what_it_does_not_go_with_is_one_line(changes, message):
    config = biggan_cifar.get_config()
    config.update_from_flattened_dict({'penalty.lecam': 0.3, 'accumulate': 1})
    assert build.method(config).lecam == LeCam(0.99, 0)
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        build.plan(config)
