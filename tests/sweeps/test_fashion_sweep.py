"""configs/sweeps/fashion.py: every method once, before the second seed begins."""

from pathlib import Path

import pytest

from configs.sngan_paper import METHODS
from configs.sweeps import fashion
from experiments.modes import sweep as sweeps
from snjax.sweeps import definition

ROOT = Path(__file__).parents[2]
# ml_collections loads config files by a function that importlib gives up.
pytestmark = pytest.mark.filterwarnings('ignore:.*load_module.*:DeprecationWarning')


def test_methods_differ_by_their_recipes_alone_and_seeds_come_last(monkeypatch):
    monkeypatch.chdir(ROOT)
    made = sweeps.plan('configs/base.py', 'configs/sweeps/fashion.py', {}, Path('nowhere'))
    assert len(made) == 3 * (len(METHODS) + 4)
    configs = [run.config for run in made]
    first = configs[: len(METHODS) + 4]
    assert {c['seed'] for c in first} == {0}
    assert {(c['data']['name'], c['data']['image_size']) for c in configs} == {
        ('fashion_mnist', 32)
    }
    *gans, glo = first
    assert glo['method'] == 'glo'
    for key in ('num_steps', 'n_dis', 'batch_size', 'gen_batch_size', 'optimizer'):
        assert all(c[key] == gans[0][key] for c in gans), key
    dragan, lsgan, r3gan = gans[-3:]
    assert (dragan['penalty']['dragan'], dragan['model']['normalization']) == (10, 'batch')
    assert (lsgan['loss'], lsgan['model']['normalization']) == ('least_squares', 'batch')
    assert (r3gan['method'], r3gan['model']['normalization']) == ('r3gan', 'none')


def test_another_setting_is_that_of_every_gan():
    runs = fashion.get_sweep(definition, 'E')
    assert all(',E,fashion' in r['config'] for r in runs if 'glo' not in r['config'])
    with pytest.raises(ValueError, match='accepted are A, B, C, D, E, F'):
        fashion.get_sweep(definition, 'G')
