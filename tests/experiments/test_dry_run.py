"""Tests of experiments.modes.dry_run: a page on what a training would cost, and no run."""

import re

import pytest

from configs import glo_digits, sngan_digits
from experiments.modes import dry_run


def tiny(config):
    config.batch_size = config.gen_batch_size = 8
    config.model.gen_width = 4
    config.model.dim_z = 8
    config.num_steps = 6
    config.eval.extractor = ''
    config.eval.every = 0
    return config


def gan():
    config = tiny(sngan_digits.get_config())
    config.model.architecture = 'wgan_gp_cnn'
    config.model.dis_width = 4
    return config


def glo():
    return tiny(glo_digits.get_config())


@pytest.mark.parametrize('make', [pytest.param(gan, marks=pytest.mark.slow), glo])
def test_cost_is_told_and_nothing_is_written(tmp_path, capsys, make):
    config = make()
    dry_run.show(config, tmp_path / 'run')
    out = capsys.readouterr().out
    assert '  batch_size = 8\n' in out and '  data.name = "digits"\n' in out
    assert '  seed = ' not in out and 'other keys have their defaults' in out
    assert re.search(r'^compiled the training step .* GFLOP an update .* memory of a', out, re.M)
    seconds, left = re.search(r'time +([\d.]+) s an update, so about (\d+) s,', out).groups()
    assert int(left) == pytest.approx(6 * float(seconds), abs=0.6)
    assert re.search(r'disk +up to [\d.]+ MB a checkpoint, [01] kept: \d+ MB in ', out)
    assert not list(tmp_path.iterdir())


def test_what_a_run_would_refuse_is_refused(tmp_path):
    config = gan()
    config.num_steps = 0
    with pytest.raises(ValueError, match='num_steps'):
        dry_run.show(config, tmp_path)
