"""Tests of configs/sweeps/cifar10.py: the ten runs of docs/results/cifar10.md."""

import pytest
from ml_collections import ConfigDict

from configs.sweeps import cifar10
from experiments import build
from experiments.modes import sweep
from experiments.report.published import PUBLISHED
from helpers.launching import ROOT
from snjax.sweeps import definition

ITEMS = cifar10.get_sweep(definition)
# ml_collections loads config files so on Python 3.11.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')


def config_of(item):
    """The config as `launch.py` makes it."""
    return ConfigDict(sweep.resolve(item | {'config': str(ROOT / item['config'])}))


@pytest.mark.parametrize('item', ITEMS, ids=lambda item: str(list(item.values())))
def test_every_run_resolves_and_keeps_five_checkpoints(item):
    config = config_of(item)
    config.steps_per_call = config.steps_per_call or 50  # a GPU's
    plan = build.plan(config)
    assert plan.method.batch_size == config.batch_size
    assert plan.options.keep_every
    assert plan.options.num_steps == 5 * plan.options.keep_every


def test_the_runs_are_those_of_the_page_in_order():
    assert [item['config'].removeprefix('configs/') for item in ITEMS] == [
        'sngan_cifar.py',
        'sngan_cifar_cnn.py:C,paper,hinge',
        'sngan_cifar_cnn.py:C,code,hinge',
        'cgan_cifar.py',
        'wgan_gp_cifar.py',
        'sngan_cifar.py',
        'r3gan_cifar.py:resnet',
        'glo_cifar.py',
        'sngan_cifar.py',
        'sngan_cifar.py',
    ]
    configs = [config_of(item) for item in ITEMS]
    first = configs[0]
    assert (first.num_steps, first.model.dtype, first.loss) == (50_000, 'bfloat16', 'hinge')
    assert [configs[i].seed for i in (0, 8, 9)] == [0, 1, 2]
    assert configs[5].model.dtype == 'float32'
    assert configs[2].model.variant == 'code'
    assert configs[3].model.head == 'projection'
    assert configs[4].penalty.gradient == 10
    ema = [config.optimizer.ema_decay for config in configs]
    assert ema == [0.999 * (config.method != 'glo') for config in configs]


def test_its_published_scores_are_those_of_the_table():
    docstring = cifar10.__doc__ or ''
    rows = {(p.method, p.network, p.source): p for p in PUBLISHED if p.data == 'cifar10'}
    paper = 'Miyato et al. 2018, table 2'
    for method, network, source, words in (
        ('sngan, hinge', 'ResNet', paper, 'SNGAN, ResNet, hinge'),
        ('sngan, hinge', 'standard CNN', paper, 'SNGAN, standard CNN, hinge'),
        ('cgan', 'ResNet', 'projection cGAN, by leaderboards', 'cGAN, projection, ResNet'),
        ('wgan_gp', 'ResNet', 'Gulrajani et al. 2017, table 3', 'WGAN-GP, ResNet'),
    ):
        row = rows[method, network, source]
        line = next(line for line in docstring.splitlines() if line.strip().startswith(words))
        fid = '-' if row.fid is None else f'{row.fid:g}'
        assert f'{row.inception_score:g}, {fid} ' in line
