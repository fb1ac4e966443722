"""Tests of experiments/settings/keys.py: when two configs describe the same computation."""

import pytest

from configs import base
from experiments.settings import keys
from snjax.training.optimizers import linear_decay


def changed(**changes):
    config = base.get_config()
    config.update_from_flattened_dict({k.replace('__', '.'): v for k, v in changes.items()})
    return config.to_dict()


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('num_steps', 7),
        ('log.every', 7),
        ('checkpoint.keep', 7),
        ('sampling.every', 7),
        ('diagnostics.every', 7),
        ('eval.num_samples', 700),
        ('data.data_dir', '/elsewhere'),
        ('data.cache_dir', '/elsewhere'),
        ('data.workers', 8),
        ('data.stream', 'on'),
    ],
)
def test_what_touches_no_update_is_not_computed(key, value):
    config = changed(**{key.replace('.', '__'): value})
    assert keys.computed(config) == keys.computed(changed())


@pytest.mark.parametrize(
    ('key', 'value'),
    [('seed', 1), ('optimizer.lr', 1e-3), ('steps_per_call', 2), ('data.flip', True)],
)
def test_what_touches_an_update_is_computed(key, value):
    before = keys.computed(changed())
    after = keys.computed(changed(**{key.replace('.', '__'): value}))
    assert {k for k in before if before[k] != after[k]} == {key}


SHORT = {'optimizer__decay_start': 100, 'optimizer__decay_end': 200}
LONG = {'optimizer__decay_start': 1000, 'optimizer__decay_end': 2000}


@pytest.mark.parametrize(
    ('old', 'new', 'step', 'may'),
    [
        (SHORT, LONG, 100, True),
        (SHORT, LONG, 101, False),
        (SHORT, {}, 100, True),
        ({}, LONG, 1000, True),
        ({}, SHORT, 101, False),
        (SHORT, SHORT | {'optimizer__decay_end': 300}, 100, True),
        (SHORT | {'optimizer__gen_lead': 1}, LONG | {'optimizer__gen_lead': 1}, 100, False),
        (SHORT | {'optimizer__ema_decay': 0.9}, LONG | {'optimizer__ema_decay': 0.99}, 50, True),
        (SHORT | {'optimizer__ema_decay': 0.9}, SHORT | {'optimizer__ema_decay': 0.99}, 150, False),
        (SHORT, LONG | {'optimizer__ema_decay': 0.99}, 50, False),  # there is no average yet
        (SHORT, LONG | {'optimizer__lr': 1.0}, 50, False),
        (SHORT, LONG, None, False),
    ],
)
def test_a_schedule_may_change_until_the_rate_has_begun_to_fall(old, new, step, may):
    before, after = (keys.resumable(changed(**c), is_set_known=True, step=step) for c in (old, new))
    assert (before == after) == may


def test_rates_before_the_decay_are_the_same_whenever_it_comes():
    for step in (0, 7, 99, 100):
        rates = [linear_decay(2e-4, *ends)(step) for ends in ((100, 200), (1000, 2000), (0, 0))]
        assert len({float(rate) for rate in rates}) == 1
    assert linear_decay(2e-4, 100, 200)(101) < linear_decay(2e-4, 1000, 2000)(101)


def test_seeds_and_harmless_keys_are_one_kind_and_lengths_are_several():
    first = keys.kind(changed())
    assert keys.kind(changed(seed=1, data__workers=8, data__stream='on', steps_per_call=5)) == first
    assert keys.kind(changed(data__path='/elsewhere')) == first
    assert keys.kind(changed(num_steps=7)) != first
    assert keys.kind(changed(n_dis=2)) != first


def test_a_key_that_an_older_run_lacks_has_its_default():
    config = changed()
    del config['penalty']['r2'], config['optimizer']['eps'], config['acgan']
    assert keys.computed(config) == keys.computed(changed())


@pytest.mark.parametrize(('old', 'new'), [('standard', 'sngan_cnn'), ('dcgan', 'wgan_gp_cnn')])
def test_a_value_under_its_old_name_is_the_same_computation(old, new):
    before, after = changed(model__architecture=old), changed(model__architecture=new)
    assert keys.computed(before) == keys.computed(after)
    assert keys.computed(after) != keys.computed(changed())


def test_keys_that_are_gone_are_left_out_where_they_meant_nothing_and_refused_elsewhere():
    old = changed() | {'num_seeds': 1, 'fakes_at_once': False, 'members': {'lr': '', 'beta1': ''}}
    assert keys.computed(old) == keys.computed(changed())
    with pytest.raises(ValueError, match=r'num_seeds was removed in 0\.2'):
        keys.computed(old | {'num_seeds': 3})


def test_keys_of_a_method_outside_this_repository_count():
    config = changed() | {'mine': {'weight': 2.0}}
    assert keys.computed(config)['mine.weight'] == 2.0
