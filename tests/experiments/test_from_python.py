"""Tests of `snjax.train`: a training from Python, with the loop of launch.py."""

import json

import pytest

import snjax
from configs import sngan_digits
from snjax.runs.config_file import flatten
from snjax.runs.run_logger import Diverged

TINY = {
    'model.architecture': 'wgan_gp_cnn',
    'model.gen_width': 4,
    'model.dis_width': 4,
    'model.dim_z': 8,
    'batch_size': 8,
    'gen_batch_size': 8,
    'num_steps': 4,
    'log.every': 1,
    'checkpoint.every': 2,
    'sampling.every': 0,
    'eval.extractor': '',
    'eval.every': 0,
    'sentinel.num': 0,
}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    return snjax.train('sngan_digits', tmp_path_factory.mktemp('runs') / 'tiny', TINY)


def test_a_run_of_python_is_a_run_of_launch(trained):
    assert trained.step == 4 and trained.checkpoints == [2, 4]
    config = json.loads((trained.workdir / 'config.json').read_text())
    assert TINY.items() <= flatten(config).items()
    assert trained.curve('train/dis_loss')[0].tolist() == [1, 2, 3, 4]
    assert trained.sample(2).shape == (2, 16, 16, 1)


@pytest.mark.slow
def test_it_goes_on_where_it_was_and_takes_a_config_object(trained):
    config = sngan_digits.get_config()
    config.update_from_flattened_dict(TINY | {'num_steps': 6})
    longer = snjax.train(config, trained.workdir)
    assert longer.step == 6 and config.num_steps == 6
    assert longer.curve('train/dis_loss')[0].tolist() == [1, 2, 3, 4, 5, 6]


def test_errors_are_exceptions_of_one_line(trained, tmp_path):
    for config, changes, message in [
        ('sngan_digts', {}, "config 'sngan_digts': there is no such file"),
        ('sngan_digts', {}, r'did you mean configs/sngan_digits\.py\?'),
        ('sngan_digits', {'optimizer.lrr': 1.0}, 'lrr'),
        ('sngan_digits', {'n_dis': 0}, 'n_dis'),
    ]:
        with pytest.raises(ValueError, match=message) as raised:
            snjax.train(config, tmp_path / 'x', changes)
        assert '\n' not in str(raised.value)
    with pytest.raises(ValueError, match=r'was made with another config: optimizer\.lr: '):
        snjax.train('sngan_digits', trained.workdir, TINY | {'optimizer.lr': 1.0})
    assert not (tmp_path / 'x').exists()


@pytest.mark.slow
def test_a_divergence_is_an_exception(tmp_path):
    wild = {'optimizer.lr': 1e30, 'method': 'gan', 'model.normalization': 'none'}
    with pytest.raises(Diverged, match='diverged by step'):
        snjax.train('sngan_digits', tmp_path / 'x', TINY | wild | {'num_steps': 20})
    assert (tmp_path / 'x' / 'diverged.txt').is_file()
