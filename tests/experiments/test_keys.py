"""Tests of experiments/settings/keys.py: when two configs describe the same computation."""

import pytest

from configs import base
from experiments.settings import keys


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
