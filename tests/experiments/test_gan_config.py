"""Configs of a GAN: every number arrives where it belongs, every key is read, impossible values are
named.
"""

import dataclasses
import functools
import pathlib

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base, sngan_digits
from experiments import build
from experiments import gan as gans
from experiments.modes import train
from snjax.objectives.losses import LOSSES
from snjax.training.optimizers import linear_decay

# ---- learning rate and optimizer


def test_linear_decay():
    rate = linear_decay(0.2, 100, 300)
    found = {step: float(rate(jnp.int32(step))) for step in (0, 99, 100, 150, 200, 299, 300, 10**6)}
    expected = {0: 0.2, 99: 0.2, 100: 0.2, 150: 0.15, 200: 0.1, 299: 0.001, 300: 0, 10**6: 0}
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    constant = linear_decay(0.2, 0, 0)
    assert float(constant(jnp.int32(0))) == float(constant(jnp.int32(10**6))) == np.float32(0.2)
    from_start = linear_decay(1.0, 0, 4)
    assert [float(from_start(jnp.int32(i))) for i in range(6)] == [1, 0.75, 0.5, 0.25, 0, 0]
    assert rate(jnp.int32(7)).dtype == constant(jnp.int32(7)).dtype == jnp.float32


def test_the_generators_decay_runs_ahead():
    """improved_wgan_training: the rate of iteration i is lr (1 - i / n), and the generator's first
    update is in iteration 1."""
    config = sngan_digits.get_config()
    config.optimizer.update({'lr': 1.0, 'decay_start': 0, 'decay_end': 8, 'gen_lead': 1})
    gan = build.method(config)
    assert [float(gan.dis_learning_rate(jnp.int32(i))) for i in (0, 1, 7, 8)] == [
        1,
        7 / 8,
        1 / 8,
        0,
    ]
    assert [float(gan.learning_rate(jnp.int32(i))) for i in (0, 6, 7)] == [7 / 8, 1 / 8, 0]


def test_adam_is_optax_adam():
    """With the config's betas and eps; the rate is multiplied on afterwards."""
    config = sngan_digits.get_config()
    config.optimizer.update({'beta1': 0.3, 'beta2': 0.8, 'eps': 1e-3, 'lr': 0.01})
    gan = build.method(config)
    ours, theirs = gan.optimizer, optax.adam(0.01, b1=0.3, b2=0.8, eps=1e-3)
    params = {'w': jnp.array([1.0, -2.0, 3.0])}
    states = [ours.init(params), theirs.init(params)]
    for step in range(3):
        grads = {'w': jnp.array([0.01, -2.0, 0.5 * step])}
        a, states[0] = ours.update(grads, states[0], params)
        b, states[1] = theirs.update(grads, states[1], params)
        rate = gan.learning_rate(jnp.int32(step))
        np.testing.assert_allclose(-rate * a['w'], b['w'], rtol=1e-6)


def test_eps_where_chainer_puts_it():
    """Chainer's own loop over one weight, in float64; gradients near eps, so that its place
    shows."""
    config = sngan_digits.get_config()
    config.optimizer.update({'beta1': 0.5, 'beta2': 0.999, 'eps': 1e-3, 'eps_form': 'chainer'})
    optimizer = build.method(config).optimizer
    state, m, v = optimizer.init(jnp.zeros(3)), np.zeros(3), np.zeros(3)
    other = optax.scale_by_adam(0.5, 0.999, 1e-3)
    for t in range(1, 4):
        grad = np.array([1e-3, -2e-3, 5e-4 * t])
        m += (1 - 0.5) * (grad - m)
        v += (1 - 0.999) * (grad * grad - v)
        expected = np.sqrt(1 - 0.999**t) / (1 - 0.5**t) * m / (np.sqrt(v) + 1e-3)
        before = state
        update, state = optimizer.update(jnp.asarray(grad), state)
        np.testing.assert_allclose(update, expected, rtol=1e-6)
        assert not np.allclose(other.update(jnp.asarray(grad), before)[0], expected, rtol=0.1)


def test_sgd_is_the_bare_gradient():
    config = sngan_digits.get_config()
    config.optimizer.name = 'sgd'
    grads = {'w': jnp.array([1.0, -2.0])}
    optimizer = build.method(config).optimizer
    updates, _ = optimizer.update(grads, optimizer.init(grads), grads)
    np.testing.assert_array_equal(updates['w'], grads['w'])


# ---- the whole config


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
            ["method is 'dcgan'", ', '.join(build.methods()), 'sngan'],
        ),
        ({'model__architecture': 'dcgan'}, ["called 'wgan_gp_cnn' now"]),
        ({'loss': 'hing'}, ["loss is 'hing'", 'non_saturating', '--config.loss=hinge?']),
        ({'update_order': 'dis-first'}, ["update_order is 'dis-first'", 'gen_first, dis_first']),
        ({'n_dis': 0}, ['n_dis is 0', 'from 1 to 1000']),
        ({'batch_size': -8}, ['batch_size is -8', 'from 1']),
        ({'gen_batch_size': 0}, ['gen_batch_size is 0', 'from 1']),
        ({'model__dim_z': 0}, ['model.dim_z is 0', 'from 1']),
        ({'model__fake_classes': 'sett'}, ["model.fake_classes is 'sett'", 'uniform, set, real']),
        ({'model__fake_classes': 'set'}, ["'set'", 'model.num_classes is 0', '=uniform']),
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
        ({'model__embed_u': 'classes'}, ["embed_u is 'classes'", "'features', 'rows'"]),
        (
            {'penalty__spectral': 0.1, 'model__embed_u': 'rows'},
            ["model.embed_u is 'rows'", '--config.model.embed_u=features'],
        ),
        ({'model__running_variance': 'biasd'}, ["running_variance is 'biasd'", '=biased']),
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
        ({'optimizer__eps_form': 'chain'}, ["eps_form is 'chain'", 'eps_form=chainer?']),
        ({'optimizer__lr': 0.0}, ['optimizer.lr is 0.0', 'above 0']),
        ({'optimizer__ema_decay': 1.0}, ['optimizer.ema_decay is 1.0', 'below 1']),
        ({'optimizer__ema_decay': -0.1}, ['optimizer.ema_decay is -0.1']),
        (
            {'optimizer__decay_start': 100, 'optimizer__decay_end': 100},
            ['optimizer.decay_start 100', 'optimizer.decay_end 100'],
        ),
        ({'optimizer__gen_lead': 1, 'optimizer__decay_end': 0}, ['gen_lead is 1', 'decay_end, 0']),
        (
            {'update_order': 'same_fakes', 'gen_batch_size': 64},
            ['same_fakes', 'gen_batch_size is 64', 'gen_first'],
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
        build.method(changed(**values))
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
    gan = build.method(config)
    assert type(gan) is gans.Gan and dataclasses.replace(gan) == gan
    assert (gan.n_dis, gan.batches_per_step, gan.batch_size, gan.gen_batch_size) == (3, 3, 10, 20)
    assert (gan.dim_z, gan.latent, gan.image_shape) == (7, 'uniform', (24, 24, 3))
    assert (gan.update_order, gan.spectral_updates) == ('gen_first', 'per_forward')
    assert gan.loss is LOSSES['non_saturating'] and gan.ema_decay == 0.99
    assert float(gan.learning_rate(jnp.int32(15))) == pytest.approx(2.5e-4)
    assert (gan.gen.width, gan.dis.width, gan.gen.batch_norm_axis) == (5, 6, None)
    layer = gan.dis.layers.dense(3)
    assert (layer.n_power_iterations, layer.n_warmup_iterations) == (2, 3)
    assert build.method(changed()).gen.batch_norm_axis == 'batch'
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

    def __contains__(self, name):
        return name in self._config

    def get(self, name, default=None):
        return self[name] if name in self else default


def leaf_keys(config, prefix=''):
    for key, value in config.items():
        if hasattr(value, 'items'):
            yield from leaf_keys(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}'


def test_every_key_is_read():
    """Making a method, the loop's options and the data reads all keys but those of other modes and
    other methods.
    """
    read = set()
    config = Recorder(sngan_digits.get_config(), read)
    build.plan(config)
    train.load_data(config, say=lambda line: None)
    train._origin(config)
    unread = set(leaf_keys(base.get_config())) - read
    # tests/experiments/test_keys_are_read.py has the keys of scores and of other modes.
    elsewhere = ('acgan.', 'glo.', 'inversion.', 'sampling.', 'eval.')
    assert {key for key in unread if not key.startswith(elsewhere)} == set()
    assert {'sampling.every', 'sampling.num'} <= read
    conditional = {'method': 'acgan', 'model__head': 'acgan', 'model__num_classes': 10}
    build.method(Recorder(changed(**conditional), read))
    assert {key for key in unread if key.startswith('acgan.')} <= read


@pytest.mark.parametrize('path', sorted(pathlib.Path(base.__file__).parent.glob('sngan_*.py')))
def test_every_config_has_the_keys_of_base(path):
    """No config invents a key that nothing reads, and each makes a method."""
    module = __import__(f'configs.{path.stem}', fromlist=['get_config'])
    config = module.get_config()
    assert set(leaf_keys(config)) == set(leaf_keys(base.get_config()))
    build.method(config)
