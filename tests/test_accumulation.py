"""A batch in parts, one after the other, is the batch: gradients, metrics, and what batch norm makes of it."""

import functools

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gan
import tiny_glo
from test_gan import KEY, changed, images, keys_of, step_of

from experiments import gan as gans
from experiments import method as methods
from snjax import accumulation, normalization, parallel
from snjax.losses import LOSSES
from snjax.models import resnet
from snjax.sampling import latents

UNNORMALISED = tiny_gan.Generator(has_batch_norm=False)


def assert_close(a, b, rtol=2e-5, atol=2e-6):
    a, b = map(jax.tree_util.tree_leaves_with_path, (a, b))
    for (path, x), (_, y) in zip(a, b, strict=True):
        np.testing.assert_allclose(y, x, rtol, atol, err_msg=jax.tree_util.keystr(path))


def test_over_parts_averages_and_keeps_rows_in_order():
    def function(part):
        x, y = part
        return {'mean': jnp.mean(x)}, x.sum(-1) + y

    batch = jnp.arange(24.0).reshape(6, 4), jnp.arange(6.0)
    for num in (1, 2, 3):
        averaged, rows = accumulation.over_parts(function, batch, num)
        assert averaged['mean'] == pytest.approx(11.5)
        np.testing.assert_array_equal(rows, batch[0].sum(-1) + batch[1])


PENALTIES = {'gradient': 10.0, 'drift': 0.1, 'orthonormal': 0.3, 'l2': 0.2}
GAMES = {
    'hinge': {'n_dis': 2, 'ema_decay': 0.5},
    'gen_first': {'update_order': 'gen_first', 'augment': ('color', 'translation', 'cutout')},
    'wgan_gp': {'loss': LOSSES['wasserstein'], 'penalties': PENALTIES},
    'r3gan': {
        'loss': LOSSES['relativistic_pairing'],
        'gen_batch_size': 6,
        'penalties': {'r1': 0.5, 'r2': 0.5, 'gradient_one_sided': 1.0, 'spectral': 0.1},
        'augment': ('color',),
    },
}


@pytest.mark.parametrize('game', GAMES)
def test_an_accumulated_step_is_a_step(game):
    """Also the penalties on weights, which count once, and u, which advances once."""
    found = []
    for accumulate in (1, 2):
        gan = tiny_gan.make_gan(gen=UNNORMALISED, accumulate=accumulate, **GAMES[game])
        step = step_of(gan)
        state, _ = step(tiny_gan.filled(gan), images(gan.batches_per_step), KEY)
        found.append(step(state, images(gan.batches_per_step, seed=1), KEY))
    assert_close(*found, rtol=1e-4, atol=1e-5)


def test_batch_norm_sees_parts_and_its_statistics_move_once_an_update():
    """By the mean over the parts: of their means, and of their variances."""
    gan = tiny_gan.make_gan(accumulate=2)
    state = tiny_gan.filled(gan)
    step = step_of(gan)
    stats = step(state, images(1), KEY)[0].gen.model_state['batch_stats']['norm']
    key, params = keys_of(KEY), state.gen.params['project']
    key = functools.partial(gans._key, jax.random.fold_in(jax.random.wrap_key_data(KEY), 0))
    expected = dict(state.gen.model_state['batch_stats']['norm'])
    for role, turn, size in ((gans.DIS_Z, 0, 6), (gans.GEN_Z, None, 8)):
        z = latents(key(role, turn=turn), jnp.arange(size), tiny_gan.DIM_Z, 'normal')
        h = np.asarray(z, np.float64) @ params['kernel'] + params['bias']
        halves = h.reshape(2, size // 2, -1)
        for name, values in {'mean': halves.mean(1), 'var': halves.var(1)}.items():
            expected[name] = 0.9 * expected[name] + 0.1 * values.mean(0)
    assert_close(expected, stats)
    whole = step_of(tiny_gan.make_gan())(state, images(1), KEY)[0]
    assert not np.allclose(stats['var'], whole.gen.model_state['batch_stats']['norm']['var'])


# ---- methods as configs have them


@pytest.fixture
def running_statistics(monkeypatch):
    """Generators that normalise by their running statistics in training too, which mixes no images."""
    of_batches = normalization.batch_norm

    def batch_norm(*, train, **kwargs):
        return of_batches(train=False, **kwargs)

    monkeypatch.setattr(normalization, 'batch_norm', batch_norm)
    for size, layout in contract.TINY_LAYOUT.items():
        monkeypatch.setitem(resnet.LAYOUTS, size, layout)


def check_case(case, **changes):
    found = []
    for accumulate in (1, 2):
        config = contract.small(*case, sgd=True, **changes)
        config.accumulate = accumulate
        method = methods.load(config.lock())
        step = tiny_gan.compiled(
            lambda state, batch, method=method: method.train_step(state, batch, jax.random.key(1))
        )
        found.append(step(contract.start(method), contract.batches(method, 0)))
    assert_close(*found, rtol=1e-3, atol=1e-4)


def test_classes_and_their_losses(running_statistics):
    check_case(('acgan_cifar', ''))


# What takes statistics of the whole batch: D's batch norm, DRAGAN, and power iterations at every application.
WHOLE_BATCH = ('dcgan_cifar', 'lsgan_cifar', 'dragan_cifar', 'batch_norm')


@pytest.mark.slow
@pytest.mark.parametrize(
    'case',
    [c for c in contract.CASES if not c[1].startswith('batch_norm') and c[0] not in WHOLE_BATCH],
    ids='{0[0]}-{0[1]}'.format,
)
def test_every_config_in_parts(running_statistics, case):
    check_case(case)


def test_glo_in_parts():
    """Rows of the table too, in their order, and a loss of its own for them."""
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1)).astype(np.uint8)
    found = []
    for accumulate in (1, 2):
        glo = tiny_glo.make_glo(
            images, gen=UNNORMALISED, batch_size=8, initial='normal', accumulate=accumulate
        )
        state = parallel.spread(tiny_glo.filled(glo), glo.state_axes)
        step = parallel.DataParallel(
            lambda state, batch, glo=glo: glo.train_step(state, batch, jax.random.key(0)),
            glo.state_axes,
        )
        placed = parallel.place(tiny_glo.batch(images, np.arange(8)))
        found.append(jax.device_get(step.compile(state, placed)(state, placed)))
    assert_close(*found)


# ---- refused


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'accumulate': 0}, ['accumulate is 0', '1 (a batch at once)']),
        ({'accumulate': 3}, ['accumulate 3', 'batch_size, 32 images', '--config.accumulate=2']),
        (
            {'accumulate': 16, 'gen_batch_size': 8},
            ['accumulate 16', 'gen_batch_size, 8', '--config.accumulate=8'],
        ),
        ({'accumulate': 2, 'penalty__dragan': 10.0}, ['penalty.dragan', 'standard deviation']),
        ({'accumulate': 2, 'fakes_at_once': True}, ['fakes_at_once']),
        ({'accumulate': 2, 'model__spectral_updates': 'per_forward'}, ['take per_update']),
        (
            {'accumulate': 2, 'loss': 'relativistic_average', 'gen_batch_size': 32},
            ['loss relativistic_average', 'mean of the whole batch'],
        ),
    ],
)
def test_what_is_no_mean_over_parts_is_refused(values, words):
    with pytest.raises(ValueError) as caught:
        methods.load(changed(method='gan', **values))
    message = str(caught.value)
    assert '\n' not in message
    for word in words:
        assert word in message, message


def test_glo_refuses_parts_that_do_not_fit():
    with pytest.raises(ValueError, match='accumulate 5 does not divide batch_size, '):
        config = contract.load('glo_digits', '')
        config.accumulate = 5
        methods.load(config)
